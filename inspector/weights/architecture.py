"""Where every tensor of a checkpoint belongs: block, role, kind, heads, parts and ties.

Decided from names and shapes; config.json, read as data, decides what names cannot and is believed
only where shapes agree with it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from inspector.results import Finding, show_plain
from inspector.weights.families import FAMILIES, Family
from inspector.weights.header import TensorEntry
from inspector.weights.layouts import (
    Part,
    even_odd,
    fused_attention,
    halves,
    query_and_gate,
    variant,
)
from inspector.weights.naming import Names, Numbers, Scheme, guess_family
from inspector.weights.problems import Log, finding
from inspector.weights.sizes import (
    LAYER_KEYS,
    MOST_BLOCKS,
    STACK_CONFIGS,
    heads_of,
    known_type,
    read_sizes,
    stack_config,
    text_config,
)
from inspector.weights.ties import Ties, find_ties

ATTENTION = ("q", "k", "v", "qkv", "o")
EXPERTS = ("expert_gate", "expert_up", "expert_down", "gate_up")
THIRDS = ("c_attn", "Wqkv", "qkv", "W_pack", "in_proj", "in_proj_weight")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where one tensor belongs.

    `layer` is the block's index, `stack` "encoder" or "decoder" in encoder-decoders and "vision"
    or "audio" for the towers of multimodal models. `orientation` is "out_in" (y = W x), "in_out"
    (y = x W; embeddings too, whose x picks a row) or "" for what is no matrix. `heads`, `kv_heads`
    and `head_dim` are those of the block's attention, on q, k, v, qkv and o; None where unknown.
    `experts` is how many are stacked along the first axis. `parts` is empty when the tensor has
    one role, or when how its parts lie cannot be told (then AR-SPLIT says so). `alias_of` names
    the stored tensor whose values this one repeats.
    """

    name: str
    layer: int | None
    stack: str | None
    expert: int | None
    role: str
    kind: str
    orientation: str
    heads: int | None
    kv_heads: int | None
    head_dim: int | None
    experts: int | None
    parts: tuple[Part, ...]
    alias_of: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a checkpoint is made of; every entry has a placement under its name.

    `family` is the model type of the config where it is known; without a config that of the best
    known family with such names. `layers` counts the blocks seen in names over all stacks. `tied`
    holds (source, target) pairs of which the target is not stored; `doubtful` those of which both
    are: only their values tell whether they are one matrix (see confirm_ties).
    """

    family: str | None
    layers: int
    placements: Mapping[str, Placement]
    tied: tuple[tuple[str, str], ...]
    doubtful: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]


Block = tuple[str | None, int | None]  # stack, index
Heads = tuple[int | None, int | None, int | None]  # heads, kv heads, head size


@dataclasses.dataclass(kw_only=True)
class _Facts:
    """What the shapes of many tensors tell together."""

    q_rows: dict[Block, int] = dataclasses.field(default_factory=dict)
    k_rows: dict[Block, int] = dataclasses.field(default_factory=dict)
    fused: dict[Block, Heads] = dataclasses.field(default_factory=dict)
    stacked_gate_up: tuple[int, ...] = ()
    stacked_down: tuple[int, ...] = ()


def place(entries: Sequence[TensorEntry], config: Mapping[str, Any] | None) -> Architecture:
    """Place every tensor; a name of no known scheme becomes `other`, with an AR-OTHER finding.

    `config` is config.json as plain data, or None. Nothing in names, shapes or config raises.
    """
    return _Placer(entries, config or {}).result()


class _Placer:
    """Reads all names first, since what one tensor means can depend on the shape of another."""

    def __init__(self, entries: Sequence[TensorEntry], config: Mapping[str, Any]) -> None:
        self._entries, self._config, self._log = entries, config, Log()
        text = text_config(config)
        stated = next((f for c in (text, config) if (f := known_type(c))), None)
        names = Names(FAMILIES[stated].roles if stated else {})
        self._read = [names.read(entry.name, len(entry.shape)) for entry in entries]
        self._stated = stated
        # a model type that is not in the table is not the one whose names it shares
        strange = stated is None and isinstance(config.get("model_type"), str)
        self._family = stated if stated or strange else guess_family(names.schemes)
        self._known = FAMILIES.get(self._family or "")
        self._layouts = self._known or Family(tied=False)
        stacks = {scheme.stack for scheme in names.schemes if scheme.layer_at is not None}
        # `encoder` in a name means something only where there is a decoder too
        self._two = {"encoder", "decoder"} <= stacks or config.get("is_encoder_decoder") is True
        self._configs = {
            stack: stack_config(config, text, stack) for stack in (None, *STACK_CONFIGS)
        }
        self._sizes = {stack: read_sizes(c, stack) for stack, c in self._configs.items()}
        text_sizes = self._sizes[None]
        self._fused, self._sizes[None] = variant(self._layouts.fused, text, text_sizes)
        self._conv1d = self._is_conv1d()
        self._facts = self._gather()

    def result(self) -> Architecture:
        """The finished architecture."""
        placements: dict[str, Placement] = {}
        for entry, (scheme, numbers) in zip(self._entries, self._read, strict=True):
            placements[entry.name] = self._place(entry, scheme, numbers)
        blocks = {(p.stack, p.layer) for p in placements.values() if p.layer is not None}
        self._missing_blocks(blocks)
        named = ((e, scheme) for e, (scheme, _) in zip(self._entries, self._read, strict=True))
        # many families share the names of untied ones: a guess tells of ties only, never of none
        sure = self._known if self._stated or (self._known and self._known.tied) else None
        ties = find_ties(named, (self._config, self._configs[None]), sure)
        self._tell(ties)
        return Architecture(
            family=self._family,
            layers=len(blocks),
            placements=placements,
            tied=ties.tied,
            doubtful=ties.doubtful,
            findings=self._log.findings,
        )

    def _stack(self, scheme: Scheme) -> str | None:
        return scheme.stack if self._two or scheme.stack in ("vision", "audio") else None

    def _block(self, scheme: Scheme, numbers: Numbers) -> Block:
        layer = None if scheme.layer_at is None else int(numbers[scheme.layer_at])
        return self._stack(scheme), layer

    def _gather(self) -> _Facts:
        facts = _Facts()
        for entry, (scheme, numbers) in zip(self._entries, self._read, strict=True):
            if scheme.leaf.packed or scheme.kind != "weight":
                continue
            dimensions = len(entry.shape)
            if scheme.role in ("q", "k") and dimensions == 2 and scheme.whole:
                rows = facts.q_rows if scheme.role == "q" else facts.k_rows
                rows[self._block(scheme, numbers)] = entry.shape[0]
            elif scheme.role == "qkv" and scheme.module != "kv_b_proj" and scheme.whole:
                block = self._block(scheme, numbers)
                facts.fused[block] = _heads_of_parts(self._fused_parts(entry, scheme, block[0]))
            elif dimensions == 3 and scheme.role == "gate_up":
                facts.stacked_gate_up = entry.shape
            elif dimensions == 3 and scheme.role == "expert_down":
                facts.stacked_down = entry.shape
        return facts

    def _is_conv1d(self) -> bool:
        """Whether GPT-2's names hold [in, out]: the fused tensor's long side is its output."""
        for entry, (scheme, _) in zip(self._entries, self._read, strict=True):
            if scheme.module == "c_attn" and len(entry.shape) == 2 and scheme.whole:
                return entry.shape[1] > entry.shape[0]
        return self._layouts.conv1d

    def _place(self, entry: TensorEntry, scheme: Scheme, numbers: Numbers) -> Placement:
        stack, layer = block = self._block(scheme, numbers)
        if scheme.role == "other" and scheme.kind == "other" and not scheme.module:
            self._log.add(
                "AR-OTHER", entry.name, "the name follows no known scheme", shape=list(entry.shape)
            )
        orientation = self._orientation(entry, scheme)
        heads = kv_heads = head_dim = None
        parts: tuple[Part, ...] = ()
        if scheme.whole and not scheme.leaf.packed:
            if scheme.role in ATTENTION:
                heads, kv_heads, head_dim = self._heads(entry, scheme, block, orientation)
            parts = self._parts(entry, scheme, stack, orientation)
        elif scheme.role == "gate_up" and scheme.tail.endswith(("_blocks", "_scales")):
            parts = self._gate_up(entry, scheme, 1, "out_in")
        return Placement(
            name=entry.name,
            layer=layer,
            stack=stack,
            expert=None if scheme.expert_at is None else int(numbers[scheme.expert_at]),
            role=scheme.role,
            kind=scheme.kind,
            orientation=orientation,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            experts=self._experts(entry, scheme),
            parts=parts,
            alias_of=None,
        )

    def _orientation(self, entry: TensorEntry, scheme: Scheme) -> str:
        dimensions = len(entry.shape)
        if dimensions < 2 or scheme.kind not in ("weight", "embedding"):
            return ""
        if scheme.kind == "embedding" or scheme.leaf.transposed:
            return "in_out"
        if scheme.module.startswith("c_"):
            return "in_out" if self._conv1d else "out_in"
        if (
            dimensions == 2
            and scheme.module == "w2"
            and scheme.in_experts
            and scheme.expert_at is None
        ):
            return "in_out"  # DBRX: x @ w2
        if dimensions == 3 and not scheme.leaf.packed:
            if scheme.in_experts:
                return self._experts_orientation()
            if ".rel_attn." in f".{scheme.tail}":
                return "in_out"
        return "out_in"

    def _experts_orientation(self) -> str:
        """Of stacked experts: the shapes of gate_up and down together leave no choice."""
        up, down = self._facts.stacked_gate_up, self._facts.stacked_down
        if up and down:
            if up[1] == 2 * down[2] and up[2] == down[1]:
                return "out_in"
            if up[2] == 2 * down[1] and up[1] == down[2]:
                return "in_out"
        return "in_out" if self._layouts.experts else "out_in"

    def _experts(self, entry: TensorEntry, scheme: Scheme) -> int | None:
        """How many experts one tensor stacks."""
        if scheme.expert_at is not None or scheme.role not in EXPERTS or not entry.shape:
            return None
        if scheme.in_experts or scheme.module in ("input_linear", "output_linear"):
            stated = self._sizes[None].experts
            if len(entry.shape) > 2 or scheme.kind == "bias":
                return entry.shape[0]
            if len(entry.shape) == 2 and stated and entry.shape[0] % stated == 0:
                return stated
        return None

    def _heads(self, entry: TensorEntry, scheme: Scheme, block: Block, orientation: str) -> Heads:
        """(heads, kv heads, head size) of the block; None for what shapes do not bear out."""
        q_rows = self._facts.q_rows.get(block)
        if q_rows and self._layouts.gated_q:
            q_rows //= 2
        fused = self._facts.fused.get(block)
        stated = heads_of(self._sizes[block[0]], q_rows, self._facts.k_rows.get(block))
        heads, kv_heads, head_dim = stated if fused is None else fused
        if heads is None:
            return None, None, None
        if scheme.role == "o" and len(entry.shape) == 2:
            wide = entry.shape[1 if orientation == "out_in" else 0]
            if wide % heads:
                return None, None, None
            head_dim = wide // heads  # that of v where it differs from that of q
        return heads, kv_heads, head_dim

    def _parts(
        self, entry: TensorEntry, scheme: Scheme, stack: str | None, orientation: str
    ) -> tuple[Part, ...]:
        dimensions = len(entry.shape)
        fewest = {"weight": 2, "bias": 1}.get(scheme.kind)
        if fewest is None or dimensions < fewest or 0 in entry.shape:
            return ()
        axis = (
            dimensions - 1 if scheme.kind == "bias" or orientation == "in_out" else dimensions - 2
        )
        if scheme.role == "gate_up":
            return self._gate_up(entry, scheme, axis, orientation)
        sizes = self._sizes[stack]
        if scheme.role == "q" and self._layouts.gated_q and dimensions == fewest:
            size, heads = entry.shape[axis], sizes.heads
            if heads and sizes.head_dim and size == 2 * heads * sizes.head_dim:
                return query_and_gate(axis, size, heads)
        if scheme.role != "qkv":
            return ()
        parts = self._fused_parts(entry, scheme, stack)
        if not parts:
            self._cannot_split(entry)
        return parts

    def _fused_parts(
        self, entry: TensorEntry, scheme: Scheme, stack: str | None
    ) -> tuple[Part, ...]:
        layout = self._layout(scheme, stack)
        fewest = 2 if scheme.kind == "weight" else 1
        if not layout or len(entry.shape) != fewest or 0 in entry.shape:
            return ()
        axis = 1 if self._orientation(entry, scheme) == "in_out" else 0
        return fused_attention(layout, axis, entry.shape, self._sizes[stack])

    def _layout(self, scheme: Scheme, stack: str | None) -> str:
        if scheme.module == "kv_b_proj":
            return "latent"
        if stack in ("vision", "audio"):
            return "thirds"
        if self._fused:
            return self._fused
        if scheme.module in THIRDS:
            return "thirds"
        return {"qkv_proj": "blocks", "wqkv": "grouped"}.get(scheme.module, "")

    def _gate_up(
        self, entry: TensorEntry, scheme: Scheme, axis: int, orientation: str
    ) -> tuple[Part, ...]:
        size = entry.shape[axis] if axis < len(entry.shape) else 0
        if size < 2 or size % 2:
            self._cannot_split(entry)
            return ()
        stacked = scheme.in_experts or scheme.module == "input_linear" and len(entry.shape) > 2
        roles = ("expert_gate", "expert_up") if stacked else ("gate", "up")
        cut = even_odd if scheme.in_experts and self._layouts.experts == "even odd" else halves
        return cut(axis, size, roles)

    def _cannot_split(self, entry: TensorEntry) -> None:
        told = "a fused tensor: how its parts lie cannot be told from name, shape and config"
        self._log.add("AR-SPLIT", entry.name, told, shape=list(entry.shape))

    def _missing_blocks(self, seen: Iterable[Block]) -> None:
        """Note blocks the config states and no name holds."""
        indexes: dict[str | None, set[int | None]] = {}
        for stack, layer in seen:
            indexes.setdefault(stack, set()).add(layer)
        for stack, layers in indexes.items():
            keys = (f"{stack}_layers", f"num_{stack}_layers", *LAYER_KEYS)
            stated = [self._configs[stack].get(key) for key in keys if key in self._configs[stack]]
            if not stated or self._layouts.shared_blocks:
                continue
            count = stated[0]
            if type(count) is int and len(layers) < count <= MOST_BLOCKS:
                which = "blocks" if stack is None else f"{stack} blocks"
                told = f"the config states {count} {which}, the names hold {len(layers)}"
                self._log.add("AR-ABSENT", "checkpoint", told, stated=count, seen=len(layers))

    def _tell(self, ties: Ties) -> None:
        for source, target in ties.tied:
            told = f"{show_plain(target)} is not stored: it is tied to {show_plain(source)}"
            self._log.add("AR-TIED", source, told, target=show_plain(target))
        for name in ties.missing:
            told = (
                f"{show_plain(name)} is not stored and the model does not tie it to its embedding"
            )
            self._log.add("AR-ABSENT", name, told)


def _heads_of_parts(parts: Sequence[Part]) -> Heads:
    """Heads of q, k and v in one tensor."""
    if not parts or not parts[0].heads:
        return None, None, None
    return parts[0].heads, parts[1].heads, parts[0].size // parts[0].heads


def confirm_ties(architecture: Architecture, same: Callable[[str, str], bool]) -> Architecture:
    """The architecture with its doubtful ties decided by `same`, which compares two tensors.

    Equal: the target becomes an alias of the source, so that its parameters are counted once.
    Different: the two are separate, whatever the config says.
    """
    placements = dict(architecture.placements)
    more = []
    for source, target in architecture.doubtful:
        if same(source, target):
            placements[target] = dataclasses.replace(placements[target], alias_of=source)
            told = f"stored twice with equal values, here and as {show_plain(source)}"
            more.append(finding("AR-TIED", target, told, source=show_plain(source)))
    return dataclasses.replace(
        architecture, placements=placements, doubtful=(), findings=(*architecture.findings, *more)
    )
