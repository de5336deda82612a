"""What each head, MLP and the embedding adds to the answer's logit, straight through the norm."""

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inspector.errors import UnsupportedModel
from inspector.model.asking import Question, Reading, logits
from inspector.model.hooks import captured, captured_inputs, changed_output
from inspector.model.load import Model
from inspector.model.places import Block, final_norm, inputs_of

WHOLE = {
    torch.float64: 1e-3,
    torch.float32: 1e-3,
    torch.bfloat16: 0.1,
    torch.float16: 2e-2,
}  # of the stream's size
PROBE = 1e3  # so large that the epsilon of a norm does not count


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that adds to the stream; `head` None for what is no head's."""

    name: str
    stack: str
    layer: int | None
    kind: str  # head, bias of the attention, mlp, embedding, or constant: norm and unembedding
    part: str
    head: int | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Direct:
    """Direct effects of all parts on a logit, question by question.

    `logit` is that of the answer less that of versus (without one: less the mean over the
    vocabulary), `softcap` whether logits are bent after the unembedding, so that effects are slopes
    and add up to about that only.
    """

    parts: tuple[Part, ...]
    effects: Float[Tensor, "questions parts"]
    logit: Float[Tensor, " questions"]
    softcap: bool

    @property
    def gap(self) -> Float[Tensor, " questions"]:
        """What the effects leave unexplained; rounding, but for a soft cap."""
        return self.logit - self.effects.sum(1)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """A norm with its scale frozen at one input: x -> weight * (x - mean) * scale + bias."""

    weight: Float[Tensor, " width"]
    bias: Float[Tensor, " width"]
    centred: bool
    scale: float

    def __call__(self, values: Float[Tensor, "*parts width"]) -> Float[Tensor, "*parts width"]:
        """A part of what was normed, scaled as the whole was; without the bias."""
        if self.centred:
            values = values - values.mean(-1, keepdim=True)
        return values * self.weight * self.scale


def direct_effects(model: Model, asked: Sequence[Question]) -> Direct:
    """Direct logit attribution with the final norm frozen, of answers of one token each.

    Sums over parts to the logit (Elhage et al. 2021; behaviour of nostalgebraist's logit lens with
    a frozen norm). Raises UnsupportedModel, with the reason, where the parts of a model do not
    simply add up.
    """
    if model.kind not in ("causal", "encoder-decoder"):
        raise UnsupportedModel(
            f"A {model.kind} model norms the stream after each block or bends it before the "
            "answer, so what a head adds does not reach the answer on a straight way."
        )
    if any(len(q.answer) != 1 or len(q.versus) > 1 for q in asked):
        raise UnsupportedModel("Direct effects are of answers of one token; this one has more.")
    norm = final_norm(model.network)
    if norm is None:
        raise UnsupportedModel("This family has no norm before the unembedding.")
    stack = model.blocks[-1].stack
    blocks = [block for block in model.blocks if block.stack == stack]
    softcap = getattr(model.network.config, "final_logit_softcapping", None) is not None
    made = [_of_one(model, blocks, norm, question) for question in asked]
    return Direct(
        parts=_parts(blocks),
        effects=torch.stack([effects for effects, _ in made]),
        logit=torch.stack([logit for _, logit in made]),
        softcap=softcap,
    )


def _parts(blocks: Sequence[Block]) -> tuple[Part, ...]:
    made = [_part("embedding", None, "embedding", blocks[0].stack)]
    for block in blocks:
        placed = f"{block.stack} layer {block.layer}".strip()
        for part in ["self", *(["cross"] if block.cross is not None else [])]:
            where = f"{placed} cross" if part == "cross" else placed
            for head in range(block.heads):
                one = _part(f"{where} head {head}", block.layer, "head", block.stack, part)
                made.append(dataclasses.replace(one, head=head))
            named = f"{where} attention bias"
            made.append(_part(named, block.layer, "bias", block.stack, part))
        made.append(_part(f"{placed} mlp", block.layer, "mlp", block.stack))
    made.append(_part("final norm and unembedding biases", None, "constant", blocks[0].stack))
    return tuple(made)


def _part(name: str, layer: int | None, kind: str, stack: str, part: str = "") -> Part:
    return Part(name=name, stack=stack, layer=layer, kind=kind, part=part, head=None)


def _of_one(
    model: Model, blocks: Sequence[Block], norm: nn.Module, question: Question
) -> tuple[Tensor, Tensor]:
    """Effects of all parts in the order of _parts, and the logit."""
    reading = question.readings[0]
    at = int(reading.asks["answer"][0][0])
    with ExitStack() as stack, torch.no_grad():
        watched = [_Watched(block, stack) for block in blocks]
        begin = stack.enter_context(captured_inputs(blocks[0].module))
        before = stack.enter_context(captured_inputs(norm))
        logits(model, [reading])
    added = torch.cat([begin[0][0, at][None].float(), *(one.added(at) for one in watched)])
    stream = before[0][0, at].float()
    away = float((added.sum(0) - stream).norm() / stream.norm().clamp_min(1e-12))
    if away > WHOLE[model.dtype]:
        raise UnsupportedModel(
            f"What heads, MLPs and embedding add does not make up the stream: {away:.2g} of it is "
            "missing. This model treats its stream in a way that is not known here."
        )
    frozen = linear(norm, before[0][0, at])
    logit, slope = _unembedded(model, norm, reading, question, at)
    effects = frozen(added) @ slope
    constant = frozen.bias @ slope + _unembedding_bias(model, question)
    return torch.cat([effects, constant[None]]), logit


