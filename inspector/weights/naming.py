"""What a tensor's name says: block, role, kind, storage. Names are hostile; none raises."""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from inspector.weights.families import SIGNATURES
from inspector.weights.names import (
    BLOCK_LIST_ENDINGS,
    BLOCK_LISTS,
    BUFFERS,
    EXPERT_LISTS,
    EXPERT_ROLE,
    KIND_OF_ROLE,
    LEAF_ENDINGS,
    LEAF_STARTS,
    LEAVES,
    LOW_RANK,
    MASK_OWNERS,
    NAMES,
    NO_HEADS,
    NOTE,
    STACKED_NAMES,
    STACKS,
    WEIGHT,
    WRAPPERS,
    Leaf,
)

LONGEST = 512  # characters; a longer name is not looked at
DEEPEST = 40  # parts
MOST_GUESSED = 100_000  # schemes a guess of the family looks at
NUMBER = re.compile(r"\.([0-9]{1,6})(?=\.|\Z)")
EXPERT_NUMBER = re.compile(r"\.expert_(?=[0-9]{1,6}(?:\.|\Z))")

ROLES = {ending: (role, kind) for role, kind, endings in NAMES for ending in endings.split()}
MOST_PARTS = max(ending.count(".") for ending in ROLES) + 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """What all names that differ only in their numbers have in common.

    `layer_at` and `expert_at` are positions among the numbers of the name; `module` is the last
    part of the path of the module that owns the tensor, `first` the first part of the name; `tail`
    is what follows the block's number (the whole name outside blocks), numbers as `#`.
    """

    role: str = "other"
    kind: str = "other"
    leaf: Leaf = Leaf()
    layer_at: int | None = None
    expert_at: int | None = None
    stack: str | None = None
    module: str = ""
    first: str = ""
    tail: str = ""
    whole: bool = True  # not one slice of what the role means, so it has the role's heads
    in_experts: bool = False


UNKNOWN = Scheme()
Numbers = Sequence[str]


class Names:
    """Reads names; each scheme is worked out once. `overrides`: roles of names in this family."""

    def __init__(self, overrides: Mapping[str, str]) -> None:
        self._overrides = overrides
        self._schemes: dict[tuple[str, int, str], Scheme] = {}

    @property
    def schemes(self) -> Iterable[Scheme]:
        """All that were met."""
        return self._schemes.values()

    def read(self, name: str, dimensions: int) -> tuple[Scheme, Numbers]:
        """The scheme of a name and the numbers in it."""
        if len(name) > LONGEST or "#" in name:  # `#` stands for numbers here
            return UNKNOWN, ()
        if ".expert_" in name:
            name = EXPERT_NUMBER.sub(".expert_.", name)
        pieces = NUMBER.split(name)
        text, numbers = ".#".join(pieces[::2]), pieces[1::2]
        # the number right before the last part may name a module of a sequence: ffn.0, ffn.2
        last = (
            numbers[-1] if numbers and pieces[-1].count(".") == 1 and len(numbers[-1]) < 3 else ""
        )
        key = (text, dimensions, last)
        scheme = self._schemes.get(key)
        if scheme is None:
            scheme = self._schemes[key] = _read(text, dimensions, last, self._overrides)
        return scheme, numbers


def _read(text: str, dimensions: int, last: str, overrides: Mapping[str, str]) -> Scheme:
    parts = text.split(".")
    if len(parts) > DEEPEST:
        return UNKNOWN
    block = next((i for i in range(len(parts) - 1) if _is_block_list(parts, i)), None)
    tail = parts if block is None else parts[block + 2 :]
    ahead = parts[:-2] if block is None else parts[:block]
    seen = Scheme(
        layer_at=None if block is None else parts[: block + 1].count("#"),
        expert_at=_expert_at(parts),
        stack=next((STACKS[part] for part in ahead if part in STACKS), None),
        first=parts[0],
        tail=".".join(tail),
        in_experts=any(part in EXPERT_LISTS for part in parts),
    )
    # the container of the block helps to tell, as in XLM's `attentions.0.q_lin`
    path = [part for part in parts if part not in WRAPPERS]
    low_rank = any(part in LOW_RANK for part in path)
    path = [part for part in path if part not in LOW_RANK] if low_rank else path
    found = path and _module_and_leaf(path, dimensions, last, seen.in_experts, overrides)
    if not found:
        return seen
    role, kind, leaf, module = found
    return dataclasses.replace(
        seen,
        role=role,
        kind=kind,
        leaf=leaf,
        module=module,
        whole=not low_rank and module not in NO_HEADS,
    )


