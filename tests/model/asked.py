"""Texts and answers for the tiny models of every kind, and models changed by hand."""

import copy
import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from inspector.model.load import Model
from inspector.model.places import find_blocks

Running = Callable[[str], Model]
CAUSAL = [
    *("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt_neox"),
    *("opt", "bloom", "falcon-7b", "falcon-plain", "falcon-new", "mixtral", "gpt_oss", "olmo2"),
]
MASKED = ["bert", "roberta", "distilbert", "electra"]
CLASSIFIERS = ["bert-classifier", "distilbert-classifier"]
EVERY = [*CAUSAL, *MASKED, *CLASSIFIERS, "t5"]


def texts(model: Model) -> list[str]:
    """Three texts, two of one length."""
    if model.kind == "masked":
        return ["a b <mask> d e", "x <mask> z f g", "h i <mask>"]
    return ["a b c d e", "x y z f g", "h i j"]


def answers(model: Model) -> tuple[str, str]:
    """A target and what it is compared with, one token each."""
    return ("LABEL_1", "LABEL_0") if model.kind == "classifier" else ("p", "q")


def changed(model: Model, change: Callable[[nn.Module], None] = lambda _: None) -> Model:
    """A copy whose network was changed in place; in float64 where its experts can run so."""
    network = copy.deepcopy(model.network)
    network = network if hasattr(network.config, "num_local_experts") else network.double()
    with torch.no_grad():
        change(network)
    return dataclasses.replace(model, network=network, blocks=find_blocks(network))


def zero_slice(output: nn.Module, head: int, heads: int) -> None:
    """Take a head out of the weight of an output projection."""
    weight: Tensor = output.weight
    rows = weight.T if isinstance(output, nn.Linear) else weight  # now [inputs, outputs]
    width = len(rows) // heads
    rows[head * width : (head + 1) * width] = 0
