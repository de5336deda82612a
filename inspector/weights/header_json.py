"""A header's JSON as pairs (duplicate names stay visible), no laxer than the reference reader.

Python's own parser also takes NaN, infinities, half surrogate pairs and any depth and size.
"""

import json
import math
import re
from typing import Any

from inspector.results import show_plain
from inspector.weights.problems import Log

DEEPEST = 100  # the reference reader stops at 128
LONGEST_NUMBER = 300  # digits; more than this is infinite for the reference reader


class Pairs(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that duplicate names stay visible."""

    __slots__ = ()  # a header may hold millions of them


class _OtherNumber:
    """A JSON number that is no count: negative or with a fraction. Fit for no field we use."""

    __slots__ = ()


class _NumberError(ValueError):
    """A number that the reference reader cannot hold."""


def _parse_integer(text: str) -> int | _OtherNumber:
    if len(text) > LONGEST_NUMBER:
        raise _NumberError(f"a number of {len(text)} digits")
    return _OtherNumber() if text.startswith("-") else int(text)


def _parse_float(text: str) -> _OtherNumber:
    if len(text) > LONGEST_NUMBER or math.isinf(float(text)):
        raise _NumberError(f"the number {show_plain(text, 20)}, which is too large")
    return _OtherNumber()


def _parse_constant(text: str) -> None:
    raise _NumberError(f"{text}, which is not JSON")


def parse(text: str, file: str, log: Log) -> Pairs | None:
    """The header's pairs; None, with a finding, when it is not a JSON object."""
    try:
        document = json.loads(
            text,
            object_pairs_hook=Pairs,
            parse_int=_parse_integer,
            parse_float=_parse_float,
            parse_constant=_parse_constant,
        )
    except json.JSONDecodeError as error:
        byte = 8 + len(text[: error.pos].encode("utf-8"))
        log.add("ST-JSON", file, f"the header is not JSON at byte {byte}: {error.msg}", byte=byte)
        return None
    except RecursionError:
        log.add("ST-NESTED", file, f"the header is nested deeper than {DEEPEST} levels")
        return None
    except _NumberError as error:
        log.add("ST-NUMBER", file, f"the header holds {error}")
        return None
    if not isinstance(document, Pairs):
        log.add("ST-NOTOBJECT", file, "the header is JSON, but not an object")
        return None
    if "\\u" in text and (name := _lone_surrogate(document)) is not None:
        log.add("ST-UTF8", file, f"the header holds half a surrogate pair in {show_plain(name)}")
        return None
    if _depth(document) > DEEPEST:
        log.add("ST-NESTED", file, f"the header is nested deeper than {DEEPEST} levels")
        return None
    return document


def _children(value: object) -> list[Any]:
    if isinstance(value, Pairs):
        return [part for pair in value for part in pair]
    return value if isinstance(value, list) else []


def _lone_surrogate(document: Pairs) -> str | None:
    """A string that UTF-8 cannot hold, if the document has one."""
    level: list[Any] = [document]
    while level:
        for value in level:
            if isinstance(value, str) and re.search(r"[\ud800-\udfff]", value):
                return value
        level = [child for value in level for child in _children(value)]
    return None


def _depth(document: Pairs) -> int:
    """How deep the document nests; stops counting just past DEEPEST."""
    level: list[Any] = [document]
    depth = 0
    while level and depth <= DEEPEST:
        depth += 1
        level = [child for value in level for child in _children(value) if isinstance(child, list)]
    return depth
