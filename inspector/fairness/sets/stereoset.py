"""StereoSet as published, in the official layout and in the one that others made of it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from inspector.fairness.files import read_bytes, text_of
from inspector.fairness.gathering import find_file, gather
from inspector.fairness.items import BadStimuli, Candidate, Stimuli, Triple
from inspector.fairness.rows import Row, Sieve, Unfit, parse_json
from inspector.results import show_plain

FILES: Final = ("dev.json", "dev_reformatted.json")
CATEGORIES: Final = ("gender", "profession", "race", "religion")
KINDS: Final[tuple[Literal["intersentence", "intrasentence"], ...]] = (
    *("intersentence", "intrasentence"),
)
LABELS: Final[Mapping[str, int]] = {"stereotype": 1, "anti-stereotype": 0, "unrelated": 2}
"""The three candidates, and the numbers that stand for them in the reformatted layout."""
ALIGNED: Final = ("id", "context", "target", "bias_type")
BLANK: Final = "BLANK"


def read_stereoset(path: Path) -> Stimuli[Triple]:
    """StereoSet from `dev.json` in either layout, or from the folder that holds it.

    A row is the place of an example in its list, from 1 (in the official layout the two lists
    follow each other). The cluster is the target term. Raises BadStimuli.
    """
    sieve = Sieve()
    data, file = read_bytes(find_file(path, *FILES))
    text, _ = text_of(data, file.name)
    try:
        document = parse_json(text)
    except Unfit as error:
        raise BadStimuli(f"{show_plain(file.name)}: {error}.") from None
    rows = _official(document, file.name, sieve) or _reformatted(document, file.name, sieve)
    if rows is None:
        raise BadStimuli(
            f"{show_plain(file.name)}: is no StereoSet: wanted `data` with "
            f"{' and '.join(KINDS)}, or three lists {', '.join(LABELS)}."
        )
    total = len(rows) + len(sieve.excluded)
    items = stereoset_items(rows, sieve)
    return gather("stereoset", str(path), [file], total, items, sieve)


def _official(document: Any, file: str, sieve: Sieve) -> list[Row] | None:
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or not all(isinstance(data.get(k), list) for k in KINDS):
        return None
    entries = [(kind, entry) for kind in KINDS for entry in data[kind]]
    rows = []
    for place, (kind, entry) in enumerate(entries, 1):
        if isinstance(entry, dict):
            rows.append(Row(file=file, line=place, fields={**entry, "kind": kind}))
        else:
            sieve.out(file, (place,), "no object", f"is {type(entry).__name__}, not an object")
    return rows


def _reformatted(document: Any, file: str, sieve: Sieve) -> list[Row] | None:
    found = [document.get(key) for key in LABELS] if isinstance(document, dict) else []
    lists = [one for one in found if isinstance(one, list)]
    if len(lists) != len(LABELS):
        return None
    rows = []
    for place in range(1, max(len(one) for one in lists) + 1):
        entries = [one[place - 1] if place <= len(one) else None for one in lists]
        try:
            rows.append(Row(file=file, line=place, fields=_merged(entries)))
        except Unfit as error:
            sieve.out(file, (place,), error.kind, str(error))
    return rows


def _merged(entries: Sequence[Any]) -> dict[str, Any]:
    """The three entries of one place as one example of the official layout."""
    if not all(isinstance(entry, dict) for entry in entries):
        raise Unfit("unequal lists", "is not in all three lists")
    first = entries[0]
    differs = [name for name in ALIGNED if any(e.get(name) != first.get(name) for e in entries)]
    if differs:
        raise Unfit("not aligned", f"the three lists differ in {', '.join(differs)}")
    for entry, (name, number) in zip(entries, LABELS.items(), strict=True):
        if entry.get("label") != number:
            raise Unfit("unknown label", f"the label of {name} is not {number}")
    sentences = [
        {"sentence": entry.get("sentence"), "gold_label": name}
        for entry, name in zip(entries, LABELS, strict=True)
    ]
    context = first.get("context")
    kind = KINDS[isinstance(context, str) and BLANK in context]
    return {**{name: first.get(name) for name in ALIGNED}, "sentences": sentences, "kind": kind}


def stereoset_items(rows: Sequence[Row], sieve: Sieve) -> list[Triple]:
    """A triple of each example; sentences are kept as they were written, never re-assembled."""
    items = sieve.sift(rows, _triple)
    pairs = Counter((item.context, item.cluster) for item in items)
    seen: dict[tuple[str, str], Triple] = {}
    for item in items:
        first = seen.setdefault((item.context, item.cluster), item)
        if pairs[item.context, item.cluster] > 1 and first is not item:
            statement = f"context and target of {item.id} are those of {first.id}; both are kept"
            sieve.note(item.file, (*first.rows, *item.rows), "repeated context", statement)
    return items


def _triple(row: Row) -> Triple:
    kind = KINDS[row.one_of("kind", KINDS) == KINDS[1]]
    context = row.text("context")
    found = _sentences(row)
    candidates = {
        name: fill(context, text) if kind == KINDS[1] else _whole(text)
        for name, text in found.items()
    }
    return Triple(
        id=row.text("id"),
        file=row.file,
        rows=(row.line,),
        category=row.one_of("bias_type", CATEGORIES),
        cluster=row.text("target"),
        kind=kind,
        context=context,
        stereotype=candidates["stereotype"],
        anti=candidates["anti-stereotype"],
        unrelated=candidates["unrelated"],
    )


def _sentences(row: Row) -> dict[str, str]:
    listed = _listed(row.fields.get("sentences"))
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise Unfit("sentences", "has no list of sentences")
    if len(listed) != len(LABELS):
        raise Unfit("sentences", f"has {len(listed)} sentences, not three")
    found = {}
    for one in listed:
        part = Row(file=row.file, line=row.line, fields=one)
        found[part.one_of("gold_label", LABELS)] = part.text("sentence")
    if len(found) != len(LABELS):
        raise Unfit("sentences", f"has two sentences of one label: {', '.join(found)}")
    return found


def _listed(sentences: Any) -> Any:
    """A list of records, also where lists of equal size stand in one record, as on the Hub."""
    names = ("sentence", "gold_label")
    if not isinstance(sentences, dict) or not all(
        isinstance(sentences.get(name), list) for name in names
    ):
        return sentences
    columns = [sentences[name] for name in names]
    if len({len(column) for column in columns}) != 1:
        return None
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _whole(text: str) -> Candidate:
    return Candidate(text=text, word=None, spans=())


def fill(context: str, sentence: str, *, ignore_case: bool = True) -> Candidate:
    """What stands in a sentence where its context has BLANK; raises Unfit where they do not fit.

    Letters outside the blank often differ in case, so case is ignored. With two blanks both
    must hold the same word.
    """
    parts = [re.escape(part) for part in context.split(BLANK)]
    match = re.fullmatch("(.+?)".join(parts), sentence, re.IGNORECASE if ignore_case else 0)
    if len(parts) == 1 or not match:
        raise Unfit("blank", "a sentence is not its context with the blank filled")
    words = {word.lower() for word in match.groups()}
    if len(words) > 1:
        raise Unfit("blank", f"its blanks hold different words: {', '.join(sorted(words))}")
    spans = tuple(match.span(number) for number in range(1, len(parts)))
    return Candidate(text=sentence, word=match[1], spans=spans)
