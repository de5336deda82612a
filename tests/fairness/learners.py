"""Tiny models taught a handful of sentences by heart: what they find likely is what was taught."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from inspector.model.load import Model, load

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
WORD = r"\w+(?:'\w+)*|[^\w\s]"  # "can't" is one word
PAD, BEGIN, END, MASK = 0, 1, 2, 4
FAST = 1e-2
BATCH = 48


def words_of(texts: Iterable[str], masked: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is every word and mark of the texts, as they are written."""
    known = sorted({word for text in texts for word in re.findall(WORD, text)})
    ids = {word: i for i, word in enumerate((*SPECIAL, *known))}
    made = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(WORD), behavior="isolated"),
        ]
    )
    if masked:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", BEGIN), ("</s>", END)]
        )
    names = {f"{n}_token": f"<{n}>" for n in ("pad", "unk", "mask")}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", **names
    )


def taught(
    folder: Path,
    texts: Mapping[str, float],
    more_words: Iterable[str] = (),
    answers: Mapping[str, int] | None = None,
    kind: str = "causal",
    steps: int = 80,
    width: int = 48,
    seed: int = 0,
) -> Model:
    """A model of one layer that learned texts, each shown as often as its number says.

    `more_words`: texts whose words are known, though never seen. `answers`: the character at
    which the answer of a text begins; it counts as much as all that stands before. `kind`:
    "causal" or "masked" (a third of the tokens are hidden at each step). Saved to `folder` and
    loaded from there. A hundred texts of ten words take a second or two.
    """
    torch.manual_seed(seed)
    masked = kind == "masked"
    tokenizer = words_of((*texts, *more_words), masked)
    read = tokenizer(list(texts), return_offsets_mapping=True)
    lead = [] if masked else [BEGIN]
    rows = [[*lead, *ids] for ids in read["input_ids"]]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
    late = torch.zeros(ids.shape, dtype=torch.bool)
    for i, (text, spans) in enumerate(zip(texts, read["offset_mapping"], strict=True)):
        first = (answers or {}).get(text, len(text))
        for j, (start, _) in enumerate(spans, len(lead)):
            late[i, j] = start >= first
    network = _network(len(tokenizer), longest + 40, width, masked)
    _train(network, ids, late, torch.tensor(list(texts.values())), masked, steps)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load(folder)


def _network(words: int, window: int, width: int, masked: bool) -> torch.nn.Module:
    if masked:
        config = BertConfig(
            vocab_size=words,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=window,
            hidden_dropout_prob=0,
            attention_probs_dropout_prob=0,
            initializer_range=0.1,
        )
        return BertForMaskedLM(config)
    sizes = {"vocab_size": words, "n_positions": window, "n_embd": width, "n_layer": 1, "n_head": 2}
    off = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0)
    tokens = {"bos_token_id": BEGIN, "eos_token_id": END}
    return GPT2LMHeadModel(GPT2Config(**sizes, **off, **tokens, initializer_range=0.1))


def _train(
    network: torch.nn.Module,
    ids: torch.Tensor,
    late: torch.Tensor,
    weights: torch.Tensor,
    masked: bool,
    steps: int,
) -> None:
    network.train()
    head = network.cls if masked else network.lm_head
    optimizer = torch.optim.AdamW(network.parameters(), lr=FAST, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, FAST, total_steps=steps)
    for _ in range(steps):
        chosen = torch.multinomial(weights, BATCH, replacement=True)
        shown = wanted = ids[chosen]
        asked = wanted != PAD
        if masked:
            asked = (torch.rand(wanted.shape) < 1 / 3) & (wanted > END)
            shown = wanted.masked_fill(asked, MASK)
        mask = (wanted != PAD).long()
        hidden = network.base_model(input_ids=shown, attention_mask=mask).last_hidden_state
        answer = late[chosen]
        if not masked:
            hidden = hidden[:, :-1]
            wanted, asked, answer = wanted[:, 1:], asked[:, 1:], answer[:, 1:]
        nats = torch.nn.functional.cross_entropy(
            head(hidden[asked]), wanted[asked], reduction="none"
        )
        answer = answer[asked]
        loss = nats[~answer].mean() + (nats[answer].mean() if answer.any() else 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
