"""Does an attribution hold: removing words in its order, beside removing them in random orders."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

ORDERS = 100  # random orders that an attribution is compared with
EXHAUSTIVE = 120  # up to so many orders all are tried
FRACTIONS = 8  # how often the curve stops on its way from the whole text to none of it
LEVEL = 0.05  # share of random orders that may do as well
NEGLIGIBLE = 0.1  # nats by which F must move for there to be something to explain
TOO_FEW = 4  # units, up to which at most the best order of all stands out from chance

BETTER, RANDOM, WORSE = (
    f"{word} random on this prompt" for word in ("better than", "no better than", "worse than")
)
NOTHING, FEW, UNTESTED = "nothing to explain", "too few words to tell", "not tested"
VERDICTS = (BETTER, RANDOM, WORSE, NOTHING, FEW, UNTESTED)

Values = Callable[[Bool[np.ndarray, "rows units"]], Float[np.ndarray, " rows"]]
"""F of rows in which some units are kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure of an attribution beside the same of random orders.

    `p` is the share of random orders at least as good; `low` and `high` hold the central 95 % of
    them. `better` says which way is good.
    """

    value: float
    random: float
    low: float
    high: float
    p: float
    better: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """What removing words says of an attribution.

    `orders` random orders were tried (all there are where `exhaustive`), each at the numbers of
    removed units in `removed`. Values are in nats; `normalised` curves run from 1 (whole text) to
    0 (baseline) and are None where those two are too near. `removal` is what F loses with each
    unit alone, `tau` Kendall's tau-b of the scores with it, None where one is constant. `span` is
    the range of F over all that was tried, `f_input` F of the whole text.
    """

    verdict: str
    orders: int
    exhaustive: bool
    removed: tuple[int, ...]
    span: float
    f_input: float
    tau: float | None
    measures: Mapping[str, Measure]
    normalised: Mapping[str, float] | None
    removal: tuple[float, ...]


def faithfulness(
    values: Values,
    scores: Float[np.ndarray, " units"],
    orders: int = ORDERS,
    seed: int = 0,
    versus: bool = False,
) -> Faithfulness:
    """Compare an attribution with random orders of the same units (Petsiuk 2018, DeYoung 2020).

    With `versus` F is a difference of two answers, and near 0 there is none to explain.
    """
    units = len(scores)
    ours = np.argsort(-scores, kind="stable")
    others, exhaustive = random_orders(units, orders, seed)
    removed = stops(units)
    every = np.concatenate([ours[None], others])
    kept = masks(np.concatenate([every, every[:, ::-1]]), removed)
    single = ~np.eye(units, dtype=bool)
    found = values(np.concatenate([kept.reshape(-1, units), single]))
    removal = found[0] - found[-units:]
    curves = found[:-units].reshape(2, len(every), len(removed))
    # the curve of a reversed order, read backwards, is what the order gives when words come back
    table = [_of_curves(removed, *pair) for pair in zip(curves[0], curves[1, :, ::-1], strict=True)]
    chosen = ~kept.reshape(-1, units)
    drops = found[0] - found[:-units]
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(scores) for _ in range(len(others))]
    for row, phi in zip(table, [scores, *shuffled], strict=True):
        row["infidelity"] = infidelity(phi, chosen, drops)
    measures = {name: _measure(name, [row[name] for row in table], exhaustive) for name in table[0]}
    span = float(found.max() - found.min())
    return Faithfulness(
        verdict=_verdict(units, min(span, abs(found[0])) if versus else span, measures["area"]),
        orders=len(others),
        exhaustive=exhaustive,
        removed=tuple(int(k) for k in removed),
        span=span,
        f_input=float(found[0]),
        tau=kendall(scores, removal),
        measures=measures,
        normalised=_normalised(removed, curves[0, 0], curves[1, 0, ::-1]),
        removal=tuple(float(value) for value in removal),
    )


BEST = {  # measure: which way is good
    "area": "higher",  # insertion less deletion: what the verdict rests on
    "deletion": "lower",
    "insertion": "higher",
    "comprehensiveness": "higher",
    "sufficiency": "lower",
    "infidelity": "lower",
    "sensitivity": "lower",  # needs the method again: `of_sensitivity`
}


def random_orders(
    units: int, count: int, seed: int
) -> tuple[Int[np.ndarray, "orders units"], bool]:
    """Random orders, half of them the others reversed; all of them, and True, up to EXHAUSTIVE.

    Reversing an order turns the sign of its area: with both, chance has no side.
    """
    if units <= 8 and math.factorial(units) <= EXHAUSTIVE:
        return np.array(list(itertools.permutations(range(units)))), True
    rng = np.random.default_rng(seed)
    drawn = np.array([rng.permutation(units) for _ in range(max(count, 2) // 2)])
    return np.concatenate([drawn, drawn[:, ::-1]]), False


def stops(units: int, most: int = FRACTIONS) -> Int[np.ndarray, " stops"]:
    """How many units are removed at each point of a curve; from either end the same."""
    up = np.unique(np.rint(np.linspace(0, units, min(units, most) + 1)).astype(int))
    return np.unique(np.concatenate([up, units - up]))


def masks(
    orders: Int[np.ndarray, "orders units"], removed: Int[np.ndarray, " stops"]
) -> Bool[np.ndarray, "orders stops units"]:
    """Which units are kept after the first of an order are removed."""
    rank = np.argsort(orders, axis=1)
    return rank[:, None, :] >= removed[None, :, None]


def area(removed: Int[np.ndarray, " stops"], curve: Float[np.ndarray, " stops"]) -> float:
    """Area under a curve over the share of units, by trapezoids."""
    return float(np.trapezoid(curve, removed / removed[-1]))


def _of_curves(
    removed: Int[np.ndarray, " stops"],
    deletion: Float[np.ndarray, " stops"],
    insertion: Float[np.ndarray, " stops"],
) -> dict[str, float]:
    inner = slice(1, -1) if len(removed) > 2 else slice(None)
    first, second = area(removed, deletion), area(removed, insertion)
    return {
        "area": second - first,
        "deletion": first,
        "insertion": second,
        "comprehensiveness": float((deletion[0] - deletion[inner]).mean()),
        "sufficiency": float((deletion[0] - insertion[inner]).mean()),
    }


def infidelity(
    scores: Float[np.ndarray, " units"],
    removed: Bool[np.ndarray, "rows units"],
    drops: Float[np.ndarray, " rows"],
) -> float:
    """Mean squared error of the sum of removed scores against the drop of F (Yeh 2019).

    Scores are first scaled as suits them best, so that only their proportions count.
    """
    said = removed @ scores
    scale = float(said @ drops) / (float(said @ said) or 1.0)
    return float(np.square(scale * said - drops).mean())


def kendall(one: Float[np.ndarray, " units"], other: Float[np.ndarray, " units"]) -> float | None:
    """Kendall's tau-b; None where one of them is constant."""
    first, second = (np.sign(np.subtract.outer(x, x)) for x in (one, other))
    size = math.sqrt(float((first**2).sum()) * float((second**2).sum()))
    return float((first * second).sum()) / size if size else None


