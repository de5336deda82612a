"""What is made small beside the error on the labels: one small function a term.

Each term says whether it is additive. An additive one is a sum over what a forward pass holds and
is divided by the size of the whole update, so that gradients do not depend on the accumulation. One
that is not, such as a difference of means, is refused where an update has several passes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from jaxtyping import Float, Int

from inspector.errors import BadOption
from inspector.finetune.config import Config
from inspector.finetune.tasks import IGNORED, Learning

ROW_TASKS: Final = ("sequence-classification", "multi-label-classification", "regression")
CLASS_TASKS: Final = ("sequence-classification", "token-classification", "causal-lm", "masked-lm")
ALL_TASKS: Final = (*ROW_TASKS, "token-classification", "causal-lm", "masked-lm")
Batch = Mapping[str, Any]
Answer = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pass:
    """One forward pass of an update, as the terms see it.

    `logits` are those of one pass, of two with different dropout where r_drop asks for them;
    `counts` is how much each item counts; `answer` gives the logits of other ids and their mask;
    `start` holds the pretrained tensors that move as they were before, `new` names those that the
    checkpoint lacks.
    """

    batch: Batch
    logits: tuple[torch.Tensor, ...]
    counts: Float[torch.Tensor, " items"]
    learning: Learning
    answer: Answer
    moving: Mapping[str, torch.Tensor]
    start: Mapping[str, torch.Tensor]
    new: tuple[str, ...]


def items_of(batch: Batch, learning: Learning) -> Float[torch.Tensor, ""]:
    """How many items a batch holds, each by its weight."""
    labels: torch.Tensor = batch["labels"]
    weights: torch.Tensor | None = batch.get("weight")
    if weights is not None:
        return weights.sum().cpu()
    if not learning.per_token:
        return torch.tensor(float(len(labels)))
    asked = labels[:, 1:] if learning.shifts else labels
    return asked.ne(IGNORED).sum().float().cpu()


def pairs_of(batch: Batch, learning: Learning) -> Float[torch.Tensor, ""]:
    """How many rows of a batch have a counterfactual."""
    twinned: torch.Tensor = batch["twinned"]
    return twinned.sum().float().cpu()


def passes_of(batch: Batch, learning: Learning) -> Float[torch.Tensor, ""]:
    """One: what does not depend on the rows counts once an update."""
    return torch.ones(())


def divergence(read: Pass) -> Float[torch.Tensor, ""]:
    """Sum over items of the symmetric divergence of two passes with different dropout, in nats.

    Half of KL(p1, p2) + KL(p2, p1); 0 without dropout. Source: R-Drop, Liang et al. 2021.
    """
    first, second = (
        (one[:, :-1] if read.learning.shifts else one).flatten(0, -2).float().log_softmax(dim=-1)
        for one in read.logits
    )
    each = (first.exp() - second.exp()) * (first - second)
    return (each.sum(dim=-1) / 2 * read.counts).sum()


def pairing(read: Pass) -> Float[torch.Tensor, ""]:
    """Sum over rows of the mean absolute difference of logits to a row and to its counterfactual.

    Source: counterfactual logit pairing, Garg et al. 2019.
    """
    twinned = read.batch["twinned"]
    if not bool(twinned.any()):
        return read.logits[0].sum() * 0
    other = read.answer(
        read.batch["twin_input_ids"][twinned], read.batch["twin_attention_mask"][twinned]
    )
    return (read.logits[0][twinned].float() - other.float()).abs().mean(dim=-1).sum()


def parity_gap(read: Pass) -> Float[torch.Tensor, ""]:
    """Sum over groups of how far their mean probabilities are from those of all rows."""
    return group_gap(read.logits[0].float().softmax(dim=-1), read.batch["group"])


def odds_gap(read: Pass) -> Float[torch.Tensor, ""]:
    """The same among rows of one label, as a mean over the labels of the batch."""
    probabilities, groups = read.logits[0].float().softmax(dim=-1), read.batch["group"]
    labels = read.batch["labels"]
    rows = [labels == label for label in torch.unique(labels)]
    return torch.stack([group_gap(probabilities[one], groups[one]) for one in rows]).mean()


def group_gap(
    probabilities: Float[torch.Tensor, "rows classes"], groups: Int[torch.Tensor, " rows"]
) -> Float[torch.Tensor, ""]:
    """Sum over groups of |mean p given the group - mean p|, as a mean over classes; ideally 0.

    With two classes that is the gap of either. Source: demographic parity as a penalty, Beutel
    et al. 2019.
    """
    overall = probabilities.mean(dim=0)
    means = [probabilities[groups == group].mean(dim=0) for group in torch.unique(groups)]
    return (torch.stack(means) - overall).abs().mean(dim=1).sum()


def from_start(read: Pass) -> Float[torch.Tensor, ""]:
    """Half the squared distance of the pretrained tensors that move from what they were.

    Source: L2-SP, Li, Grandvalet and Davoine 2018.
    """
    parts = [(read.moving[name] - was).square().sum() for name, was in read.start.items()]
    return torch.stack(parts).sum() / 2 if parts else read.logits[0].sum() * 0


def from_zero(read: Pass) -> Float[torch.Tensor, ""]:
    """Half the squared size of the tensors that are new."""
    parts = [read.moving[name].square().sum() for name in read.new if name in read.moving]
    return torch.stack(parts).sum() / 2 if parts else read.logits[0].sum() * 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Term:
    """One term: its value on a pass, and what an update's sum of values is divided by.

    Where it is not additive the value of a pass is the value of an update, which then has one.
    """

    value: Callable[[Pass], torch.Tensor]
    size: Callable[[Batch, Learning], torch.Tensor] = passes_of
    additive: bool = True
    groups: bool = False
    tasks: tuple[str, ...] = ALL_TASKS


OBJECTIVES: Final[Mapping[str, Term]] = {
    "l2_sp": Term(value=from_start),
    "l2_new": Term(value=from_zero),
    "r_drop": Term(value=divergence, size=items_of, tasks=CLASS_TASKS),
    "logit_pairing": Term(value=pairing, size=pairs_of, tasks=ROW_TASKS),
    "demographic_parity": Term(
        value=parity_gap, additive=False, groups=True, tasks=("sequence-classification",)
    ),
    "equalised_odds": Term(
        value=odds_gap, additive=False, groups=True, tasks=("sequence-classification",)
    ),
}
"""One entry a term, under the key of the configuration that holds its weight."""


def terms_of(config: Config, processes: int = 1) -> dict[str, tuple[float, Term]]:
    """The terms a configuration asks for, with their weights.

    Raises BadOption for a term that the task, the rows or the parting of updates do not allow.
    """
    weights = {name: float(getattr(config.objective, name)) for name in OBJECTIVES}
    found = {name: (weight, OBJECTIVES[name]) for name, weight in weights.items() if weight}
    for name, (_, term) in found.items():
        key = f"objective.{name}"
        if config.task not in term.tasks:
            raise BadOption(
                f"{key}: is not known for {config.task}, only for {', '.join(term.tasks)}."
            )
        if term.groups and config.data.group is None:
            raise BadOption(
                f"{key}: groups are not known. Name the column of each row's group in data.group."
            )
        if not term.additive and config.training.accumulate * processes > 1:
            raise BadOption(
                f"{key}: compares means over the rows of an update, which do not add up over "
                f"{config.training.accumulate} forward passes on {processes} processes. Set "
                "training.accumulate to 1, raise training.batch, and use one process."
            )
    if config.objective.label_smoothing and config.task == "regression":
        raise BadOption("objective.label_smoothing: regression has no labels to smooth.")
    return found
