"""What headers alone say, and matrices that are stored twice."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.makeup import OUTSIDE, inventory, makeup
from inspector.weights.scan import scan

EMBEDDING = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)


def llama(folder: Path, head: np.ndarray) -> Path:
    save_file(
        {
            "model.embed_tokens.weight": EMBEDDING,
            "model.layers.0.mlp.up_proj.weight": EMBEDDING,
            "model.layers.0.mlp.up_proj.bias": EMBEDDING[:, 0].copy(),
            "model.layers.1.input_layernorm.weight": EMBEDDING[0].copy(),
            "lm_head.weight": head,
        },
        folder / "model.safetensors",
    )
    config = {"model_type": "llama", "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def different_at_the_end() -> np.ndarray:
    head = EMBEDDING.copy()
    head[-1, -1] = np.nextafter(head[-1, -1], np.float32(9))
    return head


@pytest.mark.parametrize(
    ("head", "counted_once"),
    [(EMBEDDING.copy(), True), (different_at_the_end(), False), (EMBEDDING[:-1].copy(), False)],
    ids=["equal", "one value differs", "other shape"],
)
def test_a_head_equal_to_the_embedding_is_counted_once(tmp_path, head, counted_once):
    checkpoint = open_checkpoint(llama(tmp_path, head))
    stored = sum(tensor.parameters for tensor in checkpoint.tensors)
    expected = stored - (head.size if counted_once else 0)
    found = scan(checkpoint)
    (model,) = (group for group in found.summary["census"] if group.by == "model")
    assert model.parameters == makeup(checkpoint).parameters == expected
    assert found.coverage.parameters_measured == stored  # it is measured all the same
    assert ("AR-TIED" in {finding.id for finding in found.findings}) == counted_once


def test_the_makeup_adds_up(tmp_path):
    checkpoint = open_checkpoint(llama(tmp_path, different_at_the_end()))
    facts = makeup(checkpoint)
    assert facts.by_kind == {"embedding": 512, "weight": 1024, "bias": 64, "norm": 8}
    assert sum(facts.share(kind) for kind in facts.by_kind) == pytest.approx(1)
    assert facts.table["parameters"].sum() == facts.parameters
    assert facts.dtypes["tensors"].sum() == len(checkpoint.tensors)
    assert list(dict.fromkeys(facts.table["layer"])) == [OUTSIDE, "0", "1"]
    assert facts.bytes == 4 * facts.parameters


def test_the_inventory_lists_every_tensor_once(minilm):
    checkpoint = open_checkpoint(minilm)
    table = inventory(checkpoint)
    assert sorted(table["name"]) == sorted(tensor.name for tensor in checkpoint.tensors)
    layers = [label for label in table["layer_label"] if label != OUTSIDE]
    assert layers == sorted(layers, key=int)  # by depth, what stands outside first
    assert set(table["layer_label"][: len(table) - len(layers)]) == {OUTSIDE}


def test_a_model_of_buffers_alone_has_no_parameters(tmp_path):
    save_file({"embeddings.position_ids": np.arange(4)}, tmp_path / "model.safetensors")
    facts = makeup(open_checkpoint(tmp_path))
    assert (facts.parameters, facts.share("weight")) == (0, 0.0)


def test_encoder_and_decoder_are_told_apart(tmp_path):
    tensors = {
        f"{stack}.block.{layer}.layer.0.SelfAttention.q.weight": EMBEDDING * size
        for stack, size in (("encoder", 1), ("decoder", 100))
        for layer in range(6)
    }
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "num_layers": 6}))
    checkpoint = open_checkpoint(tmp_path)
    assert set(inventory(checkpoint)["layer_label"]) == {
        f"{stack} {layer}" for stack in ("encoder", "decoder") for layer in range(6)
    }
    found = scan(checkpoint)
    blocks = [(g.stack, g.layer) for g in found.summary["census"] if g.by == "layer"]
    assert blocks == [(s, layer) for s in ("decoder", "encoder") for layer in range(6)]
    assert found.summary["stand_outs"] == []  # each is like its peers in its own stack
