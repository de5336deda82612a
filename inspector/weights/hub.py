"""A Hub repository's safetensors, index and config.json: fetched, cache first, or found there."""

import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from inspector.errors import CheckpointError
from inspector.results import show_plain
from inspector.weights.index import INDEX_SUFFIX, read_index
from inspector.weights.problems import Log
from inspector.weights.storage import LocalFolder

HUB_ID = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?(@[\w./-]{1,200})?", re.ASCII)
WANTED = ["*.safetensors", f"*{INDEX_SUFFIX}", "config.json"]
IN_SUBFOLDERS = ["*/*"]  # other formats, other precisions, training states
TIMEOUT = 10.0  # seconds
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
    from huggingface_hub.errors import LocalEntryNotFoundError
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
    with _one_line(f"{show_plain(model)}: no such path here, and"):
        folder = snapshot(local_files_only=False)
    if not any(folder.glob("*.safetensors*")):
        raise CheckpointError(
            f"{show_plain(model)}: the repository holds no safetensors files at its root. Pickle "
            "files, which can run code when opened, are never fetched: convert them where they are."
        )
    return folder


@contextlib.contextmanager
def _one_line(beginning: str) -> Iterator[None]:
    """What the Hub refuses or the network loses as a CheckpointError of one line."""
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HTTPError,  # of the client it uses: what goes wrong on the way
    )

    try:
        yield
    except (HTTPError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{beginning} the Hub gave no such repository "
            f"({type(error).__name__}: {_told(error)}). Check the id and the network; for a gated "
            "or private repository log in with `hf auth login` or set HF_TOKEN."
        ) from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """A commit of a repository: the names at its root, and where and how they are asked for."""

    repository: str
    commit: str
    names: list[str]
    base: str
    headers: Mapping[str, str]


def listing(model: str, shown: str) -> Listing:
    """The commit that `owner/name[@revision]` means now; `shown` is how errors name it."""
    import huggingface_hub as hub
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    if not is_hub_id(model):
        raise CheckpointError(f"{shown}: is not written as hf://owner/name[@revision][/file].")
    repository, _, revision = model.partition("@")
    with _one_line(f"{shown}:"):
        found = hub.HfApi().model_info(repository, revision=revision or None, timeout=TIMEOUT)
        if found.sha is None:
            raise ValueError("the answer states no commit")
        files = [one.rfilename for one in found.siblings or ()]
        return Listing(
            repository=repository,
            commit=found.sha,
            names=sorted(name for name in files if "/" not in name),
            base=hub.hf_hub_url(repository, "", revision=found.sha),
            headers=build_hf_headers(),
        )


def page(url: str) -> str | None:
    """`owner/name[@revision][/file]` of an address of the Hub's own pages; None of any other."""
    from huggingface_hub.constants import ENDPOINT

    parts = urlsplit(url)
    if (parts.scheme, parts.netloc) != urlsplit(ENDPOINT)[:2]:
        return None
    owner, name, *rest = [*parts.path.strip("/").split("/"), ""]
    if not name or owner in ("datasets", "spaces", "api"):
        return None
    repository = f"{owner}/{name}"
    match [part for part in rest if part]:
        case []:
            return repository
        case ["tree", revision]:
            return f"{repository}@{revision}"
        case ["blob" | "resolve", revision, file]:
            return f"{repository}@{revision}/{file}"
    return None


def _complete(folder: Path) -> bool:
    """Whether a cached snapshot holds what its indexes list, or any safetensors file at all."""
    storage = LocalFolder(folder)
    names = [name for name in storage.names() if name.endswith(INDEX_SUFFIX)]
    indexes = [read_index(storage, name, Log()) for name in names]
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
