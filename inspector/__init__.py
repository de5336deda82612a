"""Look inside a transformer checkpoint; every number says how far it can be trusted."""

import importlib
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from inspector.fairness.calibration import calibrate
    from inspector.fairness.localize import localize
    from inspector.fairness.probes.catalog import probes
    from inspector.fairness.probes.table import probe
    from inspector.model.ablation import ablate
    from inspector.model.activations import activations
    from inspector.model.agreement import agreement
    from inspector.model.attention import attention
    from inspector.model.attention_map import attention_map
    from inspector.model.attribution import attribute
    from inspector.model.heads import heads
    from inspector.model.layers import answer_neurons, layers
    from inspector.model.lens import lens
    from inspector.model.load import load
    from inspector.weights.compare import compare
    from inspector.weights.health import health
    from inspector.weights.initialization import initialization
    from inspector.weights.neurons import neurons
    from inspector.weights.pruning import prune
    from inspector.weights.quantization import quantize
    from inspector.weights.spectrum import spectrum

# Imported when first asked for: what they need is not needed to open or scan a checkpoint.
LATER = {
    "ablate": "inspector.model.ablation",
    "activations": "inspector.model.activations",
    "agreement": "inspector.model.agreement",
    "answer_neurons": "inspector.model.layers",
    "attention": "inspector.model.attention",
    "attention_map": "inspector.model.attention_map",
    "attribute": "inspector.model.attribution",
    "calibrate": "inspector.fairness.calibration",
    "compare": "inspector.weights.compare",
    "heads": "inspector.model.heads",
    "health": "inspector.weights.health",
    "initialization": "inspector.weights.initialization",
    "layers": "inspector.model.layers",
    "lens": "inspector.model.lens",
    "load": "inspector.model.load",
    "localize": "inspector.fairness.localize",
    "neurons": "inspector.weights.neurons",
    "probe": "inspector.fairness.probes.table",
    "probes": "inspector.fairness.probes.catalog",
    "prune": "inspector.weights.pruning",
    "quantize": "inspector.weights.quantization",
    "spectrum": "inspector.weights.spectrum",
}

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
    "ablate",
    "activations",
    "agreement",
    "answer_neurons",
    "attention",
    "attention_map",
    "attribute",
    "calibrate",
    "compare",
    "heads",
    "health",
    "initialization",
    "layers",
    "lens",
    "load",
    "localize",
    "neurons",
    "open",
    "probe",
    "probes",
    "prune",
    "quantize",
    "scan",
    "spectrum",
    "view",
]


def __getattr__(name: str) -> Any:
    if name in LATER:
        return getattr(importlib.import_module(LATER[name]), name)
    raise AttributeError(f"module 'inspector' has no attribute {name!r}")
