"""What a model would answer if it stopped after each layer: the lens on its own head."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, UnsupportedModel
from inspector.model.asking import (
    Reading,
    check_finite,
    log_probabilities,
    logits,
    shown,
    source,
    whole,
    whole_of,
)
from inspector.model.hooks import captured_inputs, first, instead, returned
from inspector.model.load import Model
from inspector.model.places import Block
from inspector.model.questions import decoder_start, encode
from inspector.model.records import LensPoint
from inspector.model.targets import check_classes
from inspector.results import Records
from inspector.weights.problems import Log

MOST = 50  # predictions a record can list
ANSWER = 8  # tokens of an encoder-decoder's own answer that are looked at
Returned = Tensor | tuple[Any, ...]
SAME = {
    torch.float64: 1e-4,
    torch.float32: 1e-4,
    torch.bfloat16: 0.1,
    torch.float16: 2e-2,
}  # of the largest logit


def lens(
    model: Model, text: str, top: int = 5, progress: Progress = no_progress
) -> Records[LensPoint]:
    """Predictions after each layer, through the model's own final norm, head and logit scaling.

    nostalgebraist 2020's logit lens. Each layer's stream is put in the place of the last block's
    output, so that whatever the model does afterwards is done to it: projections, a masked model's
    transform, soft caps. After the last layer this must give the model's own logits, which is
    checked. Encoder-decoders are seen in the decoder, on the answer they begin themselves.
    """
    if not 1 <= top <= MOST:
        raise BadOption(f"top={top}: give 1 to {MOST}.")
    if model.kind == "encoder":
        raise UnsupportedModel(
            f"{type(model.network).__name__} predicts nothing: it has no head to look through."
        )
    if model.kind == "classifier":
        check_classes(model)
    log = Log()
    reading = _reading(model, text)
    with torch.no_grad():
        begin, returns, own = _run(model, reading)
        check_finite(own)
        final = log_probabilities(model, own)
        made: list[LensPoint] = []
        for done, stream in enumerate([begin, *map(first, returns)]):
            layer = None if done == 0 else done - 1
            progress(done, len(returns) + 1, "embedding" if layer is None else f"layer {layer}")
            seen = _through_head(model, reading, returns, stream)
            said = log_probabilities(model, seen)
            made += _points(model, reading, layer, said, final, min(top, said.shape[-1]))
    gap = float((seen - own).abs().max() / own.abs().max().clamp_min(1e-12))
    if gap > SAME[model.dtype]:
        told = f"after the last layer the lens differs from the model's own logits by {gap:.2g}"
        log.add("LN-GAP", "lens", told, gap=gap)
    progress(len(returns) + 1, len(returns) + 1, "done")
    return Records(
        command="lens",
        record_type=LensPoint,
        source=source(model),
        coverage=whole(model),
        summary=_summary(model, made, _answer_at(model, reading), gap),
        records=tuple(made),
        findings=(*model.findings, *log.findings),
    )


def _reading(model: Model, text: str) -> Reading:
    """The text; for an encoder-decoder with the answer it begins, most likely token by token."""
    ids = encode(model, text)
    if model.kind != "encoder-decoder":
        return Reading(ids=ids, decoder=None, asks={})
    decoder = ids.new_tensor([decoder_start(model)])
    with torch.no_grad():
        for _ in range(ANSWER - 1):
            out = logits(model, [Reading(ids=ids, decoder=decoder, asks={})])
            likeliest = out[0, -1].argmax()
            if int(likeliest) == model.tokenizer.eos_token_id:
                break
            decoder = torch.cat([decoder, likeliest[None]])
    return Reading(ids=ids, decoder=decoder, asks={})


def _watched(model: Model) -> list[Block]:
    """The blocks before the head: an encoder-decoder's decoder."""
    return [block for block in model.blocks if block.stack == model.blocks[-1].stack]


