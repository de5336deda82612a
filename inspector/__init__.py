"""Look inside a transformer checkpoint; every number says how far it can be trusted."""

from inspector.errors import (
    BadOption,
    CheckpointError,
    InspectorError,
    NotEnoughData,
    UnsupportedModel,
)
from inspector.results import Coverage, Estimate, Finding, Records, Source
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.checkpoint import open_checkpoint as open
from inspector.weights.scan import scan
from inspector.weights.tensor import view

__all__ = [
    "BadOption",
    "Checkpoint",
    "CheckpointError",
    "Coverage",
    "Estimate",
    "Finding",
    "InspectorError",
    "NotEnoughData",
    "Records",
    "Source",
    "UnsupportedModel",
    "open",
    "scan",
    "view",
]
