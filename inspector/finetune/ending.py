"""The end of a run: what changed, whether it may take the old model's place, and where it lies."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from inspector.engine import Progress, no_progress
from inspector.finetune.checkpoints import discard, last_of, told, whole
from inspector.finetune.config import Config
from inspector.finetune.evaluate import Asked
from inspector.finetune.gate import INCONCLUSIVE, PASS, Gated, gated, use_kept
from inspector.finetune.models import Pretrained
from inspector.finetune.runs import MODEL
from inspector.finetune.tasks import TASKS
from inspector.model.load import quietly
from inspector.results import Finding, Records
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.compare import compare
from inspector.weights.problems import Log
from inspector.weights.tensor_change import TensorChange

CANDIDATE: Final = "candidate"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """What became of the trained model: `folder` holds it, under MODEL only if it was promoted."""

    folder: Path
    drift: Records[TensorChange]
    gate: Gated | None
    findings: tuple[Finding, ...]

    def summary(self) -> dict[str, Any]:
        """The same for the document of the run."""
        return {
            "promoted": self.folder.name == MODEL,
            "folder": str(self.folder),
            "gate": None if self.gate is None else dataclasses.asdict(self.gate),
            "drift": drift_by_layer(self.drift),
        }


def ended(
    config: Config,
    model: Pretrained,
    about: Mapping[str, Any],
    before: Asked | None,
    after: Asked,
    progress: Progress = no_progress,
) -> Ended:
    """Write the model, compare it with the base, ask the gate, and promote what passes.

    A model that does not pass stays whole under CANDIDATE. Without a gate it is promoted, and a
    finding says that nobody asked.
    """
    run = Path(config.run)
    folder = run / (MODEL if config.gate is None else CANDIDATE)
    with told(folder, last_of(run)), whole(folder, {"run": about}) as draft, quietly():
        model.network.save_pretrained(draft)
        model.tokenizer.save_pretrained(draft)
    drift = compare(model.checkpoint, open_checkpoint(folder))
    (run / "drift.json").write_text(drift.to_json() + "\n")
    log = Log()
    if config.gate is None:
        log.add("FT-NOGATE", "gate", "no probe was asked whether bias changed; it was promoted")
        return Ended(folder=folder, drift=drift, gate=None, findings=log.findings)
    use = use_kept(config.gate, TASKS[config.task].metric, before, after, config.seed)
    found = gated(config.gate, config.model, folder, use, config.seed, progress)
    found.write(run)
    for one in found.conditions:
        if one.verdict != PASS:
            id = "FT-GATE-OPEN" if one.verdict == INCONCLUSIVE else "FT-GATE"
            log.add(id, one.what, _told(one.reason, one.worse_low, one.worse_high, one.limit))
    if found.verdict == PASS:
        if (run / MODEL).exists():  # of a run that had ended and was gone on with
            discard(run / MODEL)
        folder = folder.rename(run / MODEL)
    return Ended(folder=folder, drift=drift, gate=found, findings=log.findings)


def _told(reason: str, low: float | None, high: float | None, limit: float) -> str:
    if low is None or high is None:
        return f"could not be measured ({reason}): not promoted"
    more = f"; {reason}" if reason else ""
    return f"worse by {low:.3g} to {high:.3g}, at most {limit:.3g} was allowed{more}: not promoted"


def drift_by_layer(drift: Sequence[TensorChange]) -> list[dict[str, Any]]:
    """How far each layer moved: root of the summed squares of tensors' relative changes over n.

    One entry for each layer, role and kind, in order of the checkpoint; None outside the layers.
    """
    held: dict[tuple[int | None, str, str], list[float]] = {}
    for one in drift:
        if one.relative_change is not None:
            key = (one.layer, one.role, one.kind)
            held.setdefault(key, []).append(one.relative_change)
    return [
        {
            "layer": layer,
            "role": role,
            "kind": kind,
            "relative_change": (sum(x * x for x in found) / len(found)) ** 0.5,
        }
        for (layer, role, kind), found in held.items()
    ]
