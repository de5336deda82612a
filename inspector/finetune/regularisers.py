"""Pulls on the weights themselves: exact zeros after each step, and mixing with what they were."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from jaxtyping import Float
from transformers import TrainerCallback

from inspector.errors import BadOption
from inspector.finetune.config import Config

KNOWN: Final = ("sgd", "adam", "adamw", "rmsprop")  # optimisers whose step has a known threshold
MATRIX: Final = 2  # dimensions: biases and norm gains are left alone


class ShrinkToZero(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """The proximal step of an L1 penalty on all matrices that move, after each update."""

    def __init__(self, weight: float, optimiser: str) -> None:
        if optimiser not in KNOWN:
            raise BadOption(
                f"objective.l1: the proximal step of {optimiser} is not known; it is for "
                f"{', '.join(KNOWN)}."
            )
        self.weight = weight

    def on_optimizer_step(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any
    ) -> None:
        """Shrink."""
        shrink(optimizer, self.weight)


@torch.no_grad()
def shrink(optimizer: Any, weight: float) -> None:
    """Move each entry of each matrix towards 0 by its threshold, and no further: exact zeros.

    The threshold is the rate times the weight; where the step is divided by the root of the mean
    squared gradients (Adam, RMSprop), so is the threshold, since with another one the fixed
    points are not those of the penalty. Source: proximal gradient descent in the metric of the
    optimiser (Parikh and Boyd 2014; Yun et al. 2021).
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.ndim < MATRIX or parameter.grad is None:
                continue
            threshold = group["lr"] * weight / _scale(optimizer.state[parameter], group)
            left = (parameter.abs() - threshold).clamp(min=0)
            parameter.copy_(parameter.sign() * left)


def _scale(
    state: Mapping[str, Any], group: Mapping[str, Any]
) -> Float[torch.Tensor, "..."] | float:
    """What the optimiser divides its step by, entry for entry."""
    if "exp_avg_sq" in state:
        squares: torch.Tensor = state["exp_avg_sq"]
        seen: float = 1 - float(group["betas"][1]) ** float(state["step"])
        return (squares / seen).sqrt() + float(group["eps"])
    if "square_avg" in state:
        averages: torch.Tensor = state["square_avg"]
        return averages.sqrt() + float(group["eps"])
    return 1.0


def mixed(
    moving: Mapping[str, torch.Tensor], start: Mapping[str, torch.Tensor], chance: float
) -> dict[str, torch.Tensor]:
    """Matrices in which each entry is by chance what it was before, in the mean what it is.

    (M start + (1 - M) moving - chance start) / (1 - chance) with M drawn anew at each call.
    Source: Mixout, Lee, Cho and Kang 2020 (1909.11299).
    """
    return {name: _mix(moving[name], was, chance) for name, was in start.items() if was.ndim > 1}


def _mix(
    now: Float[torch.Tensor, "*shape"], was: Float[torch.Tensor, "*shape"], chance: float
) -> Float[torch.Tensor, "*shape"]:
    back = torch.rand_like(was) < chance
    return (torch.where(back, was, now) - chance * was) / (1 - chance)


def check_mixout(config: Config, processes: int) -> None:
    """Raise BadOption where weights cannot be mixed for one forward pass."""
    if config.objective.mixout >= 1:
        raise BadOption("objective.mixout: must be below 1, or nothing is left to learn.")
    if config.training.activation_checkpointing or processes > 1:
        raise BadOption(
            "objective.mixout: weights are mixed for one forward pass, which neither "
            "training.activation_checkpointing nor several processes allow. Use one process "
            "without it."
        )
