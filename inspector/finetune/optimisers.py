"""Optimisers and schedules by name, over groups of tensors with rates of their own."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
import transformers
from torch.optim import lr_scheduler
from transformers import TrainingArguments
from transformers.training_args import OptimizerNames

from inspector.errors import BadOption
from inspector.finetune.config import Config, Optimiser, Schedule
from inspector.finetune.strategies import Plan
from inspector.finetune.tasks import TASKS
from inspector.results import show_plain

OWN_WAY: Final = ("galore", "apollo", "lomo", "adalomo", "schedule_free")  # step by ways of theirs
FUSED: Final = ("cpu", "cuda", "mps", "xpu")  # devices where one kernel makes a whole step
RISING: Final = 0.3  # share of one-cycle that rises, and
START: Final = 0.04  # where one-cycle begins, as a share of the top (Smith & Topin 2018)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """A group of the optimiser as it was made: what shares its rate and decay."""

    tensors: int
    parameters: int
    factor: float
    learning_rate: float
    weight_decay: float


def grouped(config: Config, plan: Plan, network: torch.nn.Module) -> list[dict[str, Any]]:
    """Groups of equal rate and decay, tensors in the network's order.

    Matrices decay, biases and gains do not. Tensors that begin later are there from the start.
    """
    options = config.optimiser
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if name in plan.factors:
            factor = plan.factors[name]
            decay = options.weight_decay if parameter.ndim > 1 else 0.0
            fresh = {"params": [], "lr": options.learning_rate * factor, "weight_decay": decay}
            groups.setdefault((factor, decay), fresh)["params"].append(parameter)
    return list(groups.values())


def made_optimiser(config: Config, plan: Plan, network: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser over the tensors of the plan.

    Raises BadOption for a name that is not known, needs a package that is not there, or steps in
    a way of its own.
    """
    groups = grouped(config, plan, network)
    devices = {one.device.type for group in groups for one in group["params"]}
    name, options = config.optimiser.name, config.optimiser
    if name in OWN:
        return OWN[name](groups, options, devices <= set(FUSED))
    made: Any
    made, more = _of_trainer(config)
    optimiser: torch.optim.Optimizer = made(groups, **{**more, "lr": options.learning_rate})
    return optimiser


def realised(optimiser: torch.optim.Optimizer, learning_rate: float) -> list[Group]:
    """What a new optimiser holds, by its groups; `learning_rate` is that of factor 1."""
    return [
        Group(
            tensors=len(group["params"]),
            parameters=sum(one.numel() for one in group["params"]),
            factor=group["lr"] / learning_rate,
            learning_rate=group["lr"],
            weight_decay=group["weight_decay"],
        )
        for group in optimiser.param_groups
    ]


Groups = list[dict[str, Any]]


def _sgd(groups: Groups, options: Optimiser, fused: bool) -> torch.optim.Optimizer:
    if options.nesterov and not options.momentum:
        raise BadOption("optimiser.nesterov: needs optimiser.momentum, such as 0.9.")
    return torch.optim.SGD(
        groups,
        lr=options.learning_rate,
        momentum=options.momentum,
        nesterov=options.nesterov,
        fused=fused,
    )


def _adam(groups: Groups, options: Optimiser, fused: bool) -> torch.optim.Optimizer:
    betas, rate = (options.beta1, options.beta2), options.learning_rate
    return torch.optim.Adam(groups, lr=rate, betas=betas, eps=options.epsilon, fused=fused)


def _adamw(groups: Groups, options: Optimiser, fused: bool) -> torch.optim.Optimizer:
    betas, rate = (options.beta1, options.beta2), options.learning_rate
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=options.epsilon, fused=fused)


