"""Asking a model: readings of its output in batches without padding, under any change of it."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import stdtrit
from torch import Tensor
from torch.nn.functional import logsigmoid

from inspector.engine import Progress, no_progress
from inspector.errors import UnsupportedModel
from inspector.model.load import Model
from inspector.results import Coverage, Source

LOGITS = 2**26  # numbers held by the output of one forward: a quarter of a GiB in float32
MOST_ROWS = 64
CONFIDENCE = 0.95
RANGE = "95 % t interval of the mean over texts; none for one text"

Ask = tuple[Int[Tensor, " asked"], Int[Tensor, " asked"]]  # positions, and the ids asked for there
Changes = Callable[[Int[Tensor, " batch"]], Sequence[AbstractContextManager[Any]]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """One input of the network and what is read off its output, under "loss", "answer", "versus".

    `decoder` is what an encoder-decoder's decoder is given; None in other models.
    """

    ids: Int[Tensor, " tokens"]
    decoder: Int[Tensor, " steps"] | None
    asks: Mapping[str, Ask]

    @property
    def shape(self) -> tuple[object, ...]:
        """Readings of one shape can run in one batch without padding."""
        steps = None if self.decoder is None else len(self.decoder)
        return len(self.ids), steps, tuple((name, len(ask[0])) for name, ask in self.asks.items())


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """A text with all that is asked about it; `answer` and `versus` are the ids asked for."""

    text: str
    answer: tuple[int, ...]
    versus: tuple[int, ...]
    readings: tuple[Reading, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a model says to questions: sums of log-probabilities, in nats.

    `loss` is the mean over the tokens asked, NaN where none is; `score` is log p(answer), less
    log p(versus) where there is one; `said` holds the log-probabilities of everything that could
    stand where the answer begins.
    """

    loss: Float[Tensor, " questions"]
    score: Float[Tensor, " questions"]
    said: Float[Tensor, "questions choices"]


def no_changes(_rows: Int[Tensor, " batch"]) -> Sequence[AbstractContextManager[Any]]:
    """The model as it is."""
    return ()


def logits(model: Model, readings: Sequence[Reading]) -> Float[Tensor, "batch steps choices"]:
    """The network's logits for readings of one shape, float32 or finer; classifiers: one step."""
    out: Tensor = forward(model, readings).logits
    out = out.to(torch.promote_types(out.dtype, torch.float32))
    return out if out.ndim == 3 else out[:, None]


def forward(model: Model, readings: Sequence[Reading]) -> Any:
    """What the network returns for readings of one shape."""
    ids = torch.stack([reading.ids for reading in readings])
    given: dict[str, Any] = {"attention_mask": torch.ones_like(ids)}
    decoders = [reading.decoder for reading in readings if reading.decoder is not None]
    if decoders:
        given["decoder_input_ids"] = torch.stack(decoders)
    if model.kind in ("causal", "encoder-decoder"):
        given["use_cache"] = False
    return model.network(ids, **given)


def outcome(
    model: Model,
    asked: Sequence[Question],
    changes: Changes = no_changes,
    progress: Progress = no_progress,
) -> Outcome:
    """Ask the questions, in batches of one shape and so without padding.

    `changes` gets, for each batch, which question each of its rows belongs to, and gives the
    context managers under which it runs. Gradients flow where they are enabled. Progress counts
    readings.
    """
    parts: dict[tuple[int, str], list[Tensor]] = {}
    done, every = 0, sum(len(question.readings) for question in asked)
    for rows, readings in batches(model, asked):
        progress(done, every, "")
        done += len(rows)
        with ExitStack() as stack:
            for change in changes(torch.tensor(rows, device=model.device)):
                stack.enter_context(change)
            out = logits(model, readings)
        for name in readings[0].asks:
            total, begin = _read(model, out, [reading.asks[name] for reading in readings])
            for i, row in enumerate(rows):
                parts.setdefault((row, name), []).append(total[i])
                if name == "answer":
                    parts[row, "said"] = [begin[i]]
    zero = torch.zeros((), device=model.device)

    def total_of(name: str) -> Tensor:
        return torch.stack([sum(parts.get((q, name), []), zero) for q in range(len(asked))])

    return Outcome(
        loss=-total_of("loss") / zero.new_tensor([_counted(question) for question in asked]),
        score=total_of("answer") - total_of("versus"),
        said=torch.stack([parts[q, "said"][0] for q in range(len(asked))]),
    )


