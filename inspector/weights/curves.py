"""Energy lost over many matrices: one threshold for all, or the same sparsity in each."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from inspector.weights import gaussian
from inspector.weights.magnitudes import Magnitudes, union

GRID = tuple(percent / 100 for percent in range(0, 101, 5))
LOST = 0.01  # of the energy: what `sparsity_1pct` allows
Block = tuple[str | None, int | None]  # stack, layer


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupCurve:
    """Fraction of the energy that magnitude pruning takes from many matrices, at GRID's sparsities.

    `by` says what they have in common: "model" (all), "blocks" (all inside blocks, what is usually
    pruned), "layer" (None: outside blocks) or "role". `energy_global` is for one threshold over
    all of them, those in `thresholds` (the largest magnitude removed); `energy_uniform` for the
    same sparsity in each matrix, never less. `energy_noise` is what Gaussian matrices would lose
    of each in the uniform way, and `energy_global_noise` with one threshold, were they of the same
    sizes and scales. `energy_error` is by how much `energy_global` may be too high, and thresholds
    of 32-bit and wider values may be, relatively, 1/1024; 0 where all weights have at most 16 bits.
    `sparsity_1pct` is the global sparsity that loses one per cent. None without energy.
    """

    by: str
    stack: str | None
    layer: int | None
    role: str | None
    matrices: int
    parameters: int
    zeros: int
    energy: float
    energy_global: tuple[float, ...] | None
    energy_global_noise: tuple[float, ...] | None
    energy_uniform: tuple[float, ...] | None
    energy_noise: tuple[float, ...]
    energy_error: float | None
    thresholds: tuple[float, ...]
    sparsity_1pct: float | None
    sparsity_1pct_noise: float


class Group:
    """Adds matrices up; of each its size and energy are held, and all magnitudes together."""

    def __init__(self) -> None:
        self._magnitudes: list[Magnitudes] = []
        self._uniform: Float[np.ndarray, " points"] = np.zeros(len(GRID))
        self._counts: list[int] = []
        self._energies: list[float] = []
        self._zeros = 0

    def add(self, found: Magnitudes, zeros: int, at_grid: Float[np.ndarray, " points"]) -> None:
        """Take one matrix in; `at_grid` is the energy lost at each of GRID's sparsities in it."""
        self._magnitudes = [union([*self._magnitudes, found])]
        self._uniform = self._uniform + at_grid
        self._counts.append(found.n)
        self._energies.append(found.total)
        self._zeros += zeros

    def absorb(self, other: "Group") -> None:
        """Take all matrices of another group in."""
        self._magnitudes = [union([*self._magnitudes, *other._magnitudes])]
        self._uniform = self._uniform + other._uniform
        self._counts += other._counts
        self._energies += other._energies
        self._zeros += other._zeros

    def curve(self, by: str, block: Block = (None, None), role: str | None = None) -> GroupCurve:
        """The record of the group, which must hold a matrix."""
        (found,) = self._magnitudes
        total = found.total
        alive = total > 0
        noise = gaussian.energy_lost(np.array(GRID))
        return GroupCurve(
            by=by,
            stack=block[0],
            layer=block[1],
            role=role,
            matrices=len(self._counts),
            parameters=found.n,
            zeros=self._zeros,
            energy=total,
            energy_global=tuple(found.energy_lost(GRID).tolist()) if alive else None,
            energy_global_noise=self._noise() if alive else None,
            energy_uniform=tuple((self._uniform / self._uniform[-1]).tolist()) if alive else None,
            energy_noise=tuple(noise.tolist()),
            energy_error=found.uncertainty(GRID) if alive else None,
            thresholds=tuple(found.thresholds(GRID).tolist()),
            sparsity_1pct=found.sparsity_losing(LOST) if alive else None,
            sparsity_1pct_noise=gaussian.sparsity_losing(LOST),
        )

    def _noise(self) -> tuple[float, ...]:
        curve = gaussian.mixed_energy_lost(self._counts, self._energies, GRID)
        return tuple(curve.tolist())


class Groups:
    """Sorts matrices by layer and by role as they come."""

    def __init__(self) -> None:
        self._layers: dict[Block, Group] = {}
        self._roles: dict[str, Group] = {}

    def add(
        self,
        block: Block,
        role: str,
        found: Magnitudes,
        zeros: int,
        at_grid: Float[np.ndarray, " points"],
    ) -> None:
        """Take one matrix in."""
        for group in (
            self._layers.setdefault(block, Group()),
            self._roles.setdefault(role, Group()),
        ):
            group.add(found, zeros, at_grid)

    def curves(self) -> list[GroupCurve]:
        """The model, its blocks, each layer, each role; nothing where nothing was measured."""
        inside = [group for (_, layer), group in self._layers.items() if layer is not None]
        made = [
            _union(groups).curve(by)
            for by, groups in (("model", list(self._layers.values())), ("blocks", inside))
            if groups
        ]
        made += [group.curve("layer", block) for block, group in self._layers.items()]
        return made + [group.curve("role", role=role) for role, group in self._roles.items()]


def _union(groups: Sequence[Group]) -> Group:
    whole = Group()
    for group in groups:
        whole.absorb(group)
    return whole
