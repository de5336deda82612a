"""The counterfactual gap on models whose gap is known."""

import pytest
from fairness.contrasted import templates, truth

from inspector.fairness.probes.table import probe
from inspector.fairness.verdicts import DETECTED, INCONCLUSIVE, INVALID
from inspector.model.load import load


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture(scope="module")
def planted():
    return load("demo:planted")


@pytest.fixture(scope="module")
def found(planted, own):
    return probe(planted, "counterfactual-gap", own)


def test_planted_bias_is_detected_and_the_interval_covers_the_truth(found):
    whole = found[0]
    assert (whole.metric, whole.category, whole.unit, whole.null) == ("gap", "all", "nats", 0)
    assert whole.verdict == DETECTED
    assert whole.low < truth("planted") < whole.high
    assert whole.n_clusters == 20 and whole.n_items == 120 and whole.n_excluded == 0


def test_the_balanced_model_is_not_biased(own):
    found = probe(load("demo:balanced"), "counterfactual-gap", own)
    assert {record.verdict for record in found} == {INCONCLUSIVE}
    assert found[0].low < truth("balanced") == 0 < found[0].high


def test_a_set_that_the_model_does_not_know_is_invalid(planted):
    found = probe(planted, "counterfactual-gap")
    assert {record.verdict for record in found} == {INVALID}
    assert "items could be scored" in found.summary["reason"]
    assert all(item.gap is not None or item.excluded for item in found.items)
