"""Proof that what was to rest is bit for bit what it was, and that what was to move has moved."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
from transformers import TrainerCallback

from inspector.finetune.config import Config
from inspector.finetune.moving import moving
from inspector.finetune.optimisers import Group
from inspector.finetune.strategies import NAMED, Plan
from inspector.results import Finding, show_plain
from inspector.weights.architecture import place
from inspector.weights.header import TensorEntry
from inspector.weights.problems import finding

SAMPLE: Final = 65_536  # elements of a moving tensor that are kept to be compared
MOSTLY: Final = 0.5  # share of elements left as they were from which on it is told
PIECE: Final = 2**24  # elements that are read at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proof:
    """What a run left as it was and what it moved, of all tensors and buffers.

    Ideal: `changed` and `still` are empty. `frozen` counts tensors and buffers that were to rest,
    `changed` names those of which a bit differs. `scheduled` counts tensors whose turn had come,
    `still` names those that never moved, `idle` biases of keys that did not, of which softmax feels
    nothing unless places turn them, `unreached` those whose turn never came. `unchanged` is
    the share of elements of scheduled tensors that ended as they began, over `compared` elements;
    tables of vectors are left out, of which rows that nothing names get no step.
    """

    frozen: int
    changed: tuple[str, ...]
    scheduled: int
    still: tuple[str, ...]
    idle: tuple[str, ...]
    unreached: tuple[str, ...]
    unchanged: float | None
    compared: int


class Watch(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Fingerprints of a network before it is trained, and what became of them.

    Frozen tensors are hashed whole (SHA-256), of the moving ones a sample is kept. Whether these
    moved is asked at the end of each epoch, since a run may end with an earlier state of itself.
    """

    def __init__(self, network: torch.nn.Module, plan: Plan, config: Config) -> None:
        self.network, self.plan, self.config = network, plan, config
        self.hashes = {name: hashed(one) for name, one in self._all(moving=False)}
        self.samples = {name: sampled(one) for name, one in self._all(moving=True)}
        self.whole = {name: hashed(one) for name, one in self._all(moving=True)}
        self.begun: set[str] = set()
        self.moved: set[str] = set()

    def _all(self, moving: bool) -> Iterator[tuple[str, torch.Tensor]]:
        for name, one in self.network.named_parameters():
            if (name in self.plan.factors) is moving:
                yield name, one.detach()
        if not moving:
            for name, buffer in self.network.named_buffers():
                if not self._follows(name):
                    yield name, buffer

    def _follows(self, buffer: str) -> bool:
        """Whether a buffer is of a module of which a tensor moves, such as running statistics."""
        owner = f"{buffer.rpartition('.')[0]}."
        return any(name.rpartition(".")[0] + "." == owner for name in self.plan.factors)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note whose turn it is."""
        if len(self.begun) < len(self.plan.factors):
            epoch = int((state.epoch or 0.0) + 1e-9)
            self.begun |= moving(self.plan, self.config, epoch, state.global_step)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note what has moved by now."""
        self._look()

    def _look(self) -> None:
        for name, one in self._all(moving=True):
            if name not in self.moved and (
                not torch.equal(sampled(one), self.samples[name]) or hashed(one) != self.whole[name]
            ):
                self.moved.add(name)

    def proof(self) -> Proof:
        """What holds now."""
        self._look()
        begun = [n for n in self.plan.factors if n in self.begun or n in self.moved]
        tables = [one for one in self.network.modules() if isinstance(one, torch.nn.Embedding)]
        sparse = {id(one.weight) for one in tables}
        compared = same = 0
        for name in begun:
            one, kept = self.network.get_parameter(name), self.samples[name]
            if id(one) not in sparse:
                compared += len(kept)
                same += int((sampled(one) == kept).sum())
        frozen = list(self._all(moving=False))
        still = [name for name in begun if name not in self.moved]
        idle = key_biases(still)
        return Proof(
            frozen=len(frozen),
            changed=tuple(name for name, one in frozen if hashed(one) != self.hashes.get(name)),
            scheduled=len(begun),
            still=tuple(name for name in still if name not in idle),
            idle=idle,
            unreached=tuple(name for name in self.plan.factors if name not in begun),
            unchanged=same / compared if compared else None,
            compared=compared,
        )


def about(proof: Proof, plan: Plan, groups: Sequence[Group]) -> dict[str, Any]:
    """What a run's summary says of what moved, why, and in which groups of the optimiser."""
    return {
        "moving": dict(plan.reasons),
        "begins": dict(plan.begins),
        "untied": list(plan.untied),
        "groups": [dataclasses.asdict(one) for one in groups],
        "selection": plan.selection and dataclasses.asdict(plan.selection),
        "proof": dataclasses.asdict(proof),
    }


def findings_of(proof: Proof) -> list[Finding]:
    """What of a proof a person should know; an error each where the plan was not kept."""
    found = []
    if proof.changed:
        told = f"{len(proof.changed)} of {proof.frozen} frozen tensors changed"
        found.append(_told("FT-FROZEN", told, proof.changed))
    if proof.still:
        told = f"{len(proof.still)} of {proof.scheduled} tensors that were to move did not"
        found.append(_told("FT-STILL", told, proof.still))
    if proof.unreached:
        told = f"the run ended before the turn of {len(proof.unreached)} tensors"
        found.append(_told("FT-UNREACHED", told, proof.unreached))
    if proof.unchanged is not None and proof.unchanged > MOSTLY:
        told = f"{proof.unchanged:.1%} of the elements that were to move ended as they began"
        found.append(finding("FT-UNCHANGED", "training", told, compared=proof.compared))
    return found


def _told(id: str, told: str, names: Sequence[str]) -> Finding:
    shown = ", ".join(show_plain(name) for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return finding(id, "training", f"{told}: {shown}{more}", tensors=list(names))


def key_biases(names: Sequence[str]) -> tuple[str, ...]:
    """Those of these names that are biases of keys: they add the same to all scores of a query."""
    entries = [
        TensorEntry(name=name, dtype="F32", shape=(1,), file="", start=0, end=0) for name in names
    ]
    placed = place(entries, None).placements
    return tuple(n for n in names if (placed[n].role, placed[n].kind) == ("k", "bias"))


def hashed(values: torch.Tensor) -> str:
    """SHA-256 of the bytes of a tensor, whatever its type, in row-major order."""
    digest = hashlib.sha256()
    for piece in torch.split(values.detach().reshape(-1), PIECE):
        digest.update(piece.cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def sampled(values: torch.Tensor) -> torch.Tensor:
    """A copy of a tensor's elements, at most SAMPLE of them, at the same places each time."""
    flat = values.detach().reshape(-1)
    step = -(-len(flat) // SAMPLE)
    return flat[::step].cpu().clone()
