"""The record of where a gap sits; plain data, so that reading it back loads no model."""

import dataclasses

from inspector.results import Records

WHAT = ("layers", "heads", "blocks", "matrices")  # what a gap can be carried to
QUANTITIES = {
    "lens": "the gap that the stream after this layer already shows where the words are read, "
    "through the model's own last norm and unembedding",
    "stream-here": "the gap lost when the stream after this layer, where the words are read, is "
    "that of the neutral sentence",
    "stream-elsewhere": "the gap lost when the stream after this layer, everywhere else, is that "
    "of the neutral sentence",
    "write": "the gap lost when what this part adds to the stream, everywhere, is what it adds in "
    "the neutral sentence",
    "direction": "the same for the share of it along the attribute direction, the rest kept: the "
    "slope of the words' log-odds at the last stream, with the scale of the last norm held",
    "ablation": "the gap lost when this head gives nothing, in either sentence",
}
"""What the effect of a record is, by its `quantity`; all in nats, 0: carries nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Localised:
    """What one part of a model does to the counterfactual gap, signed, in nats.

    `effect` is the mean over contrasts of direction times what `quantity` says (QUANTITIES), made
    as the probe of the gap makes it: interval with the target as the unit, two-sided p, and p
    corrected over `what` and quantity (Benjamini and Hochberg); above zero where the part makes
    the model more stereotyped. `template_low` to `template_high` is the interval with the template
    as the unit, these targets taken as they are. `share` is that of the whole gap (None: the gap
    itself was not shown). `null_effect` is the same on the controls. `n_clusters`: targets.
    `slope`, of heads, is the effect to first order; heads whose slope is small are not taken out
    and have no effect. `layer` None: the embedding. `role` of matrices, `head` of heads, else None.
    """

    name: str
    layer: int | None
    role: str | None
    head: int | None
    what: str
    quantity: str
    effect: float | None
    low: float | None
    high: float | None
    template_low: float | None
    template_high: float | None
    p_value: float | None
    p_adjusted: float | None
    share: float | None
    null_effect: float | None
    null_low: float | None
    null_high: float | None
    slope: float | None
    n_items: int
    n_clusters: int
    verdict: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastGap:
    """One contrast as it was asked, for audit.

    `gap` in nats is the log-odds of its words with the target less those with the neutral text;
    None where it was left out, for the reason in `excluded`.
    """

    id: str
    category: str
    template: str
    target: str
    pair: str
    direction: float
    control: bool
    gap: float | None
    excluded: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Localisation(Records[Localised]):
    """Records of where a gap sits, with the contrasts that they were made from."""

    items: tuple[ContrastGap, ...] = ()
