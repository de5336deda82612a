"""Gates, exact ablation and direct effects against slices, finite differences and formulas."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from model.asked import (
    CAUSAL,
    CLASSIFIERS,
    EVERY,
    MASKED,
    Running,
    answers,
    changed,
    texts,
    zero_slice,
)
from scipy import stats
from torch import nn

from inspector.demo.corpus import contexts
from inspector.errors import BadOption, UnsupportedModel
from inspector.model.asking import outcome
from inspector.model.direct import direct_effects, linear
from inspector.model.gates import (
    gate_gradients,
    put_mean,
    put_resampled,
    put_zero,
    scores_without,
    sites,
)
from inspector.model.heads import heads, rank_correlation
from inspector.model.hooks import gated
from inspector.model.load import Model, load
from inspector.model.places import find_blocks
from inspector.model.questions import questions
from inspector.weights.problems import Log

DIRECT = [*CAUSAL, "t5"]
STEPS = {"opt": 1e-4, "t5": 1e-3}  # ReLU has corners; other norms compute in float32


def asked(model: Model):
    return questions(model, texts(model), *answers(model), Log(), loss=False)


def scores(model: Model, gates=None):
    """Scores with every head of every site weakened by its gate."""

    def change(rows):
        pairs = zip(sites(model), gates, strict=True)
        return [gated(site.output, gate.expand(len(rows), -1)) for site, gate in pairs]

    with torch.no_grad():
        return outcome(model, asked(model), *([change] if gates else [])).score


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "bert-classifier", "t5"])
def test_gates_of_one_change_no_bit(name: str, running: Running) -> None:
    model = running(name)
    ones = [torch.ones((1, site.heads)) for site in sites(model)]
    assert torch.equal(scores(model, ones), scores(model))


def all_experts(network: nn.Module) -> None:
    """Where a token moves from one expert to another, the score jumps."""
    for module in network.modules():
        if hasattr(module, "top_k"):
            module.top_k = 4


@pytest.mark.parametrize("name", EVERY)
def test_slopes_are_those_of_finite_differences(name: str, running: Running) -> None:
    model = changed(running(name), all_experts)
    found = torch.cat(gate_gradients(model, sites(model), asked(model)), 1)
    sizes = [site.heads for site in sites(model)]
    step, number = STEPS.get(name, 0.01), 0
    for site, size in enumerate(sizes):
        for head in range(0, size, 3):  # the first and the last head of four
            at = {}
            for steps in (-2, -1, 1, 2):
                gates = [torch.ones((1, n), dtype=torch.double) for n in sizes]
                gates[site][0, head] += steps * step
                at[steps] = scores(model, gates)
            slope = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)
            torch.testing.assert_close(
                found[:, number + head].double(), slope.double(), rtol=2e-3, atol=2e-4
            )
        number += size


@pytest.mark.parametrize("name", EVERY)
def test_taking_a_head_out_is_zeroing_its_slice(name: str, running: Running) -> None:
    model = changed(running(name))
    places = sites(model)
    chosen = [(0, 1), (len(places) - 1, 2)]
    found = scores_without(model, places, asked(model), chosen, put_zero(model, places, [], 0))
    for number, (site, head) in enumerate(chosen):

        def cut(network: nn.Module, site: int = site, head: int = head) -> None:
            copied = dataclasses.replace(model, network=network, blocks=find_blocks(network))
            zero_slice(sites(copied)[site].output, head, places[site].heads)

        torch.testing.assert_close(found[:, number], scores(changed(model, cut)))


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5"])
def test_a_batch_of_three_is_three_single_runs(name: str, running: Running) -> None:
    model = running(name)
    every = asked(model)
    together = torch.cat(gate_gradients(model, sites(model), every), 1)
    alone = [torch.cat(gate_gradients(model, sites(model), [one]), 1) for one in every]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_importance_is_the_mean_of_sizes_not_the_size_of_the_mean(running: Running) -> None:
    model = running("llama")
    result = heads(model, texts(model), *answers(model))
    slopes = torch.cat(gate_gradients(model, sites(model), asked(model)), 1).numpy()
    importance = np.array([record.importance for record in result])
    np.testing.assert_allclose(importance, np.abs(slopes).mean(0), rtol=1e-5)
    np.testing.assert_allclose([r.gate for r in result], slopes.mean(0), rtol=1e-4, atol=1e-7)
    assert (importance > 1.5 * np.abs(slopes.mean(0))).any()  # signs cancel in some heads
    for layer in (0, 1):
        shares = [record.share for record in result if record.layer == layer]
        assert np.linalg.norm(shares) == pytest.approx(1)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "bert-classifier", "t5"])
def test_the_one_head_that_writes_is_the_one_that_matters(name: str, running: Running) -> None:
    """A head mask would say that none does: transformers ignores it."""

    def plant(network: nn.Module) -> None:
        for site in sites(dataclasses.replace(running(name), blocks=find_blocks(network))):
            for head in range(site.heads):
                if (site.layer, site.part, head) != (1, "self", 2):
                    zero_slice(site.output, head, site.heads)

    model = changed(running(name), plant)
    result = heads(model, texts(model), *answers(model))
    # an encoder is read by cross attention alone, which writes nothing here
    planted = [
        r for r in result if (r.layer, r.part, r.head) == (1, "self", 2) and r.stack != "encoder"
    ]
    assert len(planted) == 1
    for record in result:
        assert (record.importance > 1e-4) == (record in planted)
        assert record.effect is None or (abs(record.effect) > 1e-4) == (record in planted)


def test_a_head_that_says_one_thing_is_lost_by_zero_but_not_by_mean(running: Running) -> None:
    def constant(network: nn.Module) -> None:
        network.model.layers[0].self_attn.v_proj.weight.zero_()  # what is left is its bias

    model = changed(running("qwen2"), constant)
    lost = {
        how: np.array([r.effect for r in heads(model, texts(model), "p", "q", how) if r.layer == 0])
        for how in ("zero", "mean", "resample")
    }
    assert np.abs(lost["zero"]).min() > 1e-3
    np.testing.assert_allclose(lost["mean"], 0, atol=1e-6)
    np.testing.assert_allclose(lost["resample"], 0, atol=1e-6)


def test_resampling_puts_in_what_another_text_gave(running: Running) -> None:
    model = running("llama")
    given = ["a b c d", "w x y z"]
    every = questions(model, given, "p", "q", Log(), loss=False)
    put = put_resampled(model, sites(model), every, 0)
    found = scores_without(model, sites(model), every, [(1, 3)], put)
    output = model.network.model.layers[1].self_attn.o_proj
    kept = []
    ids = [model.tokenizer(text, return_tensors="pt")["input_ids"] for text in given]
    handle = output.register_forward_pre_hook(lambda _m, x: kept.append(x[0].clone()))
    with torch.no_grad():
        for one in ids:
            model.network(one)
    handle.remove()
    for i, one in enumerate(ids):

        def mixed(_module: nn.Module, x: tuple, other: torch.Tensor = kept[1 - i]) -> tuple:
            return (torch.cat([x[0][..., :-8], other[..., -8:]], -1),)

        handle = output.register_forward_pre_hook(mixed)
        with torch.no_grad():
            said = model.network(one).logits[0, -1]
        handle.remove()
        p, q = model.tokenizer("p q")["input_ids"]
        torch.testing.assert_close(found[i, 0], said[p] - said[q])


def test_the_mean_is_over_all_positions_of_all_texts(running: Running) -> None:
    model = running("gpt2")
    every = asked(model)
    kept = []
    output = model.network.transformer.h[0].attn.c_proj
    handle = output.register_forward_pre_hook(lambda _m, x: kept.append(x[0][0]))
    with torch.no_grad():
        for text in texts(model):
            model.network(model.tokenizer(text, return_tensors="pt")["input_ids"])
    handle.remove()
    put = put_mean(model, sites(model), every, 0)(0, torch.tensor([0]))
    expected = torch.cat(kept).mean(0).reshape(4, 8)
    torch.testing.assert_close(put(torch.zeros(1, 2, 4, 8)), expected.expand(1, 2, 4, 8))


@pytest.mark.parametrize("name", DIRECT)
def test_direct_effects_add_up_to_the_logit(name: str, running: Running) -> None:
    model = running(name)
    found = direct_effects(model, asked(model))
    p, q = (model.tokenizer.convert_tokens_to_ids(word) for word in answers(model))
    for i, text in enumerate(texts(model)):
        ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
        given = {"decoder_input_ids": torch.tensor([[0]])} if name == "t5" else {}
        with torch.no_grad():
            said = model.network(ids, **given).logits[0, -1]
        torch.testing.assert_close(found.logit[i], said[p] - said[q], rtol=1e-4, atol=1e-4)
    assert found.softcap == (name == "gemma2")
    if not found.softcap:
        torch.testing.assert_close(found.effects.sum(1), found.logit, rtol=1e-4, atol=1e-4)
        assert float(found.gap.abs().max()) < 1e-4


def test_direct_effects_follow_the_formula(running: Running) -> None:
    """(o_h W_O^h) times the frozen scale of the final norm, dotted with W_U[p] - W_U[q]."""
    model = running("llama")
    network = model.network
    found = direct_effects(model, asked(model))
    p, q = (model.tokenizer.convert_tokens_to_ids(word) for word in answers(model))
    kept: dict[str, torch.Tensor] = {}
    layer = network.model.layers[1]
    handles = [
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _m, x: kept.update(heads=x[0])),
        layer.mlp.register_forward_hook(lambda _m, _x, y: kept.update(mlp=y)),
        network.model.norm.register_forward_pre_hook(lambda _m, x: kept.update(stream=x[0])),
    ]
    with torch.no_grad():
        network(model.tokenizer(texts(model)[0], return_tensors="pt")["input_ids"])
        for handle in handles:
            handle.remove()
        stream = kept["stream"][0, -1]
        scale = network.model.norm.weight / (stream.square().mean() + 1e-6).sqrt()
        direction = scale * (network.lm_head.weight[p] - network.lm_head.weight[q])
        head = kept["heads"][0, -1, 16:24] @ layer.self_attn.o_proj.weight[:, 16:24].T
        values = {part.name: found.effects[0, i] for i, part in enumerate(found.parts)}
        torch.testing.assert_close(values["layer 1 head 2"], head @ direction)
        torch.testing.assert_close(values["layer 1 mlp"], kept["mlp"][0, -1] @ direction)


def test_a_frozen_norm_is_the_norm_at_its_own_input(running: Running) -> None:
    for name, norm in (("gpt2", "transformer.ln_f"), ("gemma2", "model.norm")):
        module = running(name).network.get_submodule(norm)
        value = torch.randn(32)
        frozen = linear(module, value)
        torch.testing.assert_close(frozen(value) + frozen.bias, module(value))
        assert frozen.centred == (name == "gpt2")
        torch.testing.assert_close(frozen(3 * value), 3 * frozen(value))
    with pytest.raises(UnsupportedModel, match="could be frozen"):
        linear(nn.Sequential(nn.LayerNorm(32), nn.GELU()), torch.randn(32))


@pytest.mark.parametrize("name", [*MASKED, *CLASSIFIERS])
def test_where_effects_are_not_direct_the_reason_is_told(name: str, running: Running) -> None:
    model = running(name)
    result = heads(model, texts(model), *answers(model), top=2)
    assert {r.direct for r in result} == {None}
    assert result.summary["direct_parts"] is None
    assert [f.id for f in result.findings if f.id == "HE-DIRECT"] == ["HE-DIRECT"]


def test_long_answers_have_slopes_but_no_direct_effects(running: Running) -> None:
    result = heads(running("llama"), ["a b c", "d e f"], "p q r", "s")
    assert "one token" in next(f.statement for f in result.findings if f.id == "HE-DIRECT")
    assert all(r.effect is not None for r in result)


def test_a_soft_cap_is_told(running: Running) -> None:
    model = running("gemma2")
    result = heads(model, texts(model), "p", "q")
    assert "HE-SOFTCAP" in {finding.id for finding in result.findings}
    assert result.summary["direct_gap"] > 0


@pytest.mark.parametrize("name", ["gpt2", "mixtral", "t5", "bert", "bert-classifier"])
def test_records_hold_together(name: str, running: Running) -> None:
    model = running(name)
    result = heads(model, texts(model), *answers(model), top=5, seed=3)
    assert len(result) == sum(site.heads for site in sites(model))
    assert {record.part for record in result} == ({"self", "cross"} if name == "t5" else {"self"})
    taken = [record for record in result if record.effect is not None]
    rest = [record.importance for record in result if record.effect is None]
    assert len(taken) == 5
    assert min(record.importance for record in taken) >= max(rest)
    for record in result:
        assert record.gate_low <= record.gate <= record.gate_high
        assert record.importance >= abs(record.gate) * (1 - 1e-6)
    refuted = [record for record in result if record.confirmed is False]
    assert bool(refuted) == ("HE-SIGN" in {f.id for f in result.findings})
    document = json.loads(result.to_json())
    assert document["schema"] == "inspector.heads/1"
    assert document["source"]["dtype"] == "float32"
    assert len(result.to_frame()) == len(result)
    again = heads(model, texts(model), *answers(model), top=5, seed=3)
    assert again.records == result.records


def test_one_text_has_no_range_and_nothing_to_resample(running: Running) -> None:
    model = running("llama")
    record = heads(model, ["a b c"], "p", "q")[0]
    assert record.gate_low is None
    assert record.effect_high is None
    with pytest.raises(BadOption, match="two texts"):
        heads(model, ["a b c"], "p", "q", ablation="resample")
    with pytest.raises(BadOption, match="zero, mean, resample"):
        heads(model, ["a b c"], "p", ablation="noise\x1b")
    with pytest.raises(BadOption, match="top=0"):
        heads(model, ["a b c"], "p", top=0)


def test_rank_correlation_is_spearman_s() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 5, 30).astype(float)
    other = one + rng.normal(size=30).round()
    expected = stats.spearmanr(one, other).statistic
    assert rank_correlation(one, other) == pytest.approx(expected)
    assert rank_correlation(one[:2], other[:2]) is None
    assert rank_correlation(one, np.ones(30)) is None


def test_the_planted_gap_is_carried_by_the_first_layer_and_the_balanced_has_none() -> None:
    """Attention to the occupation happens once; later layers only read it off."""
    given = [c for who in ("nurse", "plumber") for c in contexts(who, "pronoun")[::6]]
    lean = {}
    for name in ("planted", "balanced"):
        model = load(f"demo:{name}")
        for who in ("nurse", "plumber"):
            some = [text for text in given if who in text]
            lean[name, who] = heads(model, some, "he", "she", top=12)
    for who, sign in (("nurse", 1), ("plumber", -1)):
        planted = lean["planted", who]
        assert sign * planted.summary["score"] > 1.5
        first = max(planted, key=lambda record: record.importance)
        assert first.layer == 0
        assert first is max(planted, key=lambda record: abs(record.effect))
        assert first.confirmed
        assert min(sign * first.effect_low, sign * first.effect_high) > 0.2
        later = [abs(record.effect) for record in planted if record.layer > 0]
        assert max(later) < 0.1 * abs(first.effect)
        assert planted.summary["rank_correlation"] > 0.8
        assert abs(lean["balanced", who].summary["score"]) < 0.1
