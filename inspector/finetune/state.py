"""What a run needs to go on beside its weights, as tensors and JSON, and back, bit by bit."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch

from inspector.errors import BadOption, InspectorError

KIND: Final = "$"  # marks a JSON object that stands for something JSON has no word for
Tensors = dict[str, torch.Tensor]


class NotPlain(InspectorError):
    """A state that is neither numbers, text nor tensors: it could only be pickled."""


def to_plain(value: Any, where: str = "state") -> Any:
    """A value as strict JSON that `from_plain` gives back exactly, floats and tuples included.

    Raises NotPlain for objects other than numbers, text, lists, tuples, mappings of text and
    tensors of one number.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {KIND: "float", "of": str(float(value))}
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        dtype = str(value.dtype).removeprefix("torch.")
        return {KIND: "tensor", "of": to_plain(value.item()), "dtype": dtype, "dims": value.ndim}
    if isinstance(value, tuple):
        return {KIND: "tuple", "of": [to_plain(one, where) for one in value]}
    if isinstance(value, list):
        return [to_plain(one, where) for one in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) and key != KIND for key in value):
        return {key: to_plain(one, f"{where}.{key}") for key, one in value.items()}
    raise NotPlain(f"{where} holds a {type(value).__name__}, which only a pickle could keep")


def from_plain(plain: Any) -> Any:
    """What `to_plain` was given."""
    if isinstance(plain, list):
        return [from_plain(one) for one in plain]
    if not isinstance(plain, dict):
        return plain
    kind = plain.get(KIND)
    if kind == "float":
        return float(plain["of"])
    if kind == "tuple":
        return tuple(from_plain(one) for one in plain["of"])
    if kind == "tensor":
        value = torch.tensor(from_plain(plain["of"]), dtype=getattr(torch, plain["dtype"]))
        return value.reshape([1] * plain["dims"])
    return {key: from_plain(one) for key, one in plain.items()}


def optimiser_state(
    optimiser: torch.optim.Optimizer, names: Mapping[int, str]
) -> tuple[Tensors, dict[str, Any]]:
    """An optimiser's tensors by `parameter/entry`, and the rest of its state as JSON.

    `names` are those of the parameters by `id`. Raises NotPlain for an optimiser that keeps
    objects, such as projectors.
    """
    tensors: Tensors = {}
    scalars: dict[str, dict[str, Any]] = {}
    for parameter, entries in optimiser.state.items():
        name = names[id(parameter)]
        scalars[name] = {}
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{name}/{key}"] = value.detach().contiguous()
            else:
                scalars[name][key] = to_plain(value, f"the state of {name}, {key},")
    groups = [
        {
            **{key: to_plain(value, key) for key, value in group.items() if key != "params"},
            "params": [names[id(parameter)] for parameter in group["params"]],
        }
        for group in optimiser.param_groups
    ]
    return tensors, {"groups": groups, "state": scalars}


def restore_optimiser(
    optimiser: torch.optim.Optimizer,
    names: Mapping[int, str],
    tensors: Mapping[str, torch.Tensor],
    plain: Mapping[str, Any],
) -> None:
    """Give an optimiser the state that `optimiser_state` took.

    Raises BadOption where its groups hold other parameters: the tensors that move have changed.
    """
    live = [[names[id(one)] for one in group["params"]] for group in optimiser.param_groups]
    saved = [group["params"] for group in plain["groups"]]
    if live != saved:
        raise BadOption(
            "The optimiser of the checkpoint moves other tensors than this configuration: "
            f"{_difference(saved, live)}. Go on with the configuration the run began with."
        )
    places = {name: place for place, name in enumerate(name for group in live for name in group)}
    state: dict[int, dict[str, Any]] = {
        places[name]: {key: from_plain(value) for key, value in entries.items()}
        for name, entries in plain["state"].items()
    }
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition("/")
        state[places[name]][entry] = tensor
    groups, first = [], 0
    for group in plain["groups"]:
        last = first + len(group["params"])
        rest = {key: from_plain(value) for key, value in group.items() if key != "params"}
        groups.append({**rest, "params": list(range(first, last))})
        first = last
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def _difference(saved: Sequence[Sequence[str]], live: Sequence[Sequence[str]]) -> str:
    before, now = ({name for group in groups for name in group} for groups in (saved, live))
    changed = sorted(before ^ now)
    if not changed:
        return "the same tensors in other groups"
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return f"{', '.join(changed[:3])}{more} only in one of them"


def random_state() -> dict[str, Any]:
    """The states of all generators that training draws from, as JSON."""
    kind, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002, others' code draws from it
    return {
        "python": to_plain(random.getstate()),
        "numpy": to_plain((kind, [int(key) for key in keys], place, has_gauss, gauss)),
        "torch": _hex(torch.random.get_rng_state()),
        "cuda": [_hex(one) for one in torch.cuda.get_rng_state_all()],
    }


def restore_random(plain: Mapping[str, Any]) -> None:
    """Set all generators to the states that `random_state` took."""
    random.setstate(from_plain(plain["python"]))
    kind, keys, place, has_gauss, gauss = from_plain(plain["numpy"])
    legacy = (kind, np.array(keys, dtype=np.uint32), place, has_gauss, gauss)
    np.random.set_state(legacy)  # noqa: NPY002
    torch.random.set_rng_state(_bytes(plain["torch"]))
    if plain["cuda"]:
        torch.cuda.set_rng_state_all([_bytes(one) for one in plain["cuda"]])


def _hex(state: torch.Tensor) -> str:
    return bytes(state.cpu().numpy()).hex()


def _bytes(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
