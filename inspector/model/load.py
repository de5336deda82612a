"""Loading a model so that it is known to be the one on disk and to do what we watch."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from inspector.errors import BadOption, UnsupportedModel
from inspector.model.kinds import KINDS, Kind, kind_of
from inspector.model.places import Block, find_blocks
from inspector.model.selftest import Check, self_test
from inspector.results import Finding, show_plain
from inspector.weights.checkpoint import Checkpoint, open_checkpoint
from inspector.weights.problems import Log
from inspector.weights.storage import LocalFolder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ALWAYS_EAGER = ("falcon",)  # its sdpa, once built, adds a mask of 0 and 1 and cannot be switched
REFUSALS = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError),
    StrictDataclassError,
)
NAMED = 20  # tensors listed in a message
FEWEST_WORDS = 2  # of a vocabulary, special tokens aside; T5's has one that is not in any file


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A model in evaluation mode with its tokenizer, its blocks, and what the self-test found.

    `findings` hold what was overridden; every result made with the model carries them on.
    """

    checkpoint: Checkpoint
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    kind: Kind
    blocks: tuple[Block, ...]
    checks: tuple[Check, ...]
    findings: tuple[Finding, ...]

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.network.dtype


def load(
    model: str | Path | Checkpoint,
    dtype: str = "auto",
    device: str = "auto",
    override: bool = False,
) -> Model:
    """Load a checkpoint to run it; nothing in it is executed.

    `dtype` auto: float32 on a CPU, else as stored; `device` auto: cuda where there is one. Tensors
    that are missing, unexpected, of another shape or not finite raise UnsupportedModel with their
    names, unless `override`: then they are findings. So does a self-test that fails.
    """
    checkpoint = model if isinstance(model, Checkpoint) else open_checkpoint(model)
    folder = checkpoint_folder(checkpoint)
    log = Log()
    _refuse(override, log, "MD-FILE", _broken(checkpoint), "the files are damaged")
    where = _device(device)
    network, kind = _network(folder, _dtype(dtype, where), override, log)
    _refuse(override, log, "MD-NOTFINITE", _not_finite(network), "NaN or infinite values")
    module: torch.nn.Module = network
    module.to(where)
    module.train(False)
    blocks = find_blocks(network)
    checks = self_test(network, blocks, kind)
    failed = [f"{check.name}: {check.told}" for check in checks if not check.passed]
    _refuse(override, log, "MD-SELFTEST", failed, "the self-test failed")
    return Model(
        checkpoint=checkpoint,
        network=network,
        tokenizer=tokenizer_of(folder),
        kind=kind,
        blocks=blocks,
        checks=checks,
        findings=log.findings,
    )


def _refuse(override: bool, log: Log, id: str, names: Sequence[str], what: str) -> None:
    """Raise, or note, that something is wrong with the named tensors; nothing where none are."""
    if not names:
        return
    shown = "; ".join(show_plain(name) for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    told = f"{what}: {shown}{more}"
    if not override:
        raise UnsupportedModel(
            f"The model is not run, because {told}. With override it runs and every result says so."
        )
    log.add(id, "model", told, count=len(names))


def checkpoint_folder(checkpoint: Checkpoint) -> Path:
    """The folder a checkpoint is run from; raises UnsupportedModel where there is none."""
    storage = checkpoint.storage
    if not isinstance(storage, LocalFolder):
        raise UnsupportedModel(
            f"{storage.shown}: a model is run from files on this machine. Download it first."
        )
    if checkpoint.config is None:
        raise UnsupportedModel(
            f"{show_plain(checkpoint.model)}: there is no config.json, which says what to build."
        )
    return storage.folder


def _broken(checkpoint: Checkpoint) -> list[str]:
    return [f"{f.where}: {f.statement}" for f in checkpoint.findings if f.severity == "error"]


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise BadOption(f"--device {show_plain(device)}: give auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise BadOption("--device cuda: there is no CUDA device here. Give --device cpu.")
    return torch.device(device)


def _dtype(dtype: str, device: torch.device) -> torch.dtype | str:
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    if dtype not in DTYPES:
        raise BadOption(f"--dtype {show_plain(dtype)}: give auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def _network(
    folder: Path, dtype: torch.dtype | str, override: bool, log: Log
) -> tuple[PreTrainedModel, Kind]:
    with quiet_loading(folder):
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        name = (config.architectures or ["?"])[0]
        made = getattr(transformers, name, None) if name.isidentifier() else None
        kind = kind_of(name)
        if kind is None or not (isinstance(made, type) and issubclass(made, PreTrainedModel)):
            raise UnsupportedModel(
                f"{show_plain(name)}: the class that config.json names cannot be run here (known: "
                f"those of transformers that end in {', '.join(KINDS)})."
            )
        maker: Any = made  # its stub does not know that it also gives what it loaded
        network, info = maker.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # so that they are all listed, and then refused
            dtype=dtype,
            attn_implementation="eager" if config.model_type in ALWAYS_EAGER else None,
            output_loading_info=True,
        )
    for key, id in (
        ("missing_keys", "MD-MISSING"),
        ("mismatched_keys", "MD-MISMATCHED"),
        ("unexpected_keys", "MD-UNEXPECTED"),
    ):
        names = sorted(str(name) for name in info[key])
        what = f"{id.removeprefix('MD-').lower()} tensors"
        _refuse(override, log, id, names, what)
    return network, kind


def _not_finite(network: PreTrainedModel) -> list[str]:
    return [
        name
        for name, values in network.named_parameters()
        if not bool(torch.isfinite(values).all())
    ]


def tokenizer_of(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer beside the weights; raises UnsupportedModel where there is no vocabulary."""
    remedy = "Put the tokenizer's files (such as tokenizer.json) beside the weights."
    with quietly(), _as_unsupported(folder, "its tokenizer", remedy):
        tokenizer: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_fast=True
        )
    # of a folder without one transformers makes a tokenizer to which every word is unknown
    if len(tokenizer) - len({*tokenizer.all_special_ids}) < FEWEST_WORDS:
        raise UnsupportedModel(
            f"{show_plain(folder.name)}: there is no vocabulary, so text cannot be read. {remedy}"
        )
    return tokenizer


@contextlib.contextmanager
def quiet_loading(folder: Path) -> Iterator[None]:
    """No progress bars, and what transformers cannot use becomes UnsupportedModel."""
    with quietly(), _as_unsupported(folder):
        yield


@contextlib.contextmanager
def _as_unsupported(folder: Path, what: str = "it", remedy: str = "") -> Iterator[None]:
    """What transformers raises on files it cannot use becomes one plain line."""
    try:
        yield
    except REFUSALS as error:
        told = show_plain(str(error).partition("\n")[0].rstrip(" :."), 300)
        raise UnsupportedModel(
            f"{show_plain(folder.name)}: transformers refuses {what}: {told}. {remedy}".rstrip()
        ) from None


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """No progress bars and reports of transformers' own on the terminal."""
    logging: Any = transformers.utils.logging
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
