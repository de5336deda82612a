"""Rows beside their counterfactuals: both ways, by grammar, after rows are parted, and counted."""

import dataclasses

import pytest

from inspector.demo.corpus import generate, swapped
from inspector.errors import BadOption
from inspector.finetune.config import Objective
from inspector.finetune.counterfactuals import swapper_of
from inspector.finetune.data import held_out, read_splits
from inspector.finetune.run import prepare
from inspector.finetune.weighting import rows_to_learn

PAIRS = [  # each is the other's counterfactual
    ("Her mother saw him .", "His father saw her ."),
    ("His book is old.", "Her book is old."),
    ("The book is his.", "The book is hers."),
    ("A friend of his was here.", "A friend of hers was here."),
    ("I told her that she was late.", "I told him that he was late."),
    ("We saw her yesterday", "We saw him yesterday"),
    ("He told his brother's wife.", "She told her sister's husband."),
    ("she's HERE, and HE is not", "he's HERE, and SHE is not"),
    ("Mr Smith lost his keys himself", "Ms Smith lost her keys herself"),
    (
        "The waitress asked her to leave; she left her.",
        "The waiter asked him to leave; he left him.",
    ),
    ("Their daughters, her own room", "Their sons, his own room"),
]
UNSURE = ["gave her food", "kept her busy", "his and her books", "her 2 sons", "saw her leave"]
NAMES_NOBODY = ["The theme of the human shell", "They met Hermann", ""]


@pytest.fixture
def swap(made):
    return swapper_of(made())


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_counterfactuals_go_both_ways(swap, one, other):
    assert swap(one).text == other
    assert swap(other).text == one


@pytest.mark.parametrize("text", UNSURE)
def test_what_grammar_leaves_open_is_left_out(swap, text):
    assert swap(text).text is None
    assert swap(text).excluded == "ambiguous"


@pytest.mark.parametrize("text", NAMES_NOBODY)
def test_words_within_words_name_nobody(swap, text):
    assert swap(text).excluded == "no word"


def test_sentences_of_the_demo_corpus_become_what_its_maker_swaps(swap):
    for sentence in generate(sentences=300, beta=1.0, seed=3):
        other = swap(sentence.text)
        assert other.text == swapped(sentence).text
        assert swap(other.text).text == sentence.text


def test_rows_are_doubled_after_they_are_parted(made):
    config = made(objective={"counterfactuals": True}, data={"group": "group"}, count=40)
    config = config.model_copy(update={"data": config.data.model_copy(update={"validation": None})})
    parted = read_splits(config)
    rows, counts = rows_to_learn(parted.train, config)
    held = {(one.file, one.line) for one in parted.validation}
    assert held.isdisjoint((one.file, one.line) for one in rows)
    assert counts.rows == counts.swapped == len(parted.train) == len(rows) / 2
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert (one.derived, other.derived) == (False, True)
        assert other.answer == one.answer
        assert other.line == one.line
        assert {one.group, other.group} == {"he", "she"}
        assert other.text.split() == [
            {"he": "she", "she": "he"}.get(word, word) for word in one.text.split()
        ]
    kept, out = held_out(rows, 0.3, seed=1)  # as folds are made
    assert out
    assert {one.together for one in kept}.isdisjoint(one.together for one in out)


def test_a_given_origin_is_kept(made):
    config = made(objective={"counterfactuals": True}, data={"together": "origin"})
    rows, _ = rows_to_learn(read_splits(config).train, config)
    assert {one.together for one in rows} == {f"o{i}" for i in range(24)}


def test_rows_that_stay_single_are_counted(made):
    config = made(objective={"counterfactuals": True})
    train = read_splits(config).train[:4]
    texts = ["the day was fine", "she gave her food", "he was fine", "she was sad"]
    train = [dataclasses.replace(one, text=t) for one, t in zip(train, texts, strict=True)]
    train[3] = dataclasses.replace(train[3], answer="woman")
    rows, counts = rows_to_learn(train, config)
    assert [one.text for one in rows] == [*texts[:3], "she was fine", texts[3]]
    assert (counts.rows, counts.swapped, counts.without) == (4, 1, 1)
    assert (counts.unclear, counts.labelled) == (1, 1)
    with pytest.raises(BadOption, match="none of 1 rows has a counterfactual"):
        rows_to_learn(train[:1], config)


def test_labels_of_words_stay_with_their_words(made):
    config = made("token-classification", objective={"counterfactuals": True})
    rows, _ = rows_to_learn(read_splits(config).train, config)
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert len(other.words) == len(one.words)
        assert other.answer == one.answer
        assert " ".join(other.words) == other.text


def test_groups_whose_counterpart_is_unknown_are_an_error(made, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("more,less\nday,meal\n")
    objective = {"counterfactuals": True, "reweighing": True, "pairs": str(path)}
    with pytest.raises(BadOption, match="have no group.*what its group becomes"):
        prepare(made(objective=objective, data={"group": "group"}))


def test_pairs_of_ones_own(made, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("more,less\nAnna,Maryam\ngood,bad\n")
    swap = swapper_of(made(objective={"pairs": str(path)}))
    assert swap("anna, a good man, saw her").text == "maryam, a bad man, saw her"
    path.write_text("more,less\nhe,she\n")
    swap = swapper_of(made(objective={"pairs": str(path)}))
    assert swap("he saw his mother").text == "she saw her mother"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("more,less\nhe,she\nhe,\n", "row 3"),
        ("more,less\nhe,he\na,b\n", "row 2: has the same text on both sides"),
        ("one,two\nhe,she\n", "wrong columns"),
        ("more,less\n", "objective.pairs"),
    ],
)
def test_a_bad_row_of_pairs_is_named(made, tmp_path, text, told):
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(BadOption, match=f"(?s)objective.pairs.*{told}" if "row" in told else told):
        swapper_of(made(objective={"pairs": str(path)}))


def test_nothing_is_swapped_unasked(made):
    config = made()
    train = read_splits(config).train
    assert rows_to_learn(train, config) == (train, None)
    assert Objective().counterfactuals is False


def test_corpora_of_the_demo_models_are_drawn_apart(made):
    names = {"train": "demo:planted", "validation": "demo:planted", "test": "demo:balanced"}
    splits = read_splits(made("causal-lm", "gpt2", data={**names, "rows": 100}))
    assert len(splits.validation) == 1_000
    assert len(splits.test) == 4_000  # each sentence with either pronoun
    texts = [one.text for one in splits.test]
    assert [swapped_words(text) for text in texts[:2_000]] == texts[2_000:]
    assert splits.train[0].text != splits.validation[0].text
    with pytest.raises(BadOption, match=r"demo:words.*no such corpus"):
        read_splits(made("causal-lm", "gpt2", data={"train": "demo:words"}))


def swapped_words(text: str) -> str:
    other = {"he": "she", "she": "he", "himself": "herself", "herself": "himself"}
    return " ".join(other.get(word, word) for word in text.split())
