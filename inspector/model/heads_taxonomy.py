"""What kind a head is, said only where it stands clear of what attention without aim would do."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr

ALPHA = 0.05  # of a wrong label on any head, per kind
CLEAR = 0.25  # of the way from the null to certainty: less than that is no kind, however sure
LOCAL = 0.5  # of the distance of attention without aim
BROAD = 0.9  # of the entropy of attention without aim
UNCLEAR = "unclear"

Means = Mapping[str, Float[np.ndarray, "..."]]
"""A metric's mean for each head over the rows of one text; `NAME_null`: that of uniform rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadKind:
    """A kind of head: `excess` is by how much one text clears its bar; `told` says the bar."""

    excess: Callable[[Means], Float[np.ndarray, "..."]]
    told: str
    repeated: bool = False  # measured on repeated random blocks


def _clear(metric: str, *controls: str) -> Callable[[Means], Float[np.ndarray, "..."]]:
    """Excess of a fraction over the larger of its null and its controls, plus CLEAR of the rest."""

    def excess(means: Means) -> Float[np.ndarray, "..."]:
        bar = means[f"{metric}_null"]
        for control in controls:
            bar = np.maximum(bar, means[control])
        return np.asarray(means[metric] - bar - CLEAR * (1 - bar))

    return excess


def _near(means: Means) -> Float[np.ndarray, "..."]:
    return np.asarray(LOCAL * means["mean_distance_null"] - means["mean_distance"])


def _even(means: Means) -> Float[np.ndarray, "..."]:
    return np.asarray(means["entropy_normalised"] - BROAD)


_BAR = f"above uniform attention by {CLEAR:.0%} of what is left to 1"
HEAD_KINDS: dict[str, HeadKind] = {  # the first that a head clears is its label
    "induction": HeadKind(
        excess=_clear("induction", "induction_neighbours"),
        told=f"looks at what followed the same token before, {_BAR}, and above the places beside",
        repeated=True,
    ),
    "duplicate token": HeadKind(
        excess=_clear("duplicate_token"), told=f"looks at the same token before, {_BAR}"
    ),
    "previous token": HeadKind(
        excess=_clear("previous_token"), told=f"looks at the token before, {_BAR}"
    ),
    "own token": HeadKind(excess=_clear("own_token"), told=f"looks at the token itself, {_BAR}"),
    "sink": HeadKind(excess=_clear("sink_mass"), told=f"looks at the first token, {_BAR}"),
    "local": HeadKind(
        excess=_near, told=f"looks at most {LOCAL:.0%} as far as uniform attention on average"
    ),
    "broad": HeadKind(
        excess=_even, told=f"has more than {BROAD:.0%} of the entropy of uniform attention"
    ),
}


def one_sided_p(
    mean: Float[np.ndarray, "*heads"],
    variance: Float[np.ndarray, "*heads"],
    n: Float[np.ndarray, "*heads"],
) -> Float[np.ndarray, "*heads"]:
    """P of so large a mean over n texts if the true one is 0 (t test); 1 for fewer than two.

    Without any variance it is 0 or 1: a head that does the same on every text.
    """
    error = np.sqrt(variance / np.maximum(n, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, mean / error, np.where(mean > 0, np.inf, -np.inf))
        p = stdtr(np.maximum(n - 1, 1), -t)
    return np.asarray(np.where(np.isfinite(mean) & (n >= 2), p, 1.0))


def holm(p: Float[np.ndarray, "*heads"]) -> Float[np.ndarray, "*heads"]:
    """P-values that hold for all heads together (Holm 1979)."""
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    stepped = flat[order] * (len(flat) - np.arange(len(flat)))
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted.reshape(p.shape)


def labels(
    adjusted: Mapping[str, Float[np.ndarray, " heads"]],
) -> list[tuple[str, float | None]]:
    """For each head the first kind whose corrected p is at most ALPHA, and it; else unclear."""
    count = len(next(iter(adjusted.values())))
    made: list[tuple[str, float | None]] = []
    for head in range(count):
        found = [(kind, float(p[head])) for kind, p in adjusted.items() if p[head] <= ALPHA]
        made.append(found[0] if found else (UNCLEAR, None))
    return made
