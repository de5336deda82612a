"""Tables of what the tensors of transformers are called; no code, read by naming.py."""

import dataclasses
from collections.abc import Mapping

# (role, kind, endings of a module's path): the longest ending that fits decides. Numbers in paths
# are left out; the last one is first tried as part of the ending (`ffn.0`). Kind "" is the usual
# one of the role: KIND_OF_ROLE, else weight.
NAMES: tuple[tuple[str, str, str], ...] = (
    # attention
    ("q", "", """
        q_proj q_lin query query_proj q wq wq_b Wq q_b_proj q_a_proj wq_a q_head q_attn linear_q
        to_q self_attention.experts.input_linear"""),
    ("q", "bias", "rel_attn.r_w rel_attn.r_r attention.r_w attention.r_r"),
    ("k", "", "k_proj k_lin key key_proj k wk Wk k_head linear_k to_k"),
    ("k", "bias", "self_attn.sinks attn.sinks attn_sink"),  # the logit of one more key
    ("v", "", "v_proj v_lin value value_proj v wv Wv v_head linear_v to_v"),
    ("qkv", "", """
        qkv_proj query_key_value c_attn Wqkv wqkv qkv W_pack attn.in_proj self.in_proj
        self_attn.in_proj attention.in_proj attn.in_proj_weight self_attn.in_proj_weight
        attention.in_proj_weight kv_b_proj kv_a_proj_with_mqa kv_a_proj self_attention.kv_proj
        in_proj_qkv in_proj_qkvz wkv"""),
    ("o", "", """
        o_proj out_proj out_lin linear_out attention.output.dense attention.dense attn.c_proj
        self_attention.dense self_attn.dense multi_head_attention.dense attn.proj attention.proj
        crossattention.c_proj attn.Wo o attention.wo attn.wo wo_a wo_b post_proj attention.output
        to_out self_attention.experts.output_linear"""),
    # feed-forward
    ("gate", "", "gate_proj wi_0 w1 fc11"),
    ("up", "", """
        up_proj fc1 c_fc wi wi_1 w3 v1 fc12 dense_h_to_4h intermediate.dense lin1 fc_in linear1
        linear_1 linear_fc1 layer_1 ffn ffn.0 feed_forward.key"""),
    ("down", "", """
        down_proj fc2 mlp.c_proj wo Wo w2 dense_4h_to_h output.dense lin2 fc_out linear2 linear_2
        linear_fc2 layer_2 ffn_output ffn.2 output_linear feed_forward.value"""),
    ("gate_up", "", "gate_up_proj Wi input_linear"),
    ("router", "", """
        mlp.gate block_sparse_moe.gate moe.gate ffn.gate feed_forward.gate gate.wg router
        router.layer router.classifier router.gate router.proj shared_expert_gate
        e_score_correction mlp.expert self_attention.experts.router.layer"""),
    # before the first block
    ("embedding", "", """
        embed_tokens wte word_embeddings embed_in shared tok_embeddings word_embedding tokens_embed
        embeddings transformer.w embed_tokens_per_layer mask_emb embedding token_embedding
        class_embedding cls_token mask_token image_newline"""),
    ("embedding", "weight", """
        embeddings_project project_in embedding_hidden_mapping_in eh_proj embedding_transformation
        per_layer_model_projection patch_embedding patch_embeddings.projection patch_embed.proj
        encoder.conv1 encoder.conv2 multi_modal_projector.linear_1 multi_modal_projector.linear_2
        mm_input_projection_weight merger.mlp.0 merger.mlp.2 merger.linear_fc1
        merger.linear_fc2"""),
    ("position", "", """
        position_embeddings wpe embed_positions positions_embed position_embedding pos_embed
        positional_embedding relative_attention_bias rel_embeddings relative_position_bias_table
        distance_embedding x_position_embeddings y_position_embeddings h_position_embeddings
        w_position_embeddings"""),
    ("position", "weight", """
        rel_attn.r attention.r_kernel pos_proj pos_q_proj pos_key_proj pos_query_proj"""),
    ("token_type", "", """
        token_type_embeddings segment_embeddings rel_attn.seg_embed attention.seg_embed"""),
    ("token_type", "bias", "rel_attn.r_s attention.r_s"),
    # after the last block
    ("unembedding", "", """
        lm_head lm_head.decoder embed_out output cls.predictions cls.predictions.decoder
        predictions predictions.decoder decoder vocab_projector generator_lm_head lm_loss
        pred_layer.proj output_layer output_projection proj_out project_out shared_head.head"""),
    ("unembedding", "buffer", "final_logits"),
    ("head", "", """
        classifier classifier.dense classifier.out_proj pre_classifier score qa_outputs head
        head.dense cls.predictions.transform.dense cls.predictions.dense predictions.dense
        lm_head.dense vocab_transform generator_predictions.dense discriminator_predictions.dense
        discriminator_predictions.dense_prediction cls.seq_relationship summary logits_proj
        classification_head.dense classification_head.out_proj sop_classifier.classifier
        visual_projection text_projection contact_head.regression"""),
    ("pooler", "", "pooler.dense pooler"),
    # learned multipliers
    ("scale", "other", """
        logit_scale logit_bias layer_scalar ls1 ls2 layer_scale1 layer_scale2
        act_fn.alpha_p act_fn.alpha_n act_fn.beta act_fn.eps"""),
    # known, but the vocabulary of roles has no word for them
    ("other", "weight", """
        mixer.in_proj mixer.out_proj mixer.x_proj mixer.dt_proj mixer.conv1d mamba.in_proj
        mamba.out_proj mamba.x_proj mamba.dt_proj mamba.conv1d linear_attn.in_proj_z
        linear_attn.in_proj_a linear_attn.in_proj_b linear_attn.in_proj_ba linear_attn.conv1d
        indexer.wq_b indexer.wk indexer.weights_proj self_attn.gate_proj self_attn.g_proj
        output_gate per_layer_input_gate per_layer_projection conv.conv conv.in_proj conv.out_proj
        temporal_block.linear_x temporal_block.linear_y temporal_block.conv_1d
        bottleneck.attention.dense bottleneck.input.dense bottleneck.dense"""),
    ("other", "other", "A_log mixer.D mamba.D dt"),
)  # fmt: skip
KIND_OF_ROLE = {
    "embedding": "embedding",
    "position": "embedding",
    "token_type": "embedding",
    "norm": "norm",
}  # a module whose name says norm has the role `norm`

