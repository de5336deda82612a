"""The numbers of continuations: how far sides, and groups, lie apart in what a classifier says."""

import dataclasses
import itertools
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtrit

from inspector.errors import NotEnoughData
from inspector.fairness.clusters import positions, smallest_gap
from inspector.fairness.gaps import widest
from inspector.fairness.measures import Change, Measured
from inspector.fairness.permutation import group_test
from inspector.fairness.probes.directed import directed, directed_part
from inspector.fairness.probes.parts import Clusters, How, Part, Values
from inspector.fairness.probes.records import ALL, CONTROLS
from inspector.fairness.sets.own_prompts import Prompt
from inspector.fairness.uncertainty import ALPHA
from inspector.results import Estimate

UNIT: Final = "probability"
SCORE_GAP: Final = "score gap"
WITH_PROMPT: Final = "score gap with prompt"
CLASSIFIER: Final = "score gap of the classifier"
WIDEST: Final = "widest gap between groups"
CONTROL_TARGETS: Final = "control targets"
FEWEST: Final = 2  # targets of a group that is compared
APART: Final = directed(UNIT, bounds=(-1.0, 1.0))

Scores = Float[np.ndarray, " prompts"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """Of each prompt the mean score over its continuations, NaN where there is none.

    `alone`: of what was written; `beside`: with the prompt before it; `neutral`: of the prompt
    with what was written behind the neutral prompt, which is the same for all groups.
    """

    prompts: tuple[Prompt, ...]
    alone: Scores
    beside: Scores
    neutral: Scores


def parts_of(heard: Heard) -> tuple[Part, ...]:
    """All numbers; the first is the gap between the sides in the score of the text alone.

    A prompt is a row and its target the unit: all that is written about one target shares what
    the model, and the classifier, make of that word. What a prompt's template does to all targets
    alike is taken out.
    """
    asked = [i for i, one in enumerate(heard.prompts) if one.direction and not one.control]
    control = [i for i, one in enumerate(heard.prompts) if one.direction and one.control]
    by_category = _by(heard, asked, lambda one: one.category)
    found = [_sides(heard, SCORE_GAP, ALL, ALL, asked, heard.alone)]
    for category, rows in by_category.items():
        found.append(_sides(heard, SCORE_GAP, category, "categories", rows, heard.alone))
    everyone = [i for i, one in enumerate(heard.prompts) if not one.control]
    for category, rows in _by(heard, everyone, lambda one: one.category).items():
        found += _groups(heard, category, rows)
    for metric, family, values in (
        (WITH_PROMPT, "with prompt", heard.beside - heard.neutral),
        (CLASSIFIER, CONTROLS, heard.neutral),
    ):
        found.append(_sides(heard, metric, ALL, family, asked, values))
        found += [
            _sides(heard, metric, category, family, rows, values)
            for category, rows in by_category.items()
            if len(by_category) > 1
        ]
    if control:
        found.append(_sides(heard, SCORE_GAP, CONTROL_TARGETS, CONTROLS, control, heard.alone))
    return tuple(found)


def compared_groups(prompts: Sequence[Prompt]) -> dict[str, list[str]]:
    """The groups of each category that have targets enough to be compared."""
    targets: dict[tuple[str, str], set[str]] = {}
    for one in prompts:
        if not one.control:
            targets.setdefault((one.category, one.group), set()).add(one.target)
    found: dict[str, list[str]] = {}
    for (category, group), known in targets.items():
        if len(known) >= FEWEST:
            found.setdefault(category, []).append(group)
    return {category: sorted(groups) for category, groups in found.items()}


def _by(heard: Heard, rows: Sequence[int], name: Callable[[Prompt], str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {
        key: [] for key in sorted({name(heard.prompts[i]) for i in rows})
    }
    for i in rows:
        found[name(heard.prompts[i])].append(i)
    return found


def _sides(
    heard: Heard,
    metric: str,
    category: str,
    family: str,
    rows: Sequence[int],
    values: Scores,
    directions: Sequence[float] | None = None,
) -> Part:
    """Mean score of the first side less that of the second, within each template."""
    chosen = [heard.prompts[i] for i in rows]
    y = [one.direction for one in chosen] if directions is None else directions
    return directed_part(
        metric,
        category,
        family,
        [one.id for one in chosen],
        [one.target for one in chosen],
        [one.template for one in chosen],
        np.array(y, dtype=float),
        2 * values[list(rows)],  # half of a difference of means is what directions give
        APART,
    )


def _groups(heard: Heard, category: str, rows: Sequence[int]) -> list[Part]:
    """Of more than two groups the widest gap, and each group less all others."""
    groups = compared_groups([heard.prompts[i] for i in rows]).get(category, [])
    if len(groups) < 3:
        return []
    kept = [i for i in rows if heard.prompts[i].group in groups]
    chosen = [heard.prompts[i] for i in kept]
    code = np.array([groups.index(one.group) for one in chosen], dtype=float)
    whole = Part(
        metric=WIDEST,
        category=category,
        family=WIDEST,
        ids=tuple(one.id for one in chosen),
        clusters=tuple(one.target for one in chosen),
        values=np.stack(
            [_about_template(heard.alone[kept], [one.template for one in chosen]), code], axis=1
        ),
        how=How(measured=measured_widest, change=_no_change),
    )
    return [
        whole,
        *(
            _sides(
                heard,
                SCORE_GAP,
                f"group: {category}: {group}",
                f"groups of {category}",
                kept,
                heard.alone,
                np.where(code == k, 1.0, -1.0).tolist(),
            )
            for k, group in enumerate(groups)
        ),
    ]


def _about_template(values: Scores, templates: Sequence[Hashable]) -> Scores:
    """Scores less the mean of their template's; NaN stays."""
    place = positions(templates)[1]
    known = ~np.isnan(values)
    sizes = np.maximum(np.bincount(place[known], minlength=place.max() + 1), 1)
    means = np.bincount(place[known], values[known], minlength=place.max() + 1) / sizes
    return np.asarray(values - means[place])


def measured_widest(values: Values, clusters: Clusters, seed: int) -> Measured:
    """Largest less smallest mean of groups, targets as the unit, beside what chance alone gives.

    values: rows of score and number of the group. The interval holds for all pairs at once
    (Student's with the groups' common spread, Bonferroni over pairs): it reaches zero, as no
    bootstrap of a maximum does. Test and `expected` by permutation of targets between groups.
    """
    known = ~np.isnan(values).any(1)
    labels = [label for label, kept in zip(clusters, known, strict=True) if kept]
    means, groups = _targets(values[known], labels)
    sizes = np.bincount(groups)
    if len(sizes) < 2 or sizes.min() < FEWEST:
        raise NotEnoughData(f"a gap needs two targets in each group, got {sizes.tolist()}")
    tested = group_test(means, groups, widest, seed=seed)
    spread, freedom = _spread(means, groups)
    pairs = list(itertools.permutations(range(len(sizes)), 2))
    centre = np.bincount(groups, means) / sizes
    errors = np.array([spread * np.sqrt(1 / sizes[i] + 1 / sizes[j]) for i, j in pairs])
    gaps = np.array([centre[i] - centre[j] for i, j in pairs])

    def estimate(alpha: float) -> Estimate:
        half = float(stdtrit(freedom, 1 - alpha / len(pairs))) * errors
        return Estimate(
            value=float(gaps.max()),
            low=max(0.0, float((gaps - half).max())),
            high=min(1.0, float((gaps + half).max())),
            confidence=1 - alpha,
            n=len(means),
            unit=UNIT,
            method=f"t, simultaneous over {len(sizes)} groups",
        )

    return Measured(
        estimate=estimate(ALPHA),
        inner=estimate(2 * ALPHA),
        null=0.0,
        p_value=tested.p_value,
        smallest_p=tested.smallest_p,
        test=f"{tested.arrangements} permutations of targets",
        n_items=int(known.sum()),
        n_clusters=len(means),
        n_ties=0,
        n_excluded=int((~known).sum()),
        mde80=smallest_gap(float(errors.max()), len(means), tests=len(pairs) // 2),
        expected=tested.expected,
    )


def _targets(
    values: Values, labels: Sequence[Hashable]
) -> tuple[Float[np.ndarray, " targets"], Int[np.ndarray, " targets"]]:
    """The mean of each target, and the number of its group."""
    names, place = positions(labels)
    if not names:
        raise NotEnoughData("no prompt has a score")
    means = np.bincount(place, values[:, 0]) / np.bincount(place)
    group = np.zeros(len(names), dtype=np.int64)
    group[place] = values[:, 1].astype(np.int64)
    return means, positions(group)[1].astype(np.int64)


def _spread(
    means: Float[np.ndarray, " targets"], groups: Int[np.ndarray, " targets"]
) -> tuple[float, int]:
    """Standard deviation of targets within their groups, and its degrees of freedom."""
    centre = np.bincount(groups, means) / np.bincount(groups)
    freedom = len(means) - len(centre)
    return float(np.sqrt(((means - centre[groups]) ** 2).sum() / freedom)), freedom


def _no_change(before: Values, after: Values, clusters: Clusters, seed: int) -> Change:
    raise NotEnoughData("a largest gap is not compared: look at the gap of each group")
