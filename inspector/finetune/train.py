"""The Trainer of transformers with the right gradients and an honest evaluation."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from inspector.errors import InspectorError
from inspector.finetune.checkpoints import last_of
from inspector.finetune.config import Config
from inspector.finetune.diagnostics import Health
from inspector.finetune.evaluate import Array, Asked, answers_of, measured
from inspector.finetune.features import TAKEN, Collate, Encoded
from inspector.finetune.frozen import Watch
from inspector.finetune.models import Pretrained
from inspector.finetune.moving import Movement, rest_statistics
from inspector.finetune.objectives import Pass, items_of, terms_of
from inspector.finetune.optimisers import made_optimiser, made_schedule, realised
from inspector.finetune.regularisers import ShrinkToZero, check_mixout, mixed
from inspector.finetune.resuming import Resumable
from inspector.finetune.strategies import CHANGING, Plan
from inspector.finetune.tasks import IGNORED, TASKS

Batch = dict[str, Any]


class Diverged(InspectorError):
    """A loss or a gradient that is not finite; the last checkpoint before it is kept."""


class Finetuner(Resumable):
    """A Trainer whose loss is the sum of errors over all items of an update, over their number.

    The number is counted over all micro-batches and processes, so that gradients do not depend
    on the accumulation, whatever the head (huggingface/transformers#47688).
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self, config: Config, pretrained: Pretrained, plan: Plan, rows: dict[str, Encoded]
    ) -> None:
        self.config, self.pretrained, self.plan = config, pretrained, plan
        self.learning = TASKS[config.task]
        self.rows = rows
        self.health: Health | None = None
        super().__init__(
            model=pretrained.network,
            args=arguments(config),
            train_dataset=rows["train"],
            eval_dataset=rows["validation"],
            data_collator=Collate(
                pad=pretrained.network.config.pad_token_id or 0,
                per_token=self.learning.per_token,
                real=config.task in ("multi-label-classification", "regression"),
            ),
            processing_class=pretrained.tokenizer,
        )
        self.watch = Watch(pretrained.network, plan, config)
        self.add_callback(Movement(pretrained.network, plan, config))
        self.add_callback(self.watch)
        self._regularise()

    def _regularise(self) -> None:
        """Keep what the weights were where a pull towards it is wanted, after all is placed."""
        objective = self.config.objective
        self.terms = terms_of(self.config, self.args.world_size)
        network: Any = self.model
        self.moving = {
            name: one for name, one in network.named_parameters() if name in self.plan.factors
        }
        self.start: dict[str, torch.Tensor] = {}
        if objective.l2_sp or objective.mixout:
            new = {*self.pretrained.new}
            self.start = {
                name: one.detach().clone() for name, one in self.moving.items() if name not in new
            }
        if objective.mixout:
            check_mixout(self.config, self.args.world_size)
        if objective.l1:
            self.add_callback(ShrinkToZero(objective.l1, self.config.optimiser.name))

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor]:
        """The micro-batches of an update and the number of their items over all processes."""
        batches: list[Batch] = []
        for _ in range(num_batches):
            if (batch := next(epoch_iterator, None)) is None:
                break
            batches.append(batch)
        self.seen.note(batches)
        sizes = sum((self.sizes(batch) for batch in batches), torch.zeros(1 + len(self.terms)))
        sizes = sizes.to(device)
        if self.args.world_size > 1:
            sizes = self.accelerator.gather(sizes[None]).sum(dim=0)
        return batches, sizes

    def sizes(self, batch: Batch) -> torch.Tensor:
        """What a batch adds to the number of items of its update, and to the size of each term."""
        of = [items_of, *(term.size for _, term in self.terms.values())]
        return torch.stack([size(batch, self.learning) for size in of])

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The sum of errors over the number of items of the whole update, and each term so too."""
        rest_statistics(model)
        answer = self._answer(model)
        given = [inputs[name] for name in TAKEN]
        outputs = [answer(*given) for _ in range(2 if "r_drop" in self.terms else 1)]
        logits = [one.logits for one in outputs]
        labels, weights = inputs["labels"], inputs.get("weight", 1.0)
        found = [self.learning.errors(one, labels, self.config.objective) for one in logits]
        counts = found[0][1] * weights
        sizes = self.sizes(inputs) if num_items_in_batch is None else num_items_in_batch
        sizes = torch.as_tensor(sizes, device=counts.device)
        errors = torch.stack([errors for errors, _ in found]).mean(dim=0)
        loss = (errors * counts).sum() / sizes[0]
        read = Pass(
            batch=inputs,
            logits=tuple(logits),
            counts=counts,
            learning=self.learning,
            answer=lambda *other: answer(*other).logits,
            moving=self.moving,
            start=self.start,
            new=self.pretrained.new,
        )
        for size, (weight, term) in zip(sizes[1:], self.terms.values(), strict=True):
            loss = loss + weight * term.value(read) / torch.where(size > 0, size, 1)
        if self.args.world_size > 1:  # gradients of processes are averaged, sums are wanted
            loss = loss * self.args.world_size
        return (loss, outputs[0]) if return_outputs else loss

    def _answer(self, model: torch.nn.Module) -> Callable[..., Any]:
        """A forward pass with ids and mask; with mixout over weights mixed anew."""
        chance = self.config.objective.mixout

        def ask(ids: torch.Tensor, mask: torch.Tensor) -> Any:
            given = {"input_ids": ids, "attention_mask": mask}
            if not chance:
                return model(**given)
            weights = mixed(self.moving, self.start, chance)
            return torch.func.functional_call(model, weights, (), given)

        return ask

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """One forward and backward pass; raises Diverged where the loss is not finite."""
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss is {float(loss)}")
        if self.health is not None and self.accelerator.sync_gradients:
            scaler = getattr(self.accelerator, "scaler", None)
            scale = 1.0 if scaler is None else scaler.get_scale()
            self.health.note_gradients(self.state.global_step + 1, scale)
        return loss

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        """The norm before the step is made; raises Diverged where it is not finite.

        Of float16 it may be: then its scaler leaves the step out.
        """
        trainer: Any = super()  # whose method has no types
        norm = trainer._get_grad_norm(model, grad_norm)
        if getattr(self.accelerator, "scaler", None) is None and not np.isfinite(float(norm)):
            raise self._diverged(f"the norm of the gradients is {float(norm)}")
        return norm

    def _diverged(self, what: str) -> Diverged:
        return Diverged(
            f"Step {self.state.global_step + 1}: {what}. Training stopped before this step; "
            f"{last_of(self.run)}. Lower optimiser.learning_rate, add schedule.warmup or lower "
            "optimiser.clip."
        )

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimiser of the configuration over the groups of the plan."""
        if self.optimizer is None:
            network: Any = model or self.model
            self.optimizer = made_optimiser(self.config, self.plan, network)
            self.groups = realised(self.optimizer, self.config.optimiser.learning_rate)
        made: torch.optim.Optimizer = self.optimizer
        return made

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> Any:
        """The schedule of the configuration, for all groups alike."""
        if self.lr_scheduler is None:
            made: Any = optimizer or self.optimizer
            self.lr_scheduler = made_schedule(self.config, made, num_training_steps)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Metrics of the validation rows, as the Trainer steers by them."""
        asked = self.ask(self.rows["validation"])
        found = measured(self.config.task, "validation", asked, self.config.seed)
        values = {f"{metric_key_prefix}_{one.metric}": one.value for one in found}
        for one in found:
            ends = (("low", one.low), ("high", one.high))
            values |= {f"{metric_key_prefix}_{one.metric}_{n}": v for n, v in ends if v is not None}
        self.log(values)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, values
        )
        return values

    def ask(self, rows: Encoded) -> Asked:
        """The model's answers to rows, gathered from all processes, in order of the rows."""
        loader: DataLoader[Any] = self.get_eval_dataloader(rows)
        model: Any = self.model
        training = model.training
        model.train(False)
        parts: dict[str, list[Array]] = {}
        try:
            with torch.inference_mode():
                for batch in loader:
                    for name, value in self._asked(model, self._prepare_inputs(batch)).items():
                        gathered = self.accelerator.gather_for_metrics(value)
                        parts.setdefault(name, []).append(gathered.float().cpu().numpy())
        finally:
            model.train(training)
        return _joined({name: np.concatenate(found) for name, found in parts.items()})

    def _asked(self, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        given = {name: batch[name] for name in TAKEN}
        logits, labels = model(**given).logits, batch["labels"]
        plain = self.config.objective.model_copy(update={"label_smoothing": 0.0})
        errors, counts = self.learning.errors(logits, labels, plain)
        rows = len(batch["index"])
        found = {
            "index": batch["index"],
            "errors": (errors * counts).reshape(rows, -1).sum(dim=1),
            "items": counts.reshape(rows, -1).sum(dim=1),
        }
        if self.config.task in ("sequence-classification", "multi-label-classification"):
            found |= {"answers": answers_of(self.config.task, logits), "labels": labels}
        elif self.config.task == "token-classification":
            places = self.config.data.max_tokens
            pad = (0, places - labels.shape[1])
            found["labels"] = torch.nn.functional.pad(labels, pad, value=IGNORED)
            found["answers"] = torch.nn.functional.pad(logits.argmax(dim=-1), pad)
        elif self.config.task == "regression":
            found |= {"answers": logits.squeeze(1), "labels": labels}
        return found


def _joined(parts: dict[str, Array]) -> Asked:
    order = np.argsort(parts["index"], kind="stable")
    errors, items = (parts[name][order].astype(np.float64) for name in ("errors", "items"))
    if "answers" not in parts:
        return Asked(errors=errors, items=items, answers=None, labels=None, of_row=None)
    answers, labels = (parts[name][order] for name in ("answers", "labels"))
    of_row = np.arange(len(order))
    if labels.ndim == 2 and (labels == IGNORED).any():  # one item a word
        of_row = np.broadcast_to(of_row[:, None], labels.shape)
        kept = labels != IGNORED
        answers, labels, of_row = answers[kept], labels[kept], of_row[kept]
    return Asked(errors=errors, items=items, answers=answers, labels=labels, of_row=of_row)


def arguments(config: Config) -> TrainingArguments:
    """What the Trainer is told; what it would do on its own and we do is switched off."""
    training = config.training
    evaluate, save = _every(training.evaluate_every), _every(training.save_every)
    return TrainingArguments(
        output_dir=f"{config.run}/checkpoints",
        num_train_epochs=training.epochs,
        max_steps=training.max_steps or -1,
        per_device_train_batch_size=training.batch,
        per_device_eval_batch_size=training.batch,
        gradient_accumulation_steps=training.accumulate,
        learning_rate=config.optimiser.learning_rate,
        max_grad_norm=config.optimiser.clip,
        bf16=training.precision == "bfloat16",
        fp16=training.precision == "float16",
        activation_checkpointing=training.activation_checkpointing,
        use_cpu=training.device == "cpu",
        dataloader_num_workers=training.workers,
        dataloader_persistent_workers=False,  # its pool would draw from dropout's generator
        remove_unused_columns=False,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy=evaluate[0],
        eval_steps=evaluate[1],
        save_strategy=save[0],
        save_steps=save[1],
        metric_for_best_model=f"eval_{TASKS[config.task].metric}",
        greater_is_better=TASKS[config.task].greater,
        report_to=list(config.diagnostics.track) or "none",
        disable_tqdm=True,
        # what rests for a while is not reached by the backward pass of that while
        ddp_find_unused_parameters=config.strategy.name in CHANGING or None,
        seed=config.seed,
        data_seed=config.seed,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _every(steps: float) -> tuple[str, float]:
    return ("steps", steps) if steps else ("epoch", 500)
