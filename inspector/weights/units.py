"""Hidden units of MLPs: row i of up and gate, their biases and column i of down, as one thing."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.directions import Alike, Rows
from inspector.weights.layouts import take
from inspector.weights.matrices import Matrix
from inspector.weights.partners import Group, groups
from inspector.weights.scan import read_values
from inspector.weights.sizes import text_config

SATURATED = 4.0  # sd: fewer than 1 in 30,000 inputs of unit variance change the unit's sign
KEPT = 20  # units of each sort told by number
BIAS_NAMES = (  # how the name of a matrix ends, and that of its bias
    *(("weight", "bias"), ("qweight", "bias"), ("weight_packed", "bias"), ("_blocks", "_bias")),
    ("", "_bias"),
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Axes:
    """What stands out among the outputs (rows) and inputs (columns) of a matrix, and its bias."""

    out: Rows
    into: Rows
    bias: Float[np.ndarray, " rows"] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mlp:
    """The hidden units of one MLP or expert.

    `dead_in` do not depend on the input (what feeds them is zero), `dead_out` are not read, `dead`
    either. `always_on` and `always_off` have a bias of more than SATURATED times the length of
    the row it is added to: inputs of unit variance (what a norm without gain gives) hardly ever
    change their sign; None without a bias. `duplicates` compute what an earlier unit computes, up
    to a factor; None where that could not be told. `*_at` are the first KEPT by number.
    """

    name: str
    layer: int | None
    role: str
    stack: str | None
    expert: int | None
    units: int
    activation: str | None
    dead: int
    dead_in: int
    dead_out: int
    always_on: int | None
    always_off: int | None
    duplicates: int | None
    dead_at: tuple[int, ...]
    saturated_at: tuple[int, ...]
    duplicates_at: tuple[int, ...]


def mlps(found: Sequence[Matrix]) -> list[Group]:
    """Matrices of every MLP and expert, by role without `expert_`; `gate` only where there is one.

    One without `up` or `down`, or whose sizes do not fit together, is none.
    """
    made: list[Group] = []
    for start in ("", "expert_"):
        roles = [f"{start}{role}" for role in ("up", "gate", "down")]
        for group in groups(found, roles[0], roles[1:]):
            plain = {role.removeprefix("expert_"): matrix for role, matrix in group.items()}
            sizes = {m.columns if role == "down" else m.rows for role, m in plain.items()}
            if "down" in plain and len(sizes) == 1:
                made.append(plain)
    return made


def activated(found: Sequence[Matrix], made: Sequence[Group]) -> set[str]:
    """Names of matrices whose outputs go straight into an activation function."""
    gated = {group["up"].name for group in made if "gate" in group}
    roles = ("up", "gate", "expert_up", "expert_gate", "pooler")
    return {m.name for m in found if m.role in roles and m.name not in gated}


def bias_of(checkpoint: Checkpoint, matrix: Matrix, reader: Reader) -> np.ndarray | None:
    """The bias added to the outputs of a matrix, float64; None where there is none."""
    name = matrix.entry.name
    placements = checkpoint.architecture.placements
    for end, instead in BIAS_NAMES:
        other = placements.get(f"{name.removesuffix(end)}{instead}") if name.endswith(end) else None
        if other is None or other.kind != "bias":
            continue
        entry = checkpoint.tensor(other.name)
        if entry.unreadable or entry.dtype not in ("F64", "F32", "F16", "BF16"):
            return None
        values = read_values(entry, reader, 0, entry.parameters).reshape(entry.shape)
        if matrix.part is not None:
            part = next((part for part in other.parts if part.role == matrix.role), None)
            if part is None:
                return None
            values = take(values, part)
        if matrix.stacked is not None and values.size == (other.experts or 0) * matrix.rows:
            values = values.reshape(-1, matrix.rows)[matrix.stacked]
        return values.ravel() if values.size == matrix.rows else None
    return None


def saturation(
    lengths: Float[np.ndarray, " rows"], bias: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    """Bias over the sd that inputs of unit variance give the row; infinite for a row of zeros."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bias == 0, 0.0, bias / lengths)


def measure_mlp(group: Group, axes: Mapping[str, Axes], activation: str | None) -> Mlp:
    """The record of an MLP; `axes` are those of its matrices, by role."""
    up, gate, down = axes["up"], axes.get("gate"), axes["down"]
    blind = _constant_zero(up)
    if gate is not None:
        blind = blind | _constant_zero(gate) | (up.out.dead & gate.out.dead)
    else:
        blind = up.out.dead
    unread = down.into.dead
    first = gate or up
    on = off = None
    saturated = np.zeros(len(blind), dtype=bool)
    if first.bias is not None:
        sizes = np.where(first.out.dead, 0.0, saturation(first.out.lengths, first.bias))
        on, off = (int(np.count_nonzero(side)) for side in (sizes > SATURATED, sizes < -SATURATED))
        saturated = np.abs(sizes) > SATURATED
    again = _repeated([axes[role] for role in ("up", "gate") if role in axes])
    matrix = group["up"]
    return Mlp(
        name=matrix.name,
        layer=matrix.layer,
        role=matrix.role,
        stack=matrix.stack,
        expert=matrix.expert,
        units=matrix.rows,
        activation=activation,
        dead=int(np.count_nonzero(blind | unread)),
        dead_in=int(np.count_nonzero(blind)),
        dead_out=int(np.count_nonzero(unread)),
        always_on=on,
        always_off=off,
        duplicates=None if again is None else len(again),
        dead_at=_places(blind | unread),
        saturated_at=_places(saturated),
        duplicates_at=() if again is None else tuple(sorted(again)[:KEPT]),
    )


def _constant_zero(axes: Axes) -> Bool[np.ndarray, " rows"]:
    """Rows that give 0 whatever comes in: no weights and no bias."""
    return axes.out.dead if axes.bias is None else axes.out.dead & (axes.bias == 0)


def _repeated(read: Sequence[Axes]) -> set[int] | None:
    """Units whose every incoming row, bias included, is that of one and the same earlier unit."""
    pairs: set[tuple[int, int]] | None = None
    for axes in read:
        if axes.out.alike is None:
            return None
        here = {(one.row, one.like) for one in axes.out.alike if _same_bias(one, axes.bias)}
        pairs = here if pairs is None else pairs & here
    return {row for row, _ in pairs or ()}


def _same_bias(one: Alike, bias: Float[np.ndarray, " rows"] | None) -> bool:
    if bias is None:
        return True
    return bool(np.isclose(bias[one.row], one.ratio * bias[one.like], rtol=0.01, atol=0))


def _places(which: Bool[np.ndarray, " n"]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.flatnonzero(which)[:KEPT])


def activation_of(checkpoint: Checkpoint) -> str | None:
    """The activation function the config names; None where it names none."""
    config = text_config(checkpoint.config or {})
    keys = ("hidden_act", "hidden_activation", "activation_function", "activation", "dense_act_fn")
    return next((config[key] for key in keys if isinstance(config.get(key), str)), None)
