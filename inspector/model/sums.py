"""Sums over tokens, so that activations of any number of texts are measured without being kept."""

from collections.abc import Callable

import torch
from torch import Tensor

FLAT = 0.05  # a slope below it passes next to no gradient
NEAR_ONE = 0.15  # GELU and SiLU swing to 1.13 and 1.10 before they settle at 1
SILENT = 1e-3  # of how loud the middle unit of the layer gets; a few huge ones do not count


class Sizes:
    """Root of the mean square, and the largest value, of all tensors added."""

    def __init__(self) -> None:
        self.squares = 0.0
        self.numbers = self.rows = 0
        self.largest = 0.0

    def add(self, values: Tensor) -> None:
        """Take in the values of one call."""
        self.squares += float(values.double().square().sum())
        self.numbers += values.numel()
        self.rows += values.numel() // values.shape[-1]
        self.largest = max(self.largest, float(values.abs().max()))

    @property
    def rms(self) -> float:
        """Root of the mean square; 0 where nothing was added."""
        return float((self.squares / self.numbers) ** 0.5) if self.numbers else 0.0


class Units:
    """What each unit of an activation function gave over all tokens, and its slope there."""

    FIELDS = ("units", "dead_units", "saturated_units", "linear_units", "saturated_share")

    def __init__(self) -> None:
        self.sizes = Sizes()
        self.loudest = self.steepest = self.least = self.most = torch.zeros(0)
        self.flat = 0

    def add(self, before: Tensor, after: Tensor, function: Callable[[Tensor], Tensor]) -> None:
        """Take in one call: what entered the function, what left it, and the function itself."""
        slope = slopes(function, before).flatten(0, -2)
        values = after.float().abs().flatten(0, -2)
        first = not self.sizes.numbers
        self.sizes.add(after)
        self.flat += int((slope.abs() <= FLAT).sum())
        found = values.amax(0), slope.abs().amax(0), slope.amin(0), slope.amax(0)
        if not first:
            found = (
                torch.maximum(found[0], self.loudest),
                torch.maximum(found[1], self.steepest),
                torch.minimum(found[2], self.least),
                torch.maximum(found[3], self.most),
            )
        self.loudest, self.steepest, self.least, self.most = found

    def counts(self) -> dict[str, int | float]:
        """The fields of a record that count units."""
        linear = (self.least >= 1 - NEAR_ONE) & (self.most <= 1 + NEAR_ONE)
        return {
            "units": len(self.loudest),
            "dead_units": int((self.loudest <= SILENT * self.loudest.median()).sum()),
            "saturated_units": int((self.steepest <= FLAT).sum()),
            "linear_units": int(linear.sum()),
            "saturated_share": self.flat / self.sizes.numbers,
        }


def slopes(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Derivative of a function of single numbers at each value, in float32."""
    given = at.detach().float().requires_grad_(True)
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(function(given).sum(), given)
    return slope
