"""How signal and gradient would grow or shrink through depth, as the weights' sizes predict.

A prediction for random inputs, from the variance rules of Glorot & Bengio 2010 and He et al. 2015
(inputs times std² forward, outputs times std² backward), carried through normalisation and
residual sums (Xiong et al. 2020): weights count as independent, attention as looking at one token,
biases of matrices, routers and gradients through attention patterns are left out.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from inspector.weights.activations import ACTIVATIONS, Curve, activation_of, mean_square

Gains = tuple[float, float] | None  # mean γ², mean square of a normed value

BASIS = "predicted from the sizes of the weights, for random inputs; nothing was run"
VANISHING = 1e-4  # of variance over all layers but the first: the signal shrinks to a hundredth
EXPLODING = 1e4
# Where normalisation sits. "pre": before each branch; "post": after each sum; "both": before and
# after each branch; "after": after each branch; "none": nowhere.
POST_FAMILIES = ("bart", "marian", "openai-gpt")
POST_NAMES = (".output.LayerNorm", "sa_layer_norm")
ATTENTION_NORMS = (
    *("input_layernorm", "ln_1", "self_attn_layer_norm", "attention.output.LayerNorm"),
    *("layer.0.layer_norm", "sa_layer_norm", "ln_attn", "norm_1", "norm1", ".attn_norm"),
    *("attention_norm",),
)
MLP_NORMS = (
    *("pre_feedforward_layernorm", "ln_2", "final_layer_norm", ".output.LayerNorm"),
    *(
        "layer.1.layer_norm",
        "layer.2.layer_norm",
        "output_layer_norm",
        "ln_mlp",
        "norm_2",
        "norm2",
        "mlp_norm",
        "ffn_norm",
    ),
    "post_attention_layernorm",
)
AFTER_ATTENTION, AFTER_MLP = ("post_attention_layernorm",), ("post_feedforward_layernorm",)
INNER_NORMS = (".q_norm", ".k_norm", "q_a_", "kv_a_", "q_layernorm", "k_layernorm", "query", "key")
EMBEDDING_NORMS = ("embed", "emb_")
SCALED_BY_ROOT_WIDTH = ("gemma", "gemma2", "gemma3", "gemma3_text")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weight:
    """Size of one matrix of a block; `square` is the mean square of its values."""

    name: str
    stack: str | None
    layer: int | None
    role: str
    rows: int
    columns: int
    square: float

    @property
    def forward(self) -> float:
        """Factor on the variance of a signal."""
        return self.columns * self.square

    @property
    def backward(self) -> float:
        """Factor on the variance of a gradient."""
        return self.rows * self.square


@dataclasses.dataclass(frozen=True, kw_only=True)
class Norm:
    """Mean square of what a norm multiplies by (γ) or adds (β, with kind "bias")."""

    name: str
    stack: str | None
    layer: int | None
    kind: str
    square: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerGain:
    """Predicted factors on the variance of signal and gradient over one block.

    `attention` and `mlp` are the variances its branches add to the stream.
    """

    stack: str | None
    layer: int
    forward: float
    backward: float
    attention: float | None
    mlp: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignalPrediction:
    """Gains of all blocks of a stack; totals leave out the first, which mends embedding scale.

    `basis` says what kind of number these are; `start` is the variance before the first block.
    `norms` says where normalisation sits ("pre", "post", "both", "after", "none"), `activation`
    what was taken for what stands between up and down. Verdicts are "vanishing" (total below
    1e-4), "exploding" (above 1e4) or "steady"; None where there are fewer than two blocks.
    """

    basis: str
    stack: str | None
    norms: str
    activation: str
    start: float
    layers: tuple[LayerGain, ...]
    forward_total: float | None
    backward_total: float | None
    forward_verdict: str | None
    backward_verdict: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Branch:
    """Variance a branch gives for an input of given variance, and its factor on gradients."""

    variance: float
    backward: float


def predict_signal(
    weights: Sequence[Weight],
    norms: Sequence[Norm],
    family: str | None,
    config: Mapping[str, Any],
) -> tuple[SignalPrediction, ...]:
    """Predicted gain of every block, one prediction a stack; none where no block is known.

    `config` is the part about the text model. The stream starts at the variance of the embeddings,
    or at 1 where a stack has none.
    """
    found = []
    for stack in sorted({w.stack for w in weights if w.layer is not None}, key=str):
        blocks = [w for w in weights if w.stack == stack and w.layer is not None]
        own = [n for n in norms if n.stack == stack]
        found.append(_predict_stack(stack, blocks, weights, own, family, config))
    return tuple(p for p in found if p.layers)


def _predict_stack(
    stack: str | None,
    blocks: Sequence[Weight],
    weights: Sequence[Weight],
    norms: Sequence[Norm],
    family: str | None,
    config: Mapping[str, Any],
) -> SignalPrediction:
    inside = [n for n in norms if n.layer is not None and not _named(n, INNER_NORMS)]
    placed = _where_norms_are(inside, family, config)
    activation = activation_of(config, family)
    stream = start = _start(stack, weights, norms, family, config)
    gains = []
    for layer in sorted({w.layer for w in blocks if w.layer is not None}):
        here = [w for w in blocks if w.layer == layer]
        gain, stream = _layer(
            here, [n for n in inside if n.layer == layer], placed, ACTIVATIONS[activation], stream
        )
        if gain is not None:
            gains.append(dataclasses.replace(gain, stack=stack, layer=layer))
    later = gains[1:]
    forward = math.prod(g.forward for g in later) if later else None
    backward = math.prod(g.backward for g in later) if later else None
    return SignalPrediction(
        basis=BASIS,
        stack=stack,
        norms=placed,
        activation=activation,
        start=start,
        layers=tuple(gains),
        forward_total=forward,
        backward_total=backward,
        forward_verdict=_verdict(forward),
        backward_verdict=_verdict(backward),
    )


def _verdict(total: float | None) -> str | None:
    if total is None:
        return None
    return "vanishing" if total < VANISHING else "exploding" if total > EXPLODING else "steady"


def _named(norm: Norm, words: Iterable[str]) -> bool:
    return any(word in f".{norm.name}" for word in words)


def _where_norms_are(norms: Sequence[Norm], family: str | None, config: Mapping[str, Any]) -> str:
    if not norms:
        return "none"
    if any(_named(n, AFTER_MLP) for n in norms):
        return "both" if any(_named(n, ("input_layernorm",)) for n in norms) else "after"
    late = family in POST_FAMILIES or config.get("do_layer_norm_before") is False
    return "post" if late or any(_named(n, POST_NAMES) for n in norms) else "pre"


def _start(
    stack: str | None,
    weights: Sequence[Weight],
    norms: Sequence[Norm],
    family: str | None,
    config: Mapping[str, Any],
) -> float:
    """Variance of the stream as it enters the first block."""
    outside = [n for n in norms if n.layer is None and _named(n, EMBEDDING_NORMS)]
    if outside:
        return sum(n.square for n in outside)
    tables = [w for w in weights if w.layer is None and w.stack in (stack, None)]
    total = dict.fromkeys(("embedding", "position", "token_type"), 0.0)
    scaled = family in SCALED_BY_ROOT_WIDTH or config.get("scale_embedding") is True
    for w in tables:
        if w.role in total and total[w.role] == 0.0:
            total[w.role] = w.square * (w.columns if scaled and w.role == "embedding" else 1)
    return sum(total.values()) or 1.0


def _layer(
    weights: Sequence[Weight],
    norms: Sequence[Norm],
    placed: str,
    activation: tuple[Curve, Curve],
    stream: float,
) -> tuple[LayerGain | None, float]:
    """Gains over one block and the variance after it; None where its matrices are not known."""
    attention_norm = _gain_of(norms, ATTENTION_NORMS)
    mlp_norms = _gain_of([n for n in norms if not _named(n, ATTENTION_NORMS)], MLP_NORMS)
    mlp_norm = mlp_norms or attention_norm  # one norm for both: they run side by side
    if placed in ("both", "after"):
        mlp_norm = _gain_of(norms, ("pre_feedforward_layernorm",)) or mlp_norm
    steps: tuple[tuple[Callable[[float], _Branch | None], Gains, Gains], ...] = (
        (lambda x: _attention(weights, x), attention_norm, _gain_of(norms, AFTER_ATTENTION)),
        (lambda x: _mlp(weights, x, activation), mlp_norm, _gain_of(norms, AFTER_MLP)),
    )
    if not 0 < stream < math.inf:
        return None, stream
    begin, backward = stream, 1.0
    added: list[float | None] = []
    for branch, norm, after in steps:
        gamma, second = norm or (1.0, 1.0)
        normed = placed in ("pre", "both")
        found = branch(second if normed else stream)
        added.append(None if found is None else found.variance)
        if found is None:
            continue
        slope = found.backward * (gamma / stream if normed else 1.0)
        variance = found.variance
        if placed in ("both", "after") and after and variance:
            slope, variance = slope * after[0] / variance, after[1]
            added[-1] = variance
        if placed == "post":
            backward *= (1 + slope) * gamma / (stream + variance)
            stream = second
        else:
            backward *= 1 + slope
            stream += variance
    if added == [None, None]:
        return None, stream
    gain = LayerGain(
        stack=None,
        layer=0,
        forward=stream / begin,
        backward=backward,
        attention=added[0],
        mlp=added[1],
    )
    return gain, stream


def _gain_of(norms: Sequence[Norm], words: Iterable[str]) -> Gains:
    """(mean γ², mean square of a normed value): γ² and β² of the norm named so; None without."""
    chosen = [n for n in norms if _named(n, words)]
    gammas = [n.square for n in chosen if n.kind == "norm"]
    betas = [n.square for n in chosen if n.kind == "bias"]
    if not gammas:
        return None
    gamma = sum(gammas) / len(gammas)
    return gamma, gamma + (sum(betas) / len(betas) if betas else 0.0)


def _attention(weights: Sequence[Weight], power: float) -> _Branch | None:
    """The way of values: v, then o; each v head serves several of o's where kv heads are fewer."""
    values = [w for w in weights if w.role == "v"]
    outs = [w for w in weights if w.role == "o"]
    if not values or len(values) != len(outs):
        return None
    pairs = list(zip(values, outs, strict=True))
    return _Branch(
        variance=sum(power * v.forward * o.forward for v, o in pairs),
        backward=sum(o.backward * o.columns / v.rows * v.backward for v, o in pairs),
    )