EXPERT_LISTS = ("experts", "local_experts", "routed_experts", "deepspeed_experts")
EXPERT_ROLE = {"gate": "expert_gate", "up": "expert_up", "down": "expert_down"}
STACKED_NAMES = {"experts.fc1": "gate_up"}  # in one tensor for all experts, unlike one fc1 each


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaf:
    """What the last part of a name says: the kind ("" where the role decides), how it is stored.

    `packed`: codes, scales or notes that do not have the shape of their matrix. `transposed`:
    [in, out], as GPTQ and AWQ store.
    """

    kind: str = ""
    packed: bool = False
    transposed: bool = False


WEIGHT, BIAS, CODES = Leaf(), Leaf(kind="bias"), Leaf(packed=True)
SCALE, NOTE = Leaf(kind="scale", packed=True), Leaf(kind="buffer", packed=True)
LEAVES: Mapping[str, Leaf] = {
    **dict.fromkeys(("weight", "gamma", "lambda1"), WEIGHT),
    **dict.fromkeys(("bias", "beta"), BIAS),
    **dict.fromkeys(("weight_packed", "_data", "qdata"), CODES),
    "qweight": Leaf(packed=True, transposed=True),
    **dict.fromkeys(("qzeros", "scales"), Leaf(kind="scale", packed=True, transposed=True)),
    **dict.fromkeys(("weight_scale_inv", "weight_scale", "weight_scale_2", "scale_weight"), SCALE),
    **dict.fromkeys(("weight_global_scale", "input_scale", "input_global_scale", "_scale"), SCALE),
    **dict.fromkeys(("weight_zero_point", "input_zero_point", "output_scale", "SCB"), SCALE),
    **dict.fromkeys(("absmax", "nested_absmax", "quant_map", "nested_quant_map", "scale"), SCALE),
    **dict.fromkeys(("g_idx", "weight_shape", "weight_format"), NOTE),
}
# The same as the end of a part that also says whose it is, as in `gate_up_proj_blocks`.
LEAF_ENDINGS: tuple[tuple[str, Leaf], ...] = (
    ("_bias", BIAS),
    ("_blocks", CODES),
    ("_scales", SCALE),
    ("_scale_inv", SCALE),
    ("_scale", SCALE),
)
LEAF_STARTS: tuple[tuple[str, Leaf], ...] = (("bitsandbytes__", NOTE),)

BUFFERS = {  # last parts of names that are not trained, with their role
    **dict.fromkeys(("position_ids", "inv_freq", "original_inv_freq", "masked_bias"), "position"),
    **dict.fromkeys(("cos_cached", "sin_cached"), "position"),
    **dict.fromkeys(("num_batches_tracked", "running_mean", "running_var"), "norm"),
    "token_type_ids": "token_type",
}
MASK_OWNERS = ("attn", "attention", "self_attn")  # their 4-D `bias` is a causal mask

# Adapters and wrappers put these between a module and its parameter.
WRAPPERS = (
    "base_layer",
    "default",
    "modules_to_save",
    "original_module",
    "quant_state",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
)
LOW_RANK = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")
NO_HEADS = (  # have the role, but not its heads along an axis
    *("q_a_proj", "kv_a_proj", "kv_a_proj_with_mqa", "wq_a", "wkv", "wo_a", "wo_b"),
    *("in_proj_qkv", "in_proj_qkvz"),
)

BLOCK_LISTS = ("h", "attentions", "ffns", "layer_norm1", "layer_norm2")  # a number follows
BLOCK_LIST_ENDINGS = ("layers", "layer", "blocks", "block", "layer_groups")
STACKS = {
    **dict.fromkeys(("vision_tower", "vision_model", "visual", "vision_encoder"), "vision"),
    **dict.fromkeys(("audio_tower", "audio_model", "audio_encoder", "speech_encoder"), "audio"),
    "encoder": "encoder",
    "decoder": "decoder",
}

# Names of the table of the vocabulary's words; what is tied repeats the first that is there.
WORD_EMBEDDINGS = (
    *("shared", "wte", "embed_tokens", "word_embeddings", "embed_in", "tok_embeddings"),
    *("tokens_embed", "word_embedding", "embeddings", "w", "token_embedding", "embedding"),
)
