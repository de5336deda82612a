"""A small Llama written from numpy arrays, whose every weight a test may set."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from weights.build import stored, write_file

WIDTH, HEADS, KV_HEADS, HIDDEN = 64, 8, 2, 96
DIM = WIDTH // HEADS
CONFIG = {
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "hidden_act": "silu",
    "rope_theta": 10000.0,
}
SHAPES = {
    "self_attn.q_proj": (WIDTH, WIDTH),
    "self_attn.k_proj": (KV_HEADS * DIM, WIDTH),
    "self_attn.v_proj": (KV_HEADS * DIM, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH),
    "mlp.gate_proj": (HIDDEN, WIDTH),
    "mlp.up_proj": (HIDDEN, WIDTH),
    "mlp.down_proj": (WIDTH, HIDDEN),
}
Values = dict[str, np.ndarray]


def llama(layers: int = 2, seed: int = 0) -> Values:
    """Independent normal weights, by tensor name."""
    generator = np.random.default_rng(seed)
    return {
        f"model.layers.{layer}.{name}.weight": generator.normal(0, 0.02, shape).astype(np.float32)
        for layer in range(layers)
        for name, shape in SHAPES.items()
    }


def write(folder: Path, values: Values, config: dict[str, Any] | None = None) -> Path:
    """A directory that holds them and a config."""
    folder.mkdir(exist_ok=True)
    kinds = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64"}
    tensors = {name: stored(kinds[array.dtype], array) for name, array in values.items()}
    write_file(folder / "model.safetensors", tensors)
    count = len({name.split(".")[2] for name in values if ".layers." in name})
    (folder / "config.json").write_text(
        json.dumps({"num_hidden_layers": count, **CONFIG} if config is None else config)
    )
    return folder
