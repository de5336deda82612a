"""How training goes, layer by layer: gradients before clipping, updates, dead units."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import PreTrainedModel, TrainerCallback

from inspector.errors import InspectorError
from inspector.finetune.checkpoints import last_of, told
from inspector.finetune.models import Pretrained
from inspector.finetune.tensors import Tensor
from inspector.model.activations import activations
from inspector.model.kinds import kind_of
from inspector.model.load import Model
from inspector.model.places import find_blocks
from inspector.results import show_plain

HEALTH: Final = "health.jsonl"
FLOOR: Final = 1e-3  # of a layer's weights: biases begin at zero, and a ratio to it says nothing


class Health(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Writes a line of health.jsonl every so many updates, and one at each evaluation.

    Lines of kind "update" hold for each layer the norm of its gradient before clipping, of its
    weights, and of the update over that of the weights, all of float32. Lines of kind "units"
    hold dead and saturated units on a fixed set of texts. While an update is recorded the
    weights that move are held twice.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        tensors: Sequence[Tensor],
        texts: Sequence[str],
        every: int,
        clip: float,
        file: Path,
    ) -> None:
        self.pretrained, self.texts = pretrained, list(texts)
        self.every, self.clip, self.file = every, clip, file
        place_of = {one.name: place_of_tensor(one) for one in tensors}
        self.places = list(dict.fromkeys(sorted(place_of.values())))
        network: torch.nn.Module = pretrained.network
        self.held = [(place_of[name], one) for name, one in network.named_parameters()]
        self.before: list[tuple[tuple[int, str], torch.nn.Parameter, torch.Tensor]] = []
        self.gradients: dict[tuple[int, str], float] = {}
        self.ratios: dict[tuple[int, str], tuple[float, float]] = {}

    def due(self, step: int) -> bool:
        """Whether update `step` is recorded; never the first, whose rate may be 0."""
        return step == 2 or step % self.every == 0

    def note_gradients(self, step: int, scale: float = 1.0) -> None:
        """Record gradients as backward left them, and weights, before update `step`.

        `scale` is what mixed precision multiplied them by.
        """
        if not self.due(step):
            return
        moving = [(place, one) for place, one in self.held if one.grad is not None]
        norms = torch._foreach_norm([one.grad for _, one in moving if one.grad is not None])
        self.gradients = _rooted(
            [(p, float(n) / scale) for (p, _), n in zip(moving, norms, strict=True)]
        )
        self.before = [(place, one, one.detach().clone()) for place, one in moving]

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Compare the weights with what they were."""
        if not self.before:
            return
        old = [one for _, _, one in self.before]
        now = [one.detach() for _, one, _ in self.before]
        steps = torch._foreach_norm(torch._foreach_sub(now, old))
        sizes = torch._foreach_norm(old)
        places = [place for place, _, _ in self.before]
        moved = _rooted([(p, float(n)) for p, n in zip(places, steps, strict=True)])
        weights = _rooted([(p, float(n)) for p, n in zip(places, sizes, strict=True)])
        self.ratios = {p: (weights[p], moved[p] / max(weights[p], FLOOR)) for p in weights}
        self.before = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Write the line of an update that was recorded."""
        if not (self.gradients and self.ratios and logs and "grad_norm" in logs):
            return
        norm = logs["grad_norm"]
        line = {
            "kind": "update",
            "step": state.global_step,
            "epoch": state.epoch,
            "loss": logs["loss"],
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": norm,
            "clipped": bool(self.clip) and norm > self.clip,
            "layers": [
                {
                    "layer": place[1],
                    "depth": place[0],
                    "grad_norm": self.gradients[place],
                    "weight_norm": self.ratios[place][0],
                    "update_ratio": self.ratios[place][1],
                }
                for place in self.places
                if place in self.gradients and place in self.ratios
            ],
        }
        self.gradients, self.ratios = {}, {}
        self._write(state, line)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the units that are dead or saturated on the texts."""
        if state.is_world_process_zero:
            line = {"kind": "units", "step": state.global_step, "epoch": state.epoch}
            self._write(state, {**line, **units_of(self.pretrained, self.texts)})

    def _write(self, state: Any, line: Mapping[str, Any]) -> None:
        if state.is_world_process_zero:
            with told(self.file, last_of(self.file.parent)), self.file.open("a") as out:
                out.write(json.dumps(line) + "\n")


def place_of_tensor(tensor: Tensor) -> tuple[int, str]:
    """How far up a tensor stands, and what its layer is called."""
    if tensor.layer is not None:
        stack, index = tensor.layer
        return tensor.depth, f"{stack} layer {index}" if stack else f"layer {index}"
    return tensor.depth, "embeddings" if tensor.depth == 0 else "head"


def _rooted(norms: Sequence[tuple[tuple[int, str], float]]) -> dict[tuple[int, str], float]:
    """Norms of layers from those of their tensors."""
    squares: dict[tuple[int, str], float] = {}
    for place, norm in norms:
        squares[place] = squares.get(place, 0.0) + norm * norm
    return {place: math.sqrt(value) for place, value in squares.items()}


def units_of(pretrained: Pretrained, texts: Sequence[str]) -> dict[str, Any]:
    """Dead and saturated units by layer on the texts, or the reason why they are not counted."""
    network: PreTrainedModel = pretrained.network
    training = network.training
    network.train(False)
    try:
        model = Model(
            checkpoint=pretrained.checkpoint,
            network=network,
            tokenizer=pretrained.tokenizer,
            kind=kind_of(type(network).__name__) or "encoder",
            blocks=find_blocks(network),
            checks=(),
            findings=(),
        )
        found = activations(model, texts)
    except InspectorError as error:
        return {"layers": [], "reason": show_plain(str(error), 300)}
    finally:
        network.train(training)
    return {
        "tokens": found.summary["tokens"],
        "layers": [
            {
                "layer": one.name,
                "units": one.units,
                "dead": one.dead_units,
                "saturated": one.saturated_units,
                "stream_rms": one.stream_rms,
            }
            for one in found
        ],
    }
