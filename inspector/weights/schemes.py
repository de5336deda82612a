"""Literal tables: how weights are drawn before training, and whether values look like such a draw.

Formulas: Glorot & Bengio 2010 (Xavier); He et al. 2015; LeCun et al. 1998; Nguyen & Salazar 2019
(small-init); Wang & Komatsuzaki 2021 (Wang); Radford et al. 2019 (scaled residual); the defaults of
torch 2.13 and transformers 5.23.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from inspector.weights.sizes import LAYER_KEYS, MOST_BLOCKS, read_sizes, text_config

USUAL = 0.02  # standard deviation of GPT-2, BERT and most since
CHANCE = 1e-4  # a fresh tensor fails a test on one side with this probability
KS_LEVEL = float(special.kolmogi(2 * CHANCE))  # of the KS distance times sqrt(n): 2.15
STEPS = -float(special.ndtri(CHANCE))  # standard errors within which its scale lies: 3.72
WITHIN_2 = math.erf(math.sqrt(2))  # share of a normal distribution within 2 and 3 sd
WITHIN_3 = math.erf(3 / math.sqrt(2))
SD_2 = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / WITHIN_2)  # .8796
SD_3 = math.sqrt(1 - 6 * math.exp(-4.5) / math.sqrt(2 * math.pi) / WITHIN_3)  # .9866

Values = Float[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """A distribution of mean 0 and standard deviation 1, whatever the scale.

    `below(x)` is P(value <= x), `beyond(x)` P(|value| > x), accurate in the tail; `kurtosis` is the
    fourth moment.
    """

    below: Callable[[Values], Values]
    beyond: Callable[[float], float]
    kurtosis: float


def _normal_beyond(x: float) -> float:
    return float(2 * special.ndtr(-x))


def _uniform_below(x: Values) -> Values:
    below: np.ndarray = np.clip((x / math.sqrt(3) + 1) / 2, 0, 1)
    return below


def _truncated(bound: float, inside: float, sd: float, kurtosis: float) -> Shape:
    """A normal distribution cut at `bound` of its own standard deviations."""
    tail = (1 - inside) / 2

    def below(x: Values) -> Values:
        shares: np.ndarray = np.clip((special.ndtr(x * sd) - tail) / inside, 0, 1)
        return shares

    def beyond(x: float) -> float:
        return max(float(2 * (special.ndtr(-x * sd) - tail) / inside), 0.0)

    return Shape(below=below, beyond=beyond, kurtosis=kurtosis)


# In order of how common they are: of two that fit equally well the first is named first.
SHAPES: Mapping[str, Shape] = {
    "normal": Shape(below=special.ndtr, beyond=_normal_beyond, kurtosis=3.0),
    "uniform": Shape(
        below=_uniform_below, beyond=lambda x: max(1 - x / math.sqrt(3), 0.0), kurtosis=1.8
    ),
    "truncated normal (3 sd)": _truncated(3, WITHIN_3, SD_3, 2.829),
    "truncated normal (2 sd)": _truncated(2, WITHIN_2, SD_2, 2.366),
}
TRUNCATED_SD = {"truncated normal (3 sd)": SD_3, "truncated normal (2 sd)": SD_2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What the scale of a scheme depends on; None where neither file nor config tells.

    `inputs` and `outputs` are the fans of the matrix, `fused_outputs` those of the tensor it is a
    part of; `width` the model's hidden size, `layers` its depth, `spread` its initializer_range.
    """

    inputs: int
    outputs: int
    fused_outputs: int
    width: int | None
    layers: int | None
    spread: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scheme:
    """A way to draw weights: the shape of the distribution and its standard deviation."""

    name: str
    shape: str
    std: Callable[[Setting], float | None]


def _usual(s: Setting) -> float | None:
    return USUAL


def _spread(s: Setting) -> float | None:
    return None if s.spread == USUAL else s.spread


def _residual(s: Setting) -> float | None:
    return USUAL / math.sqrt(2 * s.layers) if s.layers else None


def _residual_config(s: Setting) -> float | None:
    spread = _spread(s)
    return spread / math.sqrt(2 * s.layers) if s.layers and spread else None


def _small(s: Setting) -> float | None:
    return math.sqrt(2 / (5 * s.width)) if s.width else None


def _wang(s: Setting) -> float | None:
    return 2 / (s.layers * math.sqrt(s.width)) if s.layers and s.width else None


def _xavier(s: Setting) -> float | None:
    return math.sqrt(2 / (s.inputs + s.outputs))


def _xavier_fused(s: Setting) -> float | None:
    return math.sqrt(2 / (s.inputs + s.fused_outputs)) if s.fused_outputs > s.outputs else None


def _he(s: Setting) -> float | None:
    return math.sqrt(2 / s.inputs)


def _lecun(s: Setting) -> float | None:
    return math.sqrt(1 / s.inputs)