def of_sensitivity(
    scores: Float[np.ndarray, " units"],
    moved: Float[np.ndarray, "draws units"],
    seed: int = 0,
    orders: int = ORDERS,
) -> Measure | None:
    """Largest relative change of the scores under small noise (Yeh 2019, in Captum's form).

    Beside it the change to the same scores in a random order: what no relation would give. None
    where all scores are 0.
    """
    size = float(np.linalg.norm(scores))
    if not size:
        return None
    rng = np.random.default_rng(seed)
    others = [float(np.linalg.norm(rng.permutation(scores) - scores)) / size for _ in range(orders)]
    ours = float(np.linalg.norm(moved - scores, axis=1).max()) / size
    return _measure("sensitivity", [ours, *others], False)


def _measure(name: str, found: list[float], exhaustive: bool) -> Measure:
    ours, others = found[0], np.array(found[1:])
    sign = 1 if BEST[name] == "higher" else -1
    slack = 1e-9 * max(1.0, float(np.abs(others).max()))
    as_good = int((sign * others >= sign * ours - slack).sum())
    low, high = np.quantile(others, [0.025, 0.975])
    return Measure(
        value=ours,
        random=float(others.mean()),
        low=float(low),
        high=float(high),
        p=as_good / len(others)
        if exhaustive and name != "infidelity"
        else (as_good + 1) / (len(others) + 1),
        better=BEST[name],
    )


def _normalised(
    removed: Int[np.ndarray, " stops"],
    deletion: Float[np.ndarray, " stops"],
    insertion: Float[np.ndarray, " stops"],
) -> dict[str, float] | None:
    size = float(deletion[0] - deletion[-1])
    if abs(size) < NEGLIGIBLE:
        return None
    return {
        "deletion": area(removed, (deletion - deletion[-1]) / size),
        "insertion": area(removed, (insertion - deletion[-1]) / size),
    }


def _verdict(units: int, moves: float, headline: Measure) -> str:
    if moves < NEGLIGIBLE:
        return NOTHING
    if headline.p <= LEVEL:
        return BETTER
    if units <= TOO_FEW:
        return FEW
    return WORSE if headline.value < headline.low else RANDOM


def in_words(result: Faithfulness | None) -> dict[str, Any]:
    """What a result says of itself, in one sentence; nothing was tested where there is none."""
    if result is None:
        return {"verdict": UNTESTED, "told": "It was not compared with random orders."}
    headline = result.measures["area"]
    tried = f"all {result.orders}" if result.exhaustive else f"{result.orders} random"
    others = result.orders + (not result.exhaustive)  # p counts the order itself among those drawn
    as_good = round(headline.p * others) - (not result.exhaustive)
    told = {
        NOTHING: f"Whatever is replaced, F moves by {result.span:.2g} nats at most."
        if result.span < NEGLIGIBLE
        else f"The two answers are alike to {abs(result.f_input):.2g} nats.",
        FEW: f"There are only {result.orders} orders of so few words, and this is not the best.",
    }.get(
        result.verdict,
        f"Keeping words in this order is worth {headline.value:.3g} nats more than losing them in "
        f"it; of {tried} orders {as_good} do as well (p = {headline.p:.2g}).",
    )
    return {"verdict": result.verdict, "told": told}
