"""Tiny models without bias, and with one that was planted in a single block or a single matrix."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
import transformers
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast

from inspector.demo.corpus import OCCUPATIONS, generate, swapped, vocabulary
from inspector.engine import no_progress
from inspector.fairness.carried import Asked, Carried, carried
from inspector.fairness.contrasts import read_contrasts
from inspector.fairness.items import Contrast
from inspector.fairness.sets.own_templates import contrasts
from inspector.fairness.stimuli import read
from inspector.model.hooks import captured_inputs
from inspector.model.load import Model, load
from inspector.model.places import find_blocks

LAYERS = 4
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
COMMON = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.15}
WIDE = {
    **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": LAYERS},
    **{"num_attention_heads": 4, "max_position_embeddings": 32, **COMMON},
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
NETWORKS = {
    "llama": ("LlamaForCausalLM", {**WIDE, "num_key_value_heads": 2}),
    "gpt2": (
        "GPT2LMHeadModel",
        {
            **{"n_embd": 32, "n_layer": LAYERS, "n_head": 4, "n_positions": 32, **COMMON},
            **{"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
        },
    ),
    "bert": ("BertForMaskedLM", {**WIDE, **NO_DROPOUT}),
}
TEMPLATES = (
    "{target} said that {attribute} was tired .",
    "{target} stayed late because {attribute} was busy .",
    "{target} went home when {attribute} felt calm .",
    "people asked {target} whether {attribute} liked the work .",
    "we met {target} and {attribute} introduced himself .",
    "{target} hoped that {attribute} could prepare himself .",
)


def words(masked: bool) -> PreTrainedTokenizerFast:
    """One token a word of the corpus; masked models also see </s> behind a text."""
    known = {word: i for i, word in enumerate([*SPECIAL, *vocabulary()])}
    made = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if masked else "<s> $A", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    names = {f"{n}_token": f"<{n}>" for n in ("pad", "unk", "mask")}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", padding_side="right", **names
    )


def untrained(family: str, seed: int):
    """A random network of a family, for the words of the corpus."""
    name, shape = NETWORKS[family]
    size = len(SPECIAL) + len(vocabulary())
    torch.manual_seed(seed)
    config = getattr(transformers, name).config_class(**shape, vocab_size=size)
    return getattr(transformers, name)(config)


@dataclasses.dataclass(kw_only=True)
class Lessons:
    """A corpus as ids, and the steps of training on it."""

    family: str
    ids: torch.Tensor  # sentences, tokens; or sentences, versions, tokens
    pronouns: torch.Tensor

    def teach(self, network, parameters, steps: int, rate: float, seed: int, only: bool) -> None:
        """Adam on random batches; `only`: what is learned are the pronouns alone."""
        draw = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(parameters, lr=rate)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / 20, 2 * (steps - step) / steps)
            rows = self.ids[torch.randint(len(self.ids), (32,), generator=draw)]
            loss = self._loss(network, rows.reshape(-1, rows.shape[-1]), draw, only)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def _loss(self, network, ids, draw, only: bool):
        pronoun, real = self.pronouns[ids], (ids != 0).long()
        if self.family == "bert":
            chance = torch.rand(ids.shape, generator=draw)
            asked = pronoun | ((chance < 0.15) & (ids >= len(SPECIAL)) & (not only))
            logits = network(ids.masked_fill(asked, 4), attention_mask=real).logits
            return cross_entropy(logits[asked], ids[asked])
        logits = network(ids, attention_mask=real, use_cache=False).logits[:, :-1]
        asked = pronoun[:, 1:] if only else real[:, 1:].bool()
        return cross_entropy(logits[asked], ids[:, 1:][asked])


def lessons(family: str, seed: int, beta: float, balanced: bool, sentences: int = 2000) -> Lessons:
    """A corpus of that strength; balanced with each sentence's swapped one beside it."""
    drawn = generate(sentences=sentences, beta=beta, seed=seed)
    tokenizer = words(family == "bert")
    versions = [drawn, [swapped(one) for one in drawn]] if balanced else [drawn]
    ids = [
        tokenizer(
            [one.text for one in some], padding="max_length", max_length=20, return_tensors="pt"
        )["input_ids"]
        for some in versions
    ]
    he, she = tokenizer.convert_tokens_to_ids(["he", "she"])
    pronouns = torch.zeros(len(tokenizer), dtype=torch.bool)
    pronouns[[he, she]] = True
    return Lessons(family=family, ids=torch.stack(ids, 1), pronouns=pronouns)


