"""What a demo model has learned of the corpus: its log-odds, occupation by occupation."""

import torch
from jaxtyping import Int64
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from inspector.demo.corpus import OCCUPATIONS, PAIRS, contexts


def gaps(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pair: str) -> dict[str, float]:
    """The model's mean log P(first word) - log P(second word) after each occupation, in nats.

    The mean is over all contexts of the corpus, each counted once; probabilities are of the whole
    vocabulary, in the model's own precision. `pair` is a key of `corpus.PAIRS`.
    """
    first, second = (tokenizer.convert_tokens_to_ids(word) for word in PAIRS[pair])
    result = {}
    for occupation in OCCUPATIONS:
        tokens = tokenizer(list(contexts(occupation, pair)), padding=True, return_tensors="pt")
        ids: Int64[torch.Tensor, "contexts length"] = tokens["input_ids"]
        last = tokens["attention_mask"].sum(dim=1) - 1
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=tokens["attention_mask"]).logits
        log_p = logits[torch.arange(len(ids)), last].log_softmax(dim=-1)
        result[occupation] = float((log_p[:, first] - log_p[:, second]).mean())
    return result
