"""What a classifier says when the words of one group stand in the place of another's."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from inspector.engine import Progress, no_progress
from inspector.fairness.classes import Predictions, predict
from inspector.fairness.group_rates import Codes
from inspector.fairness.probes.decided import Decided
from inspector.fairness.probes.parts import How, Part, formula
from inspector.fairness.resampling import ratio
from inspector.fairness.swaps import Swapped, Swapper
from inspector.model.load import Model
from inspector.weights.problems import Log

NET_FLIPS: Final = "net flips"
FLIPS: Final = "flip rate"
ODDS_CHANGE: Final = "change of log-odds"
SWAPS: Final = "swaps"
HOWS: Final[dict[str, How]] = {
    NET_FLIPS: formula(
        ratio, 0.0, "share", bounds=(-1.0, 1.0), signed=lambda values: np.asarray(values[:, 0])
    ),
    FLIPS: formula(ratio, 0.0, "share", bounds=(0.0, 1.0)),
    ODDS_CHANGE: formula(ratio, 0.0, "nats"),
}
"""Numbers over texts. Any change of words moves log-odds, and some decisions: not tested alone."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Swaps:
    """Every text swapped, and what was said of those that could be; NaN where nothing was.

    `values`: of each number in HOWS. Decisions and log-odds are those of the class that counts as
    yes, where there are several of the text's label; signs are from first words to second ones.
    """

    texts: tuple[Swapped, ...]
    said: Predictions
    values: dict[str, Float[np.ndarray, " items"]]

    def why_not(self, i: int) -> str | None:
        """Why a text has no prediction with its words swapped; None where it has one."""
        return self.said.excluded[i][1] if i in self.said.excluded else self.texts[i].told


def swapped(
    model: Model,
    texts: Sequence[str],
    said: Predictions,
    decided: Decided,
    swapper: Swapper,
    progress: Progress = no_progress,
) -> Swaps:
    """Swap the words of texts and classify those in which that can be done; `said`: as they are."""
    made = tuple(swapper(text) for text in texts)
    places = [i for i, one in enumerate(made) if one.text is not None]
    again = predict(model, [str(made[i].text) for i in places], progress)
    every = np.full(said.log_probabilities.shape, np.nan)
    every[places] = again.log_probabilities
    moved = dataclasses.replace(
        again,
        log_probabilities=every,
        excluded={places[i]: reason for i, reason in again.excluded.items()},
    )
    both = decided.known & ~np.isnan(every).any(1)
    of = np.nan_to_num(decided.values[:, 0]).astype(np.int64)
    if len(decided.outcomes) == 1:
        of = np.full(len(texts), decided.outcomes[0])
    before, after = (
        np.where(both[:, None], one, 0.0).argmax(1) for one in (said.log_probabilities, every)
    )
    toward = np.where(both, [one.toward or np.nan for one in made], np.nan)
    return Swaps(
        texts=made,
        said=moved,
        values={
            NET_FLIPS: ((after == of).astype(float) - (before == of)) * toward,
            FLIPS: np.where(both, before != after, np.nan),
            ODDS_CHANGE: (_log_odds(moved, of) - _log_odds(said, of)) * toward,
        },
    )


def _log_odds(said: Predictions, of: Codes) -> Float[np.ndarray, " items"]:
    """Log-odds of one class of each text against all others."""
    values = said.log_probabilities
    rows = np.arange(len(values))
    others = values.copy()
    others[rows, of] = -np.inf
    return np.asarray(values[rows, of] - logsumexp(others, axis=1))


def swap_parts(found: Swaps | None, ids: Sequence[str]) -> tuple[Part, ...]:
    """How decisions go from first words to second ones, how often they flip, and log-odds.

    Texts without any of the words were not asked, so they are not among the excluded either.
    """
    if found is None:
        return ()
    asked = [i for i, one in enumerate(found.texts) if one.excluded != "no word"]
    named = tuple(ids[i] for i in asked)
    return tuple(
        Part(
            metric=metric,
            category=SWAPS,
            family=SWAPS,
            ids=named,
            clusters=named,
            values=np.stack([found.values[metric][asked], np.ones(len(asked))], axis=1),
            how=how,
        )
        for metric, how in HOWS.items()
    )


def swap_summary(found: Swaps | None, log: Log) -> dict[str, Any] | None:
    """How many texts were swapped and flipped, and why the others were not."""
    if found is None:
        return None
    told = [(one.excluded, one.told) for one in found.texts if one.excluded]
    told += list(found.said.excluded.values())
    reasons = Counter(reason for reason, _ in told)
    for reason, count in reasons.most_common():
        first = next(words for kind, words in told if kind == reason)
        log.add("CL-SWAPS", "texts", f"{count} were not swapped: {first}", count=count)
    both = sum(one.text is not None and one.toward == 0 for one in found.texts)
    if both:
        words = "hold words of both kinds: they count in the flip rate alone"
        log.add("CL-SWAPS", "texts", f"{both} {words}", count=both)
    flips = found.values[FLIPS]
    return {
        "swapped": int((~np.isnan(flips)).sum()),
        "flipped": int(np.nansum(flips)),
        "both": both,
        "excluded": dict(reasons.most_common()),
    }
