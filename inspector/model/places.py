"""Where each family keeps its blocks, attention and projections; checked when a model is loaded."""

import dataclasses
from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedModel

from inspector.errors import UnsupportedModel
from inspector.results import show_plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Places:
    """Paths in the modules of one family.

    `blocks` holds the blocks; the rest are paths inside a block: `attention`, its output
    projection `output` whose input is the heads side by side, `mlp`, whose output is what it adds
    to the stream, and `cross`, the output projection of attention to the encoder. What attention
    and MLP give passes `attention_norm` and `mlp_norm` before it is added, where there are such.
    `final_norm` is the norm before the unembedding, None where there is none. `stack` names one
    of two stacks.
    """

    blocks: str
    attention: str
    output: str
    mlp: str
    cross: str | None = None
    attention_norm: str | None = None
    mlp_norm: str | None = None
    final_norm: str | None = None
    stack: str = ""


LLAMA = Places(
    blocks="model.layers",
    attention="self_attn",
    output="self_attn.o_proj",
    mlp="mlp",
    final_norm="model.norm",
)
NORMED_AFTER = dataclasses.replace(
    LLAMA, attention_norm="post_attention_layernorm", mlp_norm="post_feedforward_layernorm"
)
BERT = Places(
    blocks="encoder.layer",
    attention="attention.self",
    output="attention.output.dense",
    mlp="output.dense",
)
FAMILIES: dict[str, tuple[Places, ...]] = {
    **dict.fromkeys(
        (
            *("llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "gemma", "phi3"),
            *("gpt_oss", "stablelm", "starcoder2", "smollm3"),
        ),
        (LLAMA,),
    ),
    **dict.fromkeys(("gemma2", "gemma3_text", "olmo2"), (NORMED_AFTER,)),
    "gpt2": (
        Places(
            blocks="transformer.h",
            attention="attn",
            output="attn.c_proj",
            mlp="mlp",
            final_norm="transformer.ln_f",
        ),
    ),
    "gpt_neox": (
        Places(
            blocks="gpt_neox.layers",
            attention="attention",
            output="attention.dense",
            mlp="mlp",
            final_norm="gpt_neox.final_layer_norm",
        ),
    ),
    "opt": (
        Places(
            blocks="model.decoder.layers",
            attention="self_attn",
            output="self_attn.out_proj",
            mlp="fc2",
            final_norm="model.decoder.final_layer_norm",
        ),
    ),
    **dict.fromkeys(
        ("bloom", "falcon"),
        (
            Places(
                blocks="transformer.h",
                attention="self_attention",
                output="self_attention.dense",
                mlp="mlp.dense_4h_to_h",  # what Bloom's mlp gives holds the stream too
                final_norm="transformer.ln_f",
            ),
        ),
    ),
    **dict.fromkeys(("bert", "roberta", "electra"), (BERT,)),
    "distilbert": (
        Places(
            blocks="transformer.layer",
            attention="attention",
            output="attention.out_lin",
            mlp="ffn",
        ),
    ),
    "t5": (
        Places(
            stack="encoder",
            blocks="encoder.block",
            attention="layer.0.SelfAttention",
            output="layer.0.SelfAttention.o",
            mlp="layer.1.DenseReluDense",
            final_norm="encoder.final_layer_norm",
        ),
        Places(
            stack="decoder",
            blocks="decoder.block",
            attention="layer.0.SelfAttention",
            output="layer.0.SelfAttention.o",
            mlp="layer.2.DenseReluDense",
            cross="layer.1.EncDecAttention.o",
            final_norm="decoder.final_layer_norm",
        ),
    ),
}


OPTIONAL = ("cross", "attention_norm", "mlp_norm")
BIDIRECTIONAL = ("bert", "roberta", "electra", "distilbert")  # each token sees all others


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """One block of a loaded model and its parts, found by Places."""

    stack: str
    layer: int
    module: nn.Module
    attention: nn.Module
    output: nn.Module
    mlp: nn.Module
    heads: int
    cross: nn.Module | None = None
    attention_norm: nn.Module | None = None
    mlp_norm: nn.Module | None = None

    @property
    def head_dim(self) -> int:
        """Width of one head where the heads enter the output projection."""
        return inputs_of(self.output) // self.heads


def inputs_of(projection: nn.Module) -> int:
    """How many inputs a projection has: Linear holds [out, in], GPT-2's Conv1D [in, out]."""
    if isinstance(projection, nn.Linear):
        return projection.in_features
    weight = projection.weight
    if not isinstance(weight, nn.Parameter):
        raise UnsupportedModel(f"{type(projection).__name__}: a projection without a weight.")
    return weight.shape[0]


def find_blocks(network: PreTrainedModel) -> tuple[Block, ...]:
    """Every block with its parts; UnsupportedModel, with the families known, where they are not."""
    family = network.config.model_type
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UnsupportedModel(
            f"{show_plain(str(family))}: where this family keeps its heads is not known here "
            f"(known: {known})."
        )
    return tuple(block for places in FAMILIES[family] for block in _blocks(network, places))


def final_norm(network: PreTrainedModel) -> nn.Module | None:
    """The norm before the unembedding; None where the family has none."""
    path = FAMILIES[network.config.model_type][-1].final_norm
    return None if path is None else _below(network, path)


def is_causal(network: PreTrainedModel, block: Block, kind: str) -> bool:
    """Whether no token of a block sees a later one; a decoder that classifies is causal too."""
    config = network.config.get_text_config()
    if kind == "causal" or block.stack:
        return block.stack in ("", "decoder")
    both_ways = bool(getattr(config, "use_bidirectional_attention", False))
    decodes = bool(getattr(config, "is_decoder", False))
    return not both_ways and (config.model_type not in BIDIRECTIONAL or decodes)


def _blocks(network: PreTrainedModel, places: Places) -> Iterator[Block]:
    config = network.config.get_text_config()
    heads = config.num_attention_heads
    stacked = _below(network, places.blocks)
    if not isinstance(stacked, nn.ModuleList):
        raise UnsupportedModel(f"{places.blocks} is no list of blocks in this model.")
    optional = {name: getattr(places, name) for name in OPTIONAL}
    for layer, module in enumerate(stacked):
        yield Block(
            stack=places.stack,
            layer=layer,
            module=module,
            attention=_below(module, places.attention),
            output=_below(module, places.output),
            mlp=_below(module, places.mlp),
            heads=heads,
            **{name: _below(module, path) for name, path in optional.items() if path},
        )


def _below(module: nn.Module, path: str) -> nn.Module:
    """The module at a path, with or without the base model's prefix before it."""
    tried = [path]
    prefix = getattr(module, "base_model_prefix", "")
    tried += [f"{prefix}.{path}", path.removeprefix(f"{prefix}.")] if prefix else []
    for candidate in tried:
        try:
            return module.get_submodule(candidate)
        except AttributeError:
            continue
    raise UnsupportedModel(f"{type(module).__name__} has no {path}.")
