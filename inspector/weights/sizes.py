"""Sizes and model type out of config.json, which is data of unknown origin: nothing here raises."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from inspector.weights.families import FAMILIES, NORM_LESS_ONE, OTHER_NAMES, PLAIN_NORMS

DEEPEST_NESTING = 4
STACK_CONFIGS = {
    "vision": ("vision_config",),
    "audio": ("audio_config",),
    "encoder": ("encoder",),
    "decoder": ("decoder",),
}
NESTED_TEXT = ("text_config", "llm_config", "language_config", "thinker_config", "text_encoder")
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
MOST_BLOCKS = 10_000
LARGEST = 2**31  # a config that states more states nonsense

# What configs call things, most trusted first; {} is "encoder" or "decoder" where there are two.
KEYS: Mapping[str, tuple[str, ...]] = {
    "heads": ("{}_attention_heads", "num_attention_heads", "n_head", "n_heads", "num_heads"),
    "kv_heads": (
        *("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads"),
        "multi_query_group_num",
    ),
    "head_dim": ("head_dim", "d_kv", "kv_channels", "attention_head_dim"),
    "global_head_dim": ("global_head_dim",),
    "nope": ("qk_nope_head_dim",),
    "rope": ("qk_rope_head_dim",),
    "v_dim": ("v_head_dim",),
    "hidden": ("hidden_size", "n_embd", "d_model", "dim"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"),
}  # fmt: skip
NESTED_SIZES = ("attn_config", "ffn_config")  # DBRX and MPT keep some of them there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes a config states for one stack; None where it states none that can be a size."""

    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    global_head_dim: int | None = None
    nope: int | None = None
    rope: int | None = None
    v_dim: int | None = None
    hidden: int | None = None
    experts: int | None = None


def read_sizes(config: Mapping[str, Any], stack: str | None) -> Sizes:
    """The sizes in a config; whatever is not a whole number from 1 to LARGEST is passed over."""
    places = [config]
    places += [config[key] for key in NESTED_SIZES if isinstance(config.get(key), Mapping)]
    found: dict[str, int] = {}
    for field, names in KEYS.items():
        for name in names:
            values = [place.get(name.format(stack)) for place in places]
            sizes = [v for v in values if type(v) is int and 1 <= v <= LARGEST]
            if sizes:
                found[field] = sizes[0]
                break
    return Sizes(**found)


def heads_of(
    sizes: Sizes, q_rows: int | None, k_rows: int | None
) -> tuple[int | None, int | None, int | None]:
    """(heads, kv heads, head size) of a block; None for what its q and k rows do not bear out."""
    heads = sizes.heads
    head_dim = _head_dim(sizes, q_rows)
    if heads is None and head_dim and q_rows:
        heads = q_rows // head_dim
    if heads is None or head_dim is None:
        return None, None, None
    kv_heads = sizes.kv_heads or heads
    if k_rows is not None:
        kv_heads = k_rows // head_dim if k_rows % head_dim == 0 else 0
    return heads, kv_heads if kv_heads and heads % kv_heads == 0 else None, head_dim


def _head_dim(sizes: Sizes, q_rows: int | None) -> int | None:
    """Size of a head: what the config states where it fits the rows of q, else what follows."""
    heads = sizes.heads
    latent = sizes.nope + sizes.rope if sizes.nope and sizes.rope else None
    stated = [size for size in (latent, sizes.head_dim, sizes.global_head_dim) if size]
    if q_rows is None:
        known = heads and sizes.hidden and sizes.hidden % heads == 0
        derived = sizes.hidden // heads if known and sizes.hidden and heads else None
        return stated[0] if stated else derived
    if heads is None:
        return next((size for size in stated if q_rows % size == 0), None)
    if not stated and q_rows % heads == 0:
        return q_rows // heads or None
    return next((size for size in stated if heads * size == q_rows), None)


def known_type(config: Mapping[str, Any]) -> str | None:
    """The model type a config states, where FAMILIES has it."""
    stated = config.get("model_type")
    if not isinstance(stated, str):
        return None
    name = OTHER_NAMES.get(stated, stated)
    return name if name in FAMILIES else None


def stored_less_one(name: str, config: Mapping[str, Any] | None, family: str | None) -> bool:
    """Whether the norm of that name is stored as its gain less one."""
    stated = [one.get("model_type") for one in (config or {}, text_config(config or {}))]
    types = {family, *(one for one in stated if isinstance(one, str))}
    return not types.isdisjoint(NORM_LESS_ONE) and not any(part in name for part in PLAIN_NORMS)


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that is about the language model: the config itself where none is."""
    for _ in range(DEEPEST_NESTING):
        inner = next((config[k] for k in NESTED_TEXT if isinstance(config.get(k), Mapping)), None)
        if inner is None:
            break
        config = inner
    return config


def stack_config(
    config: Mapping[str, Any], text: Mapping[str, Any], stack: str | None
) -> Mapping[str, Any]:
    """The part of a config that is about one stack."""
    for key in STACK_CONFIGS.get(stack or "", ()):
        inner = config.get(key)
        if isinstance(inner, Mapping):
            return inner
    return {} if stack in ("vision", "audio") else text