def _run(model: Model, reading: Reading) -> tuple[Tensor, list[Returned], Tensor]:
    """The stream before the first block, what each block returns, and the model's own logits."""
    blocks = _watched(model)
    with ExitStack() as stack:
        begin = stack.enter_context(captured_inputs(blocks[0].module))
        seen = [stack.enter_context(returned(block.module)) for block in blocks]
        own = logits(model, [reading])[0]
    return begin[0], [one[0] for one in seen], own


def _through_head(
    model: Model, reading: Reading, returns: Sequence[Returned], stream: Tensor
) -> Float[Tensor, "steps choices"]:
    """The model's logits had its last block returned this stream; no block does its work again."""
    with ExitStack() as stack:
        for block, before in zip(_watched(model), returns, strict=True):
            stack.enter_context(instead(block.module, _giving(before, stream)))
        return logits(model, [reading])[0]


def _giving(before: Returned, stream: Tensor) -> Callable[..., Returned]:
    """A forward that returns the stream in the shape a block returned its own."""
    out = (stream, *before[1:]) if isinstance(before, tuple) else stream
    return lambda *_given, **_named: out


def _points(
    model: Model,
    reading: Reading,
    layer: int | None,
    said: Float[Tensor, "steps choices"],
    final: Float[Tensor, "steps choices"],
    top: int,
) -> list[LensPoint]:
    """One record a position."""
    one_step = model.kind == "classifier"
    words = reading.ids if reading.decoder is None else reading.decoder
    answers = final.argmax(-1)
    best, tokens = (part.tolist() for part in said.topk(top))
    rows = torch.arange(len(said), device=said.device)
    chosen = said[rows, answers]
    ranks = (said > chosen[:, None]).sum(-1) + 1
    end, here = whole_of(model, final), whole_of(model, said)
    entropy = -(here.exp() * here).sum(-1)
    divergence = (end.exp() * (end - here)).sum(-1)
    return [
        LensPoint(
            name="embedding" if layer is None else f"layer {layer}",
            layer=layer,
            position=None if one_step else i,
            text=None if one_step else shown(model, [int(words[i])]),
            token=shown(model, tokens[i][:1]),
            probability=math.exp(best[i][0]),
            answer=shown(model, [int(answers[i])]),
            answer_probability=math.exp(float(chosen[i])),
            answer_rank=int(ranks[i]),
            entropy=float(entropy[i]),
            divergence=float(divergence[i]),
            agrees=int(ranks[i]) == 1,
            tokens=tuple(shown(model, [token]) for token in tokens[i]),
            probabilities=tuple(map(math.exp, best[i])),
        )
        for i in range(len(said))
    ]


def _answer_at(model: Model, reading: Reading) -> int:
    """The position whose prediction is the model's answer."""
    if model.kind == "causal":
        return len(reading.ids) - 1
    masks = (reading.ids == model.tokenizer.mask_token_id).tolist()
    return masks.index(True) if model.kind == "masked" and any(masks) else 0


def _summary(model: Model, made: Sequence[LensPoint], answer_at: int, gap: float) -> dict[str, Any]:
    """Layer by layer: how many positions already have the final answer, and how far it is."""
    layers = list(dict.fromkeys(point.layer for point in made))
    rows = [[point for point in made if point.layer == layer] for layer in layers]
    return {
        "kind": model.kind,
        "positions": len(rows[0]),
        "layers": [
            {
                "name": row[0].name,
                "layer": layer,
                "agreement": sum(point.agrees for point in row) / len(row),
                "divergence": sum(point.divergence for point in row) / len(row),
                "entropy": sum(point.entropy for point in row) / len(row),
            }
            for layer, row in zip(layers, rows, strict=True)
        ],
        "answer_position": answer_at,
        "settled": settled([row[answer_at] for row in rows]),
        "last_layer_gap": gap,
    }


def settled(trajectory: Sequence[LensPoint]) -> str | None:
    """The name of the layer from which on the final answer stays the likeliest; of one position."""
    wrong = [i for i, point in enumerate(trajectory) if not point.agrees]
    kept = trajectory[wrong[-1] + 1 :] if wrong else trajectory
    return kept[0].name if kept else None
