"""The numbers of a classifier's fairness: which rates, of which groups, against what."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from inspector.errors import NotEnoughData
from inspector.fairness.gaps import stratified_bootstrap
from inspector.fairness.group_rates import Kind, Metric, Rate, odds, rest_of
from inspector.fairness.group_tests import changed_metric_of_groups, measured_metric_of_groups
from inspector.fairness.measures import Change, Measured
from inspector.fairness.probes.decided import Attribute, Decided, Values
from inspector.fairness.probes.parts import Clusters, How, Part
from inspector.fairness.probes.records import ALL, QUALITY
from inspector.fairness.reliability import changed_calibration_gap, measured_calibration_gap
from inspector.fairness.uncertainty import ALPHA, wilson
from inspector.results import Estimate

PARITY: Final = "demographic parity difference"
PARITY_RATIO: Final = "demographic parity ratio"
ODDS: Final = "equalised odds difference"
MEAN_ODDS: Final = "equalised odds difference, mean"
OPPORTUNITY: Final = "equal opportunity difference"
ACCURACY_GAP: Final = "accuracy gap"
CALIBRATION: Final = "calibration difference"
SIGNED_PARITY: Final = "statistical parity difference"
SIGNED_ODDS: Final = "average odds difference"
SIGNED_TRUE: Final = "true positive rate difference"
SIGNED_FALSE: Final = "false positive rate difference"
ACCURACY: Final = "accuracy"
BALANCED: Final = "balanced accuracy"


def parts_of(decided: Decided, ids: Sequence[str]) -> tuple[Part, ...]:
    """All numbers: overall, of each attribute, of each group against the rest, of each class.

    The overall number is the widest gap in the rates of equalised odds over all attributes, one
    by one. p are corrected over the attributes of one metric, over the groups of one attribute,
    over its classes.
    """

    def part(metric: str, category: str, family: str, how: How) -> Part:
        return Part(
            metric=metric,
            category=category,
            family=family,
            ids=tuple(ids),
            clusters=tuple(ids),
            values=decided.values,
            how=how,
        )

    single = decided.attributes[: decided.single]
    views = [attribute.view for attribute in single]
    whole = Metric(
        rates=odds(decided.outcomes), kind="difference", views=tuple(views), fewest=decided.fewest
    )
    found = [part(ODDS, ALL, ALL, apart(whole))]
    for attribute in decided.attributes:
        name = _category(attribute)
        found += [part(m, name, m, how) for m, how in _of_attribute(decided, attribute)]
    for attribute in single:
        name = _category(attribute)
        for group in range(len(attribute.groups)):
            for metric, label, how in _against_rest(decided, attribute, group):
                found.append(part(metric, f"{name}={label}", f"{metric}, {name}", how))
        for metric, label, how in _of_classes(decided, attribute):
            found.append(part(metric, f"{name}, class {label}", f"{metric}, {name}", how))
    return (
        *found,
        part(ACCURACY, ALL, QUALITY, How(measured=_accuracy, change=_no_change)),
        part(BALANCED, ALL, QUALITY, How(measured=balanced_accuracy, change=_no_change)),
    )


def _category(attribute: Attribute) -> str:
    return attribute.name if attribute.name != ALL else f"attribute {ALL}"


def _of_attribute(decided: Decided, attribute: Attribute) -> list[tuple[str, How]]:
    chosen = [Rate(name="selected", outcome=one) for one in decided.outcomes]
    hits = [Rate(name="true positives", outcome=one) for one in decided.outcomes]

    def of(rates: Sequence[Rate], kind: Kind = "difference") -> How:
        return apart(_metric(decided, attribute.view, rates, kind))

    found = [
        (PARITY, of(chosen)),
        (PARITY_RATIO, of(chosen, "ratio")),
        (ODDS, of(odds(decided.outcomes))),
        (MEAN_ODDS, of(odds(decided.outcomes), "mean difference")),
        (OPPORTUNITY, of(hits)),
        (ACCURACY_GAP, of([Rate(name="correct")])),
        (CALIBRATION, _calibration(attribute, decided.fewest)),
    ]
    return found if len(decided.outcomes) == 1 else [one for one in found if one[0] != MEAN_ODDS]


def _against_rest(decided: Decided, attribute: Attribute, group: int) -> list[tuple[str, str, How]]:
    """Signed: the group less all others, as AIF360's unprivileged less privileged."""
    view = rest_of(group, attribute.view)
    found = []
    for outcome in decided.outcomes:
        true, false = odds([outcome])
        label = attribute.groups[group]
        if len(decided.outcomes) > 1:
            label = f"{label}, class {decided.classes[outcome]}"
        rates: dict[str, tuple[Rate, ...]] = {SIGNED_TRUE: (true,)}
        if len(decided.outcomes) == 1:
            rates |= {
                SIGNED_PARITY: (Rate(name="selected", outcome=outcome),),
                SIGNED_FALSE: (false,),
                SIGNED_ODDS: (true, false),
            }
        found += [
            (metric, label, apart(_metric(decided, view, chosen, "signed")))
            for metric, chosen in rates.items()
        ]
    return found


