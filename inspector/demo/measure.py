"""What a demo model has learned of the corpus: its log-odds, occupation by occupation."""

import torch
from jaxtyping import Float, Int64
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from inspector.demo.corpus import OCCUPATIONS, PAIRS, blanks, contexts


def gaps(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pair: str) -> dict[str, float]:
    """The model's mean log P(first word) - log P(second word) for each occupation, in nats.

    The mean is over all contexts of the corpus, each counted once: what can stand before the word,
    for a masked model the whole sentence around it, but for sentences with a reflexive, which
    gives the pronoun away. Probabilities are of the whole vocabulary, in the model's own
    precision. `pair` is a key of `corpus.PAIRS`.
    """
    first, second = (tokenizer.convert_tokens_to_ids(word) for word in PAIRS[pair])
    result = {}
    for occupation in OCCUPATIONS:
        log_p = _answers(model, tokenizer, occupation, pair).log_softmax(dim=-1)
        result[occupation] = float((log_p[:, first] - log_p[:, second]).mean())
    return result


def _answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, occupation: str, pair: str
) -> Float[torch.Tensor, "contexts vocabulary"]:
    """Logits where the word is asked for: after the text, or in the place of the mask."""
    mask = tokenizer.mask_token
    texts = blanks(occupation, pair, mask) if mask else contexts(occupation, pair)
    tokens = tokenizer(list(texts), padding=True, return_tensors="pt")
    ids: Int64[torch.Tensor, "contexts length"] = tokens["input_ids"]
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=ids, attention_mask=tokens["attention_mask"]).logits
    if mask:
        return logits[ids == tokenizer.mask_token_id]
    return logits[torch.arange(len(ids)), tokens["attention_mask"].sum(dim=1) - 1]
