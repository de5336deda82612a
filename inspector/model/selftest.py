"""What is tried on every model when it is loaded: no picture of what did not happen."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from inspector.errors import UnsupportedModel
from inspector.model.hooks import attention_by, captured, gated
from inspector.model.places import Block, is_causal

TOKENS = 8
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 2e-2}  # of the largest logit
ROW = {torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 5e-3}  # of a row's sum


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was tried; `told` says what was seen."""

    name: str
    passed: bool
    told: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A loaded model and a few tokens to try it on."""

    network: PreTrainedModel
    blocks: Sequence[Block]
    kind: str
    ids: Int[Tensor, "batch tokens"]

    def run(self, attentions: bool = False) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output, and the attention of each block where it is asked for."""
        given = {"decoder_input_ids": self.ids} if self.kind == "encoder-decoder" else {}
        with torch.no_grad():
            out = self.network(self.ids, output_attentions=attentions, **given)
        values = out.last_hidden_state if self.kind == "encoder" else out.logits
        seen = ()
        if attentions and self.kind == "encoder-decoder":
            seen = (*out.encoder_attentions, *out.decoder_attentions)
        elif attentions:
            seen = out.attentions or ()
        return values.float(), seen


def self_test(network: PreTrainedModel, blocks: Sequence[Block], kind: str) -> tuple[Check, ...]:
    """Every check in CHECKS on a few tokens; one that cannot run has failed, with its reason."""
    size = network.config.get_text_config().vocab_size
    # ids that mean padding or begin a special token would change what is seen
    steps = torch.arange(TOKENS, device=network.device)
    trial = Trial(
        network=network, blocks=blocks, kind=kind, ids=(5 + 7 * steps).remainder(size)[None]
    )
    made = []
    for name, check in CHECKS.items():
        try:
            passed, told = check(trial)
        except UnsupportedModel as error:
            passed, told = False, str(error)
        made.append(Check(name=name, passed=passed, told=told))
    return tuple(made)


def _hooks_see_each_layer(trial: Trial) -> tuple[bool, str]:
    with ExitStack() as stack:
        seen = [stack.enter_context(captured(block.module)) for block in trial.blocks]
        trial.run()
    calls = [len(one) for one in seen]
    width = {tuple(one[0].shape[:2]) for one in seen if one}
    good = all(count == 1 for count in calls) and width == {tuple(trial.ids.shape)}
    return good, f"{sum(map(bool, calls))} of {len(calls)} blocks seen"


def _gates_of_one_change_nothing(trial: Trial) -> tuple[bool, str]:
    plain, _ = trial.run()
    with ExitStack() as stack:
        for block in trial.blocks:
            stack.enter_context(gated(block.output, _ones(trial, block)))
        through, _ = trial.run()
    same = bool(torch.equal(plain, through))
    return same, "bit-identical" if same else f"differ by {_gap(plain, through):.2g}"


def _ones(trial: Trial, block: Block) -> Float[Tensor, "batch heads"]:
    return torch.ones((len(trial.ids), block.heads), device=trial.network.device)


def _closed_gates_matter(trial: Trial) -> tuple[bool, str]:
    plain, _ = trial.run()
    with ExitStack() as stack:
        for block in trial.blocks:
            stack.enter_context(gated(block.output, 0 * _ones(trial, block)))
        shut, _ = trial.run()
    gap = _gap(plain, shut)
    return gap > 0, f"without any head the output moves by {gap:.2g} of its size"


def _attention_is_what_the_model_uses(trial: Trial) -> tuple[bool, str]:
    plain, _ = trial.run()
    with attention_by(trial.network, "eager"):
        eager, _ = trial.run()
    gap = _gap(plain, eager)
    return gap <= TOLERANCE[trial.network.dtype], f"eager attention differs by {gap:.2g}"


def _rows_are_distributions(trial: Trial) -> tuple[bool, str]:
    with attention_by(trial.network, "eager"):
        _, attentions = trial.run(attentions=True)
    if len(attentions) != len(trial.blocks):
        return False, f"{len(attentions)} attention maps of {len(trial.blocks)} blocks came back"
    sums = torch.stack([rows.float().sum(-1) for rows in attentions])
    slack = ROW[trial.network.dtype]
    low, high = float(sums.min()), float(sums.max())
    sink = _has_sink_logits(trial.blocks)
    good = high <= 1 + slack and (sink or low >= 1 - slack)
    rest = ", the rest goes to a learned sink" if sink else ""
    return good, f"rows sum to {low:.4f} to {high:.4f}{rest}"


def _has_sink_logits(blocks: Sequence[Block]) -> bool:
    return any(getattr(block.attention, "sinks", None) is not None for block in blocks)


def _nothing_looks_ahead(trial: Trial) -> tuple[bool, str]:
    ahead = [
        i for i, block in enumerate(trial.blocks) if is_causal(trial.network, block, trial.kind)
    ]
    if not ahead:
        return True, "every token sees every other in this kind of model"
    with attention_by(trial.network, "eager"):
        _, attentions = trial.run(attentions=True)
    mass = max(float(attentions[i].float().triu(1).sum(-1).max()) for i in ahead)
    plain, _ = trial.run()
    changed = Trial(
        network=trial.network,
        blocks=trial.blocks,
        kind=trial.kind,
        ids=torch.cat([trial.ids[:, :-1], trial.ids[:, -1:] - 1], 1),
    )
    moved = 0.0
    if trial.kind == "causal":  # an encoder shows the last token to all others
        moved = _gap(plain[:, :-1], changed.run()[0][:, :-1])
    good = mass <= ROW[trial.network.dtype] and moved <= TOLERANCE[trial.network.dtype]
    return good, f"at most {mass:.2g} of a row lies ahead; a later token moves {moved:.2g}"


def _gap(one: Tensor, other: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((one - other).abs().max() / one.abs().max().clamp_min(1e-12))


CHECKS: dict[str, Callable[[Trial], tuple[bool, str]]] = {
    "hooks see every block": _hooks_see_each_layer,
    "gates of 1 change nothing": _gates_of_one_change_nothing,
    "gates of 0 are felt": _closed_gates_matter,
    "attention shown is attention used": _attention_is_what_the_model_uses,
    "rows of attention are distributions": _rows_are_distributions,
    "no token sees a later one": _nothing_looks_ahead,
}
