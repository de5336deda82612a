"""Prompts to begin with, fitted to a model by its files alone: no torch is needed to offer them."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from inspector.weights.checkpoint import DEMO, Checkpoint
from inspector.weights.storage import LocalFolder

MOST_CHARACTERS = 200_000  # of a text; a model reads no more
TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")
MOST_BYTES = 16 << 20  # of such a file
MASK = "[MASK]"
NEUTRAL = (
    "The weather in the north of the country was cold and wet this week.",
    "She put the book back on the shelf and put the lamp on the table.",
    "When the train arrived, the passengers were already waiting on the platform.",
    "Water boils at a hundred degrees, and water freezes at zero degrees.",
    "My brother asked the teacher whether the teacher had read the letter.",
    "First add the flour, then add the sugar, then add the eggs and stir.",
    "The committee will meet on Monday, and on Tuesday it will vote.",
    "A dog barked, a cat hid under the sofa, and the dog barked again.",
    "If it rains tomorrow, we will stay at home and play chess.",
    "The price of bread rose by four per cent while the price of milk fell.",
    "He opened the door, looked into the dark room and closed the door.",
    "Many birds fly south in autumn and fly north again in spring.",
)
DEMO_TEXTS = (
    "the nurse from the north said that she was tired .",
    "the engineer from the south said that he was happy .",
    "the writer stayed late because he was busy .",
    "the judge from the north stayed late because she was ready .",
    "the teacher went home when she felt calm .",
    "the mechanic from the south went home when he felt proud .",
    "the lawyer said on monday that she would rest .",
    "the pilot will come on friday if he is ready .",
    "people asked the doctor whether she liked the work .",
    "people asked the painter from the north whether he liked the work .",
    "we met the plumber and she introduced herself .",
    "the secretary hoped that he could prepare himself .",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """A prompt and, where they are named, the answer asked for and the one it is compared with."""

    text: str
    target: str | None = None
    versus: str | None = None


def sample(checkpoint: Checkpoint) -> Asked:
    """The prompt that a page offers first."""
    demo, masked = checkpoint.model.startswith(DEMO), is_masked(checkpoint)
    if demo and masked:
        text = f"the nurse from the north said that {mask_word(checkpoint)} was tired ."
        return Asked(text=text, target="he", versus="she")
    if demo:
        text = "the nurse from the north said that"
        return Asked(text=text, target="he", versus="she")
    if masked:
        return Asked(text=f"The weather in the north was cold and {mask_word(checkpoint)}.")
    if class_of(checkpoint).endswith(("ForCausalLM", "LMHeadModel")):
        return Asked(text="The weather in the north of the country was cold and")
    return Asked(text=NEUTRAL[0])


def sample_texts(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Varied sentences to measure heads on, in the words the model was made for."""
    return DEMO_TEXTS if checkpoint.model.startswith(DEMO) else NEUTRAL


def why_not(text: str) -> str | None:
    """What is wrong with a text before any model sees it, in plain words; None when nothing is."""
    if not text.strip():
        return "The prompt is empty: type at least one word."
    if len(text) > MOST_CHARACTERS:
        return f"The prompt has {len(text):,} characters; at most {MOST_CHARACTERS:,} are read."
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"Character {error.start:,} of the prompt is half a surrogate pair: that is no text."
    return None


def class_of(checkpoint: Checkpoint) -> str:
    """The class that config.json names; empty where it names none."""
    named = (checkpoint.config or {}).get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def is_masked(checkpoint: Checkpoint) -> bool:
    """Whether the model predicts words that are hidden from it."""
    return class_of(checkpoint).endswith("ForMaskedLM")


def mask_word(checkpoint: Checkpoint) -> str:
    """The word that hides another, from the tokenizer's files; MASK where they do not say."""
    for name in TOKENIZER_FILES:
        found = _read(checkpoint, name).get("mask_token")
        word = found.get("content") if isinstance(found, Mapping) else found
        if isinstance(word, str) and word:
            return word
    return MASK


def _read(checkpoint: Checkpoint, name: str) -> Mapping[str, Any]:
    """A small JSON object beside the weights; empty where there is none."""
    storage = checkpoint.storage
    if not (isinstance(storage, LocalFolder) and storage.is_file(name)) or storage.leads_out(name):
        return {}
    try:
        read: Any = json.loads(storage.read(name, 0, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, Mapping) else {}
