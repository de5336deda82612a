"""How parts that are not pretrained begin: drawn by the seed, by the scheme that is asked for."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import torch
from torch.nn import init
from transformers.pytorch_utils import Conv1D

from inspector.errors import BadOption
from inspector.finetune.config import Config
from inspector.finetune.models import Pretrained
from inspector.finetune.strategies import Plan
from inspector.finetune.tensors import layers_of, tensors_of
from inspector.results import show_plain

SCHEMES: Final[Mapping[str, Callable[[torch.Tensor], object]]] = {
    "zeros": init.zeros_,
    "xavier": init.xavier_normal_,
    "he": lambda matrix: init.kaiming_normal_(matrix, nonlinearity="relu"),
}
"""How a matrix [out, in] begins; normal is how its own family draws it."""


def initialise(model: Pretrained, config: Config) -> tuple[str, ...]:
    """Draw the top layers anew and new matrices by the scheme; gives the names of what changed.

    New biases and gains begin as their family has them, and so do layers that begin anew. All
    draws follow from the seed. Raises BadOption for zeros where two new matrices would stand on
    each other, which would stay alike (their gradients are equal or none), and where all layers
    are to begin anew. Sources: Glorot & Bengio 2010 (xavier), He et al. 2015 (he).
    """
    tensors = tensors_of(model)
    layers, top = layers_of(tensors), config.training.reinitialise
    if top and top >= len(layers):
        raise BadOption(
            f"training.reinitialise: {top} of {len(layers)} layers would leave nothing that is "
            "pretrained. Give a smaller number."
        )
    chosen = layers[len(layers) - top :]
    renewed = [one.name for one in tensors if one.layer in chosen]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if renewed:
            _draw_anew(model, set(renewed))
        if (scheme := config.training.initialisation) == "normal":
            return tuple(renewed)
        matrices = _new_matrices(model)
        if scheme == "zeros" and len(matrices) > 1:
            raise BadOption(
                f"training.initialisation: zeros in {len(matrices)} new matrices, "
                f"{', '.join(show_plain(name) for name in matrices)}, would leave them without "
                "gradients. Choose normal, xavier or he."
            )
        with torch.no_grad():
            for matrix in matrices.values():
                SCHEMES[scheme](matrix)
    return (*renewed, *matrices)


def refuse_resting(renewed: Collection[str], plan: Plan) -> None:
    """Refuse to leave layers that begin anew as they were drawn; raises BadOption."""
    if resting := [name for name in renewed if name not in plan.factors]:
        raise BadOption(
            f"training.reinitialise: {len(resting)} tensors that begin anew, such as "
            f"{show_plain(resting[0])}, would not move. Choose a strategy that moves them."
        )


def _new_matrices(model: Pretrained) -> dict[str, torch.Tensor]:
    """New matrices as [out, in], whatever way their module keeps them."""
    found = {}
    for owner, module in model.network.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            name = f"{owner}.{leaf}" if owner else leaf
            if name in model.new and parameter.ndim == 2:
                found[name] = parameter.T if isinstance(module, Conv1D) else parameter
    return found


def _draw_anew(model: Pretrained, names: set[str]) -> None:
    """Let the family draw these tensors as it does before training, and no others.

    Its functions pass over whatever is flagged, as all that was loaded is.
    """
    held = dict(model.network.named_parameters())
    kept = {*model.network.buffers(), *(one for name, one in held.items() if name not in names)}
    flags = {one: getattr(one, FLAG, False) for one in (*held.values(), *kept)}
    try:
        for one in flags:
            setattr(one, FLAG, one in kept)
        anew = {held[name] for name in names}
        network: Any = model.network
        for module in reversed(list(network.modules())):  # the outer one has the last word
            if not anew.isdisjoint(module.parameters()):
                network._init_weights(module)
    finally:
        for one, flag in flags.items():
            setattr(one, FLAG, flag)


FLAG: Final = "_is_hf_initialized"