def check_finite(said: Float[Tensor, "*any"]) -> None:
    """Raise UnsupportedModel where a model says NaN: no answer is the likeliest, none changes."""
    if bool(said.isnan().any()):
        raise UnsupportedModel(
            "The model answers this text with NaN: there is no answer to look at. `activations` "
            "shows in which layer it begins."
        )


def _counted(question: Question) -> int:
    """How many tokens a question's loss is the mean over."""
    return sum(len(r.asks["loss"][0]) for r in question.readings if "loss" in r.asks)


def _read(model: Model, out: Tensor, asks: Sequence[Ask]) -> tuple[Tensor, Tensor]:
    """Sum of the log-probabilities asked for, and those of all choices at the first position."""
    at, wanted = torch.stack([ask[0] for ask in asks]), torch.stack([ask[1] for ask in asks])
    chosen = log_probabilities(model, out[torch.arange(len(out), device=out.device)[:, None], at])
    return chosen.gather(-1, wanted[..., None]).squeeze(-1).sum(-1), chosen[:, 0]


def log_probabilities(
    model: Model, values: Float[Tensor, "*batch choices"]
) -> Float[Tensor, "*batch choices"]:
    """Of logits; where several classes can hold at once each has a probability of its own."""
    if model.network.config.problem_type == "multi_label_classification":
        return logsigmoid(values)
    return values.log_softmax(-1)


def whole_of(model: Model, said: Float[Tensor, "steps choices"]) -> Float[Tensor, "steps outcomes"]:
    """Log-probabilities of all there is: where several classes can hold, also that each does not.

    Entropy and divergence are then sums over such classes.
    """
    if model.network.config.problem_type == "multi_label_classification":
        not_so = (-said.expm1()).log().clamp_min(torch.finfo(said.dtype).min)
        return torch.cat([said, not_so], -1)
    return said


def batches(model: Model, asked: Sequence[Question]) -> Iterator[tuple[list[int], list[Reading]]]:
    """Readings of one shape with the question of each, as many at once as LOGITS allows."""
    shapes: dict[object, list[tuple[int, Reading]]] = {}
    for row, question in enumerate(asked):
        for reading in question.readings:
            shapes.setdefault(reading.shape, []).append((row, reading))
    for alike in shapes.values():
        most = rows_at_once(model, alike[0][1])
        for begin in range(0, len(alike), most):
            part = alike[begin : begin + most]
            yield [row for row, _ in part], [reading for _, reading in part]


def rows_at_once(model: Model, reading: Reading) -> int:
    """How many readings of this shape run in one batch."""
    config = model.network.config.get_text_config()
    if model.kind == "classifier" and config.pad_token_id is None:
        return 1  # decoders that classify find the last token by the padding, and refuse batches
    steps = len(reading.ids if reading.decoder is None else reading.decoder)
    out = 1 if model.kind == "classifier" else steps * config.vocab_size
    # inside a block no more than some widths a token, and a row of attention per head
    inside = len(reading.ids) * (16 * config.hidden_size + 2 * len(reading.ids))
    return min(MOST_ROWS, max(1, int(LOGITS // (out + inside))))


def mean_of(values: Float[np.ndarray, " texts"]) -> tuple[float, float | None, float | None]:
    """Mean over texts with its t interval (RANGE)."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None, None
    spread = float(values.std(ddof=1)) / len(values) ** 0.5
    reach = float(stdtrit(len(values) - 1, 0.5 + CONFIDENCE / 2)) * spread
    return mean, mean - reach, mean + reach


def whole(model: Model) -> Coverage:
    """All of a model's tensors take part when it runs."""
    tensors = model.checkpoint.tensors
    parameters, size = sum(t.parameters for t in tensors), sum(t.bytes for t in tensors)
    return Coverage(
        tensors_total=len(tensors),
        tensors_measured=len(tensors),
        parameters_total=parameters,
        parameters_measured=parameters,
        bytes_total=size,
        bytes_read=size,
    )


def source(model: Model, seed: int | None = None) -> Source:
    """Where numbers of a model that was run come from."""
    return dataclasses.replace(
        model.checkpoint.source(),
        seed=seed,
        device=model.device.type,
        dtype=str(model.dtype).removeprefix("torch."),
    )


def shown(model: Model, ids: Iterable[int]) -> str:
    """Ids as text: words of the vocabulary, or the class of a classifier."""
    if model.kind == "classifier":
        names: Mapping[Any, str] = model.network.config.id2label or {}
        return ", ".join(str(names.get(one, one)) for one in ids)
    decoded = model.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
    return str(decoded)
