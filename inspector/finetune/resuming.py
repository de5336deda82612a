"""A Trainer that keeps checkpoints which are whole, hold no pickle, and go on bit by bit."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
import transformers
from transformers import PreTrainedModel, TrainerCallback
from transformers.trainer_callback import ExportableState

from inspector.errors import CheckpointError, UnsupportedModel
from inspector.finetune.checkpoints import (
    PREFIX,
    Kept,
    Refused,
    begin,
    checkpoints_of,
    draft_of,
    fault,
    flush,
    last_of,
    publish,
    read_json,
    rotate,
    told,
    write_json,
)
from inspector.finetune.config import Config
from inspector.finetune.state import (
    NotPlain,
    from_plain,
    optimiser_state,
    random_state,
    restore_optimiser,
    restore_random,
    to_plain,
)
from inspector.model.load import quiet_loading, quietly
from inspector.results import show_plain

STATE: Final = "trainer_state.json"  # the name by which the Trainer reads it
OPTIMISER: Final = "optimiser"  # .safetensors and .json
SCHEDULE: Final = "schedule.json"
SCALER: Final = "scaler.json"


class Seen:
    """A digest of all rows so far in their order, and one of what was shown of them.

    Two runs with equal digests have learned from the same rows with the same masks.
    """

    def __init__(self) -> None:
        self.rows = self.inputs = ""

    def note(self, batches: Sequence[Mapping[str, Any]]) -> None:
        """Add the batches of an update."""
        for batch in batches:
            self.rows = _chained(self.rows, batch["index"])
            self.inputs = _chained(self.inputs, batch["input_ids"], batch["labels"])


def _chained(digest: str, *tensors: torch.Tensor) -> str:
    hashed = hashlib.sha256(digest.encode())
    for one in tensors:
        hashed.update(one.detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()


class EpochEnds(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Puts off a checkpoint that is due with the last step of an epoch until the epoch has ended.

    The Trainer goes on from there with the next epoch, so that an evaluation which the end of the
    epoch brings would otherwise be lost, with what it decides.
    """

    def __init__(self) -> None:
        self.within = self.due = False

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """An epoch goes on."""
        self.within = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What was put off is done; a run always ends with a checkpoint."""
        if self.due or control.should_training_stop:
            control.should_save = True
        self.within = self.due = False


class Resumable(transformers.Trainer):  # type: ignore[misc, unused-ignore]
    """A Trainer whose checkpoints are whole or not there, and from which it goes on exactly.

    `about` is written into each checkpoint: what makes the run this run. `lost` is the best
    checkpoint so far where it is no longer whole.
    """

    config: Config
    about: Mapping[str, Any]
    lost: tuple[Refused, ...]
    model: Any  # none of these is None once training has begun
    optimizer: Any
    lr_scheduler: Any
    processing_class: Any
    state: Any

    def __init__(self, **given: Any) -> None:
        self.seen, self.ends = Seen(), EpochEnds()
        self.about, self.lost = {}, ()
        super().__init__(**given)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UnsupportedModel(
                "Checkpoints of weights that are spread over processes (FSDP, DeepSpeed) are not "
                "made: start with torchrun or accelerate launch without them."
            )
        # Its check at construction wants checkpoints at evaluations; a best one is always kept.
        self.args.load_best_model_at_end = self.config.training.best
        self.add_callback(self.ends)
        self.remove_callback(transformers.PrinterCallback)  # standard output is for results
        if self.config.training.early_stopping:
            patience = self.config.training.early_stopping
            self.add_callback(transformers.EarlyStoppingCallback(patience))

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return Path(self.config.run)

    def go(self, start: Kept | None) -> None:
        """Train from the beginning or from a checkpoint, to the end or to early stopping."""
        if start is None or not finished(start):
            self.train(resume_from_checkpoint=None if start is None else str(start.folder))
            return
        self.state = transformers.TrainerState.load_from_json(str(start.folder / STATE))
        self._load_callback_state()
        self.create_optimizer()  # the summary of a run tells its groups
        load_weights(self.model, start.folder)
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self._load_best_model()

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        best: bool = super()._determine_best_metric(metrics, trial)
        if (best and self.config.training.best) or self.control.should_training_stop:
            self.control.should_save = True
        return best

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        ends_now = self.control.should_training_stop or self.control.should_epoch_stop
        if self.ends.within and (ends_now or self.state.epoch == round(self.state.epoch)):
            self.ends.due = True
            return
        self.store_flos()
        folder = self.run / "checkpoints" / f"{PREFIX}{self.state.global_step}"
        if self.config.training.best and self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(folder)
        main, rank = self.is_world_process_zero(), self.args.process_index
        with told(folder, last_of(self.run)):
            draft = begin(folder) if main else draft_of(folder)
            self.accelerator.wait_for_everyone()
            write_json(draft / f"random-{rank}.json", random_state())
            write_json(draft / f"seen-{rank}.json", vars(self.seen))
            why = self._save_all(draft) if main else None
            self.accelerator.wait_for_everyone()
            if main:
                for lines in self.run.glob("*.jsonl"):
                    flush(lines)
                step = self.state.global_step
                publish(folder, {"step": step, "not_resumable": why, "run": self.about})
                best = self.state.best_global_step if self.config.training.best else None
                rotate(self.run, self.config.training.keep, best)
            self.accelerator.wait_for_everyone()

    def _save_all(self, draft: Path) -> str | None:
        """Write all but what each process has of its own; says why it cannot be gone on from."""
        with quietly():
            self.model.save_pretrained(draft)
        self.processing_class.save_pretrained(draft)
        holders = [*self.callback_handler.callbacks, self.control]
        self.state.stateful_callbacks = {
            type(one).__name__: one.state() for one in holders if isinstance(one, ExportableState)
        }
        self.state.save_to_json(str(draft / STATE))
        if (scaler := getattr(self.accelerator, "scaler", None)) is not None:
            write_json(draft / SCALER, to_plain(scaler.state_dict()))
        try:
            tensors, rest = optimiser_state(self.optimizer, self.names())
            write_json(draft / SCHEDULE, to_plain(self.lr_scheduler.state_dict(), "the schedule"))
        except NotPlain as error:
            return f"{type(self.optimizer.optimizer).__name__}: {error}"
        safetensors.torch.save_file(tensors, draft / f"{OPTIMISER}.safetensors")
        write_json(draft / f"{OPTIMISER}.json", rest)
        return None

    def names(self) -> dict[int, str]:
        """The name of each parameter by its `id`."""
        return {id(parameter): name for name, parameter in self.model.named_parameters()}

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: torch.nn.Module | None = None
    ) -> None:
        load_weights(self.model, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        tensors = safetensors.torch.load_file(folder / f"{OPTIMISER}.safetensors")
        rest = read_json(folder / f"{OPTIMISER}.json")
        restore_optimiser(self.optimizer, self.names(), tensors, rest)
        self.lr_scheduler.load_state_dict(from_plain(read_json(folder / SCHEDULE)))

    def _load_scaler(self, checkpoint: str | None) -> None:
        if checkpoint is not None and (Path(checkpoint) / SCALER).exists():
            self.accelerator.scaler.load_state_dict(
                from_plain(read_json(Path(checkpoint) / SCALER))
            )

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            restore_random(read_json(Path(checkpoint) / f"random-{self.args.process_index}.json"))

    def _load_callback_state(self) -> None:
        """Callbacks as they were, what was seen, and where the best checkpoint is now."""
        for one in self.callback_handler.callbacks:
            if isinstance(one, ExportableState):
                saved = self.state.stateful_callbacks[type(one).__name__]
                vars(one).update(saved["attributes"])
        folders = dict(checkpoints_of(self.run))
        seen = folders[self.state.global_step] / f"seen-{self.args.process_index}.json"
        vars(self.seen).update(read_json(seen))
        best = folders.get(self.state.best_global_step or -1)
        if self.config.training.best and self.state.best_global_step is not None:
            reason = "is missing" if best is None else fault(best)
            if reason is not None:  # what is lost cannot be what the run ends with
                named = self.run / "checkpoints" / f"{PREFIX}{self.state.best_global_step}"
                self.lost = (Refused(folder=named, reason=f"the best so far: {reason}"),)
                self.state.best_metric = self.state.best_global_step = best = None
        self.state.best_model_checkpoint = None if best is None else str(best)

    def _load_best_model(self) -> None:
        folder = Path(self.state.best_model_checkpoint)
        if (reason := fault(folder)) is not None:
            raise CheckpointError(
                f"{show_plain(folder.name)}, the best checkpoint of the run, is damaged: {reason}. "
                "Go on with --resume: the run then ends with the best of those that are whole."
            )
        load_weights(self.model, folder)


def finished(start: Kept) -> bool:
    """Whether a checkpoint is that of a run's end."""
    state = read_json(start.folder / STATE)
    stopped = state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"]
    return bool(stopped or state["global_step"] >= state["max_steps"])


def load_weights(network: PreTrainedModel, folder: Path) -> None:
    """Give a network the weights of a checkpoint, all of them.

    Raises CheckpointError where the checkpoint has other tensors than the network.
    """
    maker: Any = type(network)
    with quiet_loading(folder):
        found, info = maker.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=network.dtype,
            output_loading_info=True,
        )
    wrong = sorted(str(one) for kind in info.values() for one in kind)
    if wrong:
        raise CheckpointError(
            f"{show_plain(folder.name)} has other tensors than the model: "
            f"{', '.join(show_plain(one) for one in wrong[:3])}."
        )
    network.load_state_dict(found.state_dict())
