"""Whether a tensor can be told from a fresh draw, by which scheme, and why not."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from inspector.weights import draws, noise
from inspector.weights.draws import Draw
from inspector.weights.schemes import (
    CONSTANTS,
    SHAPES,
    STEPS,
    TRUNCATED_SD,
    Fit,
    Setting,
    ShapeFit,
    fits_of,
    ks_noise,
    scale_error,
    shape_fits,
)

TRAINED = "trained"
TIE = "tie"
TOO_SMALL = "not enough data"
NONE_FITS = "None of these: trained."
LEAST_SIDE = 16  # rows and columns below which a spectrum tells nothing
LEAST_VALUES = 1024  # of a matrix: on fewer, many trained ones pass for normal
LEAST_IN_VECTOR = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the values of one tensor look like; see Initialization for the fields."""

    verdict: str
    reason: str
    scheme: str | None = None
    ties: tuple[str, ...] = ()
    n: int | None = None
    ks: float | None = None
    ks_noise: float | None = None
    scale_ratio: float | None = None
    spikes: int | None = None
    noise_spectrum: bool | None = None
    untrained: bool | None = None


def judge(
    draw: Draw,
    rounding: float,
    setting: Setting,
    spectrum: Callable[[], Float[np.ndarray, " rank"]],
) -> Verdict:
    """The verdict on a matrix of finite values.

    A scheme fits when the KS distance, the largest value, the scale, the spread of row and column
    sizes, the largest singular values and the spread of all are each within what at least 999 of
    1000 fresh tensors of that size give. `rounding` is the relative spacing of the stored dtype;
    `spectrum` is called only where the values themselves look fresh.
    """
    if draw.constant or draw.identity:
        return _constant(draw)
    rows, columns = len(draw.row_energy), len(draw.column_energy)
    enough = min(rows, columns) >= LEAST_SIDE and rows * columns >= LEAST_VALUES
    if enough and (orthogonal := judge_orthogonal(draw, rounding, spectrum)):
        return orthogonal
    largest = max(draw.most, -draw.least) / draw.rms
    shapes = shape_fits(draw.ordered, largest, draw.n, rounding)
    known = Verdict(
        verdict=TRAINED,
        reason="",
        n=len(draw.ordered),
        ks=shapes[0].ks,
        ks_noise=ks_noise(len(draw.ordered)),
        untrained=False,
    )
    if not shapes[0].fits:
        return dataclasses.replace(known, reason=_misfit(shapes[0], known, largest))
    if not enough:
        return dataclasses.replace(
            known,
            verdict=TOO_SMALL,
            untrained=None,
            reason=f"{rows} x {columns} values are too few to tell a trained matrix from a draw.",
        )
    if told := _rows_differ(draw):
        reason = f"{NONE_FITS} Its values look {shapes[0].shape}, but {told}."
        return dataclasses.replace(known, reason=reason)
    return _with_spectrum(known, draw, shapes, rounding, setting, spectrum())


def judge_orthogonal(
    draw: Draw, rounding: float, spectrum: Callable[[], Float[np.ndarray, " rank"]]
) -> Verdict | None:
    """The verdict on a matrix with orthonormal rows or columns, up to a gain; None on any other."""
    gain = draws.orthogonal_gain(draw, rounding)
    if gain is None or not draws.all_equal(spectrum(), rounding):
        return None
    return Verdict(
        verdict="orthogonal",
        scheme="orthogonal",
        scale_ratio=gain,
        noise_spectrum=False,
        untrained=True,
        reason=f"Cannot be told from a fresh draw: all singular values are {gain:.4g}.",
    )


def _constant(draw: Draw) -> Verdict:
    if draw.identity and not draw.constant:
        told = "It is exactly the identity, as drawn: training moves every value."
        return Verdict(verdict="identity", scheme="identity", untrained=True, reason=told)
    scheme = CONSTANTS.get(draw.least, "constant")
    return Verdict(
        verdict=scheme,
        scheme=scheme,
        untrained=True,
        reason=f"Every value is {draw.least:.6g}: nothing was learnt here.",
    )


def _misfit(nearest: ShapeFit, known: Verdict, largest: float) -> str:
    assert known.ks is not None and known.ks_noise is not None
    if known.ks > known.ks_noise:
        return (
            f"{NONE_FITS} The nearest shape is {nearest.shape}, at a KS distance of "
            f"{known.ks:.2g}; a fresh sample of {known.n:,} stays within {known.ks_noise:.2g}."
        )
    return (
        f"{NONE_FITS} Its values look {nearest.shape}, but the largest is {largest:.3g} standard "
        "deviations from 0, which a fresh tensor of this size does not have."
    )


