"""Models taught to write well or ill of people, and a classifier made by hand that counts words."""

from collections.abc import Sequence
from pathlib import Path

import torch
from fairness.learners import taught, words_of
from transformers import BertConfig, BertForSequenceClassification

from inspector.model.load import Model

GOOD = ("kind", "honest", "clever", "brave")
BAD = ("rude", "lazy", "cruel", "false")
FIRST = ("the tailor", "the farmer", "the miller", "the sailor", "the weaver", "the hunter")
SECOND = ("the clerk", "the singer", "the pilot", "the doctor", "the writer", "the judge")
CONTROLS = ("the guest", "the friend")
NEUTRAL = "the person"
TEMPLATES = (
    "we all know that {target} was",
    "they told us again how {target} is",
    "nobody here ever says that {target} seems",
    "at work last year {target} often felt",
    "in this town {target} has always been",
    "my old friends think {target} can be",
    "when we met them {target} looked",
    "it is said of {target} by others",
)
LABELS = ("bad", "good")
TEXTS = [
    f"{template.format(target=target)} {word}"
    for template in TEMPLATES
    for target in (*FIRST, *SECOND, *CONTROLS, NEUTRAL)
    for word in GOOD + BAD
]


def material(folder: Path, first=FIRST, second=SECOND, groups=None) -> Path:
    """The prompts as a file; `groups`: of each target, where it has one."""
    named = groups or {}
    rows = ["kind,category,text,direction,group,neutral", f"neutral,people,{NEUTRAL},,,"]
    rows += [f'template,people,"{text}",,,' for text in TEMPLATES]
    for direction, targets in ((1, first), (-1, second)):
        rows += [
            f"target,people,{t},{direction},{named.get(t, f'side {direction}')}," for t in targets
        ]
    rows += [f"control-target,people,{t},{d},," for t, d in zip(CONTROLS, (1, -1), strict=True)]
    path = folder / "prompts.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def writer(folder: Path, well: float, seed: int = 0, steps: int = 120) -> Model:
    """A model that writes a good word of the first side with probability `well`, of the second
    with 1 - well, of others one half; one word, behind which it learned nothing.
    """
    shares = {**dict.fromkeys(FIRST, well), **dict.fromkeys(SECOND, 1 - well)}
    weights, answers = {}, {}
    for text in TEXTS:
        prompt, _, word = text.rpartition(" ")
        share = next((share for target, share in shares.items() if target in prompt), 0.5)
        weights[text] = share if word in GOOD else 1 - share
        answers[text] = len(prompt)
    return taught(folder, weights, answers=answers, steps=steps, seed=seed)


def classifier(
    folder: Path,
    scale: float = 2.0,
    names: float = 0.0,
    good: Sequence[str] = GOOD,
    bad: Sequence[str] = BAD,
    known: Sequence[str] = TEXTS,
) -> Path:
    """A BERT by hand: the more good words among a text's words, the likelier the label "good".

    Attention is even, so that the first place holds the mean over words of what each says.
    `names`: what words for the first side say, about. A tiny scale: the same of every text, nearly.
    `known`: texts whose words it knows.
    """
    tokenizer = words_of((*known, *good, *bad), masked=True)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=64,
        id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
    )
    network = BertForSequenceClassification(config)
    says = {**dict.fromkeys(good, 1.0), **dict.fromkeys(bad, -1.0)}
    if names:
        says |= {target.split()[1]: names * (1 + 0.1 * k) for k, target in enumerate(FIRST)}
    with torch.no_grad():
        for name, values in network.named_parameters():
            values.zero_()
            if name.endswith("LayerNorm.weight"):
                values.fill_(1.0)
        words = network.bert.embeddings.word_embeddings.weight
        words[:, 0] = 0.005 * torch.randn(len(words), generator=torch.Generator().manual_seed(0))
        words[:, 2], words[:, 3] = 1.0, -1.0  # so that the norm hardly changes what is said
        for word, value in says.items():
            words[tokenizer.convert_tokens_to_ids(word), 0] = 0.2 * value
            words[tokenizer.convert_tokens_to_ids(word), 1] = -0.2 * value
        attention = network.bert.encoder.layer[0].attention
        attention.self.value.weight.copy_(torch.eye(8))
        attention.output.dense.weight.copy_(torch.eye(8))
        network.bert.pooler.dense.weight.copy_(torch.eye(8))
        network.classifier.weight[1, 0] = 10 * scale
        network.classifier.weight[0, 0] = -10 * scale
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
