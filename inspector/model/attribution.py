"""Which words an answer rests on, by seven methods, each with a receipt that says if it holds."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import captum.attr
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, UnsupportedModel
from inspector.model import methods, receipt
from inspector.model.asking import source, whole
from inspector.model.coalitions import BATCH, MEMORY, Coalitions, asked_of, row_bytes
from inspector.model.faithfulness import (
    ORDERS,
    Measure,
    Values,
    faithfulness,
    in_words,
    of_sensitivity,
)
from inspector.model.load import Model
from inspector.model.records import Attribution, TokenScore
from inspector.results import show_plain
from inspector.weights.problems import Log

TOLERANCE = 1e-3  # completeness gap, in nats or of F(x) - F(x') where that is larger
MOST_STEPS = 800  # to which the steps of Integrated Gradients are doubled
DRAWS = 4  # of noise, for sensitivity
RADIUS = 0.02  # of the noise, in units of the embeddings' rms


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What a method works on: F of rows with words replaced, or of embeddings."""

    rows: Coalitions
    values: Values
    batch: int

    def of_masks(self, kept: Float[Tensor, "rows units"]) -> Float[Tensor, " rows"]:
        """F for Captum, whose inputs are then 1 (kept) and 0 (replaced)."""
        return torch.from_numpy(self.values(kept.numpy() > 0.5)).float()

    def ends(self) -> tuple[Tensor, Tensor]:
        """Embeddings of the prompt and the baseline, from the first token that differs.

        In float32 or finer: the way between them and the sums along it would lose too much.
        """
        prompt, first = self.rows.prompt, self.rows.first
        with torch.no_grad():
            x, base = (
                self.rows.scorer.embed(i[None, first:]) for i in (prompt.ids, prompt.baseline)
            )
            moved = x if self.rows.noise is None else x + self.rows.noise[first:]
            wide = torch.promote_types(x.dtype, torch.float32)
            return moved.to(wide), base.to(wide)

    def by_unit(self, attribution: Float[Tensor, "tail width"]) -> Float[np.ndarray, " units"]:
        """Sums over the embedding's axes and the tokens of each unit."""
        each = attribution.detach().double().sum(-1).cpu().numpy()
        whole = np.concatenate([np.zeros(self.rows.first), each])
        return np.array([whole[list(unit.positions)].sum() for unit in self.rows.prompt.units])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(methods.About):
    """A method as `methods.METHODS` tells of it, and what runs it."""

    run: Callable[..., Any]


def _ones(task: Task) -> tuple[Tensor, Tensor]:
    shape = (1, task.rows.units)
    return torch.ones(shape), torch.zeros(shape)


def _feature_ablation(task: Task, _samples: int) -> Tensor:
    whole, none = _ones(task)
    method = captum.attr.FeatureAblation(task.of_masks)
    found: Tensor = method.attribute(whole, baselines=none, perturbations_per_eval=task.rows.units)[
        0
    ]
    return found


def _shapley_sampling(task: Task, samples: int) -> Tensor:
    whole, none = _ones(task)
    method = captum.attr.ShapleyValueSampling(task.of_masks)
    found: Tensor = method.attribute(
        whole, baselines=none, n_samples=samples, perturbations_per_eval=task.rows.units
    )[0]
    return found


def _kernel_shap(task: Task, samples: int) -> Tensor:
    if task.rows.units == 1:  # there is no coalition between all and none
        return _feature_ablation(task, samples)
    whole, none = _ones(task)
    method = captum.attr.KernelShap(task.of_masks)
    found: Tensor = method.attribute(
        whole, baselines=none, n_samples=samples, perturbations_per_eval=samples
    )[0]
    return found


def _lime(task: Task, samples: int) -> Tensor:
    whole, none = _ones(task)
    method = captum.attr.Lime(task.of_masks)
    found: Tensor = method.attribute(
        whole, baselines=none, n_samples=samples, perturbations_per_eval=samples
    )[0]
    return found


