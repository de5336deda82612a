"""Contrasts for tiny models of pieces, and what they say under changes, by hand."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from fairness.talkers import said

from inspector.fairness.items import Contrast
from inspector.model.load import Model

PATHS = {  # family: where its blocks are, and in them the last steps of attention and MLP
    "gpt2": ("transformer.h", "attn.c_proj", "mlp.c_proj"),
    "llama": ("model.layers", "self_attn.o_proj", "mlp.down_proj"),
    "bert": ("bert.encoder.layer", "attention.output.dense", "output.dense"),
    "roberta": ("roberta.encoder.layer", "attention.output.dense", "output.dense"),
}


def contrast(
    target: str,
    neutral: str,
    words: tuple[str, str],
    template: str = "{t} c d {a} e .",
    direction: float = 1.0,
    control: bool = False,
) -> Contrast:
    """One contrast; the template has {t} for the target and {a} for the words."""
    parts = [template.replace("{t}", text).split("{a}") for text in (target, neutral)]
    return Contrast(
        id=f"{template} | {target} | {words}",
        category="all",
        template=template,
        target=target,
        group=target,
        pair="/".join(words),
        direction=direction,
        control=control,
        words=words,
        before=parts[0][0],
        after=parts[0][1],
        neutral_before=parts[1][0],
        neutral_after=parts[1][1],
    )


EVEN = contrast("a", "b", ("f", "g"))
PIECES = contrast("a", "b", ("fg", "h"))  # the first word is two tokens
LONGER = contrast("a i j", "b", ("f", "g"))
ADDED = contrast("i a", "a", ("f", "g"))  # the neutral text has nothing in its place
BEHIND = contrast("a", "b", ("f", "g"), "c {a} d {t} .")
ALL = (EVEN, PIECES, LONGER, ADDED, BEHIND)


def log_odds(model: Model, before: str, after: str, words: tuple[str, str]) -> float:
    """Log P(first) less log P(second), piece by piece, one forward each."""
    return _log_p(model, before, words[0], after) - _log_p(model, before, words[1], after)


def _log_p(model: Model, before: str, word: str, after: str) -> float:
    tokenizer = model.tokenizer
    lead, pieces, tail = (
        tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, word, after)
    )
    total = 0.0
    for i, piece in enumerate(pieces):
        if model.kind == "causal":
            ids = [tokenizer.bos_token_id, *lead, *pieces[:i]]
            total += said(model, ids)[-1][piece]
        else:
            shown = [*pieces[:i], *[tokenizer.mask_token_id] * (len(pieces) - i)]
            ids = [tokenizer.bos_token_id, *lead, *shown, *tail, tokenizer.eos_token_id]
            total += said(model, ids)[1 + len(lead) + i][piece]
    return float(total)


def gap(model: Model, one: Contrast) -> float:
    """The gap of a contrast, by hand."""
    target = log_odds(model, one.before, one.after, one.words)
    return target - log_odds(model, one.neutral_before, one.neutral_after, one.words)


def rows_of(model: Model, one: Contrast) -> list[tuple[list[int], int]]:
    """Ids with the target and with the neutral text, and where words of one token are read."""
    tokenizer = model.tokenizer
    rows = []
    for before, after in ((one.before, one.after), (one.neutral_before, one.neutral_after)):
        lead, tail = (
            tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, after)
        )
        around = [tokenizer.mask_token_id, *tail, tokenizer.eos_token_id]
        masked = model.kind == "masked"
        ids = [tokenizer.bos_token_id, *lead, *(around if masked else [])]
        rows.append((ids, 1 + len(lead) if masked else len(lead)))
    return rows


def one_row(
    model: Model,
    ids: list[int],
    place: int,
    words: tuple[str, str],
    changes: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType({}),
) -> float:
    """Log-odds of two tokens at a place, what modules give being changed by plain hooks."""
    handles = []
    for path, change in changes.items():

        def hook(_module, _given, out, change=change):
            return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)

        handles.append(model.network.get_submodule(path).register_forward_hook(hook))
    try:
        values = said(model, ids)[place]
    finally:
        for handle in handles:
            handle.remove()
    first, second = model.tokenizer.convert_tokens_to_ids(list(words))
    return float(values[first] - values[second])
