"""Fetch a Hub repository's safetensors, index and config.json, nothing else; cache first."""

import os
import re
import sys
from pathlib import Path

from inspector.errors import CheckpointError
from inspector.results import show_plain
from inspector.weights.index import INDEX_SUFFIX

HUB_ID = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?(@[\w./-]{1,200})?", re.ASCII)
WANTED = ["*.safetensors", f"*{INDEX_SUFFIX}", "config.json"]
IN_SUBFOLDERS = ["*/*"]  # other formats, other precisions, training states
TOKEN = re.compile(r"hf_[\w.~+/=-]{20,}")
TOKEN_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def is_hub_id(model: str) -> bool:
    """Whether the text has the form `name`, `owner/name` or either with `@revision`."""
    return HUB_ID.fullmatch(model) is not None and ".." not in model


def fetch(model: str) -> Path:
    """The local folder of `owner/name[@revision]`, named by the commit; fetched when not cached.

    Raises CheckpointError when the repository, the revision or the network is not to be had; a
    token never stands in the message.
    """
    import huggingface_hub as hub
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HTTPError,  # of the client it uses: what goes wrong on the way
        LocalEntryNotFoundError,
    )
    from huggingface_hub.utils.tqdm import disable_progress_bars

    repository, _, revision = model.partition("@")
    if not sys.stderr.isatty():
        disable_progress_bars()

    def snapshot(local_files_only: bool) -> Path:
        return Path(
            hub.snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=WANTED,
                ignore_patterns=IN_SUBFOLDERS,
                local_files_only=local_files_only,
            )
        )

    try:
        folder = snapshot(local_files_only=True)
        if _complete(folder):
            return folder
    except LocalEntryNotFoundError:
        pass  # not cached: ask the Hub
    except ValueError as error:
        raise CheckpointError(f"{show_plain(model)} is no Hub id: {_told(error)}") from None
    try:
        folder = snapshot(local_files_only=False)
    except (HTTPError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{show_plain(model)}: no such path here, and the Hub gave no such repository "
            f"({type(error).__name__}: {_told(error)}). Check the id and the network; for a gated "
            "or private repository log in with `hf auth login` or set HF_TOKEN."
        ) from None
    if not any(folder.glob("*.safetensors*")):
        raise CheckpointError(
            f"{show_plain(model)}: the repository holds no safetensors files at its root. Pickle "
            "files, which can run code when opened, are never fetched: convert them where they are."
        )
    return folder


def _complete(folder: Path) -> bool:
    """Whether a cached snapshot holds what its indexes list, or any safetensors file at all."""
    from inspector.weights.index import read_index
    from inspector.weights.problems import Log

    indexes = [read_index(path, Log()) for path in folder.glob(f"*{INDEX_SUFFIX}")]
    listed = {file for index in indexes if index for file in index.weight_map.values()}
    if listed:
        return all((folder / Path(file).name).is_file() for file in listed)
    return any(folder.glob("*.safetensors"))


def _told(error: Exception) -> str:
    """The first line of an error without any token, whoever repeats it."""
    text = str(error).strip().split("\n")[0]
    for token in filter(None, (os.environ.get(name, "").strip() for name in TOKEN_NAMES)):
        text = text.replace(token, "…")
    return show_plain(TOKEN.sub("hf_…", text), 200)
