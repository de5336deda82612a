"""What the lines of a run say of its health: verdicts with their numbers, and what to try."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from inspector.results import Finding
from inspector.weights.problems import Log

FACTOR: Final = 2.0  # of gradients from layer to layer, beyond which they vanish or explode
FEWEST_LAYERS: Final = 3
SPIKE: Final = 10.0  # times the median of all updates before
FEWEST_UPDATES: Final = 5
LOSS_GAINED: Final = 0.05  # share by which validation loss may end above its least
MANY_DEAD: Final = 0.5  # share of a layer's units
"""Thresholds are this tool's own: none is published."""


def lines_of(file: Path) -> list[dict[str, Any]]:
    """The lines of a .jsonl file of a run; a last one that was cut off is left out."""
    found = []
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def slope_over_depth(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """Median over updates of the slope of ln gradient norm over depth, in nats a layer; ideal 0.

    Above 0: gradients shrink on their way down. Embeddings and head are left out; None with fewer
    than three layers.
    """
    slopes = []
    for line in lines:
        layers = [
            (one["depth"], one["grad_norm"])
            for one in line.get("layers", ())
            if "layer " in one["layer"] and one.get("grad_norm")
        ]
        if line.get("kind") == "update" and len(layers) >= FEWEST_LAYERS:
            depth, norms = zip(*layers, strict=True)
            slopes.append(float(np.polyfit(depth, np.log(norms), 1)[0]))
    return median(slopes) if slopes else None


def judged(
    health: Sequence[Mapping[str, Any]],
    metrics: Sequence[Mapping[str, Any]],
    metric: str,
    greater: bool,
    constant: float | None,
    clip: float = 0.0,
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Verdicts on a run from its lines of health and of metrics, with what they rest on.

    `constant` is what an answer that is always the same reaches in `metric` on the validation
    rows, None where there is no such thing; `clip` the norm beyond which gradients were clipped.
    """
    log = Log()
    slope = slope_over_depth(health)
    if slope is not None and abs(slope) > math.log(FACTOR):
        word, id = ("vanish", "FT-VANISHING") if slope > 0 else ("explode", "FT-EXPLODING")
        told = f"gradients {word} by a factor of {math.exp(abs(slope)):.3g} a layer downwards"
        log.add(id, "layers", told, slope=slope)
    _spikes(log, metrics)
    _units(log, health)
    evals = [line for line in metrics if "eval_loss" in line]
    over = _overfit(log, evals, metrics)
    under = _underfit(log, evals, metric, greater, constant)
    fit = "overfitting" if over else "underfitting" if under else "healthy" if evals else "unknown"
    norms = [line["grad_norm"] for line in metrics if "grad_norm" in line]
    return {
        "fit": fit,
        "gradient_slope": slope,
        "clip_rate": sum(one > clip for one in norms) / len(norms) if clip and norms else None,
        "constant_answer": constant,
    }, log.findings


def _spikes(log: Log, metrics: Sequence[Mapping[str, Any]]) -> None:
    norms = [(line["step"], line["grad_norm"]) for line in metrics if "grad_norm" in line]
    for place, (step, norm) in enumerate(norms):
        before = [one for _, one in norms[:place]]
        if len(before) >= FEWEST_UPDATES and norm > SPIKE * (usual := median(before)) > 0:
            told = f"the gradient is {norm:.3g}, {norm / usual:.0f} times what it was before"
            log.add("FT-SPIKE", f"step {step}", told, norm=norm)


def _units(log: Log, health: Sequence[Mapping[str, Any]]) -> None:
    last = next((line for line in reversed(health) if line.get("kind") == "units"), None)
    for one in last["layers"] if last else ():
        units = one["units"] or 0
        dead = one["dead"] or 0
        if units and dead > MANY_DEAD * units:
            told = f"{dead:,} of {units:,} units are dead on the probe texts"
            log.add("FT-DEAD", str(one["layer"]), told, dead=dead)


def _overfit(
    log: Log, evals: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]
) -> bool:
    """Validation loss ended above its least, beyond its interval there, while training fell."""
    if len(evals) < 2:
        return False
    best = min(evals, key=lambda line: float(line["eval_loss"]))
    last = evals[-1]
    beyond = last["eval_loss"] > best.get("eval_loss_high", best["eval_loss"])
    gained = last["eval_loss"] / best["eval_loss"] - 1 if best["eval_loss"] else 0.0
    losses = [(line["step"], line["loss"]) for line in metrics if "loss" in line]
    around = [loss for step, loss in losses if step <= best["step"]][-FEWEST_UPDATES:]
    later = [loss for step, loss in losses if step > best["step"]][-FEWEST_UPDATES:]
    fell = bool(around and later) and median(later) < median(around)
    if not (beyond and gained > LOSS_GAINED and fell):
        return False
    told = (
        f"validation loss is {last['eval_loss']:.4g}, {gained:.0%} above its least of "
        f"{best['eval_loss']:.4g} at step {best['step']}, while training loss still fell"
    )
    log.add("FT-OVERFIT", "validation", told, gained=gained)
    return True


def _underfit(
    log: Log,
    evals: Sequence[Mapping[str, Any]],
    metric: str,
    greater: bool,
    constant: float | None,
) -> bool:
    """The metric at its best is not beyond what a constant answer reaches."""
    if constant is None or not evals:
        return False
    name = f"eval_{metric}"
    better = max if greater else min
    best = better(evals, key=lambda line: float(line[name]))
    edge = best.get(f"{name}_low" if greater else f"{name}_high", best[name])
    if (edge > constant) if greater else (edge < constant):
        return False
    told = (
        f"{metric} is {best[name]:.4g} at best, and a constant answer gives {constant:.4g}, which "
        "its interval does not exclude"
    )
    log.add("FT-UNDERFIT", "validation", told, value=best[name], constant=constant)
    return True
