"""The figures in docs/behaviour.md are those that the functions give."""

from pathlib import Path

import pytest

from inspector.model.ablation import ablate
from inspector.model.attribution import attribute
from inspector.model.lens import lens
from inspector.model.load import Model, load

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "behaviour.md").read_text("utf-8").split())
TEXT = "the nurse from the north said that"


@pytest.fixture(scope="module")
def planted() -> Model:
    return load("demo:planted")


def test_attribution(planted: Model) -> None:
    found = attribute(planted, TEXT, "he", "she", draws=0)
    told = found.summary
    best = max(found, key=lambda record: record.score)
    area = told["faithfulness"]["area"]
    difference = told["f_input"] - told["f_baseline"]
    assert best.text == "nurse"
    assert f"puts *nurse* first with {best.score:.2f} of {difference:.2f} nats" in PAGE
    assert f"area {area.value:.2f}, random orders {area.low:.2f} to {area.high:.2f}" in PAGE
    other = attribute(load("demo:balanced"), TEXT, "he", "she", draws=0)
    assert f"the margin is {other.summary['f_input']:.3f} nats: {other.summary['verdict']}" in PAGE
    assert f"scores up to {max(abs(r.score) for r in other):.1f} are computed" in PAGE


def test_ablation(planted: Model) -> None:
    lost = {r.name: -r.answer_change for r in ablate(planted, [TEXT], "he", "she")}
    assert f"The attention of layer 0 is worth {lost['layer 0 attention']:.2f}" in PAGE
    assert f"its head 3 alone {lost['layer 0 head 3']:.2f}" in PAGE
    assert f"All biases together: {abs(lost['all biases']):.3f}" in PAGE


def test_lens(planted: Model) -> None:
    found = lens(planted, TEXT)
    first, second, third = (p for p in found if p.position == 7 and p.layer is not None)
    assert found.summary["settled"] == "layer 0"
    told = f"at {first.probability:.2f}, then {second.probability:.2f} and {third.probability:.2f}"
    assert told in PAGE
