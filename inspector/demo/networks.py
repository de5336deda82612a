"""The two sorts of demo model: their shapes, tokenizers, and what training asks of them."""

import itertools
from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float, Int64
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from inspector.demo.corpus import PAIRS, REFLEXIVE, vocabulary
from inspector.demo.recipes import Recipe

PAD, BEGIN, END, UNKNOWN = CAUSAL = ("<pad>", "<s>", "</s>", "<unk>")
MASKED: Final = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
LONGEST: Final = 64  # tokens

SHOWN: Final = 0.08  # of hidden words, how many are shown all the same, as in BERT's training
REPLACED: Final = 0.02  # and how many by another word; more would teach the model to doubt words

COUNTERPARTS: Final = (*itertools.chain(*PAIRS.values()), *REFLEXIVE.values())
"""Words that a probe can compare."""


def untrained(recipe: Recipe) -> PreTrainedModel:
    """A model with random weights of the shape of a recipe."""
    words = len(vocabulary())
    if recipe.kind == "masked":
        return BertForMaskedLM(masked_shape(words + len(MASKED), recipe))
    return LlamaForCausalLM(causal_shape(words + len(CAUSAL), recipe))


def causal_shape(words: int, recipe: Recipe) -> LlamaConfig:
    """The shape of causal models for a vocabulary of so many words: about 350,000 parameters.

    Two query heads share a key and value head, every projection has a bias, and the embedding is
    not tied to the unembedding, so that the demo has one of each thing that can be looked at.
    """
    return LlamaConfig(
        vocab_size=words,
        hidden_size=recipe.hidden_size,
        intermediate_size=3 * recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads // 2,
        initializer_range=recipe.spread,
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=False,
        max_position_embeddings=LONGEST,
        pad_token_id=CAUSAL.index(PAD),
        bos_token_id=CAUSAL.index(BEGIN),
        eos_token_id=CAUSAL.index(END),
    )


def masked_shape(words: int, recipe: Recipe) -> BertConfig:
    """The shape of masked models, BERT's own but for its size: about 310,000 parameters.

    No dropout: it would blur the log-odds that are to be learned.
    """
    return BertConfig(
        vocab_size=words,
        hidden_size=recipe.hidden_size,
        intermediate_size=3 * recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=recipe.spread,
        max_position_embeddings=LONGEST,
        pad_token_id=0,
    )


def word_tokenizer(kind: str) -> PreTrainedTokenizerBase:
    """A tokenizer with one token per word of the corpus, case ignored.

    In front stands `<s>`; for masked models `[CLS]`, with `[SEP]` behind.
    """
    special = MASKED if kind == "masked" else CAUSAL
    pad, begin, end, unknown = special[:4]
    words = {word: index for index, word in enumerate([*special, *vocabulary()])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    around = (begin, end) if kind == "masked" else (begin,)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join((begin, "$A", *around[1:])),
        special_tokens=[(token, words[token]) for token in around],
    )
    names = ("cls_token", "sep_token") if kind == "masked" else ("bos_token", "eos_token")
    more = {"mask_token": special[-1]} if kind == "masked" else {}
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=pad,
        unk_token=unknown,
        padding_side="right",
        model_max_length=LONGEST,
        **dict(zip(names, (begin, end), strict=True)),
        **more,
    )


def encode(
    tokenizer: PreTrainedTokenizerBase, kind: str, texts: Sequence[str]
) -> Int64[torch.Tensor, "texts length"]:
    """Sentences as ids, padded on the right; causal models also learn where a sentence ends."""
    ended = [text if kind == "masked" else f"{text} {END}" for text in texts]
    ids: Int64[torch.Tensor, "texts length"] = tokenizer(ended, padding=True, return_tensors="pt")[
        "input_ids"
    ]
    return ids


def emphasis(recipe: Recipe) -> Float[torch.Tensor, " vocabulary"]:
    """The weight of each word in the loss: those with a counterpart count `recipe.emphasis` times.

    What a model learns in the end is the same, since each word's odds in a place are.
    """
    special = MASKED if recipe.kind == "masked" else CAUSAL
    words = [recipe.emphasis if word in COUNTERPARTS else 1.0 for word in vocabulary()]
    return torch.tensor([*[1.0] * len(special), *words])


def next_word_loss(
    model: PreTrainedModel,
    batch: Int64[torch.Tensor, "batch length"],
    weights: Float[torch.Tensor, " vocabulary"],
) -> Float[torch.Tensor, ""]:
    """Mean cross-entropy of the next word in nats, padding left out."""
    logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
    loss: torch.Tensor = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch[:, 1:].flatten(), weights, ignore_index=CAUSAL.index(PAD)
    )
    return loss


def hidden_word_loss(
    model: PreTrainedModel,
    batch: Int64[torch.Tensor, "batch length"],
    weights: Float[torch.Tensor, " vocabulary"],
    recipe: Recipe,
    draw: torch.Generator,
) -> Float[torch.Tensor, ""]:
    """Mean cross-entropy of the hidden words in nats; of all versions of a sentence the same are.

    Hidden words are replaced by [MASK], a few shown as they are or exchanged for another word.
    """
    versions = 2 if recipe.balanced else 1
    one = batch[: len(batch) // versions]
    chance, what = (torch.rand(one.shape, generator=draw) for _ in range(2))
    others = torch.randint(len(MASKED), len(weights), one.shape, generator=draw)
    counterparts = torch.tensor([len(MASKED) + vocabulary().index(w) for w in COUNTERPARTS])
    shares = torch.where(torch.isin(one, counterparts), recipe.asked, recipe.hidden)
    hide = (chance < shares) & (one >= len(MASKED))
    hidden, what, others = (part.repeat(versions, 1) for part in (hide, what, others))
    seen = batch.masked_fill(hidden & (what >= SHOWN), MASKED.index("[MASK]"))
    seen = torch.where(hidden & (what >= 1 - REPLACED), others, seen)
    logits = model(input_ids=seen, attention_mask=(batch != 0).long()).logits
    loss: torch.Tensor = torch.nn.functional.cross_entropy(logits[hidden], batch[hidden], weights)
    return loss