def _rmsprop(groups: Groups, options: Optimiser, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(
        groups,
        lr=options.learning_rate,
        alpha=options.alpha,
        eps=options.epsilon,
        momentum=options.momentum,
    )


OWN: Final[Mapping[str, Callable[[Groups, Optimiser, bool], torch.optim.Optimizer]]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
}
"""Optimisers whose every option is a key; decay is in the step of adamw, else in the gradient."""


def _of_trainer(config: Config) -> tuple[Any, dict[str, Any]]:
    options = config.optimiser
    known = [one.value for one in OptimizerNames if not one.value.startswith(OWN_WAY)]
    if options.name not in known:
        raise BadOption(
            f"optimiser.name: {show_plain(options.name)} is unknown, or steps in a way of its own "
            f"(galore, apollo, lomo, schedule_free). Known: {', '.join([*OWN, *known])}."
        )
    arguments = TrainingArguments(
        output_dir=config.run,
        optim=options.name,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        adam_beta1=options.beta1,
        adam_beta2=options.beta2,
        adam_epsilon=options.epsilon,
        use_cpu=True,
    )
    try:
        made: tuple[Any, dict[str, Any]] = transformers.Trainer.get_optimizer_cls_and_kwargs(
            arguments
        )
    except (ImportError, ValueError) as error:
        raise BadOption(f"optimiser.name: {options.name}: {show_plain(str(error), 300)}") from None
    return made


def made_schedule(config: Config, optimiser: torch.optim.Optimizer, steps: int) -> Any:
    """The schedule over all steps of the run; the ratio of rates between groups stays.

    Raises BadOption where warm-up does not fit the shape or the number of steps.
    """
    schedule = config.schedule
    warmup = _warmup(schedule, steps)
    if schedule.name in WARMED:
        name, more = WARMED[schedule.name]
        # of the rate of factor 1, which is what the optimiser calls its own
        end = {"lr_end": schedule.lowest * optimiser.defaults["lr"]} if "power" in more else {}
        rate = {"min_lr_rate": schedule.lowest} if schedule.name == "cosine" else {}
        return transformers.get_scheduler(
            name,
            optimizer=optimiser,
            num_warmup_steps=warmup,
            num_training_steps=steps,
            scheduler_specific_kwargs={**more, **end, **rate},
        )
    tops = [group["lr"] for group in optimiser.param_groups]
    if schedule.name == "plateau":
        return lr_scheduler.ReduceLROnPlateau(
            optimiser,
            mode="max" if TASKS[config.task].greater else "min",
            patience=schedule.patience,
            min_lr=[schedule.lowest * top for top in tops],
        )
    if schedule.name == "one-cycle":
        return lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=tops,
            total_steps=steps + 1,  # the rate after the last step is asked for too
            pct_start=((warmup or round(RISING * steps)) + 1) / (steps + 1),
            cycle_momentum=False,
            div_factor=1 / (schedule.lowest or START),
            final_div_factor=1.0 if schedule.lowest else 1e4,
        )
    assert schedule.name == "triangular" or schedule.name == "triangular2"
    return lr_scheduler.CyclicLR(
        optimiser,
        base_lr=[schedule.lowest * top for top in tops],
        max_lr=tops,
        step_size_up=schedule.half_cycle,
        mode=schedule.name,
        cycle_momentum=False,  # it would move beta1 of adam
    )


WARMED: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "constant": ("constant_with_warmup", {}),
    "linear": ("polynomial", {"power": 1.0}),
    "cosine": ("cosine_with_min_lr", {}),
}
"""Shapes after warm-up, by the name that transformers has for them."""


def _warmup(schedule: Schedule, steps: int) -> int:
    warmup = schedule.warmup
    count = round(warmup * steps) if warmup < 1 else round(warmup)
    if warmup >= 1 and count != warmup:
        raise BadOption(f"schedule.warmup: {warmup} is neither a share below 1 nor whole steps.")
    if count >= steps and count:
        raise BadOption(
            f"schedule.warmup: {count} steps of a run of {steps}: the top of the rate would never "
            "be reached. Lower it, or train longer."
        )
    if warmup and schedule.name not in (*WARMED, "one-cycle"):
        raise BadOption(f"schedule.warmup: {schedule.name} has none. Remove it.")
    return count
