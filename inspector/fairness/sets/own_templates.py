"""Templates of one's own, with targets and pairs of words to fill them; and those shipped."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

from inspector.fairness.gathering import gather
from inspector.fairness.items import Contrast, Item, Stimuli, Target, Template, WordPair
from inspector.fairness.lined_yaml import Node
from inspector.fairness.own_rows import (
    need_columns,
    note_unknown,
    number,
    read_own,
    without_repeats,
)
from inspector.fairness.rows import Row, Sieve, Unfit
from inspector.results import show_plain

Part = Template | Target | WordPair
KINDS: Final = ("template", "target", "control-target", "neutral", "pair", "control-pair")
COLUMNS: Final = ("kind", "category", "text")
KNOWN: Final = (*COLUMNS, "second", "direction", "neutral", "group", "id")
SLOTS: Final = ("target", "attribute")
SLOT: Final = re.compile(r"\{([^{}]*)\}")
SHIPPED: Final = "own.yaml"
LISTS: Final = {
    **{"templates": "template", "targets": "target", "control_targets": "control-target"},
    **{"pairs": "pair", "control_pairs": "control-pair"},
}
"""Keys of a category in YAML, and the kind of the rows that they hold."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """What a file of templates may hold: the slots of each, kinds of rows, what a category needs.

    `known`: the columns.
    """

    slots: tuple[str, ...] = SLOTS
    kinds: tuple[str, ...] = KINDS
    known: tuple[str, ...] = KNOWN
    needed: tuple[tuple[str, type[Part]], ...] = (
        ("template", Template),
        ("target", Target),
        ("pair", WordPair),
    )


FILLED: Final = Form()


def read_templates(path: Path) -> Stimuli[Item]:
    """Templates, targets and pairs of words from CSV, TSV, JSON Lines or YAML.

    Flat rows have `kind` (template, target, control-target, neutral, pair, control-pair),
    `category` and `text`; a pair has its other word in `second`, a target a `direction` in
    [-1, 1] (positive: the stereotype makes the first word the likelier), and may have a group
    and a neutral text of its own. YAML maps each category to `neutral` and the lists of LISTS.
    A template holds {target} and {attribute} once each, {Target} and {Attribute} where a
    capital is wanted. Raises BadStimuli where nothing can be used.
    """
    return read_parts(path, "templates", str(path))


def read_shipped() -> Stimuli[Item]:
    """The templates that come with the package, for probing without any download."""
    with as_file(files("inspector.fairness") / "data" / SHIPPED) as path:
        return read_parts(path, "own", "package")


def read_parts(path: Path, name: str, origin: str, form: Form = FILLED) -> Stimuli[Item]:
    """Templates with what fills them, of any form; raises BadStimuli where nothing can be used."""
    sieve = Sieve()
    table = read_own(path, sieve, _flatten)
    need_columns(table, (COLUMNS,), sieve)
    note_unknown(table, form.known, sieve)
    keyed = sieve.sift(table.rows, lambda row: (_key(row, form), row))
    rows = [row for _, row in without_repeats(keyed, sieve)]
    neutral = {row.text("category"): row for row in rows if row.text("kind") == "neutral"}
    parts = [row for row in rows if row.text("kind") != "neutral"]
    made = sieve.sift(parts, lambda row: _part(row, neutral, form))
    items = _whole(made, sieve, form)
    used = {line for item in items for line in item.rows}
    for row in neutral.values():
        if row.line not in used:
            sieve.out(row.file, (row.line,), "unused", "no target takes this neutral text")
    return gather(name, origin, [table.file], table.total, items, sieve)


def _key(row: Row, form: Form) -> tuple[str, ...]:
    kind, category = row.one_of("kind", form.kinds), row.text("category")
    if kind == "neutral":  # one for each category
        row.text("text")
        return kind, category
    return kind.removeprefix("control-"), category, row.text("text"), row.optional("second", "")


def _part(row: Row, neutral: dict[str, Row], form: Form) -> Part:
    kind = row.text("kind")
    if kind == "template":
        return _template(row, form.slots)
    if kind.endswith("pair"):
        return _word_pair(row)
    return _target(row, neutral)


def _template(row: Row, wanted: tuple[str, ...]) -> Template:
    text, category = row.text("text"), row.text("category")
    found = tuple(SLOT.findall(text))
    slots = tuple(slot[:1].lower() + slot[1:] for slot in found)
    if sorted(slots) != sorted(wanted):
        shown = show_plain(", ".join(found), 60) or "none"
        told = " and ".join(f"{{{slot}}}" for slot in wanted)
        told += " once each" if len(wanted) > 1 else " once"
        raise Unfit("slots", f"must hold {told}, holds {shown}")
    if re.search("[{}]", SLOT.sub("", text)):
        raise Unfit("slots", "has a brace that belongs to no slot")
    return Template(
        id=row.optional("id", f"{category}: {text}"),
        file=row.file,
        rows=(row.line,),
        category=category,
        text=text,
        slots=slots,
    )


def _word_pair(row: Row) -> WordPair:
    first, second, category = row.text("text"), row.text("second"), row.text("category")
    if first == second:
        raise Unfit("equal sides", "has the same word twice")
    return WordPair(
        id=row.optional("id", f"{category}: {first} / {second}"),
        file=row.file,
        rows=(row.line,),
        category=category,
        first=first,
        second=second,
        control=row.text("kind") == "control-pair",
    )


def _target(row: Row, neutral: dict[str, Row]) -> Target:
    category, text = row.text("category"), row.text("text")
    own = row.optional("neutral", "")
    common = None if own else neutral.get(category)
    if not own and common is None:
        raise Unfit("no neutral", f"neither it nor its category {show_plain(category, 40)} has one")
    plain = common.text("text") if common else own
    if plain == text:
        raise Unfit("equal sides", "is its own neutral text")
    direction = number(row, "direction", -1, 1)
    return Target(
        id=row.optional("id", f"{category}: {text}"),
        file=row.file,
        rows=(row.line, common.line) if common else (row.line,),
        category=category,
        text=text,
        group=row.optional("group", text),
        direction=direction,
        neutral=plain,
        control=row.text("kind") == "control-target",
    )


def _whole(parts: Sequence[Part], sieve: Sieve, form: Form) -> list[Part]:
    """The parts of categories that have all they need; others are left out."""
    kept: list[Part] = []
    for category in dict.fromkeys(part.category for part in parts):
        members = [part for part in parts if part.category == category]
        lacking = [
            name
            for name, kind in form.needed
            if not any(isinstance(part, kind) for part in members)
        ]
        if lacking:
            rows = [part.rows[0] for part in members]
            shown = show_plain(category, 40)
            statement = f"the category {shown!r} has no {' and no '.join(lacking)}"
            sieve.out(members[0].file, rows, "empty group", statement)
        else:
            kept += members
    return kept


def _flatten(node: Node, file: str, sieve: Sieve) -> Iterator[Row]:
    categories = node.value if isinstance(node.value, dict) else {}
    if not categories:
        sieve.out(file, (node.line,), "no mapping", "is no mapping of categories")
    for category, body in categories.items():
        parts = body.value if isinstance(body.value, dict) else None
        if parts is None:
            sieve.out(file, (body.line,), "no mapping", f"{show_plain(category)} is no mapping")
            continue
        for key, part in parts.items():
            kind = "neutral" if key == "neutral" else LISTS.get(key)
            if kind is None:
                known = ", ".join(("neutral", *LISTS))
                statement = f"{show_plain(key, 40)} is unknown; known are {known}"
                sieve.out(file, (part.line,), "unknown label", statement)
                continue
            for entry in part.value if isinstance(part.value, list) else [part]:
                try:
                    yield Row(file=file, line=entry.line, fields=_fields(entry, kind, category))
                except Unfit as error:
                    sieve.out(file, (entry.line,), error.kind, str(error))


def _fields(entry: Node, kind: str, category: str) -> dict[str, Any]:
    """A text, a list of two words or a mapping as the fields of a flat row."""
    fields: dict[str, Any] = {"kind": kind, "category": category}
    found = entry.value
    if isinstance(found, str):
        return {**fields, "text": found}
    if isinstance(found, list):
        words = [word.value for word in found]
        if not kind.endswith("pair") or len(words) != 2:
            raise Unfit("no pair", f"a {kind} is no list of {len(words)}")
        return {**fields, "text": words[0], "second": words[1]}
    for name, value in found.items():
        if name in fields or name not in KNOWN:
            raise Unfit("unknown label", f"{show_plain(name, 40)} is no field of a {kind}")
        fields[name] = value.value if isinstance(value.value, str) else None
    return fields


def contrasts(stimuli: Stimuli[Item]) -> tuple[Contrast, ...]:
    """Every template filled with every target and pair of its category, beside the neutral text."""
    made = []
    for category in stimuli.categories():
        parts = [item for item in stimuli.items if item.category == category]
        made += [
            _contrast(template, target, pair)
            for template in parts
            for target in parts
            for pair in parts
            if isinstance(template, Template)
            and isinstance(target, Target)
            and isinstance(pair, WordPair)
        ]
    return tuple(made)


def _contrast(template: Template, target: Target, pair: WordPair) -> Contrast:
    before, after = _around(template.text, target.text)
    neutral_before, neutral_after = _around(template.text, target.neutral)
    capital = "{Attribute}" in template.text
    words = (_capital(pair.first), _capital(pair.second)) if capital else (pair.first, pair.second)
    return Contrast(
        id=f"{template.id} | {target.id} | {pair.id}",
        category=template.category,
        template=template.id,
        target=target.id,
        group=target.group,
        pair=pair.id,
        direction=target.direction,
        control=target.control or pair.control,
        words=words,
        before=before,
        after=after,
        neutral_before=neutral_before,
        neutral_after=neutral_after,
    )


def _around(template: str, target: str) -> tuple[str, str]:
    """What stands before and after the attribute once the target is filled in."""
    before, after = re.split(r"\{[Aa]ttribute\}", template)
    return filled(before, target), filled(after, target)


def filled(template: str, target: str) -> str:
    """A template with its target put in, with a capital where that is wanted."""
    return template.replace("{Target}", _capital(target)).replace("{target}", target)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
