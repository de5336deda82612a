"""What a model says when only some words of a prompt are kept: many such rows, each run once."""

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, UnsupportedModel
from inspector.model.features import Prompt, check_ids, check_seam, check_window, read_prompt
from inspector.model.load import Model
from inspector.model.targets import SAME, Question, Scorer, contrast, target_ids
from inspector.model.tree import NODES, by_tree, can_grow
from inspector.weights.problems import Log

MEMORY = 2**30  # bytes that the rows of one forward may take, by the estimate of `row_bytes`
BATCH = 2048  # tokens in one forward, past which a processor gains nothing


class Coalitions:
    """F with some units kept and the others replaced by the baseline; remembers what it has run.

    The first answers are checked: the whole text among them must get what one ordinary forward
    gives it. Shortcuts that do not hold are left; UnsupportedModel when it is not for them.
    """

    def __init__(self, scorer: Scorer, prompt: Prompt, memory: int = MEMORY) -> None:
        self.scorer, self.prompt, self.memory = scorer, prompt, memory
        self.progress: Progress = no_progress
        self.each = scorer.plain()
        self.plain = float(contrast(self.each[None]))
        if not math.isfinite(self.plain):
            raise UnsupportedModel(
                f"The model's answer to the text is {self.plain}, no number: nothing is explained."
            )
        self.noise: Tensor | None = None
        self._values: dict[bytes, float] = {}
        self._checked = False
        self._tree = can_grow(scorer)

    def disturbed(self, noise: Float[Tensor, "tokens width"]) -> "Coalitions":
        """The same with noise on the embeddings of every row; it remembers nothing of this one."""
        other = copy.copy(self)
        other.noise, other._values = noise, {}
        return other

    def asking(self, scorer: Scorer) -> "Coalitions":
        """The same prompt with another question, whose answers this one has checked."""
        scorer.reuse = self.scorer.reuse
        other = copy.copy(self)
        other.scorer, other._values = scorer, {}
        scorer.plain()
        return other

    @property
    def first(self) -> int:
        """The first token that can differ; a causal model remembers what lies before."""
        return int(self._starts(self.prompt.baseline[None])[0])

    @property
    def units(self) -> int:
        """How many units there are."""
        return len(self.prompt.units)

    def one(self, kept: bool) -> float:
        """F(x) with every unit kept, else F(x') with none."""
        return float(self(np.full((1, self.units), kept))[0])

    def __call__(self, kept: Bool[np.ndarray, "rows units"]) -> Float[np.ndarray, " rows"]:
        """F in nats of each row, in float64; equal rows and those already known run once."""
        keys = [row.tobytes() for row in kept]
        missing = {key: row for key, row in zip(keys, kept, strict=True) if key not in self._values}
        if missing:
            rows = np.stack(list(missing.values()))
            for key, value in zip(missing, self._run(rows), strict=True):
                self._values[key] = value
        return np.array([self._values[key] for key in keys])

    def _run(self, kept: Bool[np.ndarray, "rows units"]) -> list[float]:
        """The values of rows; at first with the whole text among them, whose value is known."""
        if self._checked:
            return self._by_either(kept)
        slack = SAME[self.scorer.model.dtype] * max(1.0, abs(self.plain))
        rows = np.concatenate([kept, np.ones((1, self.units), dtype=bool)])
        while True:
            *found, whole = self._by_either(rows)
            if self.scorer.reuse and not self._tree:
                whole = self._from_memory()  # among others it may have been read anew
            if abs(whole - self.plain) <= slack:
                self._checked = True
                return found
            if self._tree:
                self._tree = False
            elif self.scorer.reuse:
                self.scorer.reuse = False
            else:
                break
        raise UnsupportedModel(
            f"{type(self.scorer.network).__name__}: its answer to embeddings, {whole:.4f}, is not "
            f"that to the same tokens, {self.plain:.4f}; nothing can be explained through them."
        )

    def _from_memory(self) -> float:
        with torch.inference_mode():
            tail = self.scorer.embed(self.prompt.ids[None, -1:])
            return float(self.scorer(tail))

    def _by_either(self, kept: Bool[np.ndarray, "rows units"]) -> list[float]:
        ids = self._ids(torch.from_numpy(kept))
        found = torch.empty(len(ids), dtype=torch.float64)
        done = 0
        with torch.inference_mode():
            for part, values in self._grown(ids) if self._tree else self._batched(ids):
                found[part] = values.double().cpu()
                done += len(part)
                self.progress(done, len(ids), "texts")
        return [float(value) for value in found]

    def _grown(self, ids: Int[Tensor, "rows tokens"]) -> Iterator[tuple[Tensor, Tensor]]:
        last = len(self.prompt.ids) - 1
        remembered = last if self.noise is None else self.first  # what lies before has no noise
        room = max(1, self.memory // (12 * self.scorer.network.config.get_text_config().vocab_size))
        for part, each in by_tree(self.scorer, ids, remembered, self.noise, min(NODES, room)):
            yield torch.from_numpy(part), contrast(each)

    def _batched(self, ids: Int[Tensor, "rows tokens"]) -> Iterator[tuple[Tensor, Tensor]]:
        starts = self._starts(ids)
        if self.noise is not None:
            starts = starts.clamp_max(self.first)
        for part in self._batches(torch.argsort(starts, descending=True, stable=True), starts):
            start = int(starts[part].min())
            tail = self.scorer.embed(ids[part.to(ids.device), start:])
            yield part, self.scorer(tail if self.noise is None else tail + self.noise[start:])

    def _ids(self, kept: Bool[Tensor, "rows units"]) -> Int[Tensor, "rows tokens"]:
        unit_of = self.prompt.unit_of
        stays = torch.cat([kept, torch.ones(len(kept), 1, dtype=torch.bool)], 1)  # unit -1
        chosen = stays.to(unit_of.device)[:, unit_of]
        return torch.where(chosen, self.prompt.ids, self.prompt.baseline)

    def _starts(self, ids: Int[Tensor, "rows tokens"]) -> Int[Tensor, " rows"]:
        """The first position of each row that differs from the prompt; the last is always run."""
        if not self.scorer.reuse:
            return torch.zeros(len(ids), dtype=torch.long)
        differs = ids != self.prompt.ids
        differs[:, -1] = True
        return differs.int().argmax(1).cpu()

    def _batches(
        self, order: Int[Tensor, " rows"], starts: Int[Tensor, " rows"]
    ) -> Iterator[Int[Tensor, " batch"]]:
        begin = 0
        length = len(self.prompt.ids)
        for end in range(1, len(order) + 1):
            if end < len(order):
                tokens = (end - begin + 1) * (length - int(starts[order[end]]))
                if tokens <= BATCH and (end - begin + 1) * row_bytes(self.scorer) <= self.memory:
                    continue
            yield order[begin:end]
            begin = end


def row_bytes(scorer: Scorer, gradient: bool = False) -> int:
    """An estimate of what one row of a forward holds in memory, in bytes.

    With a gradient every layer's activations stay; without one only the widest.
    """
    config = scorer.network.config.get_text_config()
    tokens = len(scorer.question.ids) + max(map(len, scorer.question.answers))
    seen = max(map(len, scorer.question.answers)) if scorer.short_logits else tokens
    logits = 3 * 4 * seen * config.vocab_size if scorer.model.kind != "classifier" else 0
    layer = 4 * tokens * (24 * config.hidden_size + 2 * config.num_attention_heads * tokens)
    layers = config.num_hidden_layers if gradient else 1
    known = 8 * tokens * config.hidden_size * config.num_hidden_layers
    return int((logits + layers * layer + known) * len(scorer.question.answers))


def asked_of(
    model: Model,
    text: str,
    target: str,
    versus: str | None,
    units: str | Sequence[str],
    baseline: str | None,
    memory: int,
    log: Log,
) -> Coalitions:
    """The question put to the model, checked, with F of the text itself."""
    prompt = read_prompt(model, text, units, baseline)
    check_ids(model, [*prompt.ids.tolist(), *prompt.baseline.tolist()])
    named = [target] if versus is None else [target, versus]
    answers = tuple(target_ids(model, name) for name in named)
    if len(set(answers)) < len(answers):
        raise BadOption("Target and versus are the same answer: their difference is always 0.")
    fed = max(map(len, answers)) - 1 if model.kind == "causal" else 0
    check_window(model, len(prompt.ids) + fed)
    for name in named:
        check_seam(model, text, name, log)
    places = _places(model, prompt.ids.tolist(), answers)
    question = Question(ids=prompt.ids, answers=answers, named=tuple(named), places=places)
    return Coalitions(Scorer(model, question), prompt, memory)


def _places(model: Model, ids: list[int], answers: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Where a masked model is asked: as many masks as every answer has tokens."""
    if model.kind != "masked":
        return ()
    mask = model.tokenizer.mask_token_id
    places = tuple(i for i, id in enumerate(ids) if id == mask)
    for answer in answers:
        if mask is None or len(answer) != len(places):
            raise BadOption(
                f"The text has {len(places)} masks ({model.tokenizer.mask_token}) and an answer "
                f"{len(answer)} tokens; each token needs its mask."
            )
    return places
