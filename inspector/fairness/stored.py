"""Probes and localised gaps kept on disk; naming and reading them loads no model and no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inspector.engine import Progress, no_progress
from inspector.errors import InspectorError
from inspector.fairness.items import Stimuli
from inspector.fairness.localize_records import Localised
from inspector.fairness.probes.records import Probe
from inspector.fairness.probes.table import known_probe, probe, stimuli_of
from inspector.fairness.stimuli import read
from inspector.model.stored import answer_key
from inspector.results import Records, plain, show_plain
from inspector.weights import cache
from inspector.weights.checkpoint import Checkpoint, open_checkpoint
from inspector.weights.stored_judgements import Kept, keep, load_kept

if TYPE_CHECKING:
    from inspector.model.load import Model

MOST_FILES: Final = 40  # of scores, and of texts
KEPT: Final[Mapping[str, str]] = {"sentences": "scores", "text": "texts"}
"""What of a probe is kept as it is had, by what it asks: it goes on there after a kill."""
OWN: Final = "own"  # the set of the package that a gap is localised with
TEMPLATES: Final = "templates"  # what data of one's own is read as for that

Item = Mapping[str, Any]


def probe_key(
    checkpoint: Checkpoint,
    name: str,
    sha256: str,
    baseline: Checkpoint | None = None,
    scorer: str | Sequence[str] | None = None,
    margin: float | None = None,
    seed: int = 0,
    **options: Any,
) -> str:
    """The name under which a probe's records are kept.

    `sha256`: of its data (`Stimuli.sha256`); `options`: those of the probe's function, of which a
    classifier stands for what is in its files.
    """
    judge = options.get("classifier")
    if judge is not None:
        options["classifier"] = answer_key(open_checkpoint(str(judge)), "classifier")
    return answer_key(
        checkpoint,
        "probe",
        probe=name,
        data=sha256,
        baseline=None if baseline is None else answer_key(baseline, "baseline"),
        scorer=scorer if scorer is None or isinstance(scorer, str) else list(scorer),
        margin=margin,
        seed=seed,
        options=options,
    )


def load_probe(key: str) -> Kept | None:
    """The records kept under `key`; None when there are none."""
    return load_kept(key, Probe)


def load_items(key: str) -> tuple[Item, ...] | None:
    """Every item behind the records kept under `key`, as plain values; None when there is none.

    The fields are those of the probe's `ItemScore`, of a localised gap those of `ContrastGap`.
    """
    found = cache.load(_items(key))
    return None if found is None else tuple(found[0]["items"])


def stored_probe(
    checkpoint: Checkpoint,
    name: str,
    data: str | None = None,
    baseline: Checkpoint | None = None,
    progress: Progress = no_progress,
    model: "Model | None" = None,
    **question: Any,
) -> Kept:
    """What `probe` gives, from disk when it was kept there; else asked and kept with its items.

    `question`: scorer, margin, seed and options, as in `probe_key`; `model` is the loaded
    checkpoint where there is one already. Scores of sentences, and texts, are kept as they come,
    so that a run that was ended goes on, and another margin costs nothing. Raises what `probe`
    raises.
    """
    sha256 = stimuli_of(name, data).sha256
    key = probe_key(checkpoint, name, sha256, baseline, **question)
    if (kept := load_probe(key)) is not None:
        return kept
    asks = known_probe(name).asks
    lines = _line_file(checkpoint, KEPT[asks], sha256) if asks in KEPT else None
    made = probe(
        _asked(checkpoint, asks, model),
        name,
        data,
        baseline=None if baseline is None else _asked(baseline, asks, None),
        lines=lines,
        progress=progress,
        **question,
    )
    whole = not (checkpoint.changed() or (baseline is not None and baseline.changed()))
    return _keep(key, made, made.items, whole)


def localize_key(
    checkpoint: Checkpoint,
    sha256: str,
    category: str | None = None,
    what: Sequence[str] | None = None,
    seed: int = 0,
) -> str:
    """The name under which a localised gap is kept; `sha256`: of its templates."""
    chosen = None if what is None else list(what)
    return answer_key(
        checkpoint, "localize", data=sha256, category=category, what=chosen, seed=seed
    )


def load_localized(key: str) -> Kept | None:
    """The localised gap kept under `key`; None when there is none."""
    return load_kept(key, Localised)


def stored_localized(
    checkpoint: Checkpoint,
    data: str | None = None,
    category: str | None = None,
    what: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
    model: "Model | None" = None,
) -> Kept:
    """What `localize` gives on templates, from disk when it was kept there; else asked and kept.

    `data`: a path to templates of one's own; None: those of the package. Raises what it raises.
    """
    stimuli = templates_of(data)
    key = localize_key(checkpoint, stimuli.sha256, category, what, seed)
    if (kept := load_localized(key)) is not None:
        return kept
    from inspector.fairness.localize import localize
    from inspector.model.load import load

    options = {} if what is None else {"what": what}
    made = localize(
        model or load(checkpoint),
        stimuli,
        category=category,
        seed=seed,
        progress=progress,
        **options,
    )
    return _keep(key, made, made.items, whole=not checkpoint.changed())


def templates_of(data: str | None = None) -> Stimuli[Any]:
    """The templates a gap is localised with: those in `data`, else those of the package."""
    return read(OWN) if data is None else read(TEMPLATES, data)


def check_same_data(told: str, found: str, data: str | None) -> None:
    """Raise InspectorError unless data still has the sha256 that was told."""
    if told != found:
        raise InspectorError(
            f"{show_plain(data or 'The data')} changed since it was chosen: choose it again."
        )


def _asked(checkpoint: Checkpoint, asks: str, model: "Model | None") -> "Model | Checkpoint":
    """What is asked: the file where weights are looked at, else the loaded model."""
    if asks == "weights":
        return checkpoint
    from inspector.model.load import load

    return model or load(checkpoint)


def _keep(key: str, made: Records[Any], items: Sequence[object], whole: bool) -> Kept:
    """Items first: whoever finds the records finds them too."""
    if whole:
        cache.store(_items(key), {"items": [plain(item) for item in items]}, {})
    return keep(key, made, {}, whole=whole)


def _items(key: str) -> str:
    return f"{key}-items"


def _line_file(checkpoint: Checkpoint, what: str, sha256: str) -> Path | None:
    """Where scores, or texts, of this model on this data are kept; None where no folder can be."""
    place = cache.folder() / what
    try:
        place.mkdir(parents=True, exist_ok=True)
        for old in sorted(place.glob("*"), key=lambda path: -path.stat().st_mtime)[MOST_FILES:]:
            old.unlink(missing_ok=True)
    except OSError:
        return None
    return place / f"{answer_key(checkpoint, what, data=sha256)}.jsonl"
