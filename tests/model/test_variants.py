"""Windows that end, decoders that classify, several labels at once, a number for an answer."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from model.asked import texts
from model.test_attention import some
from model.test_targets import oracle

from inspector.errors import UnsupportedModel
from inspector.model.ablation import ablate
from inspector.model.agreement import ATTENTION, agreement
from inspector.model.attention import attention, measured
from inspector.model.attention_map import attention_map
from inspector.model.attention_rows import way_of
from inspector.model.attribution import attribute
from inspector.model.heads import heads
from inspector.model.layers import layers
from inspector.model.lens import lens
from inspector.model.load import Model
from inspector.model.places import is_causal

Running = Callable[[str], Model]
WINDOWS = ["mistral-window", "gemma2-window", "gpt_oss-window", "qwen2-window"]
DECIDERS = ["llama-classifier", "gpt2-classifier"]
TEXT = "a c b c w4 w7 a b"


@pytest.mark.parametrize("name", [*WINDOWS, *DECIDERS, "llama-encoder", "gemma3-both-ways"])
@pytest.mark.parametrize("repeated", [False, True])
def test_both_ways_give_the_same_metrics_and_nulls(
    name: str, repeated: bool, running: Running
) -> None:
    model = running(name)
    assert way_of(model)[0] == "streaming"
    batch = some(model, 27, 9, 16)
    expected = measured(model, batch, "eager", repeated)
    for metric, values in measured(model, batch, "streaming", repeated).items():
        np.testing.assert_allclose(values, expected[metric], atol=2e-5, err_msg=metric)


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_is_seen_in_the_null_of_its_layers(name: str, running: Running) -> None:
    model = running(name)
    for way in ("eager", "streaming"):
        null = measured(model, some(model, 20), way)["previous_token_null"][0, :, 0]
        short, long = (np.mean([1 / min(i, most) for i in range(2, 21)]) for most in (4, 20))
        kinds = getattr(model.network.config, "layer_types", None) or ["sliding_attention"] * 2
        expected = [short if kind == "sliding_attention" else long for kind in kinds]
        np.testing.assert_allclose(null, expected, rtol=1e-5)


@pytest.mark.parametrize("name", WINDOWS)
def test_words_beyond_a_window_are_scored_as_by_plain_forwards(name: str, running: Running) -> None:
    model = running(name)
    found = attribute(model, TEXT, "b w9 a", method="feature-ablation", orders=10, draws=0)
    ids, answer = (model.tokenizer(one)["input_ids"] for one in (TEXT, "b w9 a"))
    whole = oracle(model, ids, answer)
    assert found.summary["f_input"] == pytest.approx(whole, abs=1e-4)
    for i, record in enumerate(found):
        lost = whole - oracle(model, [4 if j == i else id for j, id in enumerate(ids)], answer)
        assert record.score == pytest.approx(lost, abs=1e-4)


@pytest.mark.parametrize("name", DECIDERS)
def test_a_decoder_that_classifies_is_causal_and_read_at_its_end(
    name: str, running: Running
) -> None:
    model = running(name)
    assert model.kind == "classifier"
    assert is_causal(model.network, model.blocks[0], model.kind)
    told = next(c.told for c in model.checks if c.name == "no token sees a later one")
    assert told.startswith("at most 0 ")
    found = agreement(model, "a b c d", "LABEL_1", methods=["feature-ablation"], orders=10)
    shares = {line["name"]: line["scores"] for line in found.summary["ranking"]}
    maps = attention_map(model, "a b c d", [(layer, h) for layer in (0, 1) for h in range(4)])
    assert shares[ATTENTION[0]] == pytest.approx(maps.weights.mean(0)[-1].tolist(), abs=1e-6)


@pytest.mark.parametrize("method", ["integrated-gradients", "feature-ablation"])
@pytest.mark.parametrize("name", DECIDERS)
def test_a_decoder_without_padding_is_explained(name: str, method: str, running: Running) -> None:
    model = running(name)
    config = model.network.config
    pad, config.pad_token_id = config.pad_token_id, None
    ids = model.tokenizer(TEXT)["input_ids"]
    try:
        found = attribute(model, TEXT, "LABEL_1", method=method, orders=10, draws=0)
        slopes = heads(model, texts(model), "LABEL_1", "LABEL_0", top=2)
        through = layers(model, TEXT, "LABEL_1", samples=200)
        assert config.pad_token_id is None
    finally:
        config.pad_token_id = pad
    assert found.summary["f_input"] == pytest.approx(oracle(model, ids, (1,)), abs=1e-4)
    assert found.summary["f_baseline"] == pytest.approx(oracle(model, [4] * 8, (1,)), abs=1e-4)
    difference = found.summary["f_input"] - found.summary["f_baseline"]
    for layer in (0, 1):
        total = sum(record.score for record in through if record.layer == layer)
        assert total == pytest.approx(difference, abs=0.05 * max(1, abs(difference)))
    if method == "integrated-gradients":
        assert found.summary["completeness_gap"] < 0.02 * abs(difference)
    assert len(slopes) == 8


def test_entropy_and_divergence_of_labels_that_can_hold_together(running: Running) -> None:
    """Each label is a coin of its own: sums of binary entropies and divergences."""
    model = running("bert-labels")
    ids = model.tokenizer("a b c", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        final = model.network(ids).logits[0].double().sigmoid()
    for point in lens(model, "a b c", top=3):
        names = [f"LABEL_{i}" for i in range(3)]
        p = np.array([dict(zip(point.tokens, point.probabilities, strict=True))[n] for n in names])
        q = final.numpy()
        entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()
        apart = (q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))).sum()
        assert point.entropy == pytest.approx(entropy, rel=1e-3, abs=1e-5)
        assert point.divergence == pytest.approx(apart, rel=1e-3, abs=1e-5)
        assert 0 <= point.entropy <= 3 * math.log(2)


def test_a_number_is_no_class(running: Running) -> None:
    """Its one class would have log-probability 0 whatever the text says."""
    model = running("bert-number")
    for ask in (
        lambda: attribute(model, TEXT, "LABEL_0"),
        lambda: heads(model, [TEXT]),
        lambda: ablate(model, [TEXT]),
        lambda: lens(model, TEXT),
    ):
        with pytest.raises(UnsupportedModel, match="predicts a number"):
            ask()
    assert len(attention(model, [TEXT, "x y z"])) == 8
