"""F is what one ordinary forward says, whatever of it is remembered, shared or left out."""

from collections.abc import Callable, Sequence

import pytest
import torch
from model.test_load import CAUSAL
from torch import Tensor

from inspector.errors import BadOption, UnsupportedModel
from inspector.model.load import Model
from inspector.model.targets import Question, Scorer, contrast, target_ids

Running = Callable[[str], Model]
PROMPT = [31, 7, 9, 12, 9, 40, 8]
TARGETS = [(17,), (17, 20, 5), (9, 9, 33, 6, 21, 50, 13, 8)]


def log_softmax_at(logits: Tensor, answer: Sequence[int]) -> float:
    """The oracle: whole log-softmax in float64, one entry a place."""
    rows = logits.double().log_softmax(-1)
    return float(sum(rows[i, token] for i, token in enumerate(answer)))


def oracle(model: Model, ids: Sequence[int], answer: Sequence[int]) -> float:
    """Log-probability by one plain forward over ids, with nothing left out."""
    with torch.no_grad():
        if model.kind == "causal":
            logits = model.network(torch.tensor([[*ids, *answer]]), use_cache=False).logits[0]
            return log_softmax_at(logits[len(ids) - 1 : -1], answer)
        if model.kind == "encoder-decoder":
            fed = torch.tensor([[0, *answer[:-1]]])  # T5 begins with its padding
            out = model.network(torch.tensor([ids]), decoder_input_ids=fed)
            return log_softmax_at(out.logits[0], answer)
        logits = model.network(torch.tensor([ids])).logits[0]
        if model.kind == "classifier":
            return log_softmax_at(logits[None], answer)
        return log_softmax_at(logits[[i for i, id in enumerate(ids) if id == 4]], answer)


def scorer(model: Model, answers: Sequence[Sequence[int]], ids: Sequence[int] = PROMPT) -> Scorer:
    places = tuple(i for i, id in enumerate(ids) if id == 4) if model.kind == "masked" else ()
    question = Question(ids=torch.tensor(ids), answers=tuple(map(tuple, answers)), places=places)
    return Scorer(model, question)


@pytest.mark.parametrize("name", [*CAUSAL, "t5"])
def test_targets_of_any_length_are_scored_as_by_one_forward(name: str, running: Running) -> None:
    model = running(name)
    changed = [*PROMPT[:4], 22, *PROMPT[5:]]
    for answer in TARGETS:
        ask = scorer(model, [answer])
        whole, other = oracle(model, PROMPT, answer), oracle(model, changed, answer)
        assert abs(whole - other) > 1e-3  # so that what is remembered cannot pass for it
        assert float(ask.plain()[0]) == pytest.approx(whole, abs=2e-3)
        for start in (0, 1, 4) if model.kind == "causal" else (0,):
            rows = ask.embed(torch.tensor([PROMPT, changed]))[:, start:]
            with torch.no_grad():
                assert ask(rows).tolist() == pytest.approx([whole, other], abs=2e-3)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "bloom", "t5"])
@pytest.mark.parametrize(
    ("one", "two"), [((17,), (18,)), ((17, 20, 5), (17, 20, 6)), ((9,), (9, 7, 3))]
)
def test_a_contrast_is_the_difference_of_both(
    name: str, one: Sequence[int], two: Sequence[int], running: Running
) -> None:
    model = running(name)
    ask = scorer(model, [one, two])
    rows = ask.embed(torch.tensor([PROMPT] * 3))
    before = ask.forwards
    with torch.no_grad():
        each = ask.each(rows)
    assert ask.forwards == before + 1  # both answers in one
    expected = [oracle(model, PROMPT, answer) for answer in (one, two)]
    assert each[2].tolist() == pytest.approx(expected, abs=2e-3)
    assert float(contrast(each)[0]) == pytest.approx(expected[0] - expected[1], abs=3e-3)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra"])
def test_masks_are_scored_where_they_stand(name: str, running: Running) -> None:
    model = running(name)
    ids = [31, 4, 9, 12, 4, 40]
    ask = scorer(model, [(17, 20)], ids)
    with torch.no_grad():
        found = float(ask(ask.embed(torch.tensor([ids]))))
    assert found == pytest.approx(oracle(model, ids, (17, 20)), abs=1e-4)


@pytest.mark.parametrize("name", ["bert-classifier", "roberta-classifier", "distilbert-classifier"])
def test_labels_are_scored_by_name_and_number(name: str, running: Running) -> None:
    model = running(name)
    label = target_ids(model, "LABEL_1")
    assert label == target_ids(model, "1") == (1,)
    ask = scorer(model, [label])
    with torch.no_grad():
        found = float(ask(ask.embed(torch.tensor([PROMPT]))))
    assert found == pytest.approx(oracle(model, PROMPT, (1,)), abs=1e-5)
    with pytest.raises(BadOption, match="LABEL_0, LABEL_1"):
        target_ids(model, "happy")


def test_only_the_logits_that_are_needed_are_made(running: Running) -> None:
    model = running("llama")
    ask = scorer(model, [(17, 20, 5)])
    ask.plain()
    seen: list[tuple[int, ...]] = []
    hook = model.network.lm_head.register_forward_hook(lambda _m, _i, out: seen.append(out.shape))
    read: list[int] = []
    first = model.blocks[0].module.register_forward_pre_hook(
        lambda _m, i: read.append(i[0].shape[1])
    )
    with torch.no_grad():
        ask(ask.embed(torch.tensor([PROMPT] * 5))[:, 4:])
    hook.remove()
    first.remove()
    assert seen == [(5, 3, 64)]  # the target's places alone
    assert read == [len(PROMPT) - 4 + 2]


@pytest.mark.parametrize("target", ["", "  ", "zebra", "a zebra", "\ud800"])
def test_targets_without_a_probability_are_refused(target: str, running: Running) -> None:
    with pytest.raises(BadOption, match="target"):
        target_ids(running("gpt2"), target)


def test_a_model_without_a_head_is_refused(running: Running) -> None:
    import dataclasses

    headless = dataclasses.replace(running("bert"), kind="encoder")
    with pytest.raises(UnsupportedModel, match="predicts nothing"):
        target_ids(headless, "a")
