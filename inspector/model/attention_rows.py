"""Attention rows of a batch of texts, by streaming or from eager maps, and what either needs."""

from typing import Literal

import torch
from torch import Tensor, nn

from inspector.errors import UnsupportedModel
from inspector.model.attention_metrics import Rows
from inspector.model.attention_stream import CHUNK_BYTES, Receive, streaming
from inspector.model.hooks import attention_by
from inspector.model.load import Model
from inspector.model.places import Block, is_causal
from inspector.model.selftest import TOLERANCE
from inspector.model.texts import Batch, context

Way = Literal["streaming", "eager"]
TRIED = 24  # tokens on which the ways are compared
TRIED_CHUNK = 4096  # bytes: several chunks, so that their seams are tried as well
TAKES = {torch.float32: 4, torch.bfloat16: 2, torch.float16: 2}


def show_rows(
    model: Model, batch: Batch, way: Way, receive: Receive, chunk_bytes: int = CHUNK_BYTES
) -> Tensor:
    """Run a batch and show `receive` the rows of every block; returns the last hidden states.

    Streaming holds a chunk of rows, eager the maps of all blocks. Both texts of an
    encoder-decoder are the given one. UnsupportedModel where attention cannot be seen that way.
    """
    places = {block.attention: number for number, block in enumerate(model.blocks)}
    if way == "eager":
        return _eager(model, batch, receive, chunk_bytes)
    met: set[nn.Module] = set()

    def note(module: nn.Module, rows: Rows) -> None:
        met.add(module)
        receive(module, rows)

    with streaming(model.network, places, batch.ids, note, chunk_bytes):
        states, _ = _run(model, batch, maps=False)
    if len(met) < len(places):
        raise UnsupportedModel(
            f"{len(places) - len(met)} of {len(places)} attentions do not use the attention "
            f"function that {type(model.network).__name__} was given"
        )
    return states


def way_of(model: Model) -> tuple[Way, str]:
    """Whether attention can be streamed, and what was seen when it was tried.

    On a few tokens the last hidden states must agree with eager attention's, and every block's
    attention must have been shown.
    """
    size = model.network.config.get_text_config().vocab_size
    tried = min(TRIED, context(model) or TRIED)
    ids = (3 + 5 * torch.arange(tried, device=model.device)).remainder(size)[None]
    batch = Batch(ids=ids, real=torch.ones_like(ids, dtype=torch.bool))
    with attention_by(model.network, "eager"):
        expected, _ = _run(model, batch, maps=False)
    try:
        found = show_rows(model, batch, "streaming", lambda _module, _rows: None, TRIED_CHUNK)
    except UnsupportedModel as error:
        return "eager", str(error)
    gap = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not gap <= TOLERANCE[model.dtype]:
        return "eager", f"streaming moves the last hidden states by {gap:.2g} of their size"
    told = f"all {len(model.blocks)} attentions seen, hidden states within {gap:.2g} of eager ones"
    return "streaming", told


def predicted_bytes(model: Model, tokens: int, batch: int = 1, way: Way = "streaming") -> int:
    """Bytes of attention maps, masks and buffers that a batch of texts of this length needs.

    Eager: the maps of all blocks, B L H T^2, and those of a decoder to its encoder, which is
    exact; one block's softmax comes on top.
    Streaming: the masks (float and bool) of at most two layouts and the chunk buffers; T5 adds
    its own H T^2 position bias.
    """
    wide = TAKES[model.dtype]
    square = batch * tokens * tokens
    if way == "eager":
        crossed = sum(block.cross is not None for block in model.blocks)
        return (len(model.blocks) + crossed) * model.blocks[0].heads * square * wide
    layouts = 2 if model.kind == "encoder-decoder" or _has_windows(model) else 1
    rows = min(
        max(CHUNK_BYTES, batch * model.blocks[0].heads * tokens * 4),
        square * 4 * model.blocks[0].heads,
    )
    bias = model.blocks[0].heads * tokens * tokens * wide if _has_bias(model) else 0
    return layouts * square * (wide + 1) + 3 * rows + bias


def _has_windows(model: Model) -> bool:
    return getattr(model.network.config.get_text_config(), "sliding_window", None) is not None


def _has_bias(model: Model) -> bool:
    return any(hasattr(block.attention, "relative_attention_bias") for block in model.blocks)


def _run(model: Model, batch: Batch, maps: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Last hidden states, and the attention maps of all blocks where they are asked for.

    Logits are not computed: at long texts they would take more memory than all else.
    """
    given: dict[str, object] = {"attention_mask": batch.real.long(), "output_attentions": maps}
    if model.kind == "encoder-decoder":
        given |= {"decoder_input_ids": batch.ids, "decoder_attention_mask": batch.real.long()}
    if model.kind in ("causal", "encoder-decoder"):
        given["use_cache"] = False
    with torch.no_grad():
        out = model.network.base_model(batch.ids, **given)
    seen: tuple[Tensor, ...] = ()
    if maps and model.kind == "encoder-decoder":
        seen = (*out.encoder_attentions, *out.decoder_attentions)
    elif maps:
        seen = out.attentions or ()
    states = out.logits if "logits" in out else out.last_hidden_state
    return states.float(), tuple(one for one in seen if one is not None)


def _eager(model: Model, batch: Batch, receive: Receive, chunk_bytes: int) -> Tensor:
    """Show rows of whole maps; what is visible follows from direction, window and padding."""
    with attention_by(model.network, "eager"):
        states, maps = _run(model, batch, maps=True)
    if len(maps) != len(model.blocks):
        raise UnsupportedModel(
            f"{type(model.network).__name__} gave {len(maps)} attention maps for "
            f"{len(model.blocks)} blocks."
        )
    tokens = batch.ids.shape[1]
    position = torch.arange(tokens, device=model.device)
    layouts: dict[tuple[bool, int | None], int] = {}
    for block, weights in zip(model.blocks, maps, strict=True):
        kind = _looks(model, block)
        first = kind not in layouts
        number = layouts.setdefault(kind, len(layouts))
        step = max(chunk_bytes // (weights[:, :, :1].numel() * 4), 1)
        for start in range(0, tokens, step):
            back = position[start : start + step, None] - position  # how far behind the query
            in_reach = back.abs() < (kind[1] or tokens)
            if kind[0]:
                in_reach &= back >= 0
            visible = batch.real[:, None, None] & in_reach
            receive(
                block.attention,
                Rows(
                    weights=weights[:, :, start : start + step].float(),
                    tokens=batch.ids,
                    seen=visible[:, 0].sum(-1),
                    first_query=start,
                    layout=number,
                    visible=visible if first else None,
                ),
            )
    return states


def _looks(model: Model, block: Block) -> tuple[bool, int | None]:
    """Whether a block's tokens see only those before, and how many of them if not all."""
    config = model.network.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and kinds[block.layer] != "sliding_attention":
        window = None
    return is_causal(model.network, block, model.kind), window
