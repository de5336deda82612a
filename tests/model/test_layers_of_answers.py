"""What passes through layers and neurons adds up; methods and attention are set side by side."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import spearmanr

from inspector.errors import BadOption
from inspector.model.agreement import ALONE, ATTENTION, agreement, spearman
from inspector.model.attribution import METHODS
from inspector.model.layers import ANSWER, answer_neurons, layers
from inspector.model.load import Model, load

Running = Callable[[str], Model]
NURSE = "the nurse from the north said that"


@pytest.mark.parametrize(
    ("name", "target", "versus"),
    [
        ("gpt2", "b a", "w1"),
        ("bloom", "b", "a"),
        ("t5", "b a", None),
        ("bert-classifier", "1", None),
    ],
)
def test_every_layer_passes_the_whole_difference_on(
    name: str, target: str, versus: str | None, running: Running
) -> None:
    model = running(name)
    found = layers(model, "a b c a", target, versus, samples=400, most_steps=400)
    difference = found.summary["f_input"] - found.summary["f_baseline"]
    of_layer = {r.layer: 0.0 for r in found}
    for record in found:
        of_layer[record.layer] += record.score
    assert len(of_layer) == 2
    for layer, total in of_layer.items():
        assert total == pytest.approx(difference, abs=0.05 * max(1, abs(difference)))
        gap = found.summary["completeness_gaps"][str(layer)]
        assert abs(total - difference) == pytest.approx(gap, abs=1e-6)
    assert [r.text for r in found][:5] == ["a", "b", "c", "a", ""]
    assert found[4].position == ANSWER


def test_the_planted_word_has_moved_to_the_last_one() -> None:
    found = layers(load("demo:planted"), NURSE, "he", "she", parts=("block", "attention", "mlp"))
    last = [r for r in found if r.text == "that" and r.part == "block"]
    total = found.summary["f_input"] - found.summary["f_baseline"]
    assert [r.layer for r in last] == [0, 1, 2]
    assert last[-1].score == pytest.approx(total, rel=0.05)  # nothing else is read after the last
    mover = max((r for r in found if r.part == "attention"), key=lambda r: r.score)
    assert (mover.layer, mover.text) == (0, "that")
    assert found.findings == ()


def test_neurons_are_ranked_and_sum_to_what_the_mlp_passes() -> None:
    model = load("demo:planted")
    every = answer_neurons(model, NURSE, "he", "she", top=3 * 288, samples=50)
    sizes = [abs(r.score) for r in every]
    assert sizes == sorted(sizes, reverse=True)
    assert len(every) == 3 * 288
    for layer, total in every.summary["sums"].items():
        assert sum(r.score for r in every if r.layer == int(layer)) == pytest.approx(total)
    few = answer_neurons(model, NURSE, "he", "she", top=4, samples=50)
    assert [r.neuron for r in few] == [r.neuron for r in every[:4]]


def test_experts_have_no_neurons_of_their_own(running: Running) -> None:
    found = answer_neurons(running("mixtral"), "a b", "c", samples=2)
    assert [finding.id for finding in found.findings] == ["AT-NEURONS"] * 2
    assert len(found) == 0


def test_parts_are_checked(running: Running) -> None:
    for wrong in ([], ["head"]):
        with pytest.raises(BadOption, match="block, attention, mlp"):
            layers(running("gpt2"), "a b", "c", parts=wrong)


def test_methods_and_attention_are_compared_and_ranked() -> None:
    found = agreement(load("demo:planted"), NURSE, "he", "she")
    names = [*METHODS, ALONE, *ATTENTION]
    ranking = found.summary["ranking"]
    assert sorted(line["name"] for line in ranking) == sorted(names)
    areas = [line["area"].value for line in ranking]
    assert areas == sorted(areas, reverse=True)
    assert len(found) == len(names) * (len(names) - 1) // 2
    by_pair = {(r.one, r.other): r for r in found}
    same = by_pair["feature-ablation", ALONE]
    assert (same.spearman, same.kendall, same.signed) == (pytest.approx(1), pytest.approx(1), True)
    assert not by_pair["integrated-gradients", "attention"].signed
    scores = {line["name"]: line["scores"] for line in ranking}
    expected = spearmanr(np.abs(scores["lime"]), scores["attention"]).statistic
    assert by_pair["lime", "attention"].spearman == pytest.approx(expected)
    told = found.summary["told"]
    disagrees = "AT-DISAGREE" in [finding.id for finding in found.findings]
    assert disagrees == told.startswith("Attention is not attribution")
    for name in ATTENTION[::2]:  # each word's share of a row
        assert 0 < sum(scores[name]) <= 1
    found.to_json()


@pytest.mark.parametrize(("name", "text"), [("bert", "a <mask> b"), ("t5", "a b c"), ("gpt2", "a")])
def test_other_models_are_compared_as_far_as_they_go(
    name: str, text: str, running: Running
) -> None:
    found = agreement(running(name), text, "w1", methods=["feature-ablation"], orders=10)
    seen = {line["name"] for line in found.summary["ranking"]}
    assert (ATTENTION[0] in seen) == (name == "bert")  # none in one token, none across stacks
    assert ("AT-ATTENTION" in [finding.id for finding in found.findings]) == (name != "bert")


def test_spearman_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        one, other = rng.integers(0, 4, 9).astype(float), rng.normal(size=9)
        assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert spearman(np.zeros(4), np.arange(4.0)) is None
