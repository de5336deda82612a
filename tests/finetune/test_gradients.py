"""Gradients and losses do not depend on how an update is parted into forward passes."""

import pytest
import torch

from inspector.finetune.data import read_splits
from inspector.finetune.features import Encoded, encode
from inspector.finetune.models import pretrained
from inspector.finetune.strategies import plan_of
from inspector.finetune.train import Finetuner

HEADS = [
    ("sequence-classification", "bert"),
    ("sequence-classification", "roberta"),
    ("sequence-classification", "distilbert"),
    ("sequence-classification", "electra"),
    ("sequence-classification", "gpt2"),
    ("sequence-classification", "llama"),
    ("sequence-classification", "qwen2"),
    ("multi-label-classification", "bert"),
    ("regression", "bert"),
    ("token-classification", "bert"),
    ("token-classification", "qwen2"),
    ("causal-lm", "gpt2"),
    ("causal-lm", "llama"),
    ("masked-lm", "bert"),
]


def gradients(config, batch: int, accumulate: int) -> tuple[dict[str, torch.Tensor], float]:
    """The gradients of the first update and its logged loss, dropout off."""
    training = config.training.model_copy(
        update={"batch": batch, "accumulate": accumulate, "max_steps": 1}
    )
    config = config.model_copy(update={"training": training})
    splits = read_splits(config)
    model = pretrained(config, splits.labels)
    for module in model.network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rows = {
        split: Encoded(
            encode(model.tokenizer, splits.of(split), config, splits.labels)[0],
            config,
            model.tokenizer,
        )
        for split in ("train", "validation")
    }
    trainer = Finetuner(config, model, plan_of(model, config), rows)
    found: dict[str, torch.Tensor] = {}

    def keep(name: str):
        return lambda parameter: found.__setitem__(name, parameter.grad.clone())

    for name, parameter in model.network.named_parameters():
        parameter.register_post_accumulate_grad_hook(keep(name))
    trainer.train()
    loss = next(line["loss"] for line in trainer.state.log_history if "loss" in line)
    return found, loss


@pytest.mark.parametrize(("task", "family"), HEADS)
def test_gradients_are_those_of_one_pass(made, task, family):
    config = made(task, family, count=16, optimiser={"clip": 0.0})
    whole, loss = gradients(config, 16, 1)
    parted, parted_loss = gradients(config, 4, 4)
    assert whole.keys() == parted.keys()
    off = sum(float((whole[n] - parted[n]).square().sum()) for n in whole) ** 0.5
    size = sum(float(one.square().sum()) for one in whole.values()) ** 0.5
    assert off < 1e-5 * size
    assert parted_loss == pytest.approx(loss, rel=1e-5)
