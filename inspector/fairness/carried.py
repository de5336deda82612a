"""How much of each contrast's gap every part of a model carries: all runs, in two rounds."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from inspector.engine import Progress
from inspector.fairness import parts
from inspector.fairness.contrasts import Reading
from inspector.fairness.parts import Part, Pass
from inspector.fairness.patching import Batch, batches, run, see, slopes_at_the_end, writers
from inspector.model.gates import sites
from inspector.model.hooks import frozen
from inspector.model.load import Model

TOP: Final = 20  # heads that are taken out one at a time


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """Readings of contrasts that a model is asked, and which contrast each belongs to.

    `weights`: what a contrast counts for as heads are chosen, its direction; 0 for controls.
    """

    readings: tuple[Reading, ...]
    owners: Int[np.ndarray, " readings"]
    weights: Float[np.ndarray, " contrasts"]

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Of rows that are readings, the sums over each contrast."""
        found = np.zeros((len(self.weights), *values.shape[1:]))
        np.add.at(found, self.owners, values)
        return found


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Carried:
    """Gaps of contrasts in nats, and what each of `parts` carries of them, a column each.

    NaN where a part was not taken out. `slopes` of heads are those of the gap along their gates,
    NaN in other columns.
    """

    gaps: Float[np.ndarray, " contrasts"]
    parts: tuple[Part, ...]
    effects: Float[np.ndarray, "contrasts parts"]
    slopes: Float[np.ndarray, "contrasts parts"]


def carried(model: Model, asked: Asked, what: Sequence[str], progress: Progress) -> Carried:
    """The gap, and what of it each part of `what` (of WHAT) carries. Progress counts inputs run.

    Of the heads only the TOP by the size of their mean slope are taken out.
    """
    with torch.no_grad(), frozen(model.network):
        batched = list(batches(model, asked.readings))
        gaps, directions, gates = _first_round(model, asked, batched, what, progress)
        size = np.abs(asked.weights @ gates)
        chosen = set(np.argsort(-size, kind="stable")[:TOP].tolist())
        makers: dict[str, Callable[[], Iterable[Part]]] = {
            "layers": lambda: parts.layers(model),
            "heads": lambda: parts.heads(model, chosen),
            "blocks": lambda: parts.blocks(model),
            "matrices": lambda: parts.matrices(model),
        }
        some = tuple(part for one, make in makers.items() if one in what for part in make())
        effects = _second_round(model, asked, batched, some, directions, progress)
    slopes = np.full(effects.shape, np.nan)
    slopes[:, [n for n, part in enumerate(some) if part.what == "heads"]] = gates
    return Carried(gaps=gaps, parts=some, effects=effects, slopes=slopes)


def _first_round(
    model: Model, asked: Asked, batched: Sequence[Batch], what: Sequence[str], progress: Progress
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of contrasts: gaps, directions of their words at the last stream, slopes along gates."""
    number = len(asked.readings)
    heads = sum(site.heads for site in sites(model)) if "heads" in what else 0
    values, slopes = np.zeros(number), np.zeros((number, heads))
    directions = np.zeros((number, model.network.config.get_text_config().hidden_size))
    done = 0
    for batch in batched:
        progress(done, number, "the gap")
        rows, done = list(batch.numbers), done + len(batch.numbers)
        target = see(model, batch.target, ())
        values[rows] = _plain(target.value - run(model, batch.neutral))
        if "matrices" in what:
            directions[rows] = _plain(slopes_at_the_end(model, batch.target, target))
        if heads:
            slopes[rows] = _plain(parts.gate_slopes(model, batch))
    return asked.summed(values), asked.summed(directions), asked.summed(slopes)


def _second_round(
    model: Model,
    asked: Asked,
    batched: Sequence[Batch],
    some: Sequence[Part],
    directions: Float[np.ndarray, "contrasts width"],
    progress: Progress,
) -> Float[np.ndarray, "contrasts parts"]:
    watched = {module for block in model.blocks for module in writers(block)}
    watched |= {module for *_, module in parts.writing(model)}
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    unit = directions / np.where(length == 0, 1, length)
    found = np.full((len(asked.readings), len(some)), np.nan)
    tried = [(n, part, part.effect) for n, part in enumerate(some) if part.effect is not None]
    done = 0
    for batch in batched:
        rows = list(batch.numbers)
        target = see(model, batch.target, tuple(watched))
        toward = torch.from_numpy(unit[asked.owners[rows]]).to(target.begin)
        neutral = see(model, batch.neutral, tuple(watched))
        one = Pass(batch=batch, target=target, neutral=neutral, direction=toward)
        for column, part, effect in tried:
            progress(done, len(asked.readings) * len(tried), part.name)
            found[rows, column] = _plain(effect(one))
            done += len(rows)
    return asked.summed(found)


def _plain(values: Tensor) -> np.ndarray:
    found: np.ndarray = values.double().cpu().numpy()
    return found
