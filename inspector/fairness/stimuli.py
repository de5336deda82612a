"""The sets that probes can ask about: one table, one way to read any of them."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from inspector.errors import BadOption
from inspector.fairness.about import ABOUT
from inspector.fairness.hub import read_hub
from inspector.fairness.items import Stimuli
from inspector.fairness.sets.bbq import read_bbq
from inspector.fairness.sets.crows import read_crows
from inspector.fairness.sets.holistic import read_holistic
from inspector.fairness.sets.own_labelled import read_labelled
from inspector.fairness.sets.own_pairs import read_gender_words, read_pairs
from inspector.fairness.sets.own_prompts import read_prompts, read_shipped_prompts
from inspector.fairness.sets.own_templates import read_shipped, read_templates
from inspector.fairness.sets.own_words import read_weat, read_word_lists
from inspector.fairness.sets.stereoset import read_stereoset
from inspector.fairness.sets.winobias import read_winobias
from inspector.fairness.sets.winogender import read_winogender
from inspector.results import Finding, show_plain
from inspector.weights.problems import Log

HUB: Final = "hub:"
DEMO: Final = "demo:words"  # material in the words of the demo models, whose truth is known
ROWS_SHOWN: Final = 50  # of one reason, in a finding


@dataclasses.dataclass(frozen=True, kw_only=True)
class Set:
    """How a set is read: from a path, or from the package where `shipped` is given.

    `wanted` says what the path must lead to; None where there is nothing to give.
    """

    read: Callable[[Path], Stimuli[Any]] | None
    wanted: str | None
    shipped: Callable[[], Stimuli[Any]] | None = None


SETS: Final[Mapping[str, Set]] = {
    "crows-pairs": Set(read=read_crows, wanted="crows_pairs_anonymized.csv, or its folder"),
    "stereoset": Set(read=read_stereoset, wanted="dev.json or dev_reformatted.json, or its folder"),
    "winobias": Set(read=read_winobias, wanted="the folder of {pro,anti}_stereotyped_*.txt.dev"),
    "winogender": Set(read=read_winogender, wanted="the folder of all_sentences.tsv"),
    "bbq": Set(read=read_bbq, wanted="a .jsonl file of BBQ, or a folder of them"),
    "holistic-bias": Set(read=read_holistic, wanted="descriptors.json, or its folder"),
    "weat": Set(read=None, wanted=None, shipped=read_weat),
    "gender-words": Set(read=None, wanted=None, shipped=read_gender_words),
    "own": Set(read=None, wanted=None, shipped=read_shipped),
    "own-prompts": Set(read=None, wanted=None, shipped=read_shipped_prompts),
    "prompts": Set(
        read=read_prompts, wanted="a .csv, .tsv, .jsonl or .yaml file of texts to continue"
    ),
    "labelled": Set(read=read_labelled, wanted="a .csv, .tsv, .jsonl or .yaml file of texts"),
    "pairs": Set(read=read_pairs, wanted="a .csv, .tsv, .jsonl or .yaml file of pairs"),
    "templates": Set(read=read_templates, wanted="a .csv, .tsv, .jsonl or .yaml file of templates"),
    "word-lists": Set(read=read_word_lists, wanted="a .csv, .tsv, .jsonl or .yaml file of lists"),
}
"""Every set by name: published ones, those in the package, and those of one's own."""


def read(
    name: str,
    data: str | Path | None = None,
    *,
    split: str = "validation",
    revision: str | None = None,
) -> Stimuli[Any]:
    """Read a set from a path, from `hub:ID`, or from the package where it is shipped.

    `demo:words` is what the package has in the words of the demo models.
    Only `hub:ID` uses the network, at `split` and `revision`. Raises BadOption for an unknown
    name or where the data must be given, BadStimuli where nothing can be used.
    """
    known = SETS.get(name)
    if known is None:
        shown = show_plain(name, 60)
        raise BadOption(f"There is no set {shown!r}; known are {', '.join(SETS)}.")
    if known.read is None:
        if data is not None:
            raise BadOption(f"{name}: comes with the package; it reads no data.")
    elif data is None or not str(data):
        raise BadOption(f"{name}: does not come with the package. Give {known.wanted}.")
    elif data == DEMO:
        return _ours(known.read(demo_material(name)))
    elif isinstance(data, str) and data.startswith(HUB):
        return read_hub(name, data.removeprefix(HUB), split=split, revision=revision)
    else:
        return known.read(Path(data))
    if known.shipped is None:  # each set has a reader or is shipped
        raise BadOption(f"{name}: cannot be read.")
    return known.shipped()


def demo_material(name: str) -> Path:
    """The file of a set in the words of the demo models; BadOption where there is none."""
    path = Path(__file__).parent / "data" / f"demo-{name}.yaml"
    if not path.is_file():
        raise BadOption(f"{name}: nothing of it is in the words of the demo models.")
    return path


def _ours(stimuli: Stimuli[Any]) -> Stimuli[Any]:
    """The same said to be of the package: a reader takes every file for the user's."""
    about = dataclasses.replace(
        stimuli.about,
        licence=ABOUT["own"].licence,
        citation="made for this package from the corpus of the demo models",
        upstream="inspector/fairness/data",
    )
    return dataclasses.replace(stimuli, about=about, origin="package")


def provenance(stimuli: Stimuli[Any]) -> dict[str, Any]:
    """Where the items of a set come from and what was left out, as plain values for a summary."""
    return {
        "set": stimuli.name,
        "origin": stimuli.origin,
        "sha256": stimuli.sha256,
        "files": {file.name: file.sha256 for file in stimuli.files},
        "rows": stimuli.rows,
        "items": len(stimuli.items),
        "excluded": len(stimuli.excluded),
        "reasons": stimuli.reasons(),
        "categories": stimuli.categories(),
        **dataclasses.asdict(stimuli.about),
    }


def findings(stimuli: Stimuli[Any]) -> tuple[Finding, ...]:
    """What was left out, a finding for each reason, and what is odd about the rest."""
    log = Log()
    for kinds, id, about in (
        (stimuli.excluded, "SM-EXCLUDED", "left out"),
        (stimuli.notes, "SM-NOTED", "kept, with a note"),
    ):
        for kind in dict.fromkeys(remark.kind for remark in kinds):
            found = [remark for remark in kinds if remark.kind == kind]
            log.add(
                id,
                stimuli.name,
                f"{len(found)} {about}: {kind}; the first: {found[0]}",
                kind=kind,
                count=len(found),
                rows=[str(remark) for remark in found[:ROWS_SHOWN]],
            )
    return log.findings
