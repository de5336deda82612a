"""Rows are read or named with what is wrong; splits hold no row of each other."""

import json

import pandas as pd
import pytest

from inspector.errors import BadOption
from inspector.finetune.audit import balance, named_groups, repeats
from inspector.finetune.data import Example, held_out, read_splits
from inspector.finetune.features import encode
from tests.finetune.conftest import rows, tokenizer, written


def read(made, **data):
    return read_splits(made(data=data))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_the_same_rows_from_files_of_every_kind(made, tmp_path, suffix):
    found = [{"text": one["text"], "label": one["label"]} for one in rows(20)]
    file = tmp_path / f"rows.{suffix}"
    table = pd.DataFrame(found)
    if suffix == "parquet":
        table.to_parquet(file)
    elif suffix == "jsonl":
        written(file, found)
    else:
        table.to_csv(file, index=False, sep="," if suffix == "csv" else "\t")
    splits = read(made, train=str(file))
    assert [(one.text, one.answer) for one in splits.train] == [
        (one["text"], one["label"]) for one in found
    ]
    assert splits.labels == ("bad", "good")
    assert not splits.excluded


def test_a_text_file_is_a_row_a_line(made, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("the day was fine\n\nthe room was sad\n")
    splits = read_splits(made("causal-lm", data={"train": str(file)}))
    assert [(one.line, one.text) for one in splits.train] == [
        (1, "the day was fine"),
        (3, "the room was sad"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "text,lable\nx,y\n", "has no column label"),
        ("a.csv", "", "is empty"),
        ("a.parquet", "no parquet", "is no Parquet"),
        ("a.pkl", "x", "unknown kind of file"),
        ("a.csv", "text,label\na,x\nb,x\n", "all 2 rows have the same label 'x'"),
        ("a.csv", 'text,label\n"a,x\nb,y\n', "all 1 rows have the same label"),
        ("a.csv", "text,label\n,x\n ,y\n", "train: there is no row to use. 2 rows were left out"),
        ("none.csv", None, "there is no such file"),
    ],
)
def test_wrong_files_are_told(made, tmp_path, name, content, told):
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadOption, match=r"\w") as caught:
        read(made, train=str(file))
    assert told in str(caught.value)


def test_rows_left_out_are_counted_and_unseen_labels_refused(made, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text('text,label\na,x\n,y\nb,y\nc\nd,"y\ne,x\n')
    splits = read(made, train=str(file), validation=str(file))
    assert [one.text for one in splits.train] == ["a", "b", "e"]
    assert len(splits.excluded) == 6
    other = tmp_path / "b.csv"
    other.write_text("text,label\na,x\nb,z\n")
    with pytest.raises(BadOption, match="validation: 1 labels stand in no training row: z"):
        read(made, train=str(file), validation=str(other))


def test_held_out_rows_keep_together_and_shares():
    examples = [
        Example(file="f", line=i, text=str(i), answer="ab"[i % 20 < 5], together=f"g{i // 2}")
        for i in range(400)
    ]
    kept, held = held_out(examples, 0.2, seed=3)
    assert not {one.together for one in kept} & {one.together for one in held}
    assert {*kept} | {*held} == {*examples}
    assert len(held) == pytest.approx(80, abs=4)
    share = balance(held)["b"] / len(held)
    assert share == pytest.approx(balance(examples)["b"] / 400, abs=0.03)
    assert held_out(examples, 0.2, seed=3) == (kept, held)
    assert held_out(examples, 0.2, seed=4) != (kept, held)


def test_long_rows_are_counted_by_hand(made):
    config = made(data={"max_tokens": 6, "over_long": "truncate"})
    texts = ["the day", "the day was very fine", "a b c d e f g"]
    examples = [Example(file="f", line=i, text=text, answer="good") for i, text in enumerate(texts)]
    kept, places, lengths = encode(tokenizer(), examples, config, ("bad", "good"))
    assert [len(row["input_ids"]) for row in kept] == [4, 6, 6]
    assert all(row["input_ids"][-1] == 2 for row in kept)  # what ends a text is kept
    assert (lengths.rows, lengths.tokens, lengths.longest) == (3, 4 + 7 + 9, 9)
    assert (lengths.over, lengths.lost, lengths.dropped) == (2, 1 + 3, 0)
    drop = made(data={"max_tokens": 6, "over_long": "drop"})
    kept, places, lengths = encode(tokenizer(), examples, drop, ("bad", "good"))
    assert (places, lengths.dropped, lengths.lost) == ([0], 2, 16)
    with pytest.raises(BadOption, match=r"row 1: has 7 tokens, but data.max_tokens is 6"):
        encode(tokenizer(), examples, made(data={"max_tokens": 6}), ("bad", "good"))


def test_words_behind_the_cut_lose_their_labels(made):
    config = made("token-classification", data={"max_tokens": 4, "over_long": "truncate"})
    words = ("the", "day", "was", "fine")
    one = Example(file="f", line=1, text="", words=words, answer=("O", "O", "O", "X"))
    kept, _, _ = encode(tokenizer(), [one], config, ("O", "X"))
    assert kept[0]["labels"] == [-100, 0, 0, -100]


def test_labels_that_hang_on_a_group_are_seen_and_others_not():
    def row(i, who, answer):
        return Example(file="f", line=i, text=f"{who} was there {i}", answer=answer)

    tied = [
        row(i, ("she", "he", "it")[i % 3], "a" if i % 3 == 0 else "ab"[i % 2]) for i in range(90)
    ]
    found = {one.group: one for one in named_groups(tied)}
    assert (found["women"].rows, found["women"].label) == (30, "a")
    assert found["women"].share_in_label == 1
    assert found["women"].p_adjusted < 0.05 < found["neither"].rows + 1
    free = [row(i, ("she", "he", "it")[i % 3], "ab"[i // 3 % 2]) for i in range(90)]
    for one in named_groups(free):
        assert one.p_adjusted is None or one.p_adjusted > 0.05
    assert found["muslims"].distance is None


def test_repeats_are_found_whatever_their_capitals(made, tmp_path):
    found = [
        {"text": "The day", "label": "x"},
        {"text": "the  day", "label": "y"},
        {"text": "a room", "label": "x"},
    ]
    train = written(tmp_path / "t.jsonl", found)
    held = written(tmp_path / "v.jsonl", [{"text": "A ROOM", "label": "x"}])
    told = repeats(read(made, train=str(train), validation=str(held)))
    assert (told.within_train, told.conflicts) == (1, 1)
    assert told.across == {"validation": 1, "test": 0}
    assert json.loads(json.dumps(told.examples)) == ["A ROOM"]
