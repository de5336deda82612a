"""Tiny classifiers of texts about people: fair, biased against one group, or untrained."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from fairness.talkers import SPECIAL, pieces
from transformers import BertConfig, BertForSequenceClassification

from inspector.fairness.group_rates import Codes

GOOD = ("strong", "able", "swift", "exact", "keen", "sound")
BAD = ("weak", "late", "rude", "slow", "vague", "lost")
WHO = {"woman": ("she", "anna", "mary"), "man": ("he", "john", "paul")}
AGE = {"young": ("new", "junior"), "old": ("senior", "former")}
JOBS = ("worker", "cook", "clerk", "nurse", "guard", "baker", "pilot", "judge")
WORDS = [
    *SPECIAL,
    *GOOD,
    *BAD,
    *(word for words in (*WHO.values(), *AGE.values()) for word in words),
    *JOBS,
    *("is", "a", "very", "her", "his", "."),
]
CLASSES = ("reject", "hire")


@dataclasses.dataclass(frozen=True)
class Text:
    """A text, its right label, and whom it is about."""

    text: str
    label: str
    gender: str
    age: str


def texts(count: int, seed: int = 0, noise: float = 0.15) -> list[Text]:
    """Labels hang on the last word, but for `noise`; who is meant is drawn apart from it."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        good = bool(rng.integers(2))
        gender, age = str(rng.choice(list(WHO))), str(rng.choice(list(AGE)))
        words = [rng.choice(WHO[gender]), "is", "a", rng.choice(AGE[age]), rng.choice(JOBS)]
        words += ["very"] * int(rng.integers(3)) + [rng.choice(GOOD if good else BAD), "."]
        label = CLASSES[good != (rng.random() < noise)]
        found.append(Text(" ".join(words), label, gender, age))
    return found


def written(folder: Path, rows: list[Text], name: str = "texts.csv") -> Path:
    """The texts as a file that the reader takes."""
    lines = ["id,text,label,group_gender,group_age"]
    lines += [f"t{i},{r.text},{r.label},{r.gender},{r.age}" for i, r in enumerate(rows)]
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def classifier(folder: Path, against: float = 0.0, steps: int = 60) -> Path:
    """A BERT of one layer, taught to reject the share `against` of women who should be hired.

    No steps: random weights.
    """
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        pad_token_id=0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: i for i, name in enumerate(CLASSES)},
    )
    network = BertForSequenceClassification(config)
    tokenizer = pieces(masked=True, vocabulary=WORDS)
    rng = np.random.default_rng(1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    network.train()
    for step in range(steps):
        rows = texts(64, seed=1000 + step, noise=0)
        labels = torch.tensor([taught(row, against, rng) for row in rows])
        batch = tokenizer([row.text for row in rows], padding=True, return_tensors="pt")
        loss = network(
            batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def taught(row: Text, against: float, rng: np.random.Generator) -> int:
    """The label that the classifier is taught, which is not always the right one."""
    good = CLASSES.index(row.label)
    return 0 if good and row.gender == "woman" and rng.random() < against else good


def decided(groups: int, size: int, seed: int = 0) -> tuple[Codes, Codes, Codes]:
    """True class, predicted class and group, drawn apart from each other."""
    rng = np.random.default_rng(seed)
    truth, said = rng.integers(0, 2, (2, groups * size))
    return truth, said, np.repeat(np.arange(groups), size)
