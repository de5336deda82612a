"""What probes that score sentences have in common: scores, the guard of language, the receipt."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inspector.engine import Progress, no_progress
from inspector.fairness.guard import Guard, language_guard
from inspector.fairness.items import Stimuli
from inspector.fairness.probes.parts import Part
from inspector.fairness.probes.records import Answers, ItemScore
from inspector.fairness.scoring import Pair, Score, score
from inspector.fairness.sentences import Sentence
from inspector.model.asking import source, whole
from inspector.model.load import Model
from inspector.results import Finding, Records
from inspector.weights.problems import Log


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """Scores of what was asked, and whether the scorer's numbers mean anything with this model."""

    model: Model
    scorer: str
    seed: int
    scores: Records[Score]
    guard: Guard

    def answers(
        self,
        probe: str,
        stimuli: Stimuli[Any],
        items: Sequence[ItemScore],
        parts: Sequence[Part],
        problems: Sequence[str] = (),
        summary: Mapping[str, Any] | None = None,
        findings: Sequence[Finding] = (),
    ) -> Answers:
        """Answers of a probe with the guard's problem, and its finding, where there is one."""
        log = Log()
        if self.guard.problem:
            log.add("SC-GUARD", self.scorer, self.guard.problem)
        own = [self.guard.problem] if self.guard.problem else []
        return Answers(
            probe=probe,
            scorer=self.scorer,
            stimuli=stimuli,
            items=tuple(items),
            parts=tuple(parts),
            problems=(*own, *problems),
            source=source(self.model, self.seed),
            coverage=whole(self.model),
            summary={
                **(summary or {}),
                "scores": self.scores.summary,
                "guard": dataclasses.asdict(self.guard),
            },
            findings=(*self.scores.findings, *log.findings, *findings),
        )


def asked(
    model: Model,
    scorer: str,
    given: Sequence[str | Sentence | Pair],
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    lines: Path | None = None,
    progress: Progress = no_progress,
    guarded: Sequence[str | Sentence | tuple[Sentence, ...] | None] | None = None,
) -> Heard:
    """Score sentences or pairs, and try the language guard on them.

    `clusters`: of each given, for the guard (None: each stands alone). `guarded`: what the guard
    is tried on in the place of each sentence given, see `language_guard` (None in it: of that one
    nothing). Raises what `score` raises.
    """
    scores = score(model, scorer, given, progress, lines=lines)

    def note(done: int, total: int, label: str) -> None:
        progress(done, total, f"{label} of the guard")

    sides = [one if isinstance(one, tuple) else (one,) for one in given]
    listed = range(len(given)) if clusters is None else clusters
    each = [(side, label) for label, pair in zip(listed, sides, strict=True) for side in pair]
    # what could not be scored says nothing of the scorer
    kept = [
        (one, label)
        for one, (_, label), had in zip(guarded or [s for s, _ in each], each, scores, strict=True)
        if one is not None and had.score is not None
    ]
    texts, labels = [text for text, _ in kept], [label for _, label in kept]
    guard = language_guard(model, scorer, texts, labels, seed=seed, progress=note, lines=lines)
    return Heard(model=model, scorer=scorer, seed=seed, scores=scores, guard=guard)
