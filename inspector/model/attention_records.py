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
from inspector.model.records import HeadAttention

CONFIDENCE = 0.95


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
