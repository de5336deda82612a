"""JSON Schemas of the documents that `--json` writes, made from the records themselves.

`python -m inspector.report.schema` writes the shipped files again after a record has changed.
"""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import pydantic

from inspector.results import Coverage, Finding, Source
from inspector.weights.census import GroupStatistics, StandOut

FOLDER = Path(__file__).parent / "schemas"
RECORDS = {  # command -> module and name of its record, imported only when it is asked for
    "scan": ("inspector.weights.statistics", "TensorStatistics"),
    "sample": ("inspector.weights.sampled", "SampledStatistics"),
    "tensor": ("inspector.weights.statistics", "TensorStatistics"),
    "health": ("inspector.weights.health", "HealthCheck"),
    "spectrum": ("inspector.weights.spectrum", "MatrixSpectrum"),
    "init": ("inspector.weights.verdicts", "Initialization"),
    "neurons": ("inspector.weights.neuron_records", "Neurons"),
    "prune": ("inspector.weights.pruning", "PrunedMatrix"),
    "quantize": ("inspector.weights.quantization", "QuantizedMatrix"),
    "compare": ("inspector.weights.tensor_change", "TensorChange"),
    "attention": ("inspector.model.records", "HeadAttention"),
    "attribute": ("inspector.model.records", "TokenScore"),
    "attention-map": ("inspector.model.attention_pairs", "AttentionPair"),
    "agreement": ("inspector.model.records", "Agreement"),
    "layers": ("inspector.model.records", "LayerScore"),
    "lens": ("inspector.model.records", "LensPoint"),
    "ablate": ("inspector.model.records", "Ablation"),
    "heads": ("inspector.model.records", "HeadEffect"),
    "activations": ("inspector.model.records", "LayerActivations"),
    "probe": ("inspector.fairness.probes.records", "Probe"),
    "localize": ("inspector.fairness.localize_records", "Localised"),
    "calibrate": ("inspector.fairness.calibration_summary", "Calibration"),
    "probes": ("inspector.fairness.probes.catalog", "ProbeInfo"),
    "plan": ("inspector.finetune.records", "Planned"),
    "finetune": ("inspector.finetune.records", "Metric"),
    "verify-resume": ("inspector.finetune.verify", "Resumed"),
    "demo": ("inspector.demo.catalog", "DemoModel"),
    "doctor": ("inspector.doctor", "Check"),
}


def record_of(command: str) -> type:
    """The record of a command in RECORDS."""
    module, name = RECORDS[command]
    found: type = getattr(importlib.import_module(module), name)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScanSummary:
    """What a scan says of the whole; `channels` only where they were asked for."""

    family: str | None
    layers: int
    census: list[GroupStatistics]
    stand_outs: list[StandOut]
    where: str | None


SUMMARIES: dict[str, type] = {"scan": ScanSummary}


def schema(command: str) -> dict[str, Any]:
    """The schema (draft 2020-12) of the document of a command in RECORDS."""
    record: Any = record_of(command)
    parts: dict[str, Any] = {
        "source": Source,
        "coverage": Coverage,
        "summary": SUMMARIES.get(command, dict[str, Any]),
        "records": list[record],
        "findings": list[Finding],
    }
    fields = {name: (kind, ...) for name, kind in parts.items()}
    model: Any = pydantic.create_model(f"inspector.{command}", **fields)  # type: ignore[call-overload]
    made: dict[str, Any] = model.model_json_schema(mode="serialization")
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["properties"]["schema"] = {"const": f"inspector.{command}/1"}
    made["required"] = ["schema", *made["required"]]
    if command in SUMMARIES:  # of a checkpoint that could not be read there is nothing to say
        whole = made["properties"]["summary"]
        made["properties"]["summary"] = {"anyOf": [whole, {"type": "object", "maxProperties": 0}]}
    made["additionalProperties"] = False
    for name, definition in made["$defs"].items():
        if name != "ScanSummary":
            definition["additionalProperties"] = False
    made["$defs"] = _with_holes(made["$defs"])
    return made


def _with_holes(node: Any) -> Any:
    """A schema in which every real number may be null: so NaN and infinities are written."""
    if isinstance(node, list):
        return [_with_holes(one) for one in node]
    if not isinstance(node, dict):
        return node
    if "anyOf" in node and {"type": "null"} in node["anyOf"]:
        return node
    if node.get("type") == "number":
        title = {"title": node["title"]} if "title" in node else {}
        bare = {key: value for key, value in node.items() if key != "title"}
        return {"anyOf": [bare, {"type": "null"}], **title}
    return {key: _with_holes(value) for key, value in node.items()}


def text(command: str) -> str:
    """The shipped file's content."""
    return json.dumps(schema(command), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for one in RECORDS:
        (FOLDER / f"{one}.json").write_text(text(one))