def _of_classes(decided: Decided, attribute: Attribute) -> list[tuple[str, str, How]]:
    """Of several classes each on its own, against all others."""
    if len(decided.outcomes) == 1:
        return []
    return [
        (metric, decided.classes[outcome], apart(_metric(decided, attribute.view, [rate])))
        for outcome in decided.outcomes
        for metric, rate in (
            (PARITY, Rate(name="selected", outcome=outcome)),
            (OPPORTUNITY, Rate(name="true positives", outcome=outcome)),
        )
    ]


def _metric(
    decided: Decided,
    view: Int[np.ndarray, " combinations"],
    rates: Sequence[Rate],
    kind: Kind = "difference",
) -> Metric:
    return Metric(rates=tuple(rates), kind=kind, views=(view,), fewest=decided.fewest)


def apart(metric: Metric) -> How:
    """How a difference between groups is made of rows of values."""

    def measured(values: Values, _clusters: Clusters, seed: int) -> Measured:
        known = ~np.isnan(values).any(1)
        truth, said, groups = _codes(values[known])
        return measured_metric_of_groups(metric, truth, said, groups, int((~known).sum()), seed)

    def change(before: Values, after: Values, _clusters: Clusters, seed: int) -> Change:
        known = ~(np.isnan(before).any(1) | np.isnan(after).any(1))
        truth, old, groups = _codes(before[known])
        _, new, _ = _codes(after[known])
        return changed_metric_of_groups(metric, truth, old, new, groups, int((~known).sum()), seed)

    return How(measured=measured, change=change)


def _calibration(attribute: Attribute, fewest: int) -> How:
    def measured(values: Values, _clusters: Clusters, seed: int) -> Measured:
        known = ~np.isnan(values).any(1)
        forecasts, events, groups = _forecasts(values[known], attribute)
        out = int((~known).sum())
        return measured_calibration_gap(forecasts, events, groups, out, fewest, seed)

    def change(before: Values, after: Values, _clusters: Clusters, seed: int) -> Change:
        known = ~(np.isnan(before).any(1) | np.isnan(after).any(1))
        old, new = (_forecasts(side[known], attribute) for side in (before, after))
        out = int((~known).sum())
        return changed_calibration_gap(old[:2], new[:2], old[2], out, fewest, seed)

    return How(measured=measured, change=change)


def _codes(
    values: Values,
) -> tuple[Int[np.ndarray, " items"], Int[np.ndarray, " items"], Int[np.ndarray, " items"]]:
    truth, said, groups = values[:, :3].astype(np.int64).T
    return truth, said, groups


def _forecasts(
    values: Values, attribute: Attribute
) -> tuple[Float[np.ndarray, " items"], np.ndarray, Int[np.ndarray, " items"]]:
    return values[:, 3], values[:, 4] == 1, attribute.view[values[:, 2].astype(np.int64)]


def _accuracy(values: Values, _clusters: Clusters, _seed: int) -> Measured:
    """Share of right predictions, against always saying the most frequent class."""
    known = ~np.isnan(values).any(1)
    truth, said, _ = _codes(values[known])
    if not len(truth):
        raise NotEnoughData("no text has a prediction")
    right = int((truth == said).sum())
    return _untested(
        wilson(right, len(truth)),
        wilson(right, len(truth), 1 - 2 * ALPHA),
        float(np.bincount(truth).max() / len(truth)),
        int((~known).sum()),
    )


def balanced_accuracy(values: Values, _clusters: Clusters, seed: int) -> Measured:
    """Mean over true classes of the share of right predictions, against one over their number.

    A constant or random classifier is at that. Classes with one text are not counted.
    """
    known = ~np.isnan(values).any(1)
    truth, said, _ = _codes(values[known])
    several = np.isin(truth, np.flatnonzero(np.bincount(truth) > 1))
    truth, said = truth[several], said[several]
    classes = np.unique(truth)
    if len(classes) < 2:
        raise NotEnoughData("the texts have one label")

    def interval(confidence: float) -> Estimate:
        return stratified_bootstrap(
            (truth == said).astype(float),
            truth,
            lambda means: np.asarray(means.mean(-1)),
            seed=seed,
            confidence=confidence,
            unit="share",
            bounds=(0.0, 1.0),
        )

    return _untested(
        interval(1 - ALPHA), interval(1 - 2 * ALPHA), 1 / len(classes), len(values) - len(truth)
    )


def _untested(estimate: Estimate, inner: Estimate, null: float, n_excluded: int) -> Measured:
    return Measured(
        estimate=estimate,
        inner=inner,
        null=null,
        p_value=None,
        smallest_p=0.0,
        test="none",
        n_items=estimate.n,
        n_clusters=estimate.n,
        n_ties=0,
        n_excluded=n_excluded,
        mde80=None,
    )


def _no_change(before: Values, after: Values, clusters: Clusters, seed: int) -> Change:
    raise NotEnoughData("what a model can do is not compared")
