"""Tiny random models of many families, saved by transformers, and what their modules say."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from inspector.weights.header import TensorEntry, read_header

GQA = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
MHA = {key: value for key, value in GQA.items() if key != "num_key_value_heads"}
WIDE_HEADS = {**GQA, "head_dim": 16}  # heads * head_dim is not hidden_size
OLD_NAMES = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
}
FALCON = {**MHA, "bias": True, "alibi": False}
DBRX: dict[str, Any] = {
    "vocab_size": 64,
    "d_model": 32,
    "n_heads": 4,
    "n_layers": 2,
    "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 1000.0},
    "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
}

# name: (model class, config class, config)
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", OLD_NAMES),
    "llama": ("LlamaForCausalLM", "LlamaConfig", GQA),
    "mistral": ("MistralForCausalLM", "MistralConfig", WIDE_HEADS),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", GQA),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", WIDE_HEADS),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", WIDE_HEADS),
    "gemma3_text": ("Gemma3ForCausalLM", "Gemma3TextConfig", WIDE_HEADS),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", GQA),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", MHA),
    "opt": ("OPTForCausalLM", "OPTConfig", {**MHA, "ffn_dim": 48, "word_embed_proj_dim": 16}),
    "bloom": ("BloomForCausalLM", "BloomConfig", {**OLD_NAMES, "hidden_size": 32}),
    "falcon-7b": ("FalconForCausalLM", "FalconConfig", FALCON),
    "falcon-plain": ("FalconForCausalLM", "FalconConfig", {**FALCON, "multi_query": False}),
    "falcon-new": (
        "FalconForCausalLM",
        "FalconConfig",
        {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**GQA, "num_local_experts": 4}),
    "gpt_oss": (
        "GptOssForCausalLM",
        "GptOssConfig",
        {**GQA, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "bert": ("BertForMaskedLM", "BertConfig", MHA),
    "bert-classifier": ("BertForSequenceClassification", "BertConfig", MHA),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", MHA),
    "roberta-classifier": ("RobertaForSequenceClassification", "RobertaConfig", MHA),
    "distilbert": (
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        {"vocab_size": 64, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    ),
    "distilbert-classifier": (
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {"vocab_size": 64, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    ),
    "electra": ("ElectraForMaskedLM", "ElectraConfig", {**MHA, "embedding_size": 16}),
    "electra-detector": ("ElectraForPreTraining", "ElectraConfig", {**MHA, "embedding_size": 16}),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    ),
    "t5-gated": (
        "T5ForConditionalGeneration",
        "T5Config",
        {
            **{"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4},
            **{"num_layers": 2, "num_decoder_layers": 3, "feed_forward_proj": "gated-gelu"},
        },
    ),
    "bart": (
        "BartForConditionalGeneration",
        "BartConfig",
        {
            **{"vocab_size": 64, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3},
            **{"encoder_attention_heads": 4, "decoder_attention_heads": 2},
            **{"encoder_ffn_dim": 48, "decoder_ffn_dim": 48},
        },
    ),
    "deepseek_v3": ("DeepseekV3ForCausalLM", "DeepseekV3Config", {**GQA, **MOE, **LATENT}),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", {**WIDE_HEADS, **MOE, "num_experts": 4}),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", GQA),
    "mpt": (
        "MptForCausalLM",
        "MptConfig",
        {"vocab_size": 64, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 32},
    ),
    "dbrx": ("DbrxForCausalLM", "DbrxConfig", DBRX),
    "llama4_text": (
        "Llama4ForCausalLM",
        "Llama4TextConfig",
        {**GQA, "head_dim": 8, "num_local_experts": 4, "intermediate_size_mlp": 48},
    ),
    "gpt_bigcode": ("GPTBigCodeForCausalLM", "GPTBigCodeConfig", OLD_NAMES),
    "gpt_bigcode-plain": (
        "GPTBigCodeForCausalLM",
        "GPTBigCodeConfig",
        {**OLD_NAMES, "multi_query": False},
    ),
    "persimmon": ("PersimmonForCausalLM", "PersimmonConfig", {**MHA, "qk_layernorm": False}),
    "modernbert": ("ModernBertForMaskedLM", "ModernBertConfig", MHA),
}

NORMS = ("LayerNorm", "RMSNorm")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiny:
    """A model, the tensors transformers saved for it and the config beside them."""

    name: str
    model: Any
    folder: Path
    config: dict[str, Any]
    entries: tuple[TensorEntry, ...]
    values: dict[str, np.ndarray]


def build(name: str, folder: Path, model_class: str = "", **more: Any) -> Tiny:
    """Make and save a model whose every parameter, biases included, is random.

    `more` is added to its config; `model_class` takes the place of its class.
    """
    own_class, config_class, settings = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**settings | more)
    model = getattr(transformers, model_class or own_class)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    model.save_pretrained(folder)
    return load(name, model, folder)


def load(name: str, model: Any, folder: Path) -> Tiny:
    """Read back what was saved."""
    path = folder / "model.safetensors"
    return Tiny(
        name=name,
        model=model,
        folder=folder,
        config=json.loads((folder / "config.json").read_text()),
        entries=entries_of(path),
        values=load_file(path),
    )


def entries_of(path: Path) -> tuple[TensorEntry, ...]:
    """The tensors a file lists."""
    with path.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        header = read_header(read, path.stat().st_size, path.name)
    assert header.findings == ()
    return header.tensors


def owner_of(model: Any, name: str) -> tuple[nn.Module | None, nn.Module | None, str, int | None]:
    """(module, its parent, attribute or parameter, block index) of a saved tensor, from modules.

    The module is None for names that transformers rewrites when it saves.
    """
    path = name.split(".")
    parent, module, layer = None, model, None
    for part in path[:-1]:
        if isinstance(module, nn.ModuleList) and layer is None:
            layer = int(part)
        below = getattr(module, part, None)
        if not isinstance(below, nn.Module):
            return None, module, part, layer
        parent, module = module, below
    attribute = path[-2] if len(path) > 1 else ""
    return module, parent, attribute, layer


def kind_of(module: nn.Module, parameter: str) -> str:
    """What a parameter is by the class of its module."""
    if "bias" in parameter or parameter == "sinks":
        return "bias"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if type(module).__name__.endswith(NORMS):
        return "norm"
    return "weight"


def is_transposed(module: nn.Module) -> bool:
    """Whether a module computes x W rather than W x."""
    return isinstance(module, Conv1D | nn.Embedding)
