"""YAML as text, lists and mappings that know their lines: no types, no tags, no aliases."""

import dataclasses
from typing import Final

import yaml

from inspector.fairness.items import BadStimuli
from inspector.results import show_plain

MOST_BYTES: Final = 4 * 2**20  # a megabyte takes seconds
MOST_LEVELS: Final = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """A value and the line it begins on; text stays text, so that `no` is a word."""

    line: int
    value: "str | list[Node] | dict[str, Node]"


def parse_yaml(text: str, name: str) -> Node:
    """The one document of a YAML text; raises BadStimuli with the line for anything else.

    Tags, anchors and aliases are refused: ten lines of them can stand for a thousand million.
    """
    if len(text) > MOST_BYTES:
        raise BadStimuli(f"{show_plain(name)}: YAML is read up to {MOST_BYTES >> 20} MB.")
    try:
        return _document(text, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"row {mark.line + 1}: " if mark else ""
        why = show_plain(error.problem or "not understood")
        raise BadStimuli(f"{show_plain(name)}: {place}is no YAML: {why}.") from None
    except yaml.YAMLError as error:  # a character that YAML forbids, which has no mark
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        why = show_plain(str(getattr(error, "reason", "not understood")))
        raise BadStimuli(f"{show_plain(name)}: row {line}: is no YAML: {why}.") from None
    except (RecursionError, ValueError, OverflowError):  # escapes beyond Unicode
        raise BadStimuli(f"{show_plain(name)}: is no YAML that can be read.") from None


def _document(text: str, name: str) -> Node:
    levels: list[tuple[Node, list[Node]]] = []  # an open node, and a key that waits for its value
    done: Node | None = None
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refused(name, line, "anchors and aliases are not read")
        if getattr(event, "tag", None):
            raise _refused(name, line, "tags are not read")
        node: Node | None = None
        if isinstance(event, yaml.ScalarEvent):
            node = Node(line=line, value=event.value)
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            opened = Node(line=line, value=[] if isinstance(event, yaml.SequenceStartEvent) else {})
            levels.append((opened, []))
            if len(levels) > MOST_LEVELS:
                raise _refused(name, line, f"more than {MOST_LEVELS} levels")
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            node = levels.pop()[0]
        elif isinstance(event, yaml.DocumentStartEvent) and done:
            raise _refused(name, line, "a second document begins")
        if node and levels:
            _put(name, levels[-1], node)
        elif node:
            done = node
    if done is None:
        raise BadStimuli(f"{show_plain(name)}: is empty.")
    return done


def _put(name: str, level: tuple[Node, list[Node]], node: Node) -> None:
    holder, key = level
    if isinstance(holder.value, list):
        holder.value.append(node)
    elif not isinstance(holder.value, dict):
        raise _refused(name, node.line, "text cannot hold anything")
    elif not key:
        if not isinstance(node.value, str):
            raise _refused(name, node.line, "a key must be text")
        if node.value in holder.value:
            raise _refused(name, node.line, f"the key {show_plain(node.value, 40)!r} stands twice")
        key.append(node)
    else:
        holder.value[str(key.pop().value)] = node


def _refused(name: str, line: int, why: str) -> BadStimuli:
    return BadStimuli(f"{show_plain(name)}: row {line}: {why}.")
