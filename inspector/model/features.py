"""What of a prompt is explained: tokens, words or phrases, and what stands in their place."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from inspector.errors import BadOption, UnsupportedModel
from inspector.model.load import Model
from inspector.results import show_plain
from inspector.weights.problems import Log

MOST_CHARACTERS = 200_000
WORD = re.compile(r"\s*(?:\w+(?:['’\-]\w+)*|[^\w\s]+)")  # the space before it is a word's
NAMED = ("mask", "pad", "eos", "unk")  # special tokens a baseline can be, in order of preference
UNBOUNDED = ("t5", "bloom")  # their positions are relative: no window is built in
PADDED_POSITIONS = ("roberta",)  # positions count from the padding id on


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unit:
    """Tokens of a prompt that are kept or replaced together; `text` is text[start:end]."""

    positions: tuple[int, ...]
    token: str
    text: str
    start: int
    end: int
    baseline: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """A text as ids, its units, and the ids that replace them; what is in no unit always stays."""

    text: str
    ids: Int[Tensor, " tokens"]
    baseline: Int[Tensor, " tokens"]
    units: tuple[Unit, ...]
    baseline_name: str
    baseline_text: str
    kept: tuple[str, ...]

    @property
    def unit_of(self) -> Int[Tensor, " tokens"]:
        """The unit of each token, -1 for those that stay."""
        found = torch.full_like(self.ids, -1)
        for number, unit in enumerate(self.units):
            found[list(unit.positions)] = number
        return found


def read_prompt(
    model: Model, text: str, units: str | Sequence[str] = "tokens", baseline: str | None = None
) -> Prompt:
    """Cut a text into units and choose what replaces them.

    `units` is tokens, words, or phrases of the text (the rest of it is then taken by words).
    `baseline` is mask, pad, eos, unk, or a neutral text: one token, or as many as the text has.
    Special tokens stay as they are. Raises BadOption for a text of which nothing can be explained.
    """
    ids, offsets = _tokens(model, text)
    tokenizer: Any = model.tokenizer
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    free = [i for i, id in enumerate(ids) if id not in special]
    if not free:
        raise BadOption(
            "There is nothing to explain in this text: it is empty"
            + (" but for special tokens." if text.strip() else ".")
        )
    name, replaced = _baseline(model, baseline, ids, free, special)
    groups = _groups(free, offsets, _spans(text, units, [offsets[i] for i in free]))
    names = tokenizer.convert_ids_to_tokens(ids)
    return Prompt(
        text=text,
        ids=torch.tensor(ids, device=model.device),
        baseline=torch.tensor(replaced, device=model.device),
        units=tuple(_unit(tokenizer, text, g, names, offsets, replaced) for g in groups),
        baseline_name=name,
        baseline_text=tokenizer.decode(replaced, clean_up_tokenization_spaces=False),
        kept=tuple(names[i] for i in range(len(ids)) if i not in set(free)),
    )


def _tokens(model: Model, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    tokenizer: Any = model.tokenizer
    if not tokenizer.is_fast:
        raise UnsupportedModel(
            f"{type(tokenizer).__name__} does not say which characters a token stands for: it has "
            "no tokenizer.json."
        )
    if len(text) > MOST_CHARACTERS:
        raise BadOption(
            f"The text has {len(text)} characters; at most {MOST_CHARACTERS} can be explained."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadOption(
            f"Character {error.start} of the text is half a surrogate pair, which is no text."
        ) from None
    read = tokenizer(text, return_offsets_mapping=True, verbose=False)
    return list(read["input_ids"]), [(int(a), int(b)) for a, b in read["offset_mapping"]]


def check_ids(model: Model, ids: Sequence[int]) -> None:
    """Raise UnsupportedModel for ids that have no embedding: the tokenizer is another model's."""
    embeddings: Any = model.network.get_input_embeddings()
    known = len(embeddings.weight)
    if ids and max(ids) >= known:
        raise UnsupportedModel(
            f"The tokenizer gives the id {max(ids)}, but the model has {known} embeddings: they do "
            "not belong together. Put the model's own tokenizer beside the weights."
        )


def check_window(model: Model, tokens: int) -> None:
    """Raise BadOption when a model has fewer positions than tokens."""
    config = model.network.config
    if config.model_type in UNBOUNDED:
        return
    window = getattr(config.get_text_config(), "max_position_embeddings", None)
    if window and config.model_type in PADDED_POSITIONS:
        window -= config.pad_token_id + 1
    if window and tokens > window:
        raise BadOption(
            f"Text and target have {tokens} tokens; the model sees at most {window}. Shorten it."
        )