def _is_block_list(parts: Sequence[str], i: int) -> bool:
    follows = parts[i + 1] == "#"
    return follows and (parts[i] in BLOCK_LISTS or parts[i].endswith(BLOCK_LIST_ENDINGS))


def _expert_at(parts: Sequence[str]) -> int | None:
    """Which of the numbers in a name counts experts."""
    numbers = 0
    experts = False
    for part in parts:
        experts = experts or part in EXPERT_LISTS
        if part == "#":
            if experts:
                return numbers
            numbers += 1
    return None


def _module_and_leaf(
    path: list[str], dimensions: int, last: str, in_experts: bool, overrides: Mapping[str, str]
) -> tuple[str, str, Leaf, str] | None:
    """(role, kind, leaf, last part of the module's path); None for a name of no known scheme."""

    def role_of(module: list[str]) -> tuple[str, str] | None:
        stacked = dimensions > 2
        return _role(module, last, in_experts, stacked, overrides)

    *module, name = path
    if module and module[-1] in ("weight", "bias"):  # a quantiser's note on that parameter
        module = module[:-1]
    own = next((part for part in reversed(module) if part != "#"), "")
    if name in BUFFERS:
        return BUFFERS[name], "buffer", NOTE, own
    if name == "bias" and own in MASK_OWNERS and dimensions == 4:
        return "position", "buffer", NOTE, own
    if name == "scale" and _is_norm(own):
        return "norm", "norm", WEIGHT, own
    leaf = LEAVES.get(name) or next((x for start, x in LEAF_STARTS if name.startswith(start)), None)
    if leaf and (known := role_of(module)):
        return *_with_leaf(known, leaf), leaf, own
    if known := role_of(path):
        return *_with_leaf(known, WEIGHT), WEIGHT, name
    for ending, leaf in LEAF_ENDINGS:
        stem = name.removesuffix(ending)
        if stem != name and (known := role_of([*module, stem])):
            return *_with_leaf(known, leaf), leaf, stem
    return None


def _with_leaf(known: tuple[str, str], leaf: Leaf) -> tuple[str, str]:
    role, kind = known
    # what is a bias or a buffer stays one, unless it is a scale or a note
    if leaf.kind in ("scale", "buffer") or kind not in ("bias", "buffer"):
        kind = leaf.kind or kind
    return role, kind or KIND_OF_ROLE.get(role, "weight")


def _role(
    module: list[str], last: str, in_experts: bool, stacked: bool, overrides: Mapping[str, str]
) -> tuple[str, str] | None:
    """(role, kind or "") of a module by the longest ending of its path that is known."""
    plain = [part for part in module if part not in ("#", "expert_")]
    if not plain:
        return None
    if module[-1] == "#" and (known := ROLES.get(f"{plain[-1]}.{last}")):
        return known
    endings = [".".join(plain[-n:]) for n in range(min(len(plain), MOST_PARTS), 0, -1)]
    for ending in endings:
        if in_experts and stacked and ending in STACKED_NAMES:
            return STACKED_NAMES[ending], ""
        if ending in overrides:
            return overrides[ending], ""
        if known := ROLES.get(ending):
            role, kind = known
            return (EXPERT_ROLE.get(role, role), kind) if in_experts else known
    return ("norm", "") if _is_norm(plain[-1]) else None


def _is_norm(part: str) -> bool:
    return (
        "norm" in part.lower()
        or part == "ln"
        or part.startswith(("ln_", "ln1", "ln2"))
        or part.endswith("_ln")
    )


def guess_family(schemes: Iterable[Scheme]) -> str | None:
    """The family whose names these are; where several share them, the best known."""
    seen: set[str] = set()
    for scheme in itertools.islice(schemes, MOST_GUESSED):
        last_two = ".".join(scheme.tail.split(".")[-2:])
        seen |= {scheme.tail, f"{scheme.first}.", last_two}
    for family, needed, unwanted in SIGNATURES:
        if seen.issuperset(needed.split()) and seen.isdisjoint(unwanted.split()):
            return family
    return None
