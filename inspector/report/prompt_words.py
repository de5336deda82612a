"""What heads, maps and switched-off parts are called, and what each says, in plain words."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
    """A title and what it is about; `unit` of the number, where it has one."""

    title: str
    about: str
    unit: str = "share of a row"


METRIC_WORDS: dict[str, Words] = {  # fields of HeadAttention
    "entropy_normalised": Words(
        title="spread",
        about="How widely a head looks: its entropy over the largest there could be. 1 is even "
        "attention to all tokens in sight (the null), 0 is one token only.",
        unit="of the largest entropy",
    ),
    "entropy": Words(
        title="entropy",
        about="The same in nats, not scaled: e to its power is about how many tokens are looked "
        "at. The null is the mean over rows of ln(tokens in sight).",
        unit="nats",
    ),
    "sink_mass": Words(
        title="first token (sink)",
        about="Attention to the first token. Heads with nothing to do often park it there, so a "
        "high number may mean that a head rests. The null is what uniform attention gives it.",
    ),
    "learned_sink": Words(
        title="learned sink",
        about="Attention to no token at all, through a sink that some models learn. Uniform "
        "attention over tokens has none.",
    ),
    "previous_token": Words(
        title="previous token",
        about="Attention to the token just before. 1 is a perfect previous-token head; the null "
        "is the mean of 1 over the tokens in sight.",
    ),
    "own_token": Words(
        title="own token",
        about="Attention of each token to itself. The null is the mean of 1 over the tokens in "
        "sight.",
    ),
    "confidence": Words(
        title="confidence",
        about="The largest attention in a row, on average. 1: always one token; the null is what "
        "uniform attention gives to each.",
    ),
    "duplicate_token": Words(
        title="duplicate token",
        about="Attention to earlier occurrences of the same token, over rows that have one. The "
        "null is their share of the tokens in sight.",
    ),
    "induction": Words(
        title="induction",
        about="Attention to what followed the same token before, on repeated random blocks and "
        "not on this prompt: 1 is a head that continues patterns. The null is the share of such "
        "places in sight.",
    ),
    "induction_neighbours": Words(
        title="beside induction",
        about="Attention one place before or after where induction looks: a control. Induction "
        "counts only where it is clearly above this.",
    ),
    "mean_distance": Words(
        title="distance",
        about="How many tokens away a head looks on average. The null is the distance of even "
        "attention; a head that parks on the first token seems to look far.",
        unit="tokens",
    ),
    "mean_distance_without_sink": Words(
        title="distance without the first token",
        about="The same over attention to all but the first token, so that parking there does "
        "not count as looking far.",
        unit="tokens",
    ),
}

KIND_MARKS: dict[str, tuple[str, str]] = {  # label of a head -> (letter, colour: Okabe & Ito 2008)
    "induction": ("I", "#D55E00"),
    "duplicate token": ("D", "#CC79A7"),
    "previous token": ("P", "#56B4E9"),
    "own token": ("O", "#F0E442"),
    "sink": ("S", "#BBBBBB"),
    "local": ("L", "#2FB58B"),
    "broad": ("B", "#E69F00"),
    "unclear": ("·", "#88888826"),
}
UNCLEAR = "unclear"
UNCLEAR_RULE = "no kind stands clear of what attention without aim would give"

MAP_WORDS: dict[str, Words] = {  # ways to look at a head's map -> what they say
    "weights": Words(
        title="raw",
        about="Each row is one token looking back, or around: its shares add up to 1, or to less "
        "where a learned sink takes some.",
    ),
    "value_weighted": Words(
        title="value-weighted",
        about="Attention times the length of what is passed on from each token. A token that is "
        "looked at but passes on next to nothing fades; sinks often do.",
        unit="length added to the stream",
    ),
    "rollout": Words(
        title="rollout",
        about="Not of this head: attention of all heads and layers multiplied up, half of each "
        "step staying where it is. A guess at which tokens a position is made of; it knows no "
        "values and no MLPs.",
    ),
    "flow": Words(
        title="flow",
        about="Not of this head: how much could flow from each token to the last one through the "
        "attention of all layers, as water through pipes. It knows no values and no MLPs.",
        unit="most that can flow",
    ),
}

COMPONENT_WORDS: dict[str, str] = {  # component of an Ablation -> what is switched off
    "biases": "biases",
    "layer": "whole layers",
    "attention": "attentions",
    "mlp": "MLPs",
    "head": "heads",
}
EFFECT_WORDS: dict[str, Words] = {  # fields of an Ablation
    "answer_change": Words(
        title="the answer",
        about="What the log-probability of the answer (less that of its rival, where there is one) "
        "changes by without the part. Below zero: the part speaks for the answer.",
        unit="nats",
    ),
    "loss_change": Words(
        title="the loss",
        about="What the mean loss on the text changes by without the part. Above zero: the model "
        "reads the text worse without it.",
        unit="nats",
    ),
    "divergence": Words(
        title="the whole prediction",
        about="How far all probabilities where the answer stands move without the part (KL "
        "divergence). 0: nothing changes.",
        unit="nats",
    ),
}
