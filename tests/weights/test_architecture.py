"""Every family's tensors are placed as the modules that own them say."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AutoConfig
from weights.tiny_models import (
    MODELS,
    Tiny,
    entries_of,
    is_transposed,
    kind_of,
    owner_of,
)

from inspector.weights.architecture import Architecture, place
from inspector.weights.families import FAMILIES
from inspector.weights.header import TensorEntry
from inspector.weights.problems import SHOWN_PER_ID

Make = Callable[[str], Tiny]

# What a linear layer is, by the class of the module that holds it and the attribute it has there.
ROLES = {
    **{(owner, attribute): role
       for owner in ("Attention", "SdpaAttention", "SelfAttention")
       for attribute, role in {
           "q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o", "out_proj": "o",
           "query": "q", "key": "k", "value": "v", "q_lin": "q", "k_lin": "k", "v_lin": "v",
           "out_lin": "o", "q": "q", "k": "k", "v": "v", "o": "o", "c_attn": "qkv",
           "query_key_value": "qkv", "qkv_proj": "qkv", "Wqkv": "qkv", "Wo": "o",
           "q_a_proj": "q", "q_b_proj": "q", "kv_a_proj_with_mqa": "qkv", "kv_b_proj": "qkv",
           "dense": "o", "c_proj": "o"}.items()},
    **{("MLP", attribute): role for attribute, role in {
        "gate_proj": "gate", "up_proj": "up", "down_proj": "down", "gate_up_proj": "gate_up",
        "c_fc": "up", "c_proj": "down", "dense_h_to_4h": "up", "dense_4h_to_h": "down",
        "Wi": "gate_up", "Wo": "down"}.items()},
    ("OPTDecoderLayer", "fc1"): "up",
    ("OPTDecoderLayer", "fc2"): "down",
    ("BartEncoderLayer", "fc1"): "up",
    ("BartEncoderLayer", "fc2"): "down",
    ("BartDecoderLayer", "fc1"): "up",
    ("BartDecoderLayer", "fc2"): "down",
    ("OPTDecoder", "project_in"): "embedding",
    ("OPTDecoder", "project_out"): "unembedding",
    ("SelfOutput", "dense"): "o",
    ("Intermediate", "dense"): "up",
    ("BertOutput", "dense"): "down",
    ("RobertaOutput", "dense"): "down",
    ("ElectraOutput", "dense"): "down",
    ("FFN", "lin1"): "up",
    ("FFN", "lin2"): "down",
    ("T5DenseActDense", "wi"): "up",
    ("T5DenseActDense", "wo"): "down",
    ("T5DenseGatedActDense", "wi_0"): "gate",
    ("T5DenseGatedActDense", "wi_1"): "up",
    ("T5DenseGatedActDense", "wo"): "down",
    ("MptMLP", "up_proj"): "up",
    ("Pooler", "dense"): "pooler",
    ("PredictionHeadTransform", "dense"): "head",
    ("RobertaLMHead", "dense"): "head",
    ("RobertaClassificationHead", "dense"): "head",
    ("RobertaClassificationHead", "out_proj"): "head",
    ("ElectraGeneratorPredictions", "dense"): "head",
    ("ElectraDiscriminatorPredictions", "dense"): "head",
    ("ElectraDiscriminatorPredictions", "dense_prediction"): "head",
    ("ElectraModel", "embeddings_project"): "embedding",
    ("ModernBertPredictionHead", "dense"): "head",
    ("Classification", "classifier"): "head",
    ("Classification", "pre_classifier"): "head",
    ("DistilBertForMaskedLM", "vocab_transform"): "head",
    ("DbrxRouter", "layer"): "router",
    ("Llama4TextMoe", "router"): "router",
}  # fmt: skip
# The same for parameters that a module holds itself, by the class of that module.
OWN = {
    ("GptOssExperts", "gate_up_proj"): "gate_up",
    ("GptOssExperts", "gate_up_proj_bias"): "gate_up",
    ("GptOssExperts", "down_proj"): "expert_down",
    ("GptOssExperts", "down_proj_bias"): "expert_down",
    ("Llama4TextExperts", "gate_up_proj"): "gate_up",
    ("Llama4TextExperts", "down_proj"): "expert_down",
    ("DbrxExpertGLU", "w1"): "expert_gate",
    ("DbrxExpertGLU", "v1"): "expert_up",
    ("DbrxExpertGLU", "w2"): "expert_down",
    ("GptOssAttention", "sinks"): "k",
    ("GptOssTopKRouter", "weight"): "router",
    ("GptOssTopKRouter", "bias"): "router",
    ("Qwen3MoeTopKRouter", "weight"): "router",
    ("DeepseekV3TopkRouter", "weight"): "router",
    ("DeepseekV3TopkRouter", "e_score_correction_bias"): "router",
    ("BertLMPredictionHead", "bias"): "unembedding",
    ("RobertaLMHead", "bias"): "unembedding",
    ("BartForConditionalGeneration", "final_logits_bias"): "unembedding",
}
# Names that transformers rewrites when it saves: experts one by one, and GPT-NeoX's unembedding.
REWRITTEN = {
    r"embed_out\.weight": "unembedding",
    r".*\.block_sparse_moe\.gate\.weight": "router",
    r".*\.experts\.\d+\.(w1|gate_proj)\.weight": "expert_gate",
    r".*\.experts\.\d+\.(w3|up_proj)\.weight": "expert_up",
    r".*\.experts\.\d+\.(w2|down_proj)\.weight": "expert_down",
}
EMBEDDINGS = {
    "position": "position",
    "wpe": "position",
    "relative": "position",
    "token_type": "token_type",
}


def expected_role(model: Any, name: str) -> str:
    """The role of a tensor, worked out from modules alone."""
    module, parent, attribute, _ = owner_of(model, name)
    parameter = name.rpartition(".")[2]
    if module is None:
        return next(role for pattern, role in REWRITTEN.items() if re.fullmatch(pattern, name))
    if own := OWN.get((type(module).__name__, parameter)):
        return own
    if "Norm" in type(module).__name__:
        return "norm"
    if module is model.get_output_embeddings():
        return "unembedding"
    if isinstance(module, nn.Embedding):
        return next((role for word, role in EMBEDDINGS.items() if word in attribute), "embedding")
    owner = type(parent).__name__
    found = {
        role for (ending, own), role in ROLES.items() if own == attribute and owner.endswith(ending)
    }
    assert len(found) == 1, (name, owner, attribute, found)
    return found.pop()


def entry(name: str, *shape: int, dtype: str = "F32") -> TensorEntry:
    return TensorEntry(name=name, dtype=dtype, shape=shape, file="x", start=0, end=0)


def numbers(config: Any, *keys: str) -> int:
    return next(config[key] for key in keys if config.get(key) is not None)


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_is_placed_as_its_module_says(name: str, make: Make) -> None:
    tiny = make(name)
    found = place(tiny.entries, tiny.config)
    assert list(found.placements) == [e.name for e in tiny.entries]
    assert found.family == tiny.config["model_type"]
    assert {f.id for f in found.findings} <= {"AR-TIED"}
    for e in tiny.entries:
        placed = found.placements[e.name]
        module, _, _, layer = owner_of(tiny.model, e.name)
        assert placed.role == expected_role(tiny.model, e.name), e.name
        assert placed.layer == layer, e.name
        if e.name == "final_logits_bias":
            assert placed.kind == "buffer"
        elif module is not None:
            assert placed.kind == kind_of(module, e.name.rpartition(".")[2]), e.name
            if placed.kind in ("weight", "embedding") and not re.search(r"experts|w2", e.name):
                transposed = is_transposed(module)
                assert placed.orientation == ("in_out" if transposed else "out_in"), e.name
        else:
            assert placed.kind == "weight"
        if len(e.shape) < 2:
            assert placed.orientation == "", e.name


@pytest.mark.parametrize("name", MODELS)
def test_names_and_shapes_alone_give_the_same_roles(name: str, make: Make) -> None:
    tiny = make(name)
    stated, guessed = place(tiny.entries, tiny.config), place(tiny.entries, None)
    assert {f.id for f in guessed.findings} <= {"AR-TIED", "AR-SPLIT"}
    for with_config, without in zip(
        stated.placements.values(), guessed.placements.values(), strict=True
    ):
        for field in ("name", "layer", "stack", "expert", "role", "kind", "orientation"):
            assert getattr(with_config, field) == getattr(without, field), with_config.name


@pytest.mark.parametrize("name", MODELS)
def test_blocks_and_heads_are_those_of_the_config(name: str, make: Make) -> None:
    tiny = make(name)
    found = place(tiny.entries, tiny.config)
    config = tiny.model.config
    settings = {**tiny.config, **tiny.config.get("attn_config", {})}
    layers = numbers(
        settings, "encoder_layers", "num_hidden_layers", "n_layer", "n_layers", "num_layers"
    )
    if config.is_encoder_decoder:
        layers += numbers(settings, "decoder_layers", "num_decoder_layers")
    assert found.layers == layers
    heads = numbers(
        settings, "encoder_attention_heads", "num_attention_heads", "n_head", "n_heads", "num_heads"
    )
    keys = {"gpt_bigcode": 1, "gpt_bigcode-plain": heads, "falcon-7b": 1, "falcon-plain": heads}
    kv_heads = keys.get(name) or next(
        (
            settings[k]
            for k in ("num_kv_heads", "num_key_value_heads", "kv_n_heads")
            if settings.get(k)
        ),
        heads,
    )
    width = numbers(settings, "hidden_size", "n_embd", "d_model", "dim")
    size = next((settings[k] for k in ("head_dim", "d_kv") if settings.get(k)), width // heads)
    seen = 0
    for placed in found.placements.values():
        if placed.role not in ("q", "k", "v", "qkv", "o") or placed.name.endswith("sinks"):
            assert placed.heads is None or placed.role == "k"
            continue
        if name == "deepseek_v3":
            continue
        if placed.stack == "decoder" and name == "bart":
            assert (placed.heads, placed.kv_heads, placed.head_dim) == (2, 2, 16)
        elif "query_key_value" in placed.name or "c_attn" in placed.name:
            assert (placed.heads, placed.kv_heads, placed.head_dim) == (heads, kv_heads, size)
        else:
            assert (placed.heads, placed.head_dim) == (heads, size), placed.name
            assert placed.kv_heads == kv_heads, placed.name
        seen += 1
    assert seen or name == "deepseek_v3"


def test_latent_attention_has_the_heads_of_its_parts(make: Make) -> None:
    found = place(make("deepseek_v3").entries, make("deepseek_v3").config).placements
    block = "model.layers.0.self_attn."
    expected = {
        "q_a_proj": (None, None, None),
        "q_b_proj": (4, 4, 12),
        "kv_a_proj_with_mqa": (None, None, None),
        "kv_b_proj": (4, 4, 12),
        "o_proj": (4, 4, 6),
    }
    for module, heads in expected.items():
        placed = found[f"{block}{module}.weight"]
        assert (placed.heads, placed.kv_heads, placed.head_dim) == heads, module


def test_stacks_and_experts(make: Make) -> None:
    t5 = place(make("t5-gated").entries, make("t5-gated").config).placements
    assert {p.stack for n, p in t5.items() if n.startswith("encoder.")} == {"encoder"}
    assert {p.stack for n, p in t5.items() if n.startswith("decoder.")} == {"decoder"}
    assert t5["shared.weight"].stack is None
    opt = place(make("opt").entries, make("opt").config).placements  # its path says `decoder` too
    assert {p.stack for p in opt.values()} == {None}
    mixtral = place(make("mixtral").entries, make("mixtral").config).placements
    for name, placed in mixtral.items():
        stated = re.search(r"experts\.(\d+)", name)
        assert placed.expert == (int(stated[1]) if stated else None)
        assert placed.experts is None
    for family in ("gpt_oss", "llama4_text", "dbrx"):
        found = place(make(family).entries, make(family).config).placements
        for name, placed in found.items():
            stacks = ".experts." in name and "shared" not in name
            assert placed.experts == (4 if stacks else None), name


def test_the_real_checkpoint_is_fully_placed(minilm: Any) -> None:
    entries = entries_of(minilm / "model.safetensors")
    config = {"model_type": "bert", "num_attention_heads": 12, "architectures": ["BertModel"]}
    for given_config in (config, None):
        found = place(entries, given_config)
        assert (found.family, found.layers, found.findings) == ("bert", 6, ())
        assert (found.tied, found.doubtful) == ((), ())
        kinds = {e.name: found.placements[e.name].kind for e in entries}
        assert [name for name, kind in kinds.items() if kind == "buffer"] == [
            "embeddings.position_ids"
        ]
        assert "other" not in kinds.values()
    query = place(entries, config).placements["encoder.layer.3.attention.self.query.weight"]
    assert (query.layer, query.role, query.heads, query.head_dim) == (3, "q", 12, 32)


# name, shape, what it is: role, kind
ONE_BY_ONE = {
    # buffers
    "embeddings.position_ids": ((1, 512), "position", "buffer"),
    "h.0.attn.bias": ((1, 1, 16, 16), "position", "buffer"),
    "transformer.h.0.attn.masked_bias": ((), "position", "buffer"),
    "gpt_neox.layers.0.attention.bias": ((1, 1, 16, 16), "position", "buffer"),
    "gpt_neox.layers.0.attention.rotary_emb.inv_freq": ((4,), "position", "buffer"),
    "model.layers.0.self_attn.rotary_emb.inv_freq": ((4,), "position", "buffer"),
    "bn.num_batches_tracked": ((), "norm", "buffer"),
    # quantised companions keep the role of their matrix
    "model.layers.0.mlp.down_proj.weight_scale_inv": ((1, 1), "down", "scale"),
    "model.layers.0.mlp.experts.3.up_proj.weight_scale": ((4, 1), "expert_up", "scale"),
    "model.layers.0.self_attn.q_proj.qweight": ((4, 32), "q", "weight"),
    "model.layers.0.self_attn.q_proj.qzeros": ((1, 4), "q", "scale"),
    "model.layers.0.self_attn.q_proj.scales": ((1, 32), "q", "scale"),
    "model.layers.0.self_attn.q_proj.g_idx": ((32,), "q", "buffer"),
    "model.layers.0.self_attn.k_proj.k_scale": ((), "k", "scale"),
    "model.layers.0.self_attn.v_scale": ((), "v", "scale"),
    "model.layers.0.self_attn.o_proj.input_scale": ((), "o", "scale"),
    "model.layers.0.mlp.experts.gate_up_proj_blocks": ((4, 96, 1, 16), "gate_up", "weight"),
    "model.layers.0.mlp.experts.gate_up_proj_scales": ((4, 96, 1), "gate_up", "scale"),
    "model.layers.0.mlp.experts.down_proj_blocks": ((4, 32, 1, 16), "expert_down", "weight"),
    "model.layers.0.self_attn.q_proj.weight.absmax": ((16,), "q", "scale"),
    "model.layers.0.self_attn.q_proj.weight.quant_state.bitsandbytes__nf4": ((90,), "q", "buffer"),
    "model.layers.0.self_attn.q_proj.SCB": ((32,), "q", "scale"),
    "lm_head.weight_packed": ((64, 4), "unembedding", "weight"),
    # adapters and wrappers
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": ((8, 32), "q", "weight"),
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.weight": (
        *((32, 8), "q", "weight"),
    ),
    "base_model.model.model.layers.0.mlp.up_proj.base_layer.weight": ((48, 32), "up", "weight"),
    "_orig_mod.transformer.h.0.mlp.c_fc.weight": ((32, 128), "up", "weight"),
    # norms whatever they are called
    "model.layers.0.input_layernorm.weight": ((32,), "norm", "norm"),
    "bert.embeddings.LayerNorm.gamma": ((32,), "norm", "norm"),
    "bert.embeddings.LayerNorm.beta": ((32,), "norm", "bias"),
    "model.layers.0.self_attn.q_norm.weight": ((8,), "norm", "norm"),
    "blocks.0.norm1.scale": ((8,), "norm", "norm"),
    "h.0.ln_1.weight": ((8,), "norm", "norm"),
    # multimodal, encoder-decoder and other shapes
    "visual.blocks.0.attn.qkv.weight": ((96, 32), "qkv", "weight"),
    "visual.patch_embed.proj.weight": ((32, 3, 2, 2), "embedding", "weight"),
    "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight": ((48, 32), "up", "weight"),
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (
        *((32, 4), "position", "embedding"),
    ),
    "model.layers.0.mlp.gate.e_score_correction_bias": ((4,), "router", "bias"),
    "model.layers.0.mlp.shared_expert.gate_proj.weight": ((48, 32), "gate", "weight"),
    "model.layers.0.mlp.shared_expert_gate.weight": ((1, 32), "router", "weight"),
    "encoder.block.1.layer.1.mlp.experts.expert_7.wi.weight": ((48, 32), "expert_up", "weight"),
    "transformer.h.0.ffn.0.weight": ((48, 32), "up", "weight"),
    "transformer.h.0.ffn.2.weight": ((32, 48), "down", "weight"),
    "logit_scale": ((), "scale", "other"),
    "backbone.layers.0.mixer.A_log": ((8, 4), "other", "other"),
    "backbone.layers.0.mixer.in_proj.weight": ((8, 4), "other", "weight"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), ONE_BY_ONE.items())
def test_names_seen_in_the_wild(name: str, expected: tuple[tuple[int, ...], str, str]) -> None:
    shape, role, kind = expected
    found = place([entry(name, *shape)], None)
    placed = found.placements[name]
    assert (placed.role, placed.kind) == (role, kind)
    assert "AR-OTHER" not in {f.id for f in found.findings}
    number = re.search(r"(?:layers?|h|blocks?)\.(\d+)\.", name)
    assert placed.layer == (int(number[1]) if number else None)


def test_a_prefix_changes_nothing() -> None:
    names = ["encoder.layer.0.attention.self.query.weight", "embeddings.word_embeddings.weight"]
    bare = place([entry(n, 8, 8) for n in names], None).placements
    for prefix in ("bert.", "model.", "base_model.model.", "0.auto_model.", "a.b.c."):
        there = place([entry(prefix + n, 8, 8) for n in names], None).placements
        for name in names:
            for field in ("layer", "stack", "role", "kind", "orientation"):
                assert getattr(there[prefix + name], field) == getattr(bare[name], field)


def test_an_unknown_name_is_other_and_told() -> None:
    names = [f"model.layers.{i}.flux_capacitor" for i in range(SHOWN_PER_ID + 20)]
    found = place([entry(n, 3) for n in names], None)
    assert {(p.role, p.kind) for p in found.placements.values()} == {("other", "other")}
    assert [p.layer for p in found.placements.values()] == list(range(len(names)))
    told = [f for f in found.findings if f.id == "AR-OTHER"]
    assert [f.where for f in told[:SHOWN_PER_ID]] == names[:SHOWN_PER_ID]
    assert told[SHOWN_PER_ID].evidence["count"] == len(names)


def test_missing_blocks_are_told(make: Make) -> None:
    tiny = make("llama")
    first = [e for e in tiny.entries if ".layers.1." not in e.name]
    found = place(first, tiny.config)
    assert [(f.id, f.evidence["stated"], f.evidence["seen"]) for f in found.findings] == [
        ("AR-ABSENT", 2, 1)
    ]


def test_a_multimodal_config_is_read_where_it_nests() -> None:
    config = {
        "model_type": "llava",
        "text_config": {"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2},
        "vision_config": {"num_attention_heads": 2},
    }
    text, vision = "language_model.model.layers.0.self_attn.", "vision_tower.layers.0.self_attn."
    entries = [entry(f"{text}q_proj.weight", 32, 32), entry(f"{text}k_proj.weight", 16, 32)]
    entries += [entry(f"{vision}q_proj.weight", 32, 32), entry(f"{vision}k_proj.weight", 32, 32)]
    found = place(entries, config)
    heads = [(p.stack, p.heads, p.kv_heads, p.head_dim) for p in found.placements.values()]
    assert heads == [(None, 4, 2, 8)] * 2 + [("vision", 2, 2, 16)] * 2
    assert (found.family, found.layers) == ("llama", 2)


HOSTILE = ["4", 0, -4, 10**9, 10**400, 3, 4.0, True, None, [4], {"a": 4}, float("nan")]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "key", ["num_attention_heads", "num_key_value_heads", "hidden_size", "head_dim"]
)
def test_a_config_that_lies_costs_at_most_the_heads(key: str, value: Any, make: Make) -> None:
    for name in ("llama", "phi3"):
        tiny = make(name)
        honest = place(tiny.entries, tiny.config)
        found = place(tiny.entries, {**tiny.config, key: value})
        for placed, truth in zip(
            found.placements.values(), honest.placements.values(), strict=True
        ):
            assert (placed.role, placed.kind, placed.layer) == (truth.role, truth.kind, truth.layer)
            assert placed.heads in (truth.heads, None)
            assert placed.kv_heads in (truth.kv_heads, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
config_keys = st.sampled_from(
    [
        "model_type",
        "architectures",
        "tie_word_embeddings",
        "text_config",
        "vision_config",
        "encoder",
    ]
    + ["num_attention_heads", "num_key_value_heads", "head_dim", "hidden_size", "num_hidden_layers"]
    + ["is_encoder_decoder", "multi_query", "attn_config", "num_local_experts", "qk_nope_head_dim"]
)
small = st.integers(0, 16)
configs = st.none() | st.dictionaries(
    config_keys, json_values | small | st.sampled_from(sorted(FAMILIES)), max_size=10
)
words = st.sampled_from(
    ["model", "layers", "h", "encoder", "decoder", "experts", "0", "1", "#", "", "self_attn", "mlp"]
    + ["q_proj", "k_proj", "c_attn", "qkv", "query_key_value", "gate_up_proj", "kv_b_proj", "w2"]
    + ["weight", "bias", "lora_A", "default", "qweight", "weight_scale", "embed_tokens", "lm_head"]
    + ["norm", "shared", "cls", "predictions", "expert_3", "٣", "99999999", "quant_state", "attn"]
)
names = st.lists(words, max_size=8).map(".".join) | st.text(max_size=30)
shapes = st.lists(st.integers(0, 96), max_size=4).map(tuple)
ROLE_NAMES = (
    *("embedding", "position", "token_type", "unembedding", "norm", "q", "k", "v", "qkv", "o"),
    *("gate", "up", "down", "gate_up", "router", "expert_gate", "expert_up", "expert_down"),
    *("head", "pooler", "scale", "other"),
)


@given(st.dictionaries(names, shapes, max_size=12), configs)
def test_nothing_raises_and_every_entry_has_a_placement(
    tensors: dict[str, tuple[int, ...]], config: dict[str, Any] | None
) -> None:
    entries = [entry(name, *shape) for name, shape in tensors.items()]
    found: Architecture = place(entries, config)
    assert list(found.placements) == list(tensors)
    for name, placed in found.placements.items():
        assert placed.role in ROLE_NAMES
        assert placed.kind in {"weight", "bias", "norm", "embedding", "scale", "buffer", "other"}
        shape = tensors[name]
        sizes = [part.size for part in placed.parts]
        for part in placed.parts:
            assert 0 <= part.axis < len(shape)
            assert all(0 <= a < b <= n for (a, b), n in zip(part.index, part.split, strict=True))
            assert part.heads is None or part.size % part.heads == 0
        if sizes:  # together the parts are the tensor
            assert sum(sizes) == shape[placed.parts[0].axis]


@pytest.mark.parametrize(
    "name", ["layers.0." * 100_000, "." * 100_000, "9" * 5_000, "layers." + "1" * 5000, "a" * 10**6]
)
def test_a_monstrous_name_is_other(name: str) -> None:
    found = place([entry(name, 2)], None)
    assert (found.placements[name].role, found.placements[name].layer) == ("other", None)


def test_an_empty_checkpoint() -> None:
    found = place([], None)
    assert (found.family, found.layers, dict(found.placements), found.findings) == (None, 0, {}, ())


KNOWN_TO_TRANSFORMERS = sorted(
    set(FAMILIES) - {"internlm2", "baichuan", "chatglm", "qwen", "aria_text"}
)


@pytest.mark.parametrize("family", KNOWN_TO_TRANSFORMERS)
def test_the_default_of_ties_is_that_of_the_config_class(family: str) -> None:
    assert FAMILIES[family].tied is bool(AutoConfig.for_model(family).tie_word_embeddings)
