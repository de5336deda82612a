"""Tensors begin to move, rest and are drawn as a plan says, while a run goes on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel, TrainerCallback

from inspector.finetune.config import Config
from inspector.finetune.strategies import Plan


def let_move(network: PreTrainedModel, plan: Plan) -> None:
    """Untie what is to have storage of its own, and let every tensor of the plan move.

    All of them are to be movable when the optimiser and the processes are set up: what is frozen
    then would never move (modelscope/ms-swift#10140). `Movement` lets rest what has not begun.
    """
    for name in plan.untied:
        untie(network, name)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in plan.factors)


def untie(network: PreTrainedModel, name: str) -> None:
    """Give a tied tensor, under one of its names, values of its own that are saved and loaded."""
    owner, _, leaf = name.rpartition(".")
    module = network.get_submodule(owner)
    setattr(module, leaf, torch.nn.Parameter(getattr(module, leaf).detach().clone()))
    network.config.tie_word_embeddings = False
    network.config.get_text_config().tie_word_embeddings = False
    network.all_tied_weights_keys.pop(name, None)


def moving(plan: Plan, config: Config, epoch: int, step: int) -> set[str]:
    """Names of the tensors that move in an epoch and step, both counted from 0.

    Groups that are drawn follow from the seed and the step alone, whatever ran before.
    """
    begun = {name for name in plan.factors if plan.begins.get(name, 0) <= epoch}
    if not plan.drawn:
        return begun
    options = config.strategy
    draw = np.random.default_rng((config.seed, step // options.every))
    chosen = draw.choice(len(plan.drawn), options.at_once, replace=False)
    resting = {
        name for place, group in enumerate(plan.drawn) if place not in chosen for name in group
    }
    return begun - resting


class Movement(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Lets tensors move and rest at the begin of epochs and steps, as the plan says.

    A tensor that comes to rest loses its gradient and what the optimiser kept for it
    (OptimalScale/LMFlow#768).
    """

    def __init__(self, network: torch.nn.Module, plan: Plan, config: Config) -> None:
        self.plan, self.config = plan, config
        self.parameters: Mapping[str, torch.nn.Parameter] = {
            name: one for name, one in network.named_parameters() if name in plan.factors
        }

    def on_epoch_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any
    ) -> None:
        """Let move what begins with this epoch."""
        self._turn(state, optimizer)

    def on_step_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any
    ) -> None:
        """Let move what is drawn for this step."""
        if self.plan.drawn:
            self._turn(state, optimizer)

    def _turn(self, state: Any, optimizer: Any) -> None:
        epoch = int((state.epoch or 0.0) + 1e-9)
        now = moving(self.plan, self.config, epoch, state.global_step)
        for name, parameter in self.parameters.items():
            if parameter.requires_grad and name not in now:
                parameter.grad = None  # of zeros, momentum and decay would move it
                optimizer.state.pop(parameter, None)
            parameter.requires_grad_(name in now)


def rest_statistics(network: torch.nn.Module) -> None:
    """Let batch norms whose tensors do not move keep their running statistics.

    These would follow the batches whatever is frozen. One without tensors of its own rests where
    nothing of the module around it moves.
    """
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            around = network.get_submodule(name.rpartition(".")[0])
            own = list(module.parameters()) or list(around.parameters())
            if not any(one.requires_grad for one in own):
                module.eval()
