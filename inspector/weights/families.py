"""Table of model families: what names alone do not tell, and names that tell a family.

Layouts and tie defaults: source of transformers 5.23.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """What names alone do not tell about a model type.

    `tied`: tie_word_embeddings where the config does not say. `head`, `embedding`: names of the
    unembedding and the word table. `generates`: its models have an unembedding unless they are
    bare. `shared_table`: encoder and decoder look for the table under names of their own too.
    `fused`: layout of fused attention inputs, a key of layouts.fused_attention. `experts`: layout
    of stacked experts where shapes leave a choice. `gated_q`: q holds a gate for the output.
    `two_biases`: the bias of `head` also stands one level up. `shared_blocks`: fewer blocks are
    stored than run. `roles`: names that mean something else here.
    """

    tied: bool
    head: str = "lm_head"
    embedding: str = "model.embed_tokens"
    generates: bool = True
    shared_table: bool = False
    two_biases: bool = False
    fused: str = ""
    conv1d: bool = False
    experts: str = ""
    gated_q: bool = False
    shared_blocks: bool = False
    roles: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _bert(prefix: str, **more: str) -> Family:
    """A masked model that is built like BERT."""
    words = f"{prefix}.embeddings.word_embeddings"
    given = {"head": "cls.predictions.decoder", "embedding": words, **more}
    two_biases = given["head"].endswith(".decoder")
    return Family(tied=True, generates=False, two_biases=two_biases, **given)  # type: ignore[arg-type]


_TIED = Family(tied=True)
_UNTIED = Family(tied=False)
_GPT = Family(tied=True, embedding="transformer.wte")
_T5 = Family(tied=True, embedding="shared", shared_table=True)
_BART = Family(tied=True, embedding="model.shared", shared_table=True)
FAMILIES: Mapping[str, Family] = {
    # decoders
    "gpt2": Family(tied=True, embedding="transformer.wte", fused="thirds", conv1d=True),
    "openai-gpt": Family(
        tied=True, embedding="transformer.tokens_embed", fused="thirds", conv1d=True
    ),
    "gpt_bigcode": Family(tied=True, embedding="transformer.wte", fused="bigcode"),
    "gpt_neo": _GPT,
    "gptj": Family(tied=False, embedding="transformer.wte"),
    "codegen": Family(tied=False, embedding="transformer.wte", fused="codegen"),
    "gpt_neox": Family(
        tied=False, head="embed_out", embedding="gpt_neox.embed_in", fused="grouped"
    ),
    "opt": Family(tied=True, embedding="model.decoder.embed_tokens"),
    "bloom": Family(tied=True, embedding="transformer.word_embeddings", fused="grouped"),
    "falcon": Family(tied=True, embedding="transformer.word_embeddings", fused="falcon"),
    "mpt": Family(tied=True, embedding="transformer.wte", fused="thirds"),
    "dbrx": Family(tied=False, embedding="transformer.wte", fused="blocks"),
    "ctrl": Family(tied=True, embedding="transformer.w"),
    "xlnet": Family(tied=True, head="lm_loss", embedding="transformer.word_embedding"),
    "biogpt": Family(tied=True, head="output_projection", embedding="biogpt.embed_tokens"),
    "mamba": Family(tied=True, embedding="backbone.embeddings"),
    "falcon_mamba": Family(tied=True, embedding="backbone.embeddings"),
    "rwkv": Family(
        tied=False, head="head", embedding="rwkv.embeddings", roles={"head": "unembedding"}
    ),
    "persimmon": Family(tied=False, fused="grouped"),
    "gpt_oss": Family(tied=False, experts="even odd"),
    **dict.fromkeys(("xglm", "starcoder2", "smollm3", "cohere", "cohere2", "ernie4_5"), _TIED),
    **dict.fromkeys(("ernie4_5_moe", "lfm2", "jetmoe", "gemma", "gemma2", "gemma3"), _TIED),
    **dict.fromkeys(("gemma3_text", "gemma3n", "gemma3n_text", "gemma4", "gemma4_text"), _TIED),
    **dict.fromkeys(("vaultgemma", "recurrent_gemma"), _TIED),
    **dict.fromkeys(("llama", "mistral", "ministral", "mixtral", "qwen2", "qwen3"), _UNTIED),
    **dict.fromkeys(("qwen2_moe", "qwen3_moe", "olmo", "olmo2", "olmo3", "olmoe"), _UNTIED),
    **dict.fromkeys(("granite", "granitemoe", "granitemoeshared", "stablelm", "phi"), _UNTIED),
    **dict.fromkeys(("phimoe", "nemotron", "seed_oss", "minimax", "minimax_m2"), _UNTIED),
    **dict.fromkeys(("exaone4", "glm4_moe", "apertus", "arcee", "jamba", "bitnet"), _UNTIED),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "deepseek_v32", "longcat_flash"), _UNTIED),
    **dict.fromkeys(("phi3", "glm", "glm4"), Family(tied=False, fused="blocks")),
    **dict.fromkeys(("llama4", "llama4_text", "aria_text"), Family(tied=False, experts="in out")),
    **dict.fromkeys(
        ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), Family(tied=False, gated_q=True)
    ),
    # decoders known outside transformers
    "internlm2": Family(
        tied=False, head="output", embedding="model.tok_embeddings", fused="grouped"
    ),
    "baichuan": Family(tied=False, fused="thirds"),
    "chatglm": Family(
        tied=False,
        head="output_layer",
        embedding="transformer.embedding.word_embeddings",
        fused="blocks",
    ),
    "qwen": Family(
        tied=False,
        embedding="transformer.wte",
        fused="thirds",
        roles={"mlp.w1": "up", "mlp.w2": "gate"},
    ),
    # masked models
    "bert": _bert("bert"),
    "megatron-bert": _bert("bert"),
    "roformer": _bert("roformer"),
    "mobilebert": _bert("mobilebert"),
    "layoutlm": _bert("layoutlm"),
    "nystromformer": _bert("nystromformer"),
    "nomic_bert": _bert("nomic_bert", fused="thirds"),
    "deberta": _bert("deberta", fused="grouped"),
    "deberta-v2": _bert("deberta"),
    **dict.fromkeys(
        ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert"),
        _bert("roberta", head="lm_head.decoder"),
    ),
    "mpnet": _bert("mpnet", head="lm_head.decoder"),
    "esm": Family(
        tied=True,
        head="lm_head.decoder",
        embedding="esm.embeddings.word_embeddings",
        generates=False,
    ),
    "distilbert": _bert("distilbert", head="vocab_projector"),
    "electra": _bert("electra", head="generator_lm_head"),
    "convbert": _bert("convbert", head="generator_lm_head"),
    "modernbert": _bert(
        "model", head="decoder", embedding="model.embeddings.tok_embeddings", fused="thirds"
    ),
    "xlm": _bert("xlm", head="pred_layer.proj", embedding="transformer.embeddings"),
    "albert": Family(
        tied=True,
        head="predictions.decoder",
        embedding="albert.embeddings.word_embeddings",
        generates=False,
        two_biases=True,
        shared_blocks=True,
    ),
    # encoder-decoders
    **dict.fromkeys(("t5", "mt5", "umt5", "longt5", "switch_transformers"), _T5),
    **dict.fromkeys(("bart", "mbart", "pegasus", "marian", "m2m_100"), _BART),
    "whisper": Family(tied=True, head="proj_out", embedding="model.decoder.embed_tokens"),
}
OTHER_NAMES = {"RefinedWeb": "falcon", "RefinedWebModel": "falcon"}

# Without a config: (family, tails that must be there, tails that must not); the first fit counts.
SIGNATURES: tuple[tuple[str, str, str], ...] = (
    ("gpt_oss", "self_attn.sinks", ""),
    ("mixtral", "block_sparse_moe.experts.#.w1.weight", ""),
    ("gemma3", "pre_feedforward_layernorm.weight self_attn.q_norm.weight", ""),
    ("gemma2", "pre_feedforward_layernorm.weight", ""),
    ("olmo2", "post_feedforward_layernorm.weight self_attn.q_norm.weight", ""),
    ("phi3", "self_attn.qkv_proj.weight mlp.gate_up_proj.weight", ""),
    ("gpt_neox", "attention.query_key_value.weight mlp.dense_h_to_4h.weight", ""),
    ("bloom", "self_attention.query_key_value.bias word_embeddings_layernorm.weight", ""),
    (
        "falcon",
        "self_attention.query_key_value.weight ln_f.weight",
        "word_embeddings_layernorm.weight",
    ),
    ("gpt2", "attn.c_attn.weight mlp.c_fc.weight", ""),
    (
        "opt",
        "self_attn.q_proj.weight fc1.weight embed_positions.weight",
        "encoder_attn.q_proj.weight biogpt.",
    ),
    ("t5", "layer.#.SelfAttention.q.weight", ""),
    ("distilbert", "attention.q_lin.weight sa_layer_norm.weight", ""),
    ("roberta", "roberta. attention.self.query.weight", ""),
    ("electra", "electra. attention.self.query.weight", ""),
    ("bert", "attention.self.query.weight intermediate.dense.weight output.dense.weight", ""),
    ("qwen3", "self_attn.q_norm.weight mlp.gate_proj.weight input_layernorm.weight", ""),
    ("qwen2", "self_attn.q_proj.bias mlp.gate_proj.weight", "self_attn.o_proj.bias"),
    ("llama", "self_attn.q_proj.weight mlp.gate_proj.weight input_layernorm.weight", ""),
)  # fmt: skip

MODELS_WITH_UNEMBEDDING = (  # words in the names of their classes
    *("CausalLM", "MaskedLM", "LMHead", "ConditionalGeneration", "MTModel", "DoubleHeads"),
)

# γ of the norms of these model types is stored less 1, so that zeros mean "pass on"; of the plain
# ones among them it is not.
NORM_LESS_ONE = frozenset(
    (
        *("gemma", "gemma2", "gemma3", "gemma3_text", "recurrent_gemma", "t5gemma", "t5gemma2"),
        *("vaultgemma", "qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe"),
        *("qwen3_5_moe_text", "minimax_m3_vl", "step3p7", "nemotron"),
    )
)
PLAIN_NORMS = ("linear_attn.norm",)
