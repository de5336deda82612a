"""The record of a head: every metric with its range and null, and what kind of head it is."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from inspector.model.attention_metrics import ATTENTION_METRICS
from inspector.model.heads_taxonomy import HEAD_KINDS, holm, labels, one_sided_p
from inspector.model.load import Model

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadAttention:
    """One head: each metric's mean over texts, its 95 % t interval, and what uniform rows give.

    Metrics are those of ATTENTION_METRICS; rows of padding and the first row are not counted.
    `label` is of HEAD_KINDS or "unclear", `label_p` its p corrected over all heads. `texts` were
    counted. None: the metric does not exist here, or fewer than two texts allow no interval.
    """

    name: str
    stack: str
    layer: int
    head: int
    label: str
    label_p: float | None
    texts: int
    entropy: float | None
    entropy_low: float | None
    entropy_high: float | None
    entropy_null: float | None
    entropy_normalised: float | None
    entropy_normalised_low: float | None
    entropy_normalised_high: float | None
    entropy_normalised_null: float | None
    sink_mass: float | None
    sink_mass_low: float | None
    sink_mass_high: float | None
    sink_mass_null: float | None
    learned_sink: float | None
    learned_sink_low: float | None
    learned_sink_high: float | None
    learned_sink_null: float | None
    previous_token: float | None
    previous_token_low: float | None
    previous_token_high: float | None
    previous_token_null: float | None
    own_token: float | None
    own_token_low: float | None
    own_token_high: float | None
    own_token_null: float | None
    confidence: float | None
    confidence_low: float | None
    confidence_high: float | None
    confidence_null: float | None
    duplicate_token: float | None
    duplicate_token_low: float | None
    duplicate_token_high: float | None
    duplicate_token_null: float | None
    induction: float | None
    induction_low: float | None
    induction_high: float | None
    induction_null: float | None
    induction_neighbours: float | None
    induction_neighbours_low: float | None
    induction_neighbours_high: float | None
    induction_neighbours_null: float | None
    mean_distance: float | None
    mean_distance_low: float | None
    mean_distance_high: float | None
    mean_distance_null: float | None
    mean_distance_without_sink: float | None
    mean_distance_without_sink_low: float | None
    mean_distance_without_sink_high: float | None
    mean_distance_without_sink_null: float | None


@dataclasses.dataclass(kw_only=True, eq=False)
class Running:
    """Mean and spread of arrays that come one by one; NaN counts as not there (Welford 1962)."""

    n: Float[np.ndarray, "*shape"]
    mean: Float[np.ndarray, "*shape"]
    squares: Float[np.ndarray, "*shape"]

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "Running":
        """With nothing in it yet."""
        return cls(n=np.zeros(shape), mean=np.zeros(shape), squares=np.zeros(shape))

    def add(self, values: Float[np.ndarray, "..."]) -> None:
        """One more array."""
        there = ~np.isnan(values)
        self.n = self.n + there
        off = np.where(there, values - self.mean, 0.0)
        self.mean = self.mean + off / np.maximum(self.n, 1)
        self.squares = self.squares + np.where(there, off * (values - self.mean), 0.0)

    def variance(self) -> Float[np.ndarray, "*shape"]:
        """Of one array among many; 0 for fewer than two."""
        return np.asarray(self.squares / np.maximum(self.n - 1, 1))

    def interval(self, confidence: float = CONFIDENCE) -> tuple[np.ndarray, np.ndarray]:
        """Where the true mean lies by Student's t; NaN for fewer than two."""
        reach = stdtrit(np.maximum(self.n - 1, 1), 0.5 + confidence / 2)
        reach = reach * np.sqrt(self.variance() / np.maximum(self.n, 1))
        reach = np.where(self.n >= 2, reach, np.nan)
        return self.mean - reach, self.mean + reach


def head_records(model: Model, running: Mapping[str, Running], texts: int) -> list[HeadAttention]:
    """One record per head of what was gathered: metrics, `NAME_null`, and `is KIND`."""
    corrected = {}
    for kind in HEAD_KINDS:
        if f"is {kind}" in running:
            held = running[f"is {kind}"]
            corrected[kind] = holm(one_sided_p(held.mean, held.variance(), held.n)).ravel()
    named = iter(labels(corrected))
    paths = {module: path for path, module in model.network.named_modules()}
    made = []
    for i, block in enumerate(model.blocks):
        sinks = getattr(block.attention, "sinks", None) is not None
        for head in range(block.heads):
            label, p = next(named)
            fields: dict[str, Any] = {}
            for name in ATTENTION_METRICS:
                there = name in running and (sinks or name != "learned_sink")
                fields |= _fields(name, running if there else {}, i, head)
            made.append(
                HeadAttention(
                    name=paths[block.attention],
                    stack=block.stack,
                    layer=block.layer,
                    head=head,
                    label=label,
                    label_p=p,
                    texts=texts,
                    **fields,
                )
            )
    return made


def _fields(
    name: str, running: Mapping[str, Running], block: int, head: int
) -> dict[str, float | None]:
    """The four fields of a metric; None where there is nothing."""
    keys = (name, f"{name}_low", f"{name}_high", f"{name}_null")
    if name not in running or not running[name].n[block, head]:
        return dict.fromkeys(keys)
    held, null = running[name], running[f"{name}_null"]
    low, high = (side[block, head] for side in held.interval())
    most = ATTENTION_METRICS[name].high
    values = (
        held.mean[block, head],
        max(low, 0.0),
        high if most is None else min(high, most),
        null.mean[block, 0],
    )
    return {k: None if np.isnan(v) else float(v) for k, v in zip(keys, values, strict=True)}
