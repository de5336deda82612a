"""What models predict, as their config names it; knowing it loads nothing."""

from collections.abc import Mapping
from typing import Final, Literal

Kind = Literal["causal", "masked", "classifier", "encoder-decoder", "encoder"]
KINDS: Final[Mapping[str, Kind]] = {  # how the name of a class ends -> what it predicts
    "ForCausalLM": "causal",
    "LMHeadModel": "causal",
    "ForMaskedLM": "masked",
    "ForSequenceClassification": "classifier",
    "ForConditionalGeneration": "encoder-decoder",
    "Model": "encoder",
}


def kind_of(architecture: str) -> Kind | None:
    """What a class of transformers predicts, by its name; None for a class of another kind."""
    return next((kind for end, kind in KINDS.items() if architecture.endswith(end)), None)
