"""A pretrained model with the parts its task needs, and a word on every tensor that is new."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from inspector.errors import UnsupportedModel
from inspector.finetune.config import Config
from inspector.finetune.tasks import TASKS
from inspector.model.load import NAMED, checkpoint_folder, quiet_loading, tokenizer_of
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint, open_checkpoint

POOLERS: Final = ("pooler",)  # modules of an encoder that checkpoints of language models lack
PROBLEM: Final[Mapping[str, str]] = {
    "sequence-classification": "single_label_classification",
    "multi-label-classification": "multi_label_classification",
    "regression": "regression",
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pretrained:
    """A network to train, in float32 on the CPU, with its tokenizer.

    `new` are the tensors that the checkpoint lacks and that begin as drawn, `unused` those of the
    checkpoint that the task has no place for.
    """

    checkpoint: Checkpoint
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    new: tuple[str, ...]
    unused: tuple[str, ...]


def pretrained(config: Config, labels: Sequence[str]) -> Pretrained:
    """Load the model of a configuration for its task.

    New parts are drawn by the seed. Raises UnsupportedModel where a tensor of the body is missing
    or of another shape: only a head, and a pooler as a whole, may be new.
    """
    checkpoint = open_checkpoint(config.model)
    folder = checkpoint_folder(checkpoint)
    tokenizer = tokenizer_of(folder)
    torch.manual_seed(config.seed)
    more: dict[str, Any] = {}
    if config.task in PROBLEM:
        more = {"problem_type": PROBLEM[config.task], "num_labels": max(1, len(labels))}
    if config.task == "token-classification":
        more = {"num_labels": len(labels)}
    if labels:
        more["id2label"] = dict(enumerate(labels))
        more["label2id"] = {label: i for i, label in enumerate(labels)}
    with quiet_loading(folder):
        made = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **more
        )
        maker: Any = TASKS[config.task].model
        network, info = maker.from_pretrained(
            folder,
            config=made,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # so that they are all listed, and then refused
            dtype=torch.float32,
            output_loading_info=True,
        )
    body = f"{network.base_model_prefix}."
    missing = sorted(info["missing_keys"])
    _refuse(checkpoint, "lacks", [name for name in missing if _of_body(name, body, missing)])
    mismatched = sorted(str(one[0]) for one in info["mismatched_keys"])
    _refuse(checkpoint, "has in another shape", [one for one in mismatched if one.startswith(body)])
    unexpected = sorted(info["unexpected_keys"])
    _refuse(checkpoint, "has no place for", [one for one in unexpected if _of_body(one, body, [])])
    if network.config.pad_token_id is None:
        pad = tokenizer.pad_token_id
        network.config.pad_token_id = tokenizer.eos_token_id if pad is None else pad
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Pretrained(
        checkpoint=checkpoint,
        network=network,
        tokenizer=tokenizer,
        new=tuple(sorted({*missing, *mismatched})),
        unused=tuple(unexpected),
    )


def _of_body(name: str, body: str, missing: Sequence[str]) -> bool:
    """Whether a tensor is of the pretrained body, but for a pooler that is missing as a whole."""
    if not name.startswith(body):
        return False
    return not any(part in POOLERS for part in name.split(".")) or not missing


def _refuse(checkpoint: Checkpoint, what: str, names: Sequence[str]) -> None:
    if names:
        shown = ", ".join(show_plain(name) for name in names[:NAMED])
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise UnsupportedModel(
            f"{show_plain(checkpoint.model)} {what} tensors of the body: {shown}{more}. Only a "
            "new head may begin untrained: give a whole checkpoint."
        )
