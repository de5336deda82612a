"""The tensors of a network as a strategy sees them: name, layer, role, other names, new or not."""

import dataclasses
from collections.abc import Sequence
from typing import Final

import torch

from inspector.finetune.models import Pretrained
from inspector.weights.architecture import Placement, place
from inspector.weights.header import TensorEntry

TABLES: Final = ("embedding", "position", "token_type")
Layer = tuple[str | None, int]  # stack, index


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of the network; `ties` are its other names.

    `depth` is 0 for embeddings and what else stands below the layers, 1 for the lowest layer, and
    one more than the number of layers for all that stands above them. `layer` is None outside the
    layers, role and kind are those of the inspector's other records.
    """

    name: str
    parameters: int
    ties: tuple[str, ...] = ()
    new: bool = False
    layer: Layer | None = None
    depth: int = 0
    role: str = "other"
    kind: str = "other"

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the tensor."""
        return (self.name, *self.ties)


def tensors_of(model: Pretrained) -> list[Tensor]:
    """The tensors of a network in its own order, tied ones once, with their other names."""
    held: dict[int, torch.nn.Parameter] = {}
    names: dict[int, list[str]] = {}
    for name, parameter in model.network.named_parameters(remove_duplicate=False):
        held[id(parameter)] = parameter
        names.setdefault(id(parameter), []).append(name)
    placed = _placed(model)
    # what is a table of vectors under any name is one, such as one that is the unembedding too
    places = [
        next((placed[n] for n in all_names if placed[n].role in TABLES), placed[all_names[0]])
        for all_names in names.values()
    ]
    layers = list(dict.fromkeys(_layer(one) for one in places if _layer(one) is not None))
    first = next((i for i, one in enumerate(places) if _layer(one) is not None), len(places))
    return [
        Tensor(
            name=all_names[0],
            parameters=held[key].numel(),
            ties=tuple(all_names[1:]),
            new=not set(model.new).isdisjoint(all_names),
            layer=_layer(one),
            depth=_depth(one, layers, is_below=i < first),
            role=one.role,
            kind=one.kind,
        )
        for i, (one, (key, all_names)) in enumerate(zip(places, names.items(), strict=True))
    ]


def _placed(model: Pretrained) -> dict[str, Placement]:
    entries = [
        TensorEntry(name=name, dtype="F32", shape=tuple(one.shape), file="", start=0, end=0)
        for name, one in model.network.named_parameters(remove_duplicate=False)
    ]
    return dict(place(entries, model.network.config.to_dict()).placements)


def _layer(one: Placement) -> Layer | None:
    return None if one.layer is None else (one.stack, one.layer)


def _depth(one: Placement, layers: Sequence[Layer | None], is_below: bool) -> int:
    layer = _layer(one)
    if layer is not None:
        return 1 + layers.index(layer)
    return 0 if is_below or one.role in TABLES else 1 + len(layers)


def layers_of(tensors: Sequence[Tensor]) -> list[Layer]:
    """The layers from the lowest to the top."""
    return list(dict.fromkeys(one.layer for one in tensors if one.layer is not None))
