"""Options of single probes: which there are, and values for them checked before any work."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import pydantic

from inspector.errors import BadOption
from inspector.results import show_plain

COMMON: Final = ("model", "checkpoint", "stimuli", "scorer", "seed", "lines", "progress")


def options_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The options that a probe has beside those of all probes."""
    known = inspect.signature(function).parameters
    return {name: one for name, one in known.items() if name not in COMMON}


def checked(name: str, function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the right types; raises BadOption for others, with those that there are."""
    known = options_of(function)
    made = {}
    for option, value in given.items():
        shown = show_plain(option, 60)
        if option not in known:
            there = ", ".join(known) or "none"
            raise BadOption(f"{name} has no option {shown!r}; it has {there}.")
        kind: Any = pydantic.TypeAdapter(known[option].annotation)
        try:
            made[option] = kind.validate_python(value)
        except pydantic.ValidationError as error:
            told = error.errors()[0]["msg"]
            raise BadOption(
                f"{name}: {shown} = {show_plain(str(value), 60)}: {show_plain(told, 200)}."
            ) from None
    return made
