"""The answer's log-probability is that of one plain forward, whatever kind of model is asked."""

import dataclasses

import numpy as np
import pytest
import torch
from model.asked import CAUSAL, Running, answers, texts
from scipy import stats
from torch import Tensor

from inspector.errors import BadOption, UnsupportedModel
from inspector.model import asking
from inspector.model.asking import mean_of, outcome
from inspector.model.load import Model, load
from inspector.model.questions import questions
from inspector.weights.problems import Log

ANSWERS = ["p", "p q r", "p q r s t u v w"]


def ask(model: Model, given: list[str], target: str | None = None, versus: str | None = None):
    with torch.no_grad():
        return outcome(model, questions(model, given, target, versus, Log()))


def plain(model: Model, text: str, answer: str) -> float:
    """log p(answer | text) by one forward over both."""
    ids = model.tokenizer(text)["input_ids"]
    wanted = model.tokenizer(answer, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        if model.kind == "encoder-decoder":
            start = torch.tensor([[0, *wanted[:-1]]])
            said = model.network(torch.tensor([ids]), decoder_input_ids=start).logits[0]
        else:
            said = model.network(torch.tensor([ids + wanted])).logits[0, len(ids) - 1 : -1]
    return float(said.log_softmax(-1)[range(len(wanted)), wanted].sum())


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("name", [*CAUSAL, "t5"])
def test_answers_of_any_length_are_those_of_one_forward(name, answer, running: Running) -> None:
    model = running(name)
    found = ask(model, texts(model), answer)
    expected = [plain(model, text, answer) for text in texts(model)]
    torch.testing.assert_close(found.score, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_answers_of_unequal_length_are_compared(running: Running) -> None:
    model = running("llama")
    found = ask(model, texts(model), "p q r", "s")
    expected = [plain(model, t, "p q r") - plain(model, t, "s") for t in texts(model)]
    torch.testing.assert_close(found.score, torch.tensor(expected), rtol=1e-4, atol=1e-4)
    swapped = ask(model, texts(model), "s", "p q r")
    torch.testing.assert_close(swapped.score, -found.score, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(swapped.loss, found.loss)


def test_the_loss_of_a_causal_model_is_transformers_own(running: Running) -> None:
    model = running("gpt2")
    ids = [torch.tensor([model.tokenizer(text)["input_ids"]]) for text in texts(model)]
    with torch.no_grad():
        expected = torch.stack([model.network(one, labels=one).loss for one in ids])
    torch.testing.assert_close(ask(model, texts(model), "p q").loss, expected)


def test_the_loss_of_a_masked_model_hides_each_token_in_turn(running: Running) -> None:
    model = running("bert")
    mask = model.tokenizer.mask_token_id
    ids = model.tokenizer("a b <mask> d")["input_ids"]
    total = []
    for i in (0, 1, 3):
        hidden = torch.tensor([[mask if i == j else one for j, one in enumerate(ids)]])
        with torch.no_grad():
            total.append(model.network(hidden).logits[0, i].log_softmax(-1)[ids[i]])
    found = ask(model, ["a b <mask> d"], "p", "q")
    torch.testing.assert_close(found.loss[0], -torch.stack(total).mean())
    with torch.no_grad():
        said = model.network(torch.tensor([ids])).logits[0, 2]
    wanted = model.tokenizer("p q")["input_ids"]
    torch.testing.assert_close(found.score[0], said[wanted[0]] - said[wanted[1]])


def test_several_masks_hold_an_answer_of_as_many_tokens(running: Running) -> None:
    model = running("bert")
    ids = torch.tensor([model.tokenizer("a <mask> <mask> d")["input_ids"]])
    with torch.no_grad():
        said = model.network(ids).logits[0].log_softmax(-1)
    p, q = model.tokenizer("p q")["input_ids"]
    found = ask(model, ["a <mask> <mask> d"], "p q")
    torch.testing.assert_close(found.score[0], said[1, p] + said[2, q])
    with pytest.raises(BadOption, match="2 masks and the answers 1 tokens"):
        ask(model, ["a <mask> <mask> d"], "p")
    with pytest.raises(BadOption, match="no <mask>"):
        ask(model, ["a b"], "p")


def test_a_class_is_named_and_several_can_hold_at_once(running: Running) -> None:
    model = running("bert-classifier")
    ids = torch.tensor([model.tokenizer("a b c")["input_ids"]])
    with torch.no_grad():
        said = model.network(ids).logits[0]
    found = ask(model, ["a b c"], "LABEL_1", "LABEL_0")
    torch.testing.assert_close(found.score[0], said[1] - said[0])
    torch.testing.assert_close(found.loss[0], -said.log_softmax(-1)[1])
    kind = model.network.config.problem_type
    model.network.config.problem_type = "multi_label_classification"
    try:
        torch.testing.assert_close(
            ask(model, ["a b c"], "LABEL_1").score[0], said[1].sigmoid().log()
        )
    finally:
        model.network.config.problem_type = kind
    with pytest.raises(BadOption, match="no label"):
        ask(model, ["a b c"], "kind")


@pytest.mark.parametrize("name", ["llama", "bert", "bert-classifier", "t5"])
def test_without_a_target_the_model_s_own_answer_is_asked(name, running: Running) -> None:
    model = running(name)
    found = ask(model, texts(model))
    assert torch.equal(found.score, found.said.max(-1).values)


@pytest.mark.parametrize("name", ["llama", "bert", "bert-classifier", "t5"])
def test_batches_change_nothing(name, running: Running, monkeypatch) -> None:
    model = running(name)
    together = ask(model, texts(model), *answers(model))
    monkeypatch.setattr(asking, "MOST_ROWS", 1)
    alone = ask(model, texts(model), *answers(model))
    for field in dataclasses.fields(together):
        one, other = (getattr(o, field.name) for o in (together, alone))
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "at least one text"),
        ([""], "no tokens but special"),
        (["<s> </s>"], "no tokens but special"),
        (["a \ud800 b"], "Character 2 .* surrogate"),
        (["a " * 40], "sees at most 32"),
        (["a" * 1_000_001], "1000001 characters"),
    ],
)
def test_texts_that_cannot_be_asked_are_told(given, told, running: Running) -> None:
    with pytest.raises(BadOption, match=told):
        ask(running("llama"), given, "p")


def test_what_else_cannot_be_asked(running: Running, minilm) -> None:
    with pytest.raises(BadOption, match="needs a target"):
        ask(running("llama"), ["a b"], None, "p")
    with pytest.raises(BadOption, match="list of"):
        questions(running("llama"), "a b", None, None, Log())
    with pytest.raises(UnsupportedModel, match="no head"):
        ask(load(minilm), ["a b"])
    assert ask(running("llama"), ["a b"], "p").loss.isfinite().all()
    assert ask(running("llama"), ["a"], "p").loss.isnan().all()  # one token follows nothing


def test_ranges_are_those_of_the_t_distribution() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0])
    mean, low, high = mean_of(values)
    expected = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose([mean, low, high], [3.75, *expected])
    assert mean_of(values[:1]) == (1.0, None, None)


def test_gradients_flow_through_what_is_asked(running: Running) -> None:
    model = running("llama")
    asked = questions(model, texts(model), "p", "q", Log())
    assert outcome(model, asked).score.requires_grad
    assert isinstance(outcome(model, asked).loss, Tensor)
