"""Texts as questions: what follows them, stands at their mask, or which class they are."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, UnsupportedModel
from inspector.model.asking import Ask, Question, Reading, check_finite, logits
from inspector.model.features import check_ids, check_seam, check_window
from inspector.model.load import Model
from inspector.model.targets import check_classes, first_fed, target_ids
from inspector.results import show_plain
from inspector.weights.problems import Log

R = TypeVar("R")
MOST_CHARACTERS = 200_000
ANSWERS = ("answer", "versus")
LOSS_OF = {  # what the loss is in each kind of model
    "causal": "each token of the text after those before it",
    "masked": "each token of the text, hidden in turn, given all others",
    "classifier": "the class asked for",
    "encoder-decoder": "the tokens of the answer",
}


def encode(model: Model, text: str) -> Int[Tensor, " tokens"]:
    """The ids of a text with the tokenizer's own special tokens; BadOption where it has none."""
    if len(text) > MOST_CHARACTERS:
        raise BadOption(f"The text has {len(text)} characters; at most {MOST_CHARACTERS} are read.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadOption(
            f"Character {error.start} of the text is half a surrogate pair, which is no text."
        ) from None
    ids = model.tokenizer(text, verbose=False)["input_ids"]
    check_ids(model, ids)
    special = {*model.tokenizer.all_special_ids} - {model.tokenizer.unk_token_id}
    if not {*ids} - special | ({*ids} & {model.tokenizer.mask_token_id}):
        raise BadOption("The text holds no tokens but special ones. Give at least one word.")
    check_window(model, len(ids))
    return torch.tensor(ids, device=model.device)


def questions(
    model: Model,
    texts: Sequence[str],
    target: str | None,
    versus: str | None,
    log: Log,
    loss: bool = True,
    progress: Progress = no_progress,
) -> tuple[Question, ...]:
    """What is asked about each text; without a target what the model itself finds most likely.

    The answer is what follows the text (causal), stands at its mask (masked), the class
    (classifier), or what the decoder begins with (encoder-decoder). `loss` also asks for what
    LOSS_OF says. Progress names the text that is read.
    """
    if model.kind == "encoder":
        raise UnsupportedModel(
            f"{type(model.network).__name__} predicts nothing: it has no head, so there is no "
            "answer to ask for. What its layers do can be seen with activations()."
        )
    if isinstance(texts, str) or not texts:
        raise BadOption("Give a list of at least one text.")
    if versus is not None and target is None:
        raise BadOption("An answer to compare with (versus) needs a target.")
    answers = [list(target_ids(model, one)) for one in (target, versus) if one is not None]
    made: list[Question] = []
    for question in each_text(texts, lambda text: ASKED[model.kind](model, text, answers, loss)):
        made.append(question)
        progress(0, len(texts), f"text {len(made)} of {len(texts)}")
    for one in (target, versus):
        if one is not None:
            check_seam(model, texts[0], one, log)
    return tuple(made)


def each_text(texts: Sequence[str], function: Callable[[str], R]) -> Iterator[R]:
    """What a function makes of each text; where it raises BadOption that says which of many it is.

    Numbers count from 1.
    """
    for number, text in enumerate(texts, 1):
        try:
            yield function(text)
        except BadOption as error:
            if len(texts) == 1:
                raise
            start = show_plain(text, 40)
            raise BadOption(f"Text {number} of {len(texts)}, {start!r}: {error}") from None


def _causal(model: Model, text: str, answers: list[list[int]], loss: bool) -> Question:
    ids = encode(model, text)
    answers = answers or [[_likeliest(model, ids, None, len(ids) - 1)]]
    readings = []
    for name, answer in zip(ANSWERS, answers, strict=False):
        given = torch.cat([ids, ids.new_tensor(answer[:-1])])
        check_window(model, len(given))
        asked = torch.arange(len(ids) - 1, len(given), device=ids.device)
        asks = {name: (asked, ids.new_tensor(answer))}
        if loss and name == "answer" and len(ids) > 1:
            asks["loss"] = (torch.arange(len(ids) - 1, device=ids.device), ids[1:])
        readings.append(Reading(ids=given, decoder=None, asks=asks))
    return _question(text, answers, readings)