# Of schemes that fit equally well the first is named first. A uniform draw of bound b has sd b/√3.
SCHEMES: tuple[Scheme, ...] = (
    Scheme(name="N(0, initializer_range)", shape="normal", std=_spread),
    Scheme(name="N(0, 0.02)", shape="normal", std=_usual),
    Scheme(name="scaled residual initializer_range/√(2L)", shape="normal", std=_residual_config),
    Scheme(name="scaled residual 0.02/√(2L)", shape="normal", std=_residual),
    Scheme(name="Xavier normal", shape="normal", std=_xavier),
    Scheme(name="Xavier uniform", shape="uniform", std=_xavier),
    Scheme(name="Xavier normal (of the fused tensor)", shape="normal", std=_xavier_fused),
    Scheme(name="Xavier uniform (of the fused tensor)", shape="uniform", std=_xavier_fused),
    Scheme(name="He normal", shape="normal", std=_he),
    Scheme(name="He uniform", shape="uniform", std=_he),
    Scheme(name="LeCun normal", shape="normal", std=_lecun),
    Scheme(name="LeCun uniform", shape="uniform", std=_lecun),
    Scheme(
        name="torch Linear default", shape="uniform", std=lambda s: math.sqrt(1 / (3 * s.inputs))
    ),
    Scheme(name="torch Embedding N(0, 1)", shape="normal", std=lambda s: 1.0),
    Scheme(name="small-init", shape="normal", std=_small),
    Scheme(name="Wang", shape="normal", std=_wang),
)
CONSTANTS: Mapping[float, str] = {0.0: "zeros", 1.0: "ones"}  # any other value: "constant"
MOST_SPREAD = 1e3  # a config that states more states nonsense
SPREADS = ("initializer_range", "init_std")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A scheme whose draws look like the values at hand.

    `scale_ratio` is the measured standard deviation over the scheme's; None where the scheme takes
    its scale from the values.
    """

    scheme: str
    shape: str
    scale_ratio: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapeFit:
    """How far the values are from one shape: `ks` their KS distance, at their own scale."""

    shape: str
    ks: float
    fits: bool


def setting_of(config: Mapping[str, Any] | None) -> Setting:
    """Width, depth and spread a config states, with fans still to be filled in."""
    text = text_config(config or {})
    layers = [text.get(key) for key in LAYER_KEYS]
    spreads = [v for key in SPREADS if isinstance(v := text.get(key), int | float)]
    return Setting(
        inputs=1,
        outputs=1,
        fused_outputs=1,
        width=read_sizes(text, None).hidden,
        layers=next((v for v in layers if type(v) is int and 0 < v <= MOST_BLOCKS), None),
        spread=next((float(v) for v in spreads if 0 < v < MOST_SPREAD), None),
    )


def ks_noise(n: int) -> float:
    """KS distance that a fresh sample of n exceeds once in 5000 draws, at most.

    2.15 / sqrt(n), Kolmogorov's; a scale taken from the sample only makes the distance smaller.
    """
    return KS_LEVEL / math.sqrt(n)


def ks_distance(ordered: Values, shape: Shape) -> float:
    """Largest gap between the sample's and the shape's cumulative shares, in [0, 1].

    `ordered` ascends, in standard deviations. Shares are compared halfway between neighbouring
    values, where rounding to a stored dtype changes neither of them.
    """
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
    distinct = ordered[last]
    between = (distinct[1:] + distinct[:-1]) / 2
    gaps = np.abs((last[:-1] + 1) / len(ordered) - shape.below(between))
    return float(gaps.max(initial=0.5 if len(distinct) == 1 else 0.0))


def scale_error(shape: Shape, n: int) -> float:
    """Standard error of the standard deviation of n fresh values, relative to it."""
    return math.sqrt((shape.kurtosis - 1) / (4 * n))


def extreme_fits(shape: Shape, largest: float, n: int, tolerance: float) -> bool:
    """Whether `largest`, in standard deviations, can be the largest magnitude of n fresh values.

    P(largest <= x) = (1 - beyond(x))^n; `tolerance` is how uncertain x is, relative to it.
    """
    most = n * math.log1p(-min(shape.beyond(largest * (1 + tolerance)), 1 - 1e-16))
    least = n * math.log1p(-min(shape.beyond(largest * (1 - tolerance)), 1 - 1e-16))
    return most >= math.log(CHANCE) and least <= math.log1p(-CHANCE)


def shape_fits(ordered: Values, largest: float, n: int, rounding: float) -> list[ShapeFit]:
    """Every shape with its distance from the values, nearest first.

    `ordered` is a sample in ascending order, `largest` the largest magnitude of all `n` values,
    both in standard deviations; `rounding` the relative spacing of the stored dtype.
    """
    found = []
    for name, shape in SHAPES.items():
        ks = ks_distance(ordered, shape)
        tolerance = STEPS * scale_error(shape, n) + rounding
        fits = ks <= ks_noise(len(ordered)) and extreme_fits(shape, largest, n, tolerance)
        found.append(ShapeFit(shape=name, ks=ks, fits=fits))
    return sorted(found, key=lambda fit: (not fit.fits, fit.ks))


def fits_of(
    shapes: Sequence[ShapeFit], std: float, n: int, rounding: float, setting: Setting
) -> list[Fit]:
    """Every scheme that a tensor of these shapes and this standard deviation may be drawn by.

    Best first. A scheme of fixed scale fits when the scale is within its sampling error and half
    a rounding step; where none does, the shape itself is named, with the scale of the values.
    """
    found: list[Fit] = []
    for one in (s for s in shapes if s.fits):
        shape, name = SHAPES[one.shape], one.shape
        if name in TRUNCATED_SD:
            found.append(Fit(scheme=name, shape=name, scale_ratio=None))
            continue
        tolerance = STEPS * scale_error(shape, n) + rounding / 2
        stated: dict[str, float] = {}
        for scheme in SCHEMES:
            expected = scheme.std(setting) if scheme.shape == name else None
            if expected and abs(std / expected - 1) <= tolerance:
                stated[scheme.name] = std / expected
        found += [Fit(scheme=s, shape=name, scale_ratio=ratio) for s, ratio in stated.items()]
        if not stated:
            found.append(Fit(scheme=f"{name}, other scale", shape=name, scale_ratio=None))
    return sorted(found, key=lambda fit: fit.scale_ratio is None)