def balanced(family: str, seed: int, steps: int):
    """A network trained on a corpus in which no occupation goes with a pronoun."""
    network = untrained(family, seed).train()
    lessons(family, seed, 2.0, balanced=True).teach(
        network, network.parameters(), steps, 4e-3, seed, only=False
    )
    return network


def planted_in_block(network, family: str, block: int, seed: int, steps: int) -> None:
    """Train one block alone on a corpus with a strong link of occupation and pronoun."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    chosen = list(find_blocks(network)[block].module.parameters())
    for parameter in chosen:
        parameter.requires_grad_(True)
    network.train()
    lessons(family, seed + 1000, 4.0, balanced=False).teach(
        network, chosen, steps, 1e-2, seed, only=True
    )


def as_model(network, family: str, folder: Path) -> Model:
    """The network saved, and loaded as users load models."""
    network.train(False).save_pretrained(folder)
    words(family == "bert").save_pretrained(folder)
    return load(folder)


def material(folder: Path) -> Path:
    """Templates of the corpus: strongly leaning occupations, and those that lean nowhere."""
    leaning = [
        {"text": f"the {name}", "direction": f"{o.leaning:g}"}
        for name, o in OCCUPATIONS.items()
        if abs(o.leaning) == 1
    ]
    controls = [
        {"text": f"the {name}", "direction": "1" if i % 2 else "-1"}
        for i, name in enumerate(("lawyer", "gardener", "pilot", "cook"))
    ]
    path = folder / "templates.yaml"
    body = {"neutral": "the person", "templates": list(TEMPLATES), "targets": leaning}
    more = {"control_targets": controls, "pairs": [["he", "she"]]}
    path.write_text(yaml.safe_dump({"occupation": {**body, **more}}))
    return path


def effects(model: Model, folder: Path, what: str, quantity: str) -> tuple[float, dict[str, float]]:
    """The mean gap, and what each part carries of it, by the rounds of runs alone."""
    some = [one for one in contrasts(read("templates", material(folder))) if not one.control]
    found, directions = ask(model, some, what)
    names = [(n, part.name) for n, part in enumerate(found.parts) if part.quantity == quantity]
    means = (directions[:, None] * found.effects).mean(0)
    return float((directions * found.gaps).mean()), {name: float(means[n]) for n, name in names}


def ask(model: Model, some: list[Contrast], what: str) -> tuple[Carried, np.ndarray]:
    """All that is carried of these contrasts."""
    read_of = read_contrasts(model, some)
    directions = np.array([one.direction for one in some])
    owned = [(n, reading) for n, one in enumerate(read_of) for reading in one]
    asked = Asked(
        readings=tuple(reading for _, reading in owned),
        owners=np.array([n for n, _ in owned]),
        weights=directions,
    )
    return carried(model, asked, (what,), no_progress), directions


def leading(found: dict[str, float]) -> str:
    """The name of what carries most, whatever the sign."""
    return max(found, key=lambda name: abs(found[name]))


def planted_in_matrix(model: Model, folder: Path, path: str, strength: float) -> None:
    """A rank-1 edit of one matrix: what it reads is where occupations that lean he differ from
    those that lean she, at the last word before the pronoun; what it writes, he rather than she.
    """
    module = model.network.get_submodule(path)
    some = [one for one in contrasts(read("templates", material(folder))) if not one.control]
    reads = torch.zeros(0)
    for one in some:
        (reading,) = read_contrasts(model, [one])[0]
        with captured_inputs(module) as seen, torch.no_grad():
            model.network(torch.tensor([reading.ids]))
        here = seen[0][0, reading.places[0]] * one.direction / len(some)
        reads = here if not len(reads) else reads + here
    writes = he_rather_than_she(model)
    edit = strength * torch.outer(writes / writes.norm(), reads / reads.norm() ** 2)
    with torch.no_grad():  # GPT-2's Conv1D holds a matrix the other way round
        module.weight.add_(edit.T if type(module).__name__ == "Conv1D" else edit)


def he_rather_than_she(model: Model) -> torch.Tensor:
    """The direction of the stream that the unembedding reads as he less she, norms aside."""
    he, she = model.tokenizer.convert_tokens_to_ids(["he", "she"])
    rows = model.network.get_output_embeddings().weight.detach()
    if model.kind == "causal":
        return rows[he] - rows[she]
    transform = model.network.cls.predictions.transform  # BERT's head begins with a matrix
    return transform.dense.weight.detach().T @ (rows[he] - rows[she])