def _integrated_gradients(task: Task, steps: int, x: Tensor, base: Tensor) -> Tensor:
    method = captum.attr.IntegratedGradients(task.rows.scorer)
    batch = min(task.batch, steps)
    found: Tensor = method.attribute(x, baselines=base, n_steps=steps, internal_batch_size=batch)[0]
    return found


def _gradient_x_activation(task: Task, _samples: int, x: Tensor, _base: Tensor) -> Tensor:
    method = captum.attr.InputXGradient(task.rows.scorer)
    found: Tensor = method.attribute(x.clone().requires_grad_())[0]
    return found


def _gradient_shap(task: Task, samples: int, x: Tensor, base: Tensor) -> Tensor:
    method = captum.attr.GradientShap(task.rows.scorer)
    total, left = torch.zeros_like(x[0]), samples
    while left:
        count = min(task.batch, left)
        total += count * method.attribute(x, baselines=base, n_samples=count)[0]
        left -= count
    return total / samples


RUN: dict[str, Callable[..., Any]] = {
    "integrated-gradients": _integrated_gradients,
    "gradient-x-activation": _gradient_x_activation,
    "gradient-shap": _gradient_shap,
    "feature-ablation": _feature_ablation,
    "shapley-sampling": _shapley_sampling,
    "kernel-shap": _kernel_shap,
    "lime": _lime,
}
METHODS = {
    name: Method(**dataclasses.asdict(about), run=RUN[name])
    for name, about in methods.METHODS.items()
}


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draws of torch and of numpy's old generator, which Captum uses, begin at the seed."""
    before = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed a GPU for good
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002


def explain(
    rows: Coalitions, method: Method, samples: int, seed: int = 0
) -> Float[np.ndarray, " units"]:
    """Scores of the units by one run of a method with so many steps or samples."""
    task = Task(rows=rows, values=rows, batch=_batch(rows))
    if method.by == "gradient":
        rows.one(False)  # so that what a gradient rests on has been checked
        with _seeded(seed):
            return task.by_unit(method.run(task, samples, *task.ends()))
    asked = [np.zeros((1, rows.units), dtype=bool)]  # the baseline, for the receipt

    def note(kept: Bool[np.ndarray, "rows units"]) -> Float[np.ndarray, " rows"]:
        asked.append(kept)
        return np.zeros(len(kept))

    # what Captum will ask does not hang on the answers: asked all at once, each row runs once
    with _seeded(seed):
        method.run(dataclasses.replace(task, values=note), samples)
    rows(np.concatenate(asked))
    with _seeded(seed):
        found: Tensor = method.run(task, samples)
    return found.double().numpy()


def conductance(
    rows: Coalitions, module: nn.Module, steps: int, of_input: bool = False
) -> Float[np.ndarray, "tail width"]:
    """What of F(x) - F(x') passes through each number of a module's output, or of its input."""
    x, base = Task(rows=rows, values=rows, batch=1).ends()
    found = captum.attr.LayerConductance(rows.scorer, module).attribute(
        x,
        baselines=base,
        n_steps=steps,
        internal_batch_size=min(_batch(rows), steps),
        attribute_to_layer_input=of_input,
    )
    flow: Tensor = found[0] if isinstance(found, tuple) else found
    each: np.ndarray = flow[0].detach().double().cpu().numpy()
    return each