class _Watched:
    """What one block adds to the stream, caught as it runs."""

    def __init__(self, block: Block, stack: ExitStack) -> None:
        self.block = block
        catch = stack.enter_context
        self.mlp = catch(captured(block.mlp_norm or block.mlp))
        self.into_norm = None
        if block.attention_norm is not None:
            self.into_norm = catch(captured_inputs(block.attention_norm))
        outputs = [block.output, *([block.cross] if block.cross is not None else [])]
        self.heads = [(output, catch(captured_inputs(output))) for output in outputs]

    def added(self, at: int) -> Float[Tensor, "parts width"]:
        """Heads and bias of each attention, then the MLP."""
        rows = []
        for output, inputs in self.heads:
            found = by_head(output, inputs[0][0, at].float(), self.block.heads)
            bias = getattr(output, "bias", None)
            bias = torch.zeros_like(found[0]) if bias is None else bias.detach().float()
            found = torch.cat([found, bias[None]])
            if self.into_norm is not None and self.block.attention_norm is not None:
                frozen = linear(self.block.attention_norm, self.into_norm[0][0, at])
                found = frozen(found)
                found[-1] += frozen.bias
            rows.append(found)
        mlp = self.mlp[0].flatten(0, -2)  # OPT runs its MLP over rows of all texts
        return torch.cat([*rows, mlp[at][None].float()])


def by_head(
    output: nn.Module, heads_side_by_side: Float[Tensor, " inputs"], heads: int
) -> Float[Tensor, "heads width"]:
    """What each head writes through an output projection, without its bias."""
    weight = output.weight
    assert isinstance(weight, Tensor)
    # Linear holds [out, in], GPT-2's Conv1D [in, out]
    matrix = weight.detach().float()
    matrix = matrix.T if isinstance(output, nn.Linear) else matrix
    width = inputs_of(output) // heads
    return torch.einsum(
        "hw,hwo->ho",
        heads_side_by_side.reshape(heads, width),
        matrix.reshape(heads, width, -1),
    )


def linear(norm: nn.Module, value: Float[Tensor, " width"]) -> Linear:
    """A norm frozen at one input, found by trying it: LayerNorm, RMSNorm, and Gemma's 1 + weight.

    Raises UnsupportedModel for what is neither.
    """
    signs = torch.ones_like(value)
    signs[1::2] = -1
    with torch.no_grad():
        bias = norm(torch.zeros_like(value)).float()
        weight = (norm(PROBE * signs).float() - bias) * signs.float()
        flat = norm(torch.full_like(value, PROBE)).float() - bias
        centred = bool(flat.norm() < 0.1 * weight.norm())
        out = norm(value).float() - bias
    unscaled = Linear(weight=weight, bias=bias, centred=centred, scale=1.0)(value.float())
    scale = float(out @ unscaled / (unscaled @ unscaled).clamp_min(1e-30))
    away = float((scale * unscaled - out).norm() / out.norm().clamp_min(1e-12))
    if away > WHOLE[value.dtype] or value.shape[-1] % 2:
        raise UnsupportedModel(f"{type(norm).__name__}: no norm whose scale could be frozen.")
    return Linear(weight=weight, bias=bias, centred=centred, scale=scale)


def _unembedded(
    model: Model, norm: nn.Module, reading: Reading, question: Question, at: int
) -> tuple[Tensor, Tensor]:
    """The logit, and its slope along what the final norm gives at the position asked."""
    kept: list[Tensor] = []

    def watch(out: Tensor) -> Tensor:
        kept.append(out.detach().clone().requires_grad_(True))
        return kept[-1]

    with torch.enable_grad(), changed_output(norm, watch):
        out = logits(model, [reading])[0, at]
        other = out[question.versus[0]] if question.versus else out.mean()
        logit = out[question.answer[0]] - other
        (slope,) = torch.autograd.grad(logit, kept[-1])
    return logit.detach(), slope[0, at].float()


def _unembedding_bias(model: Model, question: Question) -> Tensor:
    network: Any = model.network  # its stubs leave this one untyped
    bias = getattr(network.get_output_embeddings(), "bias", None)
    if bias is None:
        return torch.zeros((), device=model.device)
    values: Tensor = bias.detach().float()
    other = values[question.versus[0]] if question.versus else values.mean()
    return values[question.answer[0]] - other
