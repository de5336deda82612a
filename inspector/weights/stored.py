"""Scans and views kept on disk: the same at once while nothing they rest on has changed."""

from typing import Any

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.results import Coverage, Finding, Skipped, Source, SourceFile
from inspector.weights import cache
from inspector.weights.channels import Axis, ChannelProfile, Outlier
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.scan import Scan, scan
from inspector.weights.statistics import TensorStatistics
from inspector.weights.tensor import Histogram, Picture, TensorView, view
from inspector.weights.tensor import records as tensor_records

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
    if checkpoint.changed():  # what was read belongs to no state of the files: not to be kept
        return measured
    arrays: dict[str, np.ndarray] = {}
    for i, profile in enumerate(measured.channels.values()):
        arrays |= _profile_arrays(profile, f"{i}.")
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
        source=source_of(document["source"]),
        coverage=coverage_of(document["coverage"]),
        summary=document["summary"],
        records=tuple(_record(plain) for plain in document["records"]),
        findings=tuple(Finding(**plain) for plain in document["findings"]),
        channels={
            tensor: _profile(arrays, f"{i}.", outlines[tensor]["outliers"])
            for i, tensor in enumerate(document["profiles"])
        },
    )


def view_key(checkpoint: Checkpoint, name: str) -> str:
    """The name under which the view of a tensor is kept."""
    return cache.key(checkpoint, "view", name=name)


def stored_view(checkpoint: Checkpoint, name: str, progress: Progress = no_progress) -> TensorView:
    """What `view` gives, from disk when it was kept there; else measured and kept."""
    key = view_key(checkpoint, name)
    if (kept := load_view(checkpoint, key, name)) is not None:
        return kept
    found = view(checkpoint, name, progress=progress)
    arrays: dict[str, np.ndarray] = {}
    if found.histogram is not None:
        arrays |= {"edges": found.histogram.edges, "counts": found.histogram.counts}
    if found.profile is not None:
        arrays |= _profile_arrays(found.profile, "")
    picture = found.picture
    if picture is not None:
        arrays["cells"] = picture.cells
    document = {
        **tensor_records(found).to_dict(),
        "picture": None
        if picture is None
        else {"rows": picture.rows, "columns": picture.columns, "reduction": picture.reduction},
    }
    cache.store(key, document, arrays)
    return found


def load_view(checkpoint: Checkpoint, key: str, name: str) -> TensorView | None:
    """The view kept under `key`; None when there is none."""
    if (kept := cache.load(key)) is None:
        return None
    document, arrays = kept
    outliers = document["summary"]["outliers"]
    picture = document["picture"]
    return TensorView(
        entry=checkpoint.tensor(name),
        statistics=_record(document["records"][0]),
        histogram=Histogram(edges=arrays["edges"], counts=arrays["counts"])
        if "edges" in arrays
        else None,
        profile=_profile(arrays, "", outliers) if "rows.mean" in arrays else None,
        picture=Picture(cells=arrays["cells"], **picture) if picture else None,
        findings=tuple(Finding(**plain) for plain in document["findings"]),
        source=source_of(document["source"]),
        coverage=coverage_of(document["coverage"]),
    )


def _record(plain: dict[str, Any]) -> TensorStatistics:
    return TensorStatistics(**{**plain, "shape": tuple(plain["shape"])})


def source_of(plain: dict[str, Any]) -> Source:
    """The source as it was before it became JSON."""
    return Source(**{**plain, "files": tuple(SourceFile(**f) for f in plain["files"])})


def coverage_of(plain: dict[str, Any]) -> Coverage:
    """The coverage as it was before it became JSON."""
    return Coverage(**{**plain, "skipped": tuple(Skipped(**s) for s in plain["skipped"])})


def _profile_arrays(profile: ChannelProfile, prefix: str) -> dict[str, np.ndarray]:
    axes = {"rows": profile.rows, "columns": profile.columns}
    return {
        f"{prefix}{name}.{field}": getattr(axis, field)
        for name, axis in axes.items()
        for field in AXIS
    }


def _profile(
    arrays: dict[str, np.ndarray], prefix: str, outliers: list[dict[str, Any]]
) -> ChannelProfile:
    rows, columns = (
        Axis(**{field: arrays[f"{prefix}{name}.{field}"] for field in AXIS})
        for name in ("rows", "columns")
    )
    return ChannelProfile(
        rows=rows, columns=columns, outliers=tuple(Outlier(**plain) for plain in outliers)
    )