def _mlp(
    weights: Sequence[Weight], power: float, activation: tuple[Curve, Curve]
) -> _Branch | None:
    """Up, activation (times up, where gated), down; of experts one of average size."""
    parts = [
        _mlp_of(
            [_average(weights, f"{prefix}{role}") for role in ("gate", "up", "down")],
            power,
            activation,
        )
        for prefix in ("", "expert_")
    ]
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return _Branch(variance=sum(p.variance for p in known), backward=sum(p.backward for p in known))


def _average(weights: Sequence[Weight], role: str) -> Weight | None:
    chosen = [w for w in weights if w.role == role]
    if not chosen:
        return None
    square = sum(w.square for w in chosen) / len(chosen)
    return dataclasses.replace(chosen[0], square=square)


def _mlp_of(
    parts: Sequence[Weight | None], power: float, activation: tuple[Curve, Curve]
) -> _Branch | None:
    gate, up, down = parts
    if up is None or down is None:
        return None
    opened = gate or up
    values, slopes = (mean_square(curve, power * opened.forward) for curve in activation)
    if gate is None:
        hidden, back = values, slopes * up.backward
    else:
        other = power * up.forward
        hidden = values * other
        back = values * up.backward + slopes * other * gate.backward
    return _Branch(variance=hidden * down.forward, backward=down.backward * back)
