"""What sizes of weights predict is what happens in the models: transformers and autograd say."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import save_file

from inspector.weights.activations import ACTIVATIONS, activation_of, mean_square
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.initialization import initialization
from inspector.weights.signal import Norm, SignalPrediction, Weight, predict_signal

BASE = {
    "vocab_size": 400,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
FEW_KV = {**BASE, "num_key_value_heads": 2}
OLD = {"vocab_size": 400, "n_layer": 4, "n_head": 8, "bos_token_id": 1, "eos_token_id": 2}
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("LlamaForCausalLM", FEW_KV, "pre"),
    "gpt2": ("GPT2LMHeadModel", {**OLD, "n_embd": 256}, "pre"),
    "gemma2": ("Gemma2ForCausalLM", {**FEW_KV, "head_dim": 32}, "both"),
    "olmo2": ("Olmo2ForCausalLM", {**FEW_KV, "eos_token_id": 2, "rms_norm_eps": 1e-9}, "after"),
    "bert": ("BertModel", BASE, "post"),
    "bloom": ("BloomForCausalLM", {**OLD, "hidden_size": 256}, "pre"),
    "falcon": ("FalconForCausalLM", {**BASE, "alibi": False}, "pre"),
    "mixtral": (
        "MixtralForCausalLM",
        {**FEW_KV, "num_local_experts": 4, "num_experts_per_tok": 1},
        "pre",
    ),
}


def measured(model: torch.nn.Module) -> tuple[list[float], list[float]]:
    """Mean squares before the first block and after each, and of the gradients there.

    One token at a time, so that attention looks at one token, as predicted.
    """
    blocks = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 4)
    stream: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> None:
        tensor.retain_grad()
        stream.append(tensor)

    def before(_module, args, kwargs) -> None:
        keep(args[0] if args else kwargs["hidden_states"])

    blocks[0].register_forward_pre_hook(before, with_kwargs=True)
    for block in blocks:
        block.register_forward_hook(
            lambda _module, _args, out: keep(out[0] if isinstance(out, tuple) else out)
        )
    model(torch.arange(3, 259)[:, None])
    (stream[-1] * torch.randn_like(stream[-1])).sum().backward()
    return (
        [float(t.detach().square().mean()) for t in stream],
        [float(t.grad.square().mean()) for t in stream],
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_prediction_is_what_a_random_model_does(name, tmp_path):
    kind, settings, norms = MODELS[name]
    torch.manual_seed(0)
    model_class = getattr(transformers, kind)
    model = model_class(model_class.config_class(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2 if parameter.ndim > 1 else 1)
    model.save_pretrained(tmp_path)
    (found,) = initialization(open_checkpoint(tmp_path)).summary["predicted_signal"]
    assert isinstance(found, SignalPrediction)
    assert (found.norms, len(found.layers)) == (norms, 4)
    signal, gradient = measured(model)
    assert found.start == pytest.approx(signal[0], rel=0.1)
    for layer, before, after in zip(found.layers, signal, signal[1:], strict=False):
        assert layer.forward == pytest.approx(after / before, rel=0.15)
    for layer, after, before in zip(found.layers, gradient, gradient[1:], strict=False):
        assert layer.backward == pytest.approx(after / before, rel=0.15)


def plain(layers: int, square: float, width: int = 64) -> list[Weight]:
    given = {"stack": None, "rows": width, "columns": width, "square": square}
    return [
        Weight(name=f"layers.{i}.mlp.{role}.weight", layer=i, role=role, **given)
        for i in range(layers)
        for role in ("up", "down")
    ]


def norm(name: str, layer: int, square: float) -> Norm:
    return Norm(
        name=f"layers.{layer}.{name}.weight", stack=None, layer=layer, kind="norm", square=square
    )


def test_gains_are_inputs_and_outputs_times_the_variance(tmp_path):
    values = np.random.default_rng(0).normal(0, 0.03, (64, 96)).astype(np.float32)
    save_file({"layers.0.mlp.up_proj.weight": values}, tmp_path / "model.safetensors")
    (record,) = initialization(open_checkpoint(tmp_path))
    square = float(np.square(values.astype(np.float64)).mean())
    assert record.forward_gain == pytest.approx(96 * square, rel=1e-12)
    assert record.backward_gain == pytest.approx(64 * square, rel=1e-12)


def test_without_norms_large_weights_explode_and_small_ones_are_steady():
    for square, verdict in ((1 / 64, "exploding"), (1e-4, "steady")):
        (found,) = predict_signal(plain(24, square), [], None, {"hidden_act": "linear"})
        gain = 1 + (64 * square) ** 2
        assert found.layers[0].forward == pytest.approx(gain)
        assert found.layers[0].backward == pytest.approx(gain)
        assert found.forward_total == pytest.approx(gain**23)
        assert (found.norms, found.forward_verdict, found.backward_verdict) == (
            "none",
            verdict,
            verdict,
        )


def test_small_gammas_after_each_sum_make_gradients_vanish():
    weights = plain(24, 1e-4)
    norms = [norm("output.LayerNorm", i, 0.25) for i in range(24)]
    (found,) = predict_signal(weights, norms, "bert", {"hidden_act": "linear"})
    assert found.norms == "post"
    assert found.forward_verdict == "steady"  # every norm gives the same size
    grown = 1 + (64e-4) ** 2
    assert found.layers[5].backward == pytest.approx(grown * 0.25 / (0.25 * grown))
    deep = [norm("output.LayerNorm", i, 0.9**i) for i in range(200)]
    (found,) = predict_signal(plain(200, 1e-4), deep, "bert", {"hidden_act": "linear"})
    assert (found.forward_verdict, found.backward_verdict) == ("vanishing", "vanishing")


def test_norms_before_each_branch_make_growth_additive():
    norms = [norm("ln_2", i, 1.0) for i in range(100)]
    (found,) = predict_signal(plain(100, 1 / 64), norms, None, {"hidden_act": "linear"})
    assert found.norms == "pre"
    sizes = np.cumprod([layer.forward for layer in found.layers])
    np.testing.assert_allclose(sizes, 2 + np.arange(100), rtol=1e-9)
    assert found.forward_verdict == "steady"


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_torchs(name):
    curve, slope = ACTIVATIONS[name]
    x = torch.linspace(-3, 3, 61, dtype=torch.float64, requires_grad=True)
    module = torch.nn.Identity() if name == "linear" else transformers.activations.ACT2FN[name]
    out = module(x)
    out.sum().backward()
    close = 2.1e-2 if name == "quick_gelu" else 1e-3  # an approximation of gelu
    away = np.abs(x.detach().numpy()) > 1e-9
    np.testing.assert_allclose(curve(x.detach().numpy()), out.detach().numpy(), atol=close)
    np.testing.assert_allclose(
        slope(x.detach().numpy())[away], x.grad.numpy()[away], atol=3 * close
    )


def test_mean_squares_are_those_of_many_normal_values():
    assert mean_square(ACTIVATIONS["relu"][0], 4.0) == pytest.approx(2.0)
    assert mean_square(ACTIVATIONS["relu"][1], 4.0) == pytest.approx(0.5)
    x = np.random.default_rng(0).normal(0, 1.5, 1_000_000)
    for name in ("gelu", "silu", "tanh"):
        for curve in ACTIVATIONS[name]:
            assert mean_square(curve, 2.25) == pytest.approx(np.square(curve(x)).mean(), rel=5e-3)


def test_the_activation_is_what_the_config_says():
    assert activation_of({"feed_forward_proj": "gated-gelu"}, "t5") == "gelu"
    assert activation_of({"hidden_act": 7, "activation": "relu"}, None) == "relu"
    assert activation_of({}, "bloom") == "gelu"
    assert activation_of({"hidden_act": "unheard of"}, None) == "linear"


@pytest.mark.parametrize("square", [0.0, 1e300, math.inf])
def test_sizes_no_model_has_predict_nothing_wrong(square):
    for found in predict_signal(plain(3, square), [], None, {}):
        assert all(layer.forward >= 1 for layer in found.layers)
