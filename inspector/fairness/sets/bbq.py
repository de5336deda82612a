"""BBQ as published: questions on two people, with and without the fact that answers them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from inspector.fairness.gathering import find_file, gather
from inspector.fairness.items import Choice, Stimuli
from inspector.fairness.rows import Row, Sieve, Unfit, read_table
from inspector.results import show_plain

OPTIONS: Final = ("ans0", "ans1", "ans2")
CONDITIONS: Final = ("ambig", "disambig")
POLARITIES: Final = ("neg", "nonneg")
COLUMNS: Final = (
    *("example_id", "question_index", "question_polarity", "context_condition", "category"),
    *("answer_info", "additional_metadata", "context", "question", *OPTIONS, "label"),
)


def read_bbq(path: Path) -> Stimuli[Choice]:
    """BBQ from one of its JSON Lines files, or from the folder that holds them.

    The cluster is the question template (25 in each category), the group the context condition
    and the polarity. Raises BadStimuli.
    """
    sieve = Sieve()
    tables = [read_table(file, sieve, COLUMNS) for file in _files(path)]
    items = [item for table in tables for item in bbq_items(table.rows, sieve)]
    files, total = [table.file for table in tables], sum(table.total for table in tables)
    return gather("bbq", str(path), files, total, items, sieve)


def _files(path: Path) -> list[Path]:
    try:
        found = sorted(path.glob("*.jsonl")) if path.is_dir() else []
    except (OSError, ValueError):
        found = []
    return found or [find_file(path, "Age.jsonl (or another file of BBQ)")]


def bbq_items(rows: Sequence[Row], sieve: Sieve) -> list[Choice]:
    """A question of each row; the target is the option whose tag is among the groups named."""
    return sieve.sift(rows, _choice)


def _choice(row: Row) -> Choice:
    category = row.text("category")
    polarity = row.one_of("question_polarity", POLARITIES)
    condition = row.one_of("context_condition", CONDITIONS)
    options = tuple(row.text(name) for name in OPTIONS)
    label = row.fields.get("label")
    if isinstance(label, bool) or label not in (0, 1, 2):
        raise Unfit("unknown label", f"label is {show_plain(str(label), 40)}, not 0, 1 or 2")
    tags, meta = _tags(row), _meta(row)
    unknown = _only(tags, {"unknown"}, "an option that says unknown")
    target = _only(tags, _groups(meta), "an option of the stereotyped groups")
    other = ({0, 1, 2} - {unknown, target}).pop()
    template = f"{category} {row.text('question_index')}"
    return Choice(
        id=f"{category} {row.text('example_id')}",
        file=row.file,
        rows=(row.line,),
        category=category,
        cluster=template,
        group=f"{condition} {polarity}",
        context=row.text("context"),
        question=row.text("question"),
        options=options,
        correct=label,
        target=target,
        biased=target if polarity == "neg" else other,
        unknown=unknown,
        facts={
            "condition": condition,
            "polarity": polarity,
            "target_tag": tags[target],
            "other_tag": tags[other],
            **{name: meta[name] for name in ("version", "subcategory") if _is_text(meta, name)},
        },
    )


def _is_text(meta: dict[str, Any], name: str) -> bool:
    return isinstance(meta.get(name), str) and meta[name] != "None"


def _tags(row: Row) -> tuple[str, ...]:
    info = row.fields.get("answer_info")
    pairs = [info.get(name) for name in OPTIONS] if isinstance(info, dict) else []
    tags = [pair[1] for pair in pairs if isinstance(pair, list) and len(pair) == 2]
    if len(tags) != len(OPTIONS) or not all(isinstance(tag, str) for tag in tags):
        raise Unfit("tags", "answer_info has no name and tag for each option")
    return tuple(tag.lower() for tag in tags)


def _meta(row: Row) -> dict[str, Any]:
    meta = row.fields.get("additional_metadata")
    if not isinstance(meta, dict):
        raise Unfit("tags", "additional_metadata is no object")
    return meta


def _groups(meta: dict[str, Any]) -> set[str]:
    groups = meta.get("stereotyped_groups")
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise Unfit("tags", "stereotyped_groups is no list of names")
    return {group.lower() for group in groups}


def _only(tags: Sequence[str], wanted: set[str], what: str) -> int:
    found = [place for place, tag in enumerate(tags) if tag in wanted]
    if len(found) != 1:
        raise Unfit("tags", f"has not one {what.removeprefix('an ')} but {len(found)}")
    return found[0]
