"""Every attention head by its OV and QK matrices, beside what unrelated factors would give."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from inspector.results import Skipped, show_plain
from inspector.weights import circuits
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.circuits import Circuit
from inspector.weights.header import TensorEntry
from inspector.weights.matrices import Matrix, head_view, load
from inspector.weights.partners import Group, groups
from inspector.weights.scan import read_values
from inspector.weights.sizes import stored_less_one, text_config

GAINS = {  # module names of norms between q or k and their product
    **dict.fromkeys(("q_norm", "q_layernorm", "query_norm", "query_layernorm", "q_ln"), "q"),
    **dict.fromkeys(("k_norm", "k_layernorm", "key_norm", "key_layernorm", "k_ln"), "k"),
}
ROTARY = (  # families with rotary positions whose older configs do not say so
    *("llama", "mistral", "mixtral", "qwen", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "olmo"),
    *("gpt_neox", "gptj", "codegen", "baichuan", "internlm2", "chatglm", "deepseek_v3"),
)
UNROTATED = ("bloom", "mpt", "t5", "mt5", "umt5", "longt5")  # positions are added to the scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """OV (what it reads and writes) and QK (what it compares) of one head.

    Biases and fixed factors of the scores, such as 1 / sqrt(head_dim), are left out.
    `*_norm` Frobenius norm, `*_norm_noise` the same if the two factors had nothing to do with
    each other; `*_top` largest singular value; ranks in [1, head_dim], `*_noise` those of Gaussian
    factors. `copying` in [-1, 1] (1: copies what it reads; noise: 0 with sd `copying_std_noise`).
    `qk_normalised`: q and k are normalised before they are compared; their gains are multiplied
    in, and the size of QK is then only relative. `qk_holds`: "at every distance", "at distance 0
    only" (rotary positions) or "unknown". None where the block does not have it.
    """

    name: str
    layer: int | None
    role: str
    stack: str | None
    head: int
    kv_head: int
    head_dim: int
    ov_norm: float | None
    ov_norm_noise: float | None
    ov_top: float | None
    ov_stable_rank: float | None
    ov_effective_rank: float | None
    ov_effective_rank_noise: float | None
    ov_effective_rank_energy: float | None
    ov_effective_rank_energy_noise: float | None
    copying: float | None
    copying_std_noise: float | None
    qk_norm: float | None
    qk_norm_noise: float | None
    qk_top: float | None
    qk_stable_rank: float | None
    qk_effective_rank: float | None
    qk_effective_rank_noise: float | None
    qk_effective_rank_energy: float | None
    qk_effective_rank_energy_noise: float | None
    qk_normalised: bool
    qk_holds: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Attention:
    """The factors of all heads of one attention: (heads, head size, width) each.

    `k` and `v` have the kv heads only: that of head h is h // share. Gains of q and k norms are
    multiplied in.
    """

    name: str
    group: Group
    q: Float[np.ndarray, "heads size width"]
    k: Float[np.ndarray, "kv_heads k_size k_width"]
    v: Float[np.ndarray, "kv_heads v_size v_width"]
    o: Float[np.ndarray, "heads o_size o_width"]
    normalised: bool

    @property
    def share(self) -> int:
        """How many heads use one kv head."""
        return len(self.q) // len(self.k)

    @property
    def ov(self) -> bool:
        """Whether OV exists."""
        return fits_ov(self.group)

    @property
    def qk(self) -> bool:
        """Whether QK exists."""
        return fits_qk(self.group)

    def factors(self, which: str, head: int) -> tuple[circuits.AnyFactor, circuits.AnyFactor]:
        """The two factors of "ov" or "qk" of a head; the product is first ᵀ second."""
        kv_head = head // self.share
        if which == "ov":
            return self.o[head], self.v[kv_head]
        return self.q[head], self.k[kv_head]


def attentions(found: Sequence[Matrix]) -> tuple[list[Group], list[Skipped]]:
    """Attentions all of whose matrices are there and whose heads are known; why others are not."""
    whole, skipped = [], []
    with_heads = {(m.stack, m.layer) for m in found if m.role == "q" and m.heads}
    used = [  # of two factors of q only the second has heads
        m for m in found if m.role != "q" or m.heads or (m.stack, m.layer) not in with_heads
    ]
    for group in groups(used, "q", ("k", "v", "o")):
        missing = [role for role in ("k", "v", "o") if role not in group]
        blind = [m for m in group.values() if m.heads is None]
        name = show_plain(group["q"].name)
        if missing:
            reason = f"its {' and '.join(missing)} cannot be told or were not asked for"
            skipped.append(Skipped(name=name, reason=reason))
        elif blind:
            reason = "how many heads there are is not known: config.json would say"
            skipped.append(Skipped(name=name, reason=reason))
        elif not _shared(group):
            reason = "heads of q and o, or of k and v, do not match"
            skipped.append(Skipped(name=name, reason=reason))
        else:
            whole.append(group)
    return whole, skipped


def _shared(group: Group) -> bool:
    q, k, v, o = (group[role].heads or 0 for role in ("q", "k", "v", "o"))
    return q == o and k == v and q % k == 0


def name_of(group: Group) -> str:
    """The name of the module that holds q and o."""
    return os.path.commonprefix([group["q"].name, group["o"].name]).rpartition(".")[0]


def fits_qk(group: Group) -> bool:
    """Whether the heads of q are as long as those of k, so that they can be compared."""
    return _head_size(group["q"]) == _head_size(group["k"])


def fits_ov(group: Group) -> bool:
    """Whether the heads of v are as long as o takes them."""
    return _head_size(group["v"]) == _head_size(group["o"])


def _head_size(matrix: Matrix) -> int:
    along = matrix.columns if matrix.role == "o" else matrix.rows
    return along // (matrix.heads or 1)


def read_attention(checkpoint: Checkpoint, reader: Reader, group: Group) -> Attention:
    """Its factors, gains of q and k norms multiplied in; raises CheckpointError."""
    views = {role: head_view(matrix, load(matrix, reader)) for role, matrix in group.items()}
    name = name_of(group)
    gains = _gains(checkpoint, group["q"], f"{name}.")
    for role, entry in gains.items():
        gain = read_values(entry, reader, 0, entry.parameters)
        family = checkpoint.architecture.family
        gain = gain + stored_less_one(entry.name, checkpoint.config, family)
        heads, size, _ = views[role].shape
        if gain.size in (size, heads * size):  # one for all heads, or one for each
            views[role] = views[role] * gain.reshape(-1, size, 1).astype(views[role].dtype)
    stated = text_config(checkpoint.config or {}).get("use_qk_norm") is True  # without gains
    return Attention(name=name, group=group, normalised=bool(gains) or stated, **views)


def _gains(checkpoint: Checkpoint, q: Matrix, start: str) -> Mapping[str, TensorEntry]:
    """Gains of the norms of q and k in the attention whose names begin with `start`."""
    found = {}
    for entry in checkpoint.tensors:
        path = entry.name.split(".")
        role = GAINS.get(path[-2]) if len(path) > 1 and path[-1] in ("weight", "gamma") else None
        if role and entry.name.startswith(start) and entry.unreadable is None:
            placement = checkpoint.architecture.placements[entry.name]
            if (placement.stack, placement.layer) == (q.stack, q.layer):
                found[role] = entry
    return found


def holds(checkpoint: Checkpoint) -> str:
    """For which distances W_Qᵀ W_K is what a head compares with; see Head.qk_holds."""
    config = text_config(checkpoint.config or {})
    if any(value for key, value in config.items() if "rope" in key or "rotary" in key):
        return "at distance 0 only"
    if "rotary" in (config.get("position_embedding_type"), config.get("position_embeddings")):
        return "at distance 0 only"
    architecture = checkpoint.architecture
    places = architecture.placements.values()
    if any(p.role == "position" and p.kind == "embedding" for p in places):
        return "at every distance"
    if architecture.family in UNROTATED or config.get("alibi") is True:
        return "at every distance"
    return "at distance 0 only" if architecture.family in ROTARY else "unknown"


def measure_heads(attention: Attention, qk_holds: str) -> tuple[tuple[Head, ...], "Roots"]:
    """The record of every head of an attention, and the roots of its factors."""
    roots = Roots(
        **{
            role: np.stack([circuits.root(factor) for factor in getattr(attention, role)])
            for role in ("q", "k", "v", "o")
        }
    )
    first = attention.group["q"]
    records = []
    for head in range(len(attention.q)):
        kv_head = head // attention.share
        o, v = attention.factors("ov", head)
        widths = o.shape[1], v.shape[1]
        expected = circuits.noise(len(o), *widths) if attention.ov else None
        found = circuits.circuit(roots.o[head], roots.v[kv_head], widths) if attention.ov else None
        q, k = attention.factors("qk", head)
        widths = q.shape[1], k.shape[1]
        compared = (
            circuits.circuit(roots.q[head], roots.k[kv_head], widths) if attention.qk else None
        )
        records.append(
            Head(
                name=attention.name,
                layer=first.layer,
                role="attention",
                stack=first.stack,
                head=head,
                kv_head=kv_head,
                head_dim=len(q),
                **_fields("ov", found),
                copying=circuits.copying(o, v) if attention.ov else None,
                copying_std_noise=expected.copying_std if expected else None,
                **_fields("qk", compared),
                qk_normalised=attention.normalised,
                qk_holds=qk_holds,
            )
        )
    return tuple(records), roots


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Roots:
    """Roots (see circuits.root) of the factors of all heads of an attention."""

    q: Float[np.ndarray, "heads size size"]
    k: Float[np.ndarray, "kv_heads k_size k_size"]
    v: Float[np.ndarray, "kv_heads v_size v_size"]
    o: Float[np.ndarray, "heads o_size o_size"]


def _fields(which: str, found: Circuit | None) -> dict[str, Any]:
    return {
        f"{which}_{field.name}": getattr(found, field.name) if found else None
        for field in dataclasses.fields(Circuit)
    }
