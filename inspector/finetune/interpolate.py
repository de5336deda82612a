"""Weights between two models of one lineage, and the mean of several: files in, a folder out."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Shaped
from safetensors import safe_open
from safetensors.torch import save_file

from inspector.errors import BadOption, UnsupportedModel
from inspector.finetune.checkpoints import MANIFEST, told, whole
from inspector.model.load import checkpoint_folder
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint, open_checkpoint
from inspector.weights.header import TensorEntry
from inspector.weights.lineage import by_prefix

BODY: Final = ("embedding", "position", "token_type")  # roles outside layers that no head has
SHOWN: Final = 5
PLAIN: Final = (".json", ".txt", ".model", ".jinja", ".md")  # files beside weights, no pickle
Tensor = Shaped[torch.Tensor, "..."]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixed:
    """What became of each tensor: `mixed` lie between the models, `kept` stand only in the last.

    `left` are those of the other models that the last has no place for, such as another head.
    """

    folder: str
    mixed: tuple[str, ...]
    kept: tuple[str, ...]
    left: tuple[str, ...]


def interpolate(base: str | Path, tuned: str | Path, weight: float, out: str | Path) -> Mixed:
    """Write the model whose weights are (1 - weight) base + weight tuned; 0 is base, 1 is tuned.

    At 0 and 1 values are bit for bit those of the files, in the dtype of the tuned model. A head
    that the base lacks is the tuned one's at every weight. Raises BadOption for a weight outside
    [0, 1] or a folder that is there, UnsupportedModel where one body has tensors that the other
    lacks or has in another shape. Source: WiSE-FT, Wortsman et al. 2022 (2109.01903).
    """
    if not 0 <= weight <= 1:
        raise BadOption(f"weight: {weight} is not between 0, the base, and 1, the tuned model.")
    return _written([(str(base), 1 - weight), (str(tuned), weight)], Path(out))


def soup(models: Sequence[str | Path], out: str | Path) -> Mixed:
    """Write the mean of the weights of runs from one base and for one task, heads included.

    Raises BadOption for fewer than two, UnsupportedModel where their tensors differ in name or
    shape. Source: uniform soup, Wortsman et al. 2022 (2203.05482).
    """
    if len(models) < 2:  # noqa: PLR2004 - what has a mean
        raise BadOption("A mean of models needs at least two.")
    return _written([(str(model), 1 / len(models)) for model in models], Path(out), alike=True)


def _written(parts: Sequence[tuple[str, float]], out: Path, alike: bool = False) -> Mixed:
    if out.exists():
        raise BadOption(f"{show_plain(str(out))}: there is something already. Give a new folder.")
    checkpoints = [open_checkpoint(model) for model, _ in parts]
    folders = [checkpoint_folder(one) for one in checkpoints]
    last = checkpoints[-1]
    sources = [matched(one, last) for one in checkpoints]
    for one, found in zip(checkpoints, sources, strict=True):
        _check(one, last, found, alike)
    shared = [t.name for t in last.tensors if all(t.name in found for found in sources)]
    about = {"of": [{"model": show_plain(model), "weight": weight} for model, weight in parts]}
    with told(out, "The models it is made of are as they were"), whole(out, about) as draft:
        for file in sorted({entry.file for entry in last.tensors}):
            tensors = {}
            for entry in (one for one in last.tensors if one.file == file):
                held = [
                    (_read(folder, one.tensor(found[entry.name])), weight)
                    for folder, one, found, (_, weight) in zip(
                        folders, checkpoints, sources, parts, strict=True
                    )
                    if entry.name in found
                ]
                tensors[entry.name] = _between(entry.name, held)
            save_file(tensors, draft / file, metadata={"format": "pt"})
        _copy_rest(folders[-1], draft)
    used = {name for found in sources for name in found.values()}
    return Mixed(
        folder=str(out),
        mixed=tuple(shared),
        kept=tuple(t.name for t in last.tensors if t.name not in shared),
        left=tuple(
            sorted({t.name for one in checkpoints[:-1] for t in one.tensors if t.name not in used})
        ),
    )


def matched(base: Checkpoint, tuned: Checkpoint) -> dict[str, str]:
    """Names of the tuned model, each with the name that the base has for it.

    Names are the same, or differ by the prefix that a model with a head puts before its body.
    """
    theirs = {one.name: one for one in base.tensors}
    ours = {one.name: one for one in tuned.tensors}
    found = {name: name for name in ours if name in theirs}
    rest = {name: one for name, one in theirs.items() if name not in found}
    return found | by_prefix(rest, {n: one for n, one in ours.items() if n not in found})


def _check(base: Checkpoint, tuned: Checkpoint, found: Mapping[str, str], alike: bool) -> None:
    """Refuse models whose bodies do not have the same tensors in the same shapes."""
    told_shapes = [
        f"{show_plain(name)} ({tuned.tensor(name).shape} and {base.tensor(other).shape})"
        for name, other in found.items()
        if tuned.tensor(name).shape != base.tensor(other).shape
    ]
    used = {*found.values()}
    alone = [*_body(tuned, {*found}, alike), *_body(base, used, alike)]
    problems = [*told_shapes, *(f"{show_plain(name)} (in one only)" for name in alone)]
    if problems or not found:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise UnsupportedModel(
            f"{show_plain(base.model)} and {show_plain(tuned.model)} are not of one body: "
            f"{', '.join(problems[:SHOWN]) or 'no name of a tensor is the same'}{more}. Mix only a "
            "model with what was fine-tuned from it."
        )


def _body(checkpoint: Checkpoint, used: set[str], alike: bool) -> list[str]:
    """Tensors that are not used and belong to the body, or with `alike` to anything."""
    places = checkpoint.architecture.placements
    return [
        one.name
        for one in checkpoint.tensors
        if one.name not in used
        and places[one.name].kind != "buffer"
        and (alike or places[one.name].layer is not None or places[one.name].role in BODY)
    ]


def _read(folder: Path, entry: TensorEntry) -> Tensor:
    with safe_open(folder / entry.file, framework="pt") as file:
        tensor: Tensor = file.get_tensor(entry.name)
    return tensor


def _between(name: str, held: Sequence[tuple[Tensor, float]]) -> Tensor:
    """The weighted sum in the dtype of the last; what has no weight leaves no trace."""
    last = held[-1][0]
    counted = [(tensor, weight) for tensor, weight in held if weight]
    if len(held) == 1:
        return last
    if not last.is_floating_point():
        if any(not torch.equal(tensor, last) for tensor, _ in held):
            raise UnsupportedModel(f"{show_plain(name)}: whole numbers differ; they have no mean.")
        return last
    if len(counted) == 1:
        return counted[0][0].to(last.dtype)
    total = sum((tensor.double() * weight for tensor, weight in counted), torch.zeros(()))
    return total.to(last.dtype)


def _copy_rest(folder: Path, draft: Path) -> None:
    """The configuration and the tokenizer of the last model."""
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in PLAIN and file.name != MANIFEST:
            shutil.copyfile(file, draft / file.name)
