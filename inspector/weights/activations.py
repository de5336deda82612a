"""Activation functions, their slopes, and what they leave of the size of a random signal."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import special

Curve = Callable[[np.ndarray], np.ndarray]

NODES = 64  # of the Gauss-Hermite quadrature
POINTS, MASSES = np.polynomial.hermite_e.hermegauss(NODES)


def _relu(x: np.ndarray) -> np.ndarray:
    values: np.ndarray = np.maximum(x, 0.0)
    return values


def _gelu(x: np.ndarray) -> np.ndarray:
    values: np.ndarray = x * special.ndtr(x)
    return values


def _gelu_slope(x: np.ndarray) -> np.ndarray:
    slope: np.ndarray = special.ndtr(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return slope


def _silu(x: np.ndarray) -> np.ndarray:
    values: np.ndarray = x * special.expit(x)
    return values


def _silu_slope(x: np.ndarray) -> np.ndarray:
    gate = special.expit(x)
    slope: np.ndarray = gate * (1 + x * (1 - gate))
    return slope


def _linear_slope(x: np.ndarray) -> np.ndarray:
    return np.ones_like(x)


_GELU, _SILU = (_gelu, _gelu_slope), (_silu, _silu_slope)
ACTIVATIONS: Mapping[str, tuple[Curve, Curve]] = {  # a function and its slope
    "relu": (_relu, lambda x: (x > 0).astype(float)),
    "relu2": (lambda x: _relu(x) ** 2, lambda x: 2 * _relu(x)),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "linear": (lambda x: x, _linear_slope),
    **dict.fromkeys(("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu"), _GELU),
    **dict.fromkeys(("silu", "swish"), _SILU),
}
ACTIVATION_KEYS = (
    *("hidden_act", "hidden_activation", "activation_function", "activation", "feed_forward_proj"),
)
# Of families whose config does not name it. Source: transformers 5.23.
BY_FAMILY = {"bloom": "gelu", "mpt": "gelu", "dbrx": "silu", "modernbert": "gelu"}


def activation_of(config: Mapping[str, Any], family: str | None) -> str:
    """Name of the activation of a model's blocks; "linear" where none is known."""
    for key in ACTIVATION_KEYS:
        stated = config.get(key)
        if isinstance(stated, str) and (name := stated.removeprefix("gated-")) in ACTIVATIONS:
            return name
    return BY_FAMILY.get(family or "", "linear")


def mean_square(curve: Curve, variance: float) -> float:
    """E[curve(x)²] for x normal with mean 0; Gauss-Hermite quadrature, exact for polynomials."""
    values = curve(math.sqrt(variance) * POINTS)
    return float(MASSES @ (values * values) / MASSES.sum())
