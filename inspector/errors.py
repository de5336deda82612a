"""Errors a user can act on: what, which, expected against got, and the way out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inspector.results import Finding


class InspectorError(Exception):
    """Something the user can mend; the command line and the pages show it as one line."""


class CheckpointError(InspectorError):
    """A checkpoint of which nothing can be read; `findings` says why, one entry per cause."""

    def __init__(self, message: str, findings: Sequence["Finding"] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class UnsupportedModel(InspectorError):
    """A model that is readable but not of a kind this work can be done on."""


class BadOption(InspectorError):
    """An option whose value is not one of those known, or does not fit the others."""


class NotEnoughData(InspectorError):
    """A number that the given data cannot support."""
