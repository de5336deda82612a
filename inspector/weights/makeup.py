"""What a model is made of, from its headers alone: at once, before any value is read."""

import dataclasses
import math

import pandas as pd

from inspector.weights.census import NOT_PARAMETERS
from inspector.weights.checkpoint import Checkpoint

OUTSIDE = "outside"  # embeddings, final norm, head: what stands in no block


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Makeup:
    """What headers alone say a model is made of; `table` and `dtypes` are by layer and kind."""

    parameters: int
    bytes: int
    layers: int
    by_kind: dict[str, int]
    table: pd.DataFrame
    dtypes: pd.DataFrame

    def share(self, kind: str) -> float:
        """Share of all parameters that are of this kind."""
        return self.by_kind.get(kind, 0) / self.parameters if self.parameters else 0.0


def makeup(checkpoint: Checkpoint) -> Makeup:
    """The model's make-up; buffers, scales and second names of a tied matrix are no parameters."""
    stored = inventory(checkpoint)
    counted = stored[~stored["kind"].isin(NOT_PARAMETERS) & ~stored["alias"]]
    keys = ["layer_label", "kind"]
    table = counted.groupby(keys, sort=False).agg(
        parameters=("parameters", "sum"), tensors=("name", "size")
    )
    dtypes = stored.groupby([*keys, "dtype"], sort=False).agg(tensors=("name", "size"))
    return Makeup(
        parameters=int(counted["parameters"].sum()),
        bytes=int(stored["bytes"].sum()),
        layers=checkpoint.architecture.layers,
        by_kind={str(k): int(n) for k, n in counted.groupby("kind")["parameters"].sum().items()},
        table=table.reset_index().rename(columns={"layer_label": "layer"}),
        dtypes=dtypes.reset_index().rename(columns={"layer_label": "layer"}),
    )


def block_label(stack: str | None, layer: float | None) -> str:
    """A block in one word or two: `3`, `decoder 3`, or what stands outside blocks."""
    if layer is None or math.isnan(layer):
        return OUTSIDE
    return f"{stack} {layer:.0f}" if isinstance(stack, str) else f"{layer:.0f}"


def inventory(checkpoint: Checkpoint) -> pd.DataFrame:
    """One row per tensor from the headers alone, in the order of depth."""
    placements = checkpoint.architecture.placements
    rows = []
    for entry in checkpoint.tensors:
        placed = placements[entry.name]
        label = block_label(placed.stack, placed.layer)
        shape = "x".join(map(str, entry.shape)) or "scalar"
        depth = (placed.layer is not None, placed.stack or "", placed.layer or 0)
        shown = (entry.name, label, placed.role, placed.kind, shape, entry.dtype)
        sizes = (entry.parameters, entry.bytes, entry.file, placed.alias_of is not None)
        rows.append((*shown, *sizes, *depth))
    shown_as = ["name", "layer_label", "role", "kind", "shape", "dtype"]
    sized_as = ["parameters", "bytes", "shard", "alias"]
    depth_as = ["inside", "stack", "layer"]
    table = pd.DataFrame(rows, columns=[*shown_as, *sized_as, *depth_as])
    return table.sort_values(depth_as, kind="stable").drop(columns=depth_as).reset_index(drop=True)
