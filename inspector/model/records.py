"""The records of what models do; plain data, so that reading them back loads no model."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from inspector.results import Records


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadAttention:
    """One head: each metric's mean over texts, its 95 % t interval, and what uniform rows give.

    Metrics are those of ATTENTION_METRICS; rows of padding and the first row are not counted.
    `label` is of HEAD_KINDS or "unclear", `label_p` its p corrected over all heads. `texts` were
    counted. None: the metric does not exist here, or fewer than two texts allow no interval.
    """

    name: str
    stack: str
    layer: int
    head: int
    label: str
    label_p: float | None
    texts: int
    entropy: float | None
    entropy_low: float | None
    entropy_high: float | None
    entropy_null: float | None
    entropy_normalised: float | None
    entropy_normalised_low: float | None
    entropy_normalised_high: float | None
    entropy_normalised_null: float | None
    sink_mass: float | None
    sink_mass_low: float | None
    sink_mass_high: float | None
    sink_mass_null: float | None
    learned_sink: float | None
    learned_sink_low: float | None
    learned_sink_high: float | None
    learned_sink_null: float | None
    previous_token: float | None
    previous_token_low: float | None
    previous_token_high: float | None
    previous_token_null: float | None
    own_token: float | None
    own_token_low: float | None
    own_token_high: float | None
    own_token_null: float | None
    confidence: float | None
    confidence_low: float | None
    confidence_high: float | None
    confidence_null: float | None
    duplicate_token: float | None
    duplicate_token_low: float | None
    duplicate_token_high: float | None
    duplicate_token_null: float | None
    induction: float | None
    induction_low: float | None
    induction_high: float | None
    induction_null: float | None
    induction_neighbours: float | None
    induction_neighbours_low: float | None
    induction_neighbours_high: float | None
    induction_neighbours_null: float | None
    mean_distance: float | None
    mean_distance_low: float | None
    mean_distance_high: float | None
    mean_distance_null: float | None
    mean_distance_without_sink: float | None
    mean_distance_without_sink_low: float | None
    mean_distance_without_sink_high: float | None
    mean_distance_without_sink_null: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LensPoint:
    """What would be answered after one layer at one position; layer None is before the first.

    `position` is of the token before the prediction (causal), or in its place (masked); of a
    classifier None. `text` is that token. `token` is the likeliest prediction, `tokens` the
    likeliest ones with their `probabilities` (0 to 1). `answer` is what the whole model predicts
    here, with its probability and rank (1: first) after this layer. `entropy` is of the
    prediction, `divergence` KL(final, this layer), both in nats; `agrees` when nothing is likelier
    than the answer. `prompt` counts from 1.
    """

    name: str
    layer: int | None
    position: int | None
    text: str | None
    token: str
    probability: float
    answer: str
    answer_probability: float
    answer_rank: int
    entropy: float
    divergence: float
    agrees: bool
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]
    prompt: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ablation:
    """What changes without one component; each `*_change` is without it less with it, in nats.

    Means over texts, `low` to `high` their range. `loss` is that without the component,
    `answer_change` that of log p(target), less log p(versus) where it is given. `divergence` is
    KL(whole, without) of what could stand where the answer begins, `kept` the share of texts (0 to
    1) whose likeliest answer stays. `parameters` were set to zero; None where outputs were.
    """

    name: str
    layer: int | None
    role: str | None
    component: str
    stack: str
    part: str
    head: int | None
    parameters: int | None
    loss: float | None
    loss_change: float | None
    loss_change_low: float | None
    loss_change_high: float | None
    answer_change: float
    answer_change_low: float | None
    answer_change_high: float | None
    divergence: float | None
    divergence_low: float | None
    divergence_high: float | None
    kept: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadEffect:
    """What one head does to the score, in nats: means over texts, `low` to `high` their range.

    `gate` is the slope along the head's gate, to first order what is lost without it; `importance`
    the mean of its size text by text, `share` that over the root of squares in its layer (0 to 1).
    `direct` is what it adds to the answer's logit without help of later layers. `effect` is the
    exact score of the whole model less that without the head, None where it was not taken out,
    and `confirmed` whether slope and exact effect have one sign (None where both are small).
    """

    name: str
    stack: str
    layer: int
    part: str
    head: int
    gate: float
    gate_low: float | None
    gate_high: float | None
    importance: float
    importance_low: float | None
    importance_high: float | None
    share: float
    direct: float | None
    direct_low: float | None
    direct_high: float | None
    effect: float | None
    effect_low: float | None
    effect_high: float | None
    confirmed: bool | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartEffect:
    """What a part that is no head adds to the answer's logit, mean over texts."""

    name: str
    kind: str
    layer: int | None
    direct: float
    direct_low: float | None
    direct_high: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerActivations:
    """One block on all tokens of the texts; rms are roots of mean squares, in units of the stream.

    `stream_rms` is of what leaves it, with its range over texts, `growth` that over what enters,
    `cosine` between both (mean over tokens), `largest` the largest value over the rms.
    `attention_rms` and `mlp_rms` are of what is added. Of the `units` of its MLP, `dead_units` give
    nothing on any token, `saturated_units` have a flat slope on every token and `linear_units` one
    near 1; `saturated_share` is of all pairs of unit and token (0 to 1). None where units cannot be
    told apart, with a finding.
    """

    name: str
    layer: int
    stack: str
    stream_rms: float
    stream_rms_low: float | None
    stream_rms_high: float | None
    growth: float | None
    cosine: float
    largest: float | None
    attention_rms: float
    mlp_rms: float
    units: int | None
    dead_units: int | None
    saturated_units: int | None
    linear_units: int | None
    saturated_share: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BiasSize:
    """One bias beside what it is added to: W x of its matrix, or the scaled values of a norm.

    `ratio` is `bias_rms` over `product_rms`; `larger_units` the share of outputs (0 to 1) in which
    the bias exceeds the rms over tokens of what it is added to.
    """

    name: str
    layer: int | None
    role: str
    product_rms: float
    bias_rms: float
    ratio: float | None
    larger_units: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenScore:
    """One token, word or phrase and its part in the answer, in nats; `text` may be any text.

    `position` is that of its first token in the model's input, `tokens` how many it has; it is
    text[start:end] of the prompt. `baseline` stood in its place. `removal` is what F loses when
    it alone is replaced, None where no faithfulness was asked for. `prompt` counts from 1.
    """

    position: int
    token: str
    text: str
    score: float
    start: int
    end: int
    tokens: int
    baseline: str
    removal: float | None
    prompt: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Attribution(Records[TokenScore]):
    """One record per unit of the prompt, in its order; the receipt is the summary."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerScore:
    """What of F(x) - F(x') passes through one layer at one unit of the text, in nats.

    Over a layer's blocks the scores sum to F(x) - F(x'); attention and MLP are parts of the way,
    whose sums say how much passes through them. `position` is that of the unit's first token, or
    ANSWER for all that is no unit: special tokens and what is fed behind the text.
    """

    stack: str
    layer: int
    part: str
    position: int
    token: str
    text: str
    score: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuronScore:
    """What of F(x) - F(x') passes through one neuron of an MLP, over all tokens, in nats."""

    stack: str
    layer: int
    neuron: int
    score: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """How two ways of weighing the words of one text agree, by rank; None where one is constant.

    Attention has no sign: with it the sizes of scores are compared (`signed` False). -1 to 1.
    """

    one: str
    other: str
    signed: bool
    spearman: float | None
    kendall: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapToken:
    """A token of the text whose attention was mapped; `text` is what it stands for in the text."""

    position: int
    token: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Maps(Records[MapToken]):
    """Maps of heads on one text; the summary names `heads` as layer and head in their order.

    `arrays`: `weights` [heads, queries, keys] as fractions of a row, `value_norms` [heads, keys]
    where values are seen, `rollout` [queries, keys] and `flow` [keys] where it was computed.
    """

    arrays: Mapping[str, np.ndarray]