def _batch(rows: Coalitions) -> int:
    """Rows of a forward that keeps what its gradient needs."""
    room = rows.memory // row_bytes(rows.scorer, gradient=True)
    return max(1, min(room, BATCH // len(rows.prompt.ids)))


def attribute(
    model: Model,
    text: str,
    target: str,
    versus: str | None = None,
    method: str = "integrated-gradients",
    baseline: str | None = None,
    units: str | Sequence[str] = "tokens",
    samples: int | None = None,
    orders: int = ORDERS,
    draws: int = DRAWS,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    most_steps: int = MOST_STEPS,
    memory: int = MEMORY,
    progress: Progress = no_progress,
) -> Attribution:
    """Which tokens, words or phrases of a text the log-probability of an answer rests on.

    F is log p(target | text) in nats, less log p(versus | text) where that is given; of a
    classifier the target is a label, of a masked model what stands at the masks of the text.
    `samples` are steps or samples; those of Integrated Gradients double until the scores sum to
    F(x) - F(x') within `tolerance`. With `orders` 0 nothing is compared with random orders, with
    `draws` 0 nothing is said of sensitivity. Raises BadOption or UnsupportedModel.
    """
    begun = time.perf_counter()
    chosen = method_of(model, method)
    log = Log()
    rows = asked_of(model, text, target, versus, units, baseline, memory, log)
    rows.progress = progress
    scores, used = converged(rows, chosen, samples, seed, tolerance, most_steps)
    with_all, with_none = rows.plain, rows.one(False)
    held = faithfulness(rows, scores, orders, seed, versus is not None) if orders else None
    moved = _sensitivity(rows, chosen, used, draws, seed) if draws else None
    summary = {
        **receipt.asked(rows),
        "method": method,
        "baseline": receipt.shown_baseline(rows.prompt),
        "units": units if isinstance(units, str) else list(units),
        **receipt.sums(scores, with_all, with_none, tolerance, chosen.sums == methods.SUMS[0]),
        "samples": used,
        "faithfulness": receipt.shown(held, moved),
        **in_words(held),
        "seed": seed,
        "tolerance": tolerance,
        "forwards": rows.scorer.forwards,
        "tokens": rows.scorer.tokens,
        "seconds": time.perf_counter() - begun,
        "dtype": receipt.dtype(model),
        "device": str(model.device),
        "attention": model.network.config._attn_implementation,
        "versions": methods.versions(),
    }
    receipt.note(log, model, rows, summary, chosen.by == "gradient")
    return Attribution(
        command="attribute",
        record_type=TokenScore,
        source=source(model, seed),
        coverage=whole(model),
        summary=summary,
        records=receipt.records(rows.prompt, scores, held),
        findings=(*model.findings, *log.findings),
    )


def method_of(model: Model, method: str) -> Method:
    """The entry of METHODS; BadOption for another name, UnsupportedModel where it cannot run."""
    if method not in METHODS:
        raise BadOption(
            f"There is no method {show_plain(method)!r}; known are {', '.join(METHODS)}."
        )
    chosen = METHODS[method]
    if chosen.by == "gradient" and getattr(model.network.config, "quantization_config", None):
        raise UnsupportedModel(
            f"{method} needs gradients, which quantised weights do not give: choose a method that "
            "replaces words, such as feature-ablation."
        )
    return chosen


def converged(
    rows: Coalitions,
    method: Method,
    samples: int | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    most_steps: int = MOST_STEPS,
) -> tuple[Float[np.ndarray, " units"], int]:
    """Scores, and with how many steps: doubled while they do not sum to what they should.

    Only the steps of Integrated Gradients double; `samples` None takes the method's own number.
    """
    used = method.samples if samples is None else samples
    if used < 1 and method.samples:
        raise BadOption(f"{used} steps or samples: give at least 1.")
    while True:
        scores = explain(rows, method, used, seed)
        difference = rows.plain - rows.one(False)
        gap = abs(float(scores.sum()) - difference)
        doubles = method.run is _integrated_gradients and 2 * used <= most_steps
        if not doubles or gap <= receipt.allowed(difference, tolerance):
            return scores, used
        used *= 2


def _sensitivity(
    rows: Coalitions,
    method: Method,
    samples: int,
    draws: int,
    seed: int,
) -> Measure | None:
    """How the scores move when the embeddings of the words do, a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        x = rows.scorer.embed(rows.prompt.ids)
    free = (rows.prompt.unit_of >= 0)[:, None]
    size = RADIUS * float(x[free[:, 0]].float().square().mean().sqrt())
    # with as many steps as the method takes at first: the doubling serves the sum, not the shape
    samples = min(samples, method.samples)
    found = [explain(rows, method, samples, seed)]
    for _ in range(draws):
        noise = size * (2 * torch.rand(x.shape, generator=generator) - 1)
        moved = rows.disturbed(noise.to(x) * free)
        found.append(explain(moved, method, samples, seed))
    return of_sensitivity(found[0], np.array(found[1:]), seed)
