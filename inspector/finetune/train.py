"""The Trainer of transformers with the right gradients and an honest evaluation."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
import transformers
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from inspector.errors import InspectorError
from inspector.finetune.config import Config
from inspector.finetune.evaluate import Array, Asked, answers_of, measured
from inspector.finetune.features import Collate, Encoded
from inspector.finetune.frozen import Watch
from inspector.finetune.models import Pretrained
from inspector.finetune.moving import Movement, rest_statistics
from inspector.finetune.optimisers import made_optimiser, made_schedule, realised
from inspector.finetune.strategies import CHANGING, Plan
from inspector.finetune.tasks import IGNORED, TASKS

ROWS_ONLY: Final = ("sequence-classification", "multi-label-classification", "regression")
Batch = dict[str, Any]


class Diverged(InspectorError):
    """A loss or a gradient that is not finite; the last checkpoint before it is kept."""


class Finetuner(transformers.Trainer):  # type: ignore[misc, unused-ignore]
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
        super().__init__(
            model=pretrained.network,
            args=arguments(config),
            train_dataset=rows["train"],
            eval_dataset=rows["validation"],
            data_collator=Collate(
                pad=pretrained.network.config.pad_token_id or 0,
                per_token=config.task not in ROWS_ONLY,
                real=config.task in ("multi-label-classification", "regression"),
            ),
            processing_class=pretrained.tokenizer,
        )
        self.watch = Watch(pretrained.network, plan)
        self.add_callback(Movement(pretrained.network, plan, config))
        self.add_callback(self.watch)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor]:
        """The micro-batches of an update and the number of their items over all processes."""
        batches: list[Batch] = []
        for _ in range(num_batches):
            if (batch := next(epoch_iterator, None)) is None:
                break
            batches.append(batch)
        count = sum((self.count(batch["labels"]) for batch in batches), torch.zeros(()))
        if self.args.world_size > 1:
            count = self.accelerator.gather(count.to(device)).sum()
        return batches, count.to(device)

    def count(self, labels: torch.Tensor) -> torch.Tensor:
        """The number of items that a batch of labels holds."""
        if self.config.task in ROWS_ONLY:
            return torch.tensor(float(len(labels)))
        asked = labels[:, 1:] if self.learning.shifts else labels
        return asked.ne(IGNORED).sum().float().cpu()

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The sum of errors over the number of items of the whole update."""
        given = {name: value for name, value in inputs.items() if name not in ("labels", "index")}
        rest_statistics(model)
        outputs = model(**given)
        labels = inputs["labels"]
        errors, counts = self.learning.errors(outputs.logits, labels, self.config.objective)
        items = counts.sum() if num_items_in_batch is None else num_items_in_batch
        loss = (errors * counts).sum() / items
        if self.args.world_size > 1:  # gradients of processes are averaged, sums are wanted
            loss = loss * self.args.world_size
        return (loss, outputs) if return_outputs else loss

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """One forward and backward pass; raises Diverged where the loss is not finite."""
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise Diverged(
                f"Step {self.state.global_step + 1}: the loss is {float(loss)}. Training stopped; "
                "the last checkpoint is good. Lower optimiser.learning_rate, add schedule.warmup "
                "or lower optimiser.clip."
            )
        return loss

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimiser of the configuration over the groups of the plan."""
        if self.optimizer is None:
            network: Any = model or self.model
            self.optimizer = made_optimiser(self.config, self.plan, network)
            self.groups = realised(self.optimizer, self.config.optimiser.learning_rate)
        return self.optimizer

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
        given = {name: value for name, value in batch.items() if name not in ("labels", "index")}
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
        save_strategy="no",
        save_steps=save[1],
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
