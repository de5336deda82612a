"""What each task learns: the class of model, the error of each item, and the metric it ends in."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final

import torch
import torch.nn.functional as F
import transformers
from jaxtyping import Float, Num

from inspector.finetune.config import Objective

IGNORED: Final = -100  # a label that is no item
Errors = Callable[[torch.Tensor, torch.Tensor, Objective], tuple[torch.Tensor, torch.Tensor]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learning:
    """How a task is learned.

    `errors` gives the error of each item and whether it is one; their sum over all items of all
    micro-batches, divided by the number of items, is the loss whatever the accumulation.
    `metric` is what validation is steered by; with `greater` more is better.
    """

    model: type
    errors: Errors
    metric: str
    greater: bool
    per_token: bool = False  # whether each token is an item, not each row
    shifts: bool = False  # whether each place is asked about the next


def class_errors(
    logits: Float[torch.Tensor, "*items classes"],
    labels: Num[torch.Tensor, "*items"],
    objective: Objective,
) -> tuple[Float[torch.Tensor, " all"], Float[torch.Tensor, " all"]]:
    """Cross-entropy in nats of each item, and 1 where it counts, 0 where it is padding."""
    flat = labels.flatten()
    errors = F.cross_entropy(
        logits.flatten(0, -2).float(),
        flat,
        ignore_index=IGNORED,
        reduction="none",
        label_smoothing=objective.label_smoothing,
    )
    return errors, flat.ne(IGNORED).float()


def next_token_errors(
    logits: Float[torch.Tensor, "rows places words"],
    labels: Num[torch.Tensor, "rows places"],
    objective: Objective,
) -> tuple[Float[torch.Tensor, " all"], Float[torch.Tensor, " all"]]:
    """The same of each next token."""
    return class_errors(logits[:, :-1], labels[:, 1:], objective)


def label_errors(
    logits: Float[torch.Tensor, "rows labels"],
    labels: Float[torch.Tensor, "rows labels"],
    objective: Objective,
) -> tuple[Float[torch.Tensor, " rows"], Float[torch.Tensor, " rows"]]:
    """Mean binary cross-entropy in nats over the labels of each row."""
    smooth = objective.label_smoothing
    wanted = labels * (1 - smooth) + smooth / 2
    errors = F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")
    return errors.mean(dim=1), torch.ones(len(labels), device=labels.device)


def squared_errors(
    logits: Float[torch.Tensor, "rows 1"],
    labels: Float[torch.Tensor, " rows"],
    objective: Objective,
) -> tuple[Float[torch.Tensor, " rows"], Float[torch.Tensor, " rows"]]:
    """Squared difference of each row, in squared units of the label."""
    return (logits.float().squeeze(1) - labels) ** 2, torch.ones_like(labels)


TASKS: Final[Mapping[str, Learning]] = {
    "sequence-classification": Learning(
        model=transformers.AutoModelForSequenceClassification,
        errors=class_errors,
        metric="accuracy",
        greater=True,
    ),
    "multi-label-classification": Learning(
        model=transformers.AutoModelForSequenceClassification,
        errors=label_errors,
        metric="micro_f1",
        greater=True,
    ),
    "regression": Learning(
        model=transformers.AutoModelForSequenceClassification,
        errors=squared_errors,
        metric="rmse",
        greater=False,
    ),
    "token-classification": Learning(
        model=transformers.AutoModelForTokenClassification,
        errors=class_errors,
        metric="accuracy",
        greater=True,
        per_token=True,
    ),
    "causal-lm": Learning(
        model=transformers.AutoModelForCausalLM,
        errors=next_token_errors,
        metric="loss",
        greater=False,
        per_token=True,
        shifts=True,
    ),
    "masked-lm": Learning(
        model=transformers.AutoModelForMaskedLM,
        errors=class_errors,
        metric="loss",
        greater=False,
        per_token=True,
    ),
}
"""One entry a task."""
