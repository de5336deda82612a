"""Optimisers and schedules by name, over groups of tensors with rates of their own."""

from typing import Any

import torch
import transformers

from inspector.finetune.config import Config
from inspector.finetune.strategies import Plan


def made_optimiser(config: Config, plan: Plan, network: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser over the tensors that move; matrices decay, biases and norm gains do not."""
    options = config.optimiser
    groups = [
        {
            "params": [parameter],
            "lr": options.learning_rate * plan.factors[name],
            "weight_decay": options.weight_decay if parameter.ndim > 1 else 0.0,
        }
        for name, parameter in network.named_parameters()
        if name in plan.factors
    ]
    return torch.optim.AdamW(groups, betas=(options.beta1, options.beta2), eps=options.epsilon)


def made_schedule(config: Config, optimiser: torch.optim.Optimizer, steps: int) -> Any:
    """The schedule over all steps of the run."""
    warmup = config.schedule.warmup
    return transformers.get_scheduler(
        config.schedule.name,
        optimizer=optimiser,
        num_warmup_steps=round(warmup * steps) if warmup < 1 else int(warmup),
        num_training_steps=steps,
    )
