"""How models go on from texts: what is drawn, by hand; the same in every batch; gone on from."""

import hashlib
import json

import numpy as np
import pytest
import torch
from fairness.talkers import CAUSAL, precise, said, saved

from inspector.errors import BadOption, UnsupportedModel
from inspector.fairness.continuing import Sampling, continued, pick
from inspector.fairness.sentences import Excluded
from inspector.model.load import load

TEXTS = ["a b c", "d", "j 7 12", "a b"]
HOW = Sampling(samples=3, tokens=6, seed=5)


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    folder = tmp_path_factory.mktemp("continuing")
    known = {}

    def one(name):
        if name not in known:
            known[name] = precise(load(saved(name, folder / name)))
        return known[name]

    return one


def luck(how, text, sample):
    """The random numbers of one text, by the recipe: a digest of what it hangs on as the seed."""
    named = json.dumps([how.seed, text, sample]).encode()
    words = np.frombuffer(hashlib.sha256(named).digest(), dtype=np.uint32)
    return np.random.default_rng(words).random(how.tokens)


def by_hand(model, text, sample, how):
    """One text, one token at a time, without a cache: the first id whose sum exceeds the number."""
    tokenizer = model.tokenizer
    ids = [tokenizer.bos_token_id, *tokenizer(text)["input_ids"]]
    start = len(ids)
    for number in luck(how, text, sample):
        logits = said(model, ids)[-1][: len(tokenizer)] / how.temperature
        likely = np.exp(logits - logits.max())
        likely /= likely.sum()
        if how.top_p is not None:
            order = np.argsort(-likely, kind="stable")
            before = np.cumsum(likely[order]) - likely[order]
            likely[order[before >= how.top_p]] = 0
            likely /= likely.sum()
        new = int((np.cumsum(likely) <= number).sum())
        if new in tokenizer.all_special_ids:
            return ids[start:], True
        ids.append(new)
    return ids[start:], False


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("more", [{}, {"temperature": 0.5, "top_p": 0.7}])
def test_what_is_written_is_what_one_draw_after_another_gives(talking, name, more):
    model = talking(name)
    how = Sampling(**{**vars(HOW), **more})
    found = continued(model, TEXTS, how)
    for text, rows in zip(TEXTS, found, strict=True):
        for k, one in enumerate(rows):
            ids, ended = by_hand(model, text, k, how)
            assert (one.tokens, one.ended) == (len(ids), ended)
            whole = model.tokenizer.decode([*model.tokenizer(text)["input_ids"], *ids])
            assert (text + one.text).replace(" ", "") == whole.replace(" ", "")


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_batch_and_order_change_nothing(talking, name):
    model = talking(name)
    whole = continued(model, TEXTS, HOW)
    alone = [continued(model, [text], HOW, most_rows=1)[0] for text in TEXTS]
    assert whole == alone == continued(model, TEXTS[::-1], HOW, memory=1)[::-1]
    assert continued(model, TEXTS, Sampling(**{**vars(HOW), "seed": 6})) != whole
    more = continued(model, TEXTS, Sampling(**{**vars(HOW), "samples": 5}))
    assert [rows[:3] for rows in more] == whole


def test_each_id_has_a_stretch_as_wide_as_it_is_likely():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(1, 9)) * 2)
    likely = logits.softmax(-1)[0].numpy()
    numbers = (np.arange(20_000) + 0.5) / 20_000
    drawn = pick(logits.expand(20_000, 9), torch.from_numpy(numbers), Sampling()).numpy()
    assert np.abs(np.bincount(drawn, minlength=9) / 20_000 - likely).max() < 1e-4
    kept = pick(logits.expand(20_000, 9), torch.from_numpy(numbers), Sampling(top_p=0.6)).numpy()
    order = np.argsort(-likely)
    few = order[: int((np.cumsum(likely[order]) < 0.6).sum()) + 1]
    assert set(kept) == set(few.tolist())
    shares = np.bincount(kept, minlength=9)[few] / 20_000
    assert shares == pytest.approx(likely[few] / likely[few].sum(), abs=1e-4)
    cold = pick(logits, torch.tensor([0.99]), Sampling(temperature=0.01))
    assert int(cold[0]) == int(likely.argmax())


def test_a_killed_run_goes_on_and_asks_nothing_twice(talking, tmp_path):
    model, file = talking("gpt2"), tmp_path / "texts.jsonl"
    counted: list[int] = []
    whole = continued(model, TEXTS, HOW)
    first = continued(model, TEXTS[:3], HOW, lines=file)
    with file.open("a") as half:
        half.write('{"schema": "inspector.text-line/1", "asked"')  # killed while it wrote
    again = continued(model, TEXTS, HOW, lambda _done, total, _: counted.append(total), lines=file)
    assert first == whole[:3] and again == whole
    assert set(counted) == {1}
    assert len(file.read_text().splitlines()) == len(TEXTS)
    other = Sampling(**{**vars(HOW), "seed": 1})
    assert continued(model, TEXTS, other, lines=file) == continued(model, TEXTS, other)
    scores = tmp_path / "scores.jsonl"
    scores.write_text('{"schema": "inspector.score-line/1"}\n')
    with pytest.raises(BadOption, match="is no text that was kept here"):
        continued(model, TEXTS, HOW, lines=scores)


def test_what_cannot_be_continued_is_told(talking):
    model = talking("gpt2")
    unknown, long, special = continued(
        model, ["a b zebra", "a " * 1020, "a <mask> b"], Sampling(samples=1, tokens=12)
    )
    assert all(isinstance(one, Excluded) for one in (unknown, long, special))
    assert (unknown.reason, long.reason, special.reason) == ("unknown", "too long", "special")
    with torch.no_grad():
        broken = precise(model)
        broken.network.get_output_embeddings().weight[7] = float("nan")
    assert continued(broken, ["a b"], HOW)[0].reason == "not finite"
    with pytest.raises(UnsupportedModel, match="only causal"):
        continued(talking("bert"), ["a"], HOW)


@pytest.mark.parametrize(
    "wrong", [{"samples": 0}, {"tokens": 0}, {"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.5}]
)
def test_ways_of_drawing_that_make_no_sense_are_refused(wrong):
    with pytest.raises(BadOption, match=next(iter(wrong))):
        Sampling(**wrong)
