"""Tiny models that give probabilities of texts, their tokenizers, and what they say by brute force.

Nothing here uses what is tested: one forward for each token, one sentence at a time, no padding.
"""

import copy
import dataclasses
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from weights.tiny_models import build

from inspector.model.load import Model
from inspector.model.places import find_blocks

CAUSAL = ("gpt2", "llama", "gpt_neox")
MASKED = ("bert", "roberta", "distilbert", "electra")
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
LETTERS = "abcdefghij"
VOCABULARY = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), ".", *map(str, range(38))]


def pieces(masked: bool, vocabulary: list[str] = VOCABULARY) -> PreTrainedTokenizerFast:
    """A tokenizer of word pieces; for masked models it puts <s> and </s> around a text."""
    words = {word: i for i, word in enumerate(vocabulary)}
    made = Tokenizer(models.WordPiece(words, unk_token="<unk>", max_input_chars_per_word=20))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    if masked:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    names = {f"{n}_token": f"<{n}>" for n in ("pad", "unk", "mask")}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", **names
    )


def saved(name: str, folder: Path) -> Path:
    """A tiny random model with a tokenizer of pieces."""
    build(name, folder)
    pieces(masked=name in MASKED).save_pretrained(folder)
    return folder


def precise(model: Model) -> Model:
    """The same in float64, where brute force must be met to the last digits."""
    network = copy.deepcopy(model.network).double()
    return dataclasses.replace(model, network=network, blocks=find_blocks(network))


def said(model: Model, ids: list[int], at: slice = slice(None)) -> np.ndarray:
    """Log-probabilities over the vocabulary at each place, or some, by hand, in float64."""
    with torch.no_grad():
        logits = model.network(torch.tensor([ids], device=model.device)).logits[0, at]
    values = logits.double().cpu().numpy()
    top = values.max(1, keepdims=True)
    return values - top - np.log(np.exp(values - top).sum(1, keepdims=True))


def one_at_a_time(model: Model, ids: list[int], hidden: dict[int, set[int]]) -> float:
    """Sum of the log-probabilities of places, each with its own places hidden."""
    mask = model.tokenizer.mask_token_id
    whole = 0.0
    for place, closed in hidden.items():
        shown = [mask if i in closed else id for i, id in enumerate(ids)]
        whole += said(model, shown)[place][ids[place]]
    return whole


def inner(model: Model, ids: list[int]) -> list[int]:
    """Places of the text itself."""
    around = {model.tokenizer.bos_token_id, model.tokenizer.eos_token_id}
    return [i for i, id in enumerate(ids) if id not in around]


def by_force(model: Model, scorer: str, text: str, other: str = "") -> float:
    """A sentence's score, from the definition."""
    ids = model.tokenizer(text)["input_ids"]
    names = model.tokenizer.convert_ids_to_tokens(ids)
    places = inner(model, ids)
    if scorer.startswith("causal"):
        assert len(places) == len(ids)  # nothing is put around it
        lead = [model.tokenizer.bos_token_id, *ids]
        values = [said(model, lead[: i + 1])[i][lead[i + 1]] for i in range(len(ids))]
        return sum(values) / (len(values) if scorer == "causal-mean" else 1)
    if scorer == "pll":
        return one_at_a_time(model, ids, {i: {i} for i in places})
    if scorer == "pll-shared":
        facing = model.tokenizer(other)["input_ids"]
        matcher = SequenceMatcher(None, ids, facing, autojunk=False)
        alike = [i for op in matcher.get_opcodes() if op[0] == "equal" for i in range(op[1], op[2])]
        return one_at_a_time(model, ids, {i: {i} for i in alike if i in places})
    if scorer == "pll-word-l2r":
        return one_at_a_time(model, ids, with_later_pieces(names, places))
    values = np.array([said(model, ids)[i][ids[i]] for i in places])
    weights = np.full(len(places), 1 / len(places))
    if scorer == "aula":
        model.network.set_attn_implementation("eager")
        with torch.no_grad():
            maps = model.network(torch.tensor([ids]), output_attentions=True).attentions
        model.network.set_attn_implementation("sdpa")
        received = torch.stack(maps).double().numpy().mean((0, 1, 2, 3))[places]
        weights = received / received.sum() / len(places)
    return float(values @ weights)


def with_later_pieces(names, places):
    """Each place with those behind it that are pieces of the same word."""
    hidden = {}
    for i in places:
        hidden[i] = {i}
        for later in range(i + 1, len(names)):
            if not names[later].startswith("##"):
                break
            hidden[i].add(later)
    return hidden
