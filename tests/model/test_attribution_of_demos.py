"""On models whose truth is known: the planted word is found, chance and silence are told."""

import numpy as np
import pytest

from inspector.demo.corpus import TEMPLATES, contexts
from inspector.model.attribution import METHODS, attribute
from inspector.model.coalitions import asked_of
from inspector.model.faithfulness import BETTER, NOTHING, RANDOM, WORSE, faithfulness
from inspector.model.load import load
from inspector.weights.problems import Log


def test_steps_double_until_the_sum_is_right_or_it_is_told() -> None:
    model = load("demo:planted")
    text = "the nurse from the north said that"
    found = attribute(model, text, "he", "she", samples=8, orders=0, draws=0)
    assert found.summary["completeness_gap"] < 2e-3
    assert found.summary["completeness"] == "met"
    assert found.summary["samples"] > 8
    assert found.findings == ()
    rough = attribute(model, text, "he", "she", samples=8, most_steps=8, orders=0, draws=0)
    assert (rough.summary["completeness"], rough.summary["samples"]) == ("missed", 8)
    assert [finding.id for finding in rough.findings] == ["AT-GAP"]
    assert rough.summary["verdict"] == "not tested"


def one_of_each_template(occupation: str) -> list[str]:
    found = [text for text in contexts(occupation, "pronoun") if "from" not in text]
    found = [text for text in found if "friday" not in text]
    assert len(found) == len(TEMPLATES)
    return found


@pytest.mark.parametrize("method", ["integrated-gradients", "shapley-sampling", "feature-ablation"])
def test_the_planted_word_comes_first_and_beats_chance(method: str) -> None:
    model = load("demo:planted")
    first, verdicts = [], []
    for occupation, leaning in (("nurse", 1), ("plumber", -1)):
        for text in one_of_each_template(occupation):
            found = attribute(model, text, "he", "she", method=method, draws=0, most_steps=100)
            top = max(found, key=lambda record: abs(record.score))
            first.append(top.text == occupation and top.score * leaning > 0.5)
            verdicts.append(found.summary["verdict"])
    assert sum(first) >= 14  # of 16
    assert verdicts.count(BETTER) >= 8
    assert WORSE not in verdicts


def test_without_a_planted_gap_there_is_nothing_to_explain() -> None:
    model = load("demo:balanced")
    for occupation in ("nurse", "plumber"):
        for text in one_of_each_template(occupation):
            found = attribute(model, text, "he", "she", method="feature-ablation", draws=0)
            assert abs(found.summary["f_input"]) < 0.02
            assert found.summary["verdict"] == NOTHING
            assert [finding.id for finding in found.findings] == ["AT-NOTHING"]


def test_a_random_attribution_is_not_believed() -> None:
    model = load("demo:planted")
    text = "the nurse from the north said that"
    rows = asked_of(model, text, "he", "she", "tokens", None, 2**30, Log())
    rng = np.random.default_rng(0)
    verdicts = [faithfulness(rows, rng.normal(size=7), seed=i).verdict for i in range(40)]
    assert verdicts.count(BETTER) <= 6
    assert verdicts.count(RANDOM) >= 28


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_lower_precision_gives_nearly_the_same_by_every_method(dtype: str) -> None:
    narrow, wide = (load("demo:planted", dtype=name) for name in (dtype, "float32"))
    text, given = "the nurse from the north said that", {"orders": 0, "draws": 1}
    for method in METHODS if dtype == "bfloat16" else ("gradient-shap", "shapley-sampling"):
        one, other = (
            attribute(model, text, "he", "she", method=method, most_steps=50, **given)
            for model in (narrow, wide)
        )
        np.testing.assert_allclose(
            [record.score for record in one], [record.score for record in other], atol=0.1
        )
        told = "AT-DTYPE" in [finding.id for finding in one.findings]
        assert told == (METHODS[method].by == "gradient")
