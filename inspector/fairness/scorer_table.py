"""The scorers by name and what each one is; torch-free, so that they can be listed at once."""

import dataclasses
from collections.abc import Mapping
from typing import Final, Literal

from inspector.model.kinds import Kind

Needs = Literal["sentence", "pair", "spans"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scorer:
    """How a sentence gets its number, in nats; higher is always the likelier.

    `needs`: what must be given, a sentence, the one it is compared with, or the spans that are
    scored. `masked`: the function of `masked.py` that makes rows for masked models (None: not
    for them); `causal` says whether causal models have it. `mean`: over the tokens scored, else
    their sum.
    """

    about: str
    source: str
    needs: Needs
    masked: str | None
    causal: bool
    mean: bool

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of models that it is for."""
        known: tuple[tuple[Kind, bool], ...] = (
            ("masked", self.masked is not None),
            ("causal", self.causal),
        )
        return tuple(kind for kind, has in known if has)


SCORERS: Final[Mapping[str, Scorer]] = {
    "pll-shared": Scorer(
        about="Sum over the tokens that both sentences share, each hidden in turn.",
        source="Nangia et al. 2020, arXiv 2010.00133",
        needs="pair",
        masked="one_by_one",
        causal=False,
        mean=False,
    ),
    "pll": Scorer(
        about="Sum over all tokens, each hidden in turn: the pseudo-log-likelihood.",
        source="Salazar et al. 2020, arXiv 1910.14659",
        needs="sentence",
        masked="one_by_one",
        causal=False,
        mean=False,
    ),
    "pll-word-l2r": Scorer(
        about="The same with the later pieces of a word hidden too: no piece gives its word away.",
        source="Kauf and Ivanova 2023, arXiv 2305.10588",
        needs="sentence",
        masked="word_left_to_right",
        causal=False,
        mean=False,
    ),
    "aul": Scorer(
        about="Mean over all tokens, nothing hidden: all unmasked likelihood.",
        source="Kaneko and Bollegala 2022, arXiv 2104.07496",
        needs="sentence",
        masked="at_once",
        causal=False,
        mean=True,
    ),
    "aula": Scorer(
        about="The same, each token weighted by the share of attention it receives; the weights "
        "of the tokens scored sum to 1, and the sum is divided by their number as published.",
        source="Kaneko and Bollegala 2022, arXiv 2104.07496",
        needs="sentence",
        masked="at_once_with_attention",
        causal=False,
        mean=True,
    ),
    "causal-sum": Scorer(
        about="Sum over all tokens, each after those before it: the log-likelihood.",
        source="the chain rule; one beginning for all tokens",
        needs="sentence",
        masked=None,
        causal=True,
        mean=False,
    ),
    "causal-mean": Scorer(
        about="The same for each token: the log-likelihood divided by the number of tokens.",
        source="the chain rule; one beginning for all tokens",
        needs="sentence",
        masked=None,
        causal=True,
        mean=True,
    ),
    "continuation": Scorer(
        about="Log-probability of a part of a text jointly, by the chain rule from left to right: "
        "given what stands before it, in masked models what stands around it.",
        source="the chain rule",
        needs="spans",
        masked="left_to_right",
        causal=True,
        mean=False,
    ),
}
"""Every scorer by the id that is printed with its numbers."""