def _masked(model: Model, text: str, answers: list[list[int]], loss: bool) -> Question:
    ids = encode(model, text)
    mask = model.tokenizer.mask_token_id
    at = (ids == mask).nonzero().flatten() if mask is not None else ids[:0]
    if not len(at):
        raise BadOption(
            f"There is no {show_plain(str(model.tokenizer.mask_token))} in the text: put one where "
            "the answer is to stand."
        )
    answers = answers or [[_likeliest(model, ids, None, int(place)) for place in at]]
    if any(len(answer) != len(at) for answer in answers):
        counts = " and ".join(str(len(answer)) for answer in answers)
        raise BadOption(f"The text has {len(at)} masks and the answers {counts} tokens.")
    asks: dict[str, Ask] = {
        name: (at, ids.new_tensor(one)) for name, one in zip(ANSWERS, answers, strict=False)
    }
    readings = [Reading(ids=ids, decoder=None, asks=asks)]
    special = {mask, *model.tokenizer.all_special_ids} - {model.tokenizer.unk_token_id}
    for i, token in enumerate(ids.tolist() if loss else ()):
        if token not in special:
            hidden = ids.clone()
            hidden[i] = mask
            hides = {"loss": (ids.new_tensor([i]), ids.new_tensor([token]))}
            readings.append(Reading(ids=hidden, decoder=None, asks=hides))
    return _question(text, answers, readings)


def _class(model: Model, text: str, answers: list[list[int]], loss: bool) -> Question:
    check_classes(model)
    ids = encode(model, text)
    answers = answers or [[_likeliest(model, ids, None, 0)]]
    start = ids.new_tensor([0])
    asks: dict[str, Ask] = {
        name: (start, ids.new_tensor(one)) for name, one in zip(ANSWERS, answers, strict=False)
    }
    asks |= {"loss": asks["answer"]} if loss else {}
    return _question(text, answers, [Reading(ids=ids, decoder=None, asks=asks)])


def _generated(model: Model, text: str, answers: list[list[int]], loss: bool) -> Question:
    ids = encode(model, text)
    begin = ids.new_tensor([decoder_start(model)])
    answers = answers or [[_likeliest(model, ids, begin, 0)]]
    readings = []
    for name, answer in zip(ANSWERS, answers, strict=False):
        decoder = torch.cat([begin, ids.new_tensor(answer[:-1])])
        asked = torch.arange(len(decoder), device=ids.device), ids.new_tensor(answer)
        asks = {name: asked, **({"loss": asked} if loss and name == "answer" else {})}
        readings.append(Reading(ids=ids, decoder=decoder, asks=asks))
    return _question(text, answers, readings)


def decoder_start(model: Model) -> int:
    """The id a decoder begins with."""
    return first_fed(model.network)


ASKED: dict[str, Callable[[Model, str, list[list[int]], bool], Question]] = {
    "causal": _causal,
    "masked": _masked,
    "classifier": _class,
    "encoder-decoder": _generated,
}


def _question(text: str, answers: list[list[int]], readings: list[Reading]) -> Question:
    """A question whose two answers are read off one forward where their inputs are the same."""
    answer, versus = tuple(answers[0]), tuple(answers[1]) if len(answers) > 1 else ()
    if versus and "versus" in readings[-1].asks and answer[:-1] == versus[:-1] and readings[1:]:
        both = {**readings[1].asks, **readings[0].asks}
        readings = [dataclasses.replace(readings[0], asks=both)]
    return Question(text=text, answer=answer, versus=versus, readings=tuple(readings))


def _likeliest(
    model: Model, ids: Int[Tensor, " tokens"], decoder: Int[Tensor, " steps"] | None, at: int
) -> int:
    with torch.no_grad():
        out = logits(model, [Reading(ids=ids, decoder=decoder, asks={})])
        check_finite(out[0, at])
    return int(out[0, at].argmax())
