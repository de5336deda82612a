"""Scans that are kept on disk: the same records at once while nothing they rest on has changed."""

from typing import Any

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.results import Coverage, Finding, Skipped, Source, SourceFile
from inspector.weights import cache
from inspector.weights.channels import Axis, ChannelProfile, Outlier
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.scan import Scan, scan
from inspector.weights.statistics import TensorStatistics

AXIS = ("mean", "rms", "abs_max", "abs_max_at")


def scan_key(checkpoint: Checkpoint, where: str | None = None, channels: bool = False) -> str:
    """The name under which a scan of this checkpoint is kept."""
    return cache.key(checkpoint, "scan", where=where, channels=channels)


def stored_scan(
    checkpoint: Checkpoint,
    where: str | None = None,
    channels: bool = False,
    progress: Progress = no_progress,
) -> Scan:
    """What `scan` gives, from disk when the same scan was kept there; else measured and kept."""
    name = scan_key(checkpoint, where, channels)
    if (kept := load_scan(name)) is not None:
        return kept
    measured = scan(checkpoint, where, channels, progress)
    arrays = {}
    for i, profile in enumerate(measured.channels.values()):
        for axis in ("rows", "columns"):
            for field in AXIS:
                arrays[f"{i}.{axis}.{field}"] = getattr(getattr(profile, axis), field)
    cache.store(name, {**measured.to_dict(), "profiles": list(measured.channels)}, arrays)
    return measured


def load_scan(name: str) -> Scan | None:
    """The scan kept under `name`; None when there is none."""
    if (kept := cache.load(name)) is None:
        return None
    document, arrays = kept
    outlines = {one["name"]: one for one in document["summary"].get("channels", [])}
    return Scan(
        command="scan",
        record_type=TensorStatistics,
        source=_source(document["source"]),
        coverage=Coverage(
            **{
                **document["coverage"],
                "skipped": tuple(Skipped(**s) for s in document["coverage"]["skipped"]),
            }
        ),
        summary=document["summary"],
        records=tuple(
            TensorStatistics(**{**r, "shape": tuple(r["shape"])}) for r in document["records"]
        ),
        findings=tuple(Finding(**f) for f in document["findings"]),
        channels={
            tensor: ChannelProfile(
                rows=_axis(arrays, i, "rows"),
                columns=_axis(arrays, i, "columns"),
                outliers=tuple(Outlier(**o) for o in outlines[tensor]["outliers"]),
            )
            for i, tensor in enumerate(document["profiles"])
        },
    )


def _source(plain: dict[str, Any]) -> Source:
    return Source(**{**plain, "files": tuple(SourceFile(**f) for f in plain["files"])})


def _axis(arrays: dict[str, np.ndarray], i: int, axis: str) -> Axis:
    return Axis(**{field: arrays[f"{i}.{axis}.{field}"] for field in AXIS})