def _rows_differ(draw: Draw) -> str | None:
    rows, columns = draw.row_energy, draw.column_energy
    for what, energies, each in (("rows", rows, columns), ("columns", columns, rows)):
        ratio = draws.uneven(energies, len(each), draw.fourth)
        if ratio is not None:
            return f"the sizes of its {what} vary {ratio:.2g} times as much as those of a draw"
    return None


def _with_spectrum(
    known: Verdict,
    draw: Draw,
    shapes: list[ShapeFit],
    rounding: float,
    setting: Setting,
    singular: Float[np.ndarray, " rank"],
) -> Verdict:
    """The verdict on a matrix whose values look fresh."""
    look = f"{NONE_FITS} Its values look {shapes[0].shape}, but"
    size = len(draw.row_energy), len(draw.column_energy)
    spikes = noise.spikes(singular, *size, draw.rms)
    off = draws.bulk_off(singular, *size)
    known = dataclasses.replace(known, spikes=spikes, noise_spectrum=not spikes and off is None)
    if spikes:
        return dataclasses.replace(
            known, reason=f"{look} singular values beyond those of noise: {spikes}."
        )
    if off is not None:
        told = f"its singular values are spread {off:.3g} times as evenly as those of noise"
        return dataclasses.replace(known, reason=f"{look} {told}.")
    fits = fits_of(shapes, draw.rms, draw.n, rounding, setting)
    names = tuple(fit.scheme for fit in fits)
    return dataclasses.replace(
        known,
        verdict=TIE if len(fits) > 1 else names[0],
        scheme=names[0],
        ties=names if len(fits) > 1 else (),
        scale_ratio=fits[0].scale_ratio,
        ks=next(s.ks for s in shapes if s.shape == fits[0].shape),
        untrained=True,
        reason=f"Cannot be told from a fresh draw: {_named(fits, draw.rms)}; noise spectrum.",
    )


def _named(fits: list[Fit], std: float) -> str:
    first = fits[0]
    if first.scale_ratio is not None:
        told = first.scheme
    elif first.shape in TRUNCATED_SD:
        told = f"{first.scheme} of a normal one of sd {std / TRUNCATED_SD[first.shape]:.3g}"
    else:
        told = f"{first.shape} values of sd {std:.3g}, which no scheme known here gives"
    others = ", ".join(fit.scheme for fit in fits[1:])
    return f"{told} (the same here: {others})" if others else told


def judge_vector(
    values: Float[np.ndarray, " n"],
    kind: str,
    inputs: int | None,
    rounding: float,
    less_one: bool,
) -> Verdict:
    """The verdict on a norm, a bias or another vector of finite values.

    `inputs` is the fan-in of the matrix a bias belongs to; `less_one` says that γ is stored less 1.
    Constants are what almost all schemes give vectors, so they say nothing about training.
    """
    first = float(values[0])
    if bool((values == first).all()):
        if kind == "norm" and less_one and first == 0:
            told = "All zero, which in this family stands for a γ of 1: it passes its input on."
            return Verdict(verdict="identity", scheme="identity", reason=told)
        scheme = CONSTANTS.get(first, "constant")
        told = f"Every value is {first:.6g}, as drawn; that alone does not say it was not trained."
        return Verdict(verdict=scheme, scheme=scheme, reason=told)
    if kind != "norm" and len(values) < LEAST_IN_VECTOR:
        told = f"{len(values)} values are too few to tell a trained vector from a draw."
        return Verdict(verdict=TOO_SMALL, reason=told)
    if kind not in ("norm", "bias"):
        told = "How such vectors are drawn differs from family to family."
        return Verdict(verdict=TOO_SMALL, reason=told)
    std = float(np.sqrt(np.square(values).mean()))
    if kind == "bias" and inputs and std:
        bound = inputs**-0.5
        shape = SHAPES["uniform"]
        largest = float(np.abs(values).max())
        fits = {
            fit.shape: fit
            for fit in shape_fits(np.sort(values) / std, largest / std, len(values), rounding)
        }
        close = abs(std * 3**0.5 / bound - 1) <= STEPS * scale_error(shape, len(values)) + rounding
        if fits["uniform"].fits and close and largest <= bound * (1 + rounding):
            told = f"Cannot be told from torch's default draw: uniform within ±{bound:.3g}."
            return Verdict(
                verdict="torch Linear default",
                scheme="torch Linear default",
                n=len(values),
                ks=fits["uniform"].ks,
                ks_noise=ks_noise(len(values)),
                scale_ratio=std * 3**0.5 / bound,
                reason=told,
            )
    told = f"{NONE_FITS} Its values differ, and schemes give vectors one value."
    return Verdict(verdict=TRAINED, untrained=False, reason=told)