def _baseline(
    model: Model, baseline: str | None, ids: list[int], free: list[int], special: set[int]
) -> tuple[str, list[int]]:
    tokenizer: Any = model.tokenizer
    known = {name: getattr(tokenizer, f"{name}_token_id") for name in NAMED}
    name = baseline
    if name is None:
        name = next((n for n in NAMED if known[n] is not None), None)
    if name is None:
        raise BadOption(
            "The tokenizer has no mask, pad, eos or unknown token to put in place of the words. "
            "Give a neutral text as the baseline."
        )
    if name in NAMED:
        if known[name] is None:
            raise BadOption(f"Baseline {name}: the tokenizer has no such token.")
        return name, [known[name] if i in free else id for i, id in enumerate(ids)]
    return "text", _neutral(model, name, ids, free, special)


def _neutral(
    model: Model, baseline: str, ids: list[int], free: list[int], special: set[int]
) -> list[int]:
    given, _ = _tokens(model, baseline)
    plain = [id for id in given if id not in special]
    if len(plain) not in (1, len(free)):
        raise BadOption(
            f"The baseline text has {len(plain)} tokens; it needs 1, or {len(free)} as the text."
        )
    if len(plain) == 1:
        plain = plain * len(free)
    made = list(ids)
    for i, id in zip(free, plain, strict=True):
        made[i] = id
    if made == ids:
        raise BadOption(
            "The baseline is the text itself: nothing differs, so nothing is explained."
        )
    return made


def _spans(
    text: str, units: str | Sequence[str], offsets: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Stretches of the text that must not be cut: tokens that share one join."""
    if isinstance(units, str) and units == "tokens":
        return []
    words = [match.span() for match in WORD.finditer(text)]
    if isinstance(units, str):
        if units != "words":
            raise BadOption(
                f"Units {show_plain(units)!r}: give tokens, words, or a list of phrases."
            )
        return words
    spans = []
    for phrase in units:
        found = [m.span() for m in re.finditer(re.escape(phrase), text)] if phrase else []
        if not found:
            raise BadOption(f"The phrase {show_plain(phrase)!r} does not stand in the text.")
        spans += found
    return [*spans, *words]


def _groups(
    free: Sequence[int], offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]
) -> list[list[int]]:
    """Neighbouring tokens join where they share a character or a span."""
    groups: list[list[int]] = []
    reach = -1  # up to which character everything belongs to the last group
    ordered = sorted(spans)
    for i in free:
        start, end = offsets[i]
        if groups and i == groups[-1][-1] + 1 and start < reach and end > start:
            groups[-1].append(i)
        else:
            groups.append([i])
            reach = -1
        held = [b for a, b in ordered if a < end and b > start]
        reach = max([reach, end, *held])
    return groups


def _unit(
    tokenizer: Any,
    text: str,
    positions: Sequence[int],
    names: Sequence[str],
    offsets: Sequence[tuple[int, int]],
    baseline: Sequence[int],
) -> Unit:
    start, end = offsets[positions[0]][0], offsets[positions[-1]][1]
    return Unit(
        positions=tuple(positions),
        token="".join(names[i] for i in positions),
        text=text[start:end],
        start=start,
        end=end,
        baseline=tokenizer.decode(
            [baseline[i] for i in positions], clean_up_tokenization_spaces=False
        ),
    )


def check_seam(model: Model, text: str, target: str, log: Log) -> None:
    """Note a target that would be cut into other tokens if it stood behind the text (causal)."""
    if model.kind != "causal":
        return
    tokenizer: Any = model.tokenizer

    def ids(string: str) -> list[int]:
        return list(tokenizer(string, add_special_tokens=False, verbose=False)["input_ids"])

    split = ids(text) + ids(target)
    runs_on = text[-1:].isalnum() and target[:1].isalnum()
    if split == ids(f"{text} {target}") or (split == ids(text + target) and not runs_on):
        return
    better = f" {target.lstrip()}"
    log.add(
        "AT-SEAM",
        "target",
        f"{show_plain(text[-20:])!r} and {show_plain(target)!r} are not what is read as two words; "
        f"try a text without a space at its end and the target {show_plain(better)!r}",
        joint=len(ids(text + target)),
        split=len(split),
    )
