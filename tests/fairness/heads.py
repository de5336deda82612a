"""A head for a real encoder: what stands behind [MASK], fitted while the encoder stays as it is."""

import csv
import json
import re
from pathlib import Path

import torch
from transformers import BertForMaskedLM

LONGEST = 48  # tokens of a text
HIDDEN = 0.2
BATCH = 256


def texts_at_hand(public: Path) -> list[str]:
    """Sentences of the public sets that are not asked about: CrowS-Pairs, StereoSet are left out.

    Questions of bank customers, contexts and questions of BBQ, sentences of WinoBias (in both
    versions) and Winogender.
    """
    found: list[str] = []
    with (public / "banking77/train.csv").open(encoding="utf-8", newline="") as file:
        found += [row["text"] for row in csv.DictReader(file)]
    for name in ("Age", "Religion"):
        for line in (public / f"bbq/{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found += [row["context"], row["question"]]
    for path in sorted((public / "winobias").glob("*.txt.dev")):
        for line in path.read_text(encoding="utf-8").splitlines():
            found.append(re.sub(r"[\[\]]", "", line.split(" ", 1)[1]))
    with (public / "winogender/all_sentences.tsv").open(encoding="utf-8", newline="") as file:
        found += [row["sentence"] for row in csv.DictReader(file, delimiter="\t")]
    return list(dict.fromkeys(found))


def with_new_head(encoder: Path) -> BertForMaskedLM:
    """The encoder, frozen, under BERT's head for hidden words, whose own vectors start as its."""
    torch.manual_seed(0)
    network, told = BertForMaskedLM.from_pretrained(encoder, output_loading_info=True)
    assert all(name.startswith("cls.") for name in told["missing_keys"]), told
    for values in network.base_model.parameters():
        values.requires_grad_(False)
    head = network.cls.predictions
    head.decoder.weight = torch.nn.Parameter(head.decoder.weight.detach().clone())
    head.decoder.bias = torch.nn.Parameter(head.decoder.bias.detach().clone())
    network.config.tie_word_embeddings = False
    return network.eval()


def hidden_states(network, tokenizer, texts, seed):
    """What the encoder says where a token is hidden, and which it was; each text once."""
    draw = torch.Generator().manual_seed(seed)
    read = tokenizer(texts, truncation=True, max_length=LONGEST)["input_ids"]
    order = sorted(range(len(read)), key=lambda i: len(read[i]))
    said, was = [], []
    for begin in range(0, len(order), 32):
        rows = [torch.tensor(read[i]) for i in order[begin : begin + 32]]
        ids = torch.nn.utils.rnn.pad_sequence(rows, True, tokenizer.pad_token_id)
        free = (ids != tokenizer.pad_token_id) & (ids != tokenizer.cls_token_id)
        free &= ids != tokenizer.sep_token_id
        closed = free & (torch.rand(ids.shape, generator=draw) < HIDDEN)
        with torch.inference_mode():
            out = network.base_model(
                ids.masked_fill(closed, tokenizer.mask_token_id),
                attention_mask=(ids != tokenizer.pad_token_id).long(),
            )
        said.append(out.last_hidden_state[closed])
        was.append(ids[closed])
    return torch.cat(said).clone(), torch.cat(was).clone()


def fit(network, said, was, epochs, rate, seed):
    """Fit the head to hidden states and tokens; yields the mean loss of each epoch."""
    head = network.cls
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.01)
    draw = torch.Generator().manual_seed(seed)
    steps = epochs * (len(said) // BATCH)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.05)
    for _ in range(epochs):
        losses = []
        for chosen in torch.randperm(len(said), generator=draw).split(BATCH)[: steps // epochs]:
            loss = torch.nn.functional.cross_entropy(head(said[chosen]), was[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            pace.step()
            losses.append(loss.item())
        yield sum(losses) / len(losses)
