"""Which matrices of a checkpoint are one matrix under two names: embedding and unembedding."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inspector.weights.families import MODELS_WITH_UNEMBEDDING, Family
from inspector.weights.header import TensorEntry
from inspector.weights.names import WORD_EMBEDDINGS
from inspector.weights.naming import Scheme

Pair = tuple[str, str]
Named = Sequence[tuple[TensorEntry, Scheme]]
INNER = ("embeddings", "embedding", "decoder", "encoder", "language_model", "text_model")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ties:
    """(source, target) pairs: `tied` lack a stored target, of `doubtful` both are stored.

    `missing` are tensors the model needs that are neither stored nor tied.
    """

    tied: tuple[Pair, ...] = ()
    doubtful: tuple[Pair, ...] = ()
    missing: tuple[str, ...] = ()


def find_ties(
    named: Iterable[tuple[TensorEntry, Scheme]],
    configs: Sequence[Mapping[str, Any]],
    family: Family | None,
) -> Ties:
    """Ties that names, shapes and config tell of; `configs` are the config and its text part.

    Where the config does not say, the family's default holds; a family not known has none.
    """
    outside = [pair for pair in named if pair[1].role in ("embedding", "unembedding")]
    words, outs = _words(outside), _unembeddings(outside)
    explicit = _flag(configs)
    if family is None and explicit is not None:
        family = Family(tied=explicit)
    tie = family.tied if explicit is None and family else explicit
    doubtful = _stored_twice(words)
    tied: list[Pair] = []
    missing: list[str] = []
    if words:
        source = words[0]
        tied += _second_embeddings(words, family)
        if outs:
            if explicit is not False:
                doubtful += [(source.name, out.name) for out in outs if _may_be_one(source, out)]
        elif family and _needs_unembedding(configs, family, outside, source.name):
            target = f"{_outer(source.name)}{family.head}.weight"
            if tie:
                tied.append((source.name, target))
            elif tie is False:
                missing.append(target)
    elif outs and family:
        target = f"{family.embedding}.weight"
        if tie:
            tied.append((outs[0].name, target))
        else:
            missing.append(target)
    more_tied, more_doubtful = _tied_bias(outside, family) if tie else ([], [])
    return Ties(
        tied=(*tied, *more_tied), doubtful=(*doubtful, *more_doubtful), missing=tuple(missing)
    )


def _words(outside: Named) -> list[TensorEntry]:
    """Tables of the model's vocabulary, the one that others repeat first."""
    found = [
        (WORD_EMBEDDINGS.index(scheme.module), i, entry)
        for i, (entry, scheme) in enumerate(outside)
        if scheme.kind == "embedding"
        and scheme.layer_at is None
        and not scheme.leaf.packed
        and scheme.whole
        and scheme.stack not in ("vision", "audio")
        and scheme.module in WORD_EMBEDDINGS
    ]
    return [entry for _, _, entry in sorted(found, key=lambda item: item[:2])]


def _unembeddings(outside: Named) -> list[TensorEntry]:
    return [
        entry
        for entry, scheme in outside
        if scheme.role == "unembedding"
        and scheme.kind == "weight"
        and scheme.layer_at is None
        and scheme.module != "project_out"
    ]


def _flag(configs: Sequence[Mapping[str, Any]]) -> bool | None:
    """What the config says about ties; None where it does not."""
    stated = (config.get("tie_word_embeddings") for config in configs)
    return next((value for value in stated if isinstance(value, bool)), None)


def _may_be_one(first: TensorEntry, second: TensorEntry) -> bool:
    return (first.shape, first.dtype) == (second.shape, second.dtype) and first.name != second.name


def _stored_twice(words: Sequence[TensorEntry]) -> list[Pair]:
    """The shared table of an encoder-decoder, repeated under the names of its two users."""
    repeats = [word for word in words[1:] if ".embed_tokens." in f".{word.name}"]
    return [(words[0].name, word.name) for word in repeats if _may_be_one(words[0], word)]


def _second_embeddings(words: Sequence[TensorEntry], family: Family | None) -> list[Pair]:
    """Names under which the two halves of an encoder-decoder look for the shared table."""
    source = words[0].name
    if not source.endswith("shared.weight") or not (family and family.shared_table):
        return []
    stored = {word.name for word in words}
    outer = source.removesuffix("shared.weight")
    targets = [f"{outer}{half}.embed_tokens.weight" for half in ("encoder", "decoder")]
    return [(source, target) for target in targets if target not in stored]


def _needs_unembedding(
    configs: Sequence[Mapping[str, Any]], family: Family, outside: Named, source: str
) -> bool:
    """Whether the model maps back to words: by its class, else by what is stored with it."""
    if any(
        scheme.role == "unembedding" and scheme.module != "project_out" for _, scheme in outside
    ):
        return True  # its bias
    stated = configs[0].get("architectures")
    if isinstance(stated, list) and stated:
        classes = [name for name in stated if isinstance(name, str)]
        return any(word in name for name in classes for word in MODELS_WITH_UNEMBEDDING)
    # a name without the model's prefix comes from a bare model; GPT-2's own files are the exception
    bare = source.count(".") == 1
    return family.generates and (not bare or bool(family.tied))


def _outer(source: str) -> str:
    """What stands before the model's own prefix: "language_model." of language_model.model.x."""
    parts = source.split(".")[:-2]
    while parts and parts[-1] in INNER:
        parts.pop()
    return "".join(f"{part}." for part in parts[:-1])


def _tied_bias(outside: Named, family: Family | None) -> tuple[list[Pair], list[Pair]]:
    """The bias of a masked model's head, which stands under two names: (tied, doubtful)."""
    if not family or not family.two_biases:
        return [], []
    biases = {entry.name: entry for entry, scheme in outside if scheme.kind == "bias"}
    source, target = (
        f"{name}.bias" for name in (family.head.removesuffix(".decoder"), family.head)
    )
    if source not in biases:
        return [], []
    if target not in biases:
        return [(source, target)], []
    return [], [(source, target)] if _may_be_one(biases[source], biases[target]) else []
