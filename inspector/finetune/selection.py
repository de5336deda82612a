"""Layers ranked by what their weights show beyond noise, beside the choice that chance makes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from inspector.errors import BadOption, NotEnoughData
from inspector.finetune.config import Strategy
from inspector.finetune.tensors import Layer
from inspector.weights.checkpoint import Checkpoint, open_checkpoint
from inspector.weights.compare import compare
from inspector.weights.matrices import matrices
from inspector.weights.spectrum import NOISE, MatrixSpectrum, spectrum

AGREE: Final = 2  # matrices of a layer above noise: one among a model's many can be chance
SMALL: Final = ("too small to tell", "all zero")  # verdicts under which a matrix tells nothing


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerScore:
    """What a layer's weights show: `score` in [0, 1] for spectra, 0 for noise; more is first.

    Noise is also what fewer than two matrices of a layer tell apart from it.

    None where no matrix of it is large enough to tell. `matrices` are those the score is a mean
    over, `above_noise` how many of them are told from noise.
    """

    layer: Layer
    score: float | None
    matrices: int
    above_noise: int
    chosen: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which layers were ranked first, and how many of them chance and the top would have chosen.

    `overlap_random` counts those that random-layers draws by the same seed, of which chance gives
    `overlap_expected` in the mean; `overlap_last` those among as many last layers.
    """

    measure: str
    layers: tuple[LayerScore, ...]
    chosen: int
    overlap_last: int
    overlap_random: int
    overlap_expected: float


def counted(options: Strategy, layers: int) -> int:
    """How many layers the share is; raises BadOption where that is none or all."""
    count = round(options.share * layers)
    if not 0 < count < layers:
        several = f"between {1 / layers:.3g} and {1 - 1 / layers:.3g}" if layers > 1 else "of more"
        raise BadOption(
            f"strategy.share: {options.share} of {layers} layers is {count}; neither none nor all "
            f"can be a choice. Give a share {several}, or another strategy."
        )
    return count


def selected(
    checkpoint: Checkpoint, layers: Sequence[Layer], options: Strategy, seed: int
) -> Selection:
    """Rank the layers of a checkpoint from its files alone, and choose the first.

    Raises NotEnoughData where fewer layers stand above noise than the share asks for.
    """
    count = counted(options, len(layers))
    is_drift = options.measure == "drift"
    scores = drifts(checkpoint, options) if is_drift else signals(checkpoint, options.measure)
    ranked = sorted(
        (one for one in scores.values() if one.layer in layers and one.score),
        key=lambda one: -(one.score or 0.0),
    )
    if len(ranked) < count:
        raise NotEnoughData(
            f"strategy inspection-guided: {len(ranked)} of {len(layers)} layers stand above noise "
            f"by {options.measure}, but {count} are to be chosen. Lower strategy.share, or take "
            "random-layers: what is left is no better than chance."
        )
    chosen = {one.layer for one in ranked[:count]}
    nothing = {la: LayerScore(layer=la, score=None, matrices=0, above_noise=0) for la in layers}
    drawn = np.random.default_rng(seed).choice(len(layers), count, replace=False)
    return Selection(
        measure=options.measure,
        layers=tuple(
            dataclasses.replace(scores.get(la, nothing[la]), chosen=la in chosen) for la in layers
        ),
        chosen=count,
        overlap_last=len(chosen.intersection(layers[-count:])),
        overlap_random=len(chosen.intersection(layers[place] for place in drawn)),
        overlap_expected=count**2 / len(layers),
    )


def signals(checkpoint: Checkpoint, measure: str) -> dict[Layer, LayerScore]:
    """The score of each layer: the mean of `signal` over its matrices, where two stand out."""
    of = {one.name: one for one in matrices(checkpoint)[0] if one.layer is not None}
    found: dict[Layer, list[float]] = {}
    for record in spectrum(checkpoint, replicates=0, device="cpu"):
        if (matrix := of.get(record.name)) is None or matrix.layer is None:
            continue
        if (value := signal(record, measure)) is not None:
            found.setdefault((matrix.stack, matrix.layer), []).append(value)
    return _scores(found, AGREE)


def signal(record: MatrixSpectrum, measure: str) -> float | None:
    """How far a matrix is from noise of its shape, in [0, 1]; whatever its scale, 0 for noise.

    signal-to-noise: share of its energy in singular values that noise does not reach, the noise
    taken from the median one. stable-rank: how far the stable rank lies below that of noise, as a
    share of it. None where it is too small to tell. Sources: Hartford et al. 2024 (Spectrum), with
    the threshold of Johnstone 2001 and the noise of Gavish & Donoho 2014 in place of its quartiles.
    """
    if record.verdict in SMALL:
        return None
    if record.verdict == NOISE:
        return 0.0
    if measure == "signal-to-noise":
        return None if record.snr is None else record.snr / (1 + record.snr)
    if record.stable_rank is None or not record.stable_rank_noise:
        return None
    return max(0.0, 1 - record.stable_rank / record.stable_rank_noise)


def drifts(checkpoint: Checkpoint, options: Strategy) -> dict[Layer, LayerScore]:
    """How far each layer lies from another checkpoint of the same model: its mean relative change.

    Raises BadOption where none is given.
    """
    if options.compared_with is None:
        raise BadOption(
            "strategy.measure: drift needs strategy.compared_with, another checkpoint of the same "
            "model, such as the one before an earlier fine-tuning."
        )
    found: dict[Layer, list[float]] = {}
    for record in compare(open_checkpoint(options.compared_with), checkpoint):
        if record.layer is not None and record.kind == "weight":
            change = record.relative_change
            if record.status == "identical" or (change is not None and math.isfinite(change)):
                place = (record.stack, record.layer)
                found.setdefault(place, []).append(change or 0.0)
    return _scores(found, 1)


def _scores(found: Mapping[Layer, Sequence[float]], least: int) -> dict[Layer, LayerScore]:
    above = {layer: sum(value > 0 for value in values) for layer, values in found.items()}
    return {
        layer: LayerScore(
            layer=layer,
            score=float(np.mean(values)) if above[layer] >= least else 0.0,
            matrices=len(values),
            above_noise=above[layer],
        )
        for layer, values in found.items()
    }
