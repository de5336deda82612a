"""Heads made by hand get their names; noise gets none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model import made_heads
from model.conftest import WORDS
from model.test_attention import shaped
from scipy.stats import ttest_1samp

from inspector.model.attention import attention, measured
from inspector.model.attention_records import Running
from inspector.model.heads_taxonomy import (
    ALPHA,
    HEAD_KINDS,
    UNCLEAR,
    holm,
    labels,
    one_sided_p,
)
from inspector.model.load import load
from inspector.model.texts import batches


def words(count: int, length: int) -> list[str]:
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS[5:], length, replace=False)) for _ in range(count)]


def test_heads_made_by_hand_are_named(tmp_path: Path) -> None:
    found = attention(load(made_heads.save(tmp_path)), words(8, 20))
    kinds = {(r.layer, r.head): r.label for r in found}
    assert kinds == {
        (0, 0): "previous token",
        (0, 1): "broad",
        (1, 0): "induction",
        (1, 1): "sink",
    }
    by_place = {(r.layer, r.head): r for r in found}
    assert by_place[0, 0].previous_token > 0.99
    assert by_place[1, 0].induction > 0.9
    assert by_place[1, 0].induction_neighbours < 0.05
    assert by_place[1, 1].sink_mass > 0.9
    assert by_place[0, 1].entropy_normalised == pytest.approx(1, abs=1e-5)
    for record in found:
        assert record.label_p is not None
        assert record.label_p <= ALPHA
    assert found.summary["labels"] == {
        "previous token": 1,
        "broad": 1,
        "induction": 1,
        "sink": 1,
    }


def means(heads: int = 1, **values: float) -> dict[str, np.ndarray]:
    """Means of uniform attention over 20 tokens, but for the values given."""
    null = np.mean([1 / i for i in range(2, 21)])
    made = {
        **{"induction": 0.03, "induction_neighbours": 0.03, "duplicate_token": 0.1},
        **{"previous_token": null, "own_token": null, "sink_mass": null},
        **{"mean_distance": 5.0, "entropy_normalised": 0.7},
    }
    nulls = {f"{name}_null": np.full((1, 1), value) for name, value in made.items()}
    return {name: np.full((1, heads), v) for name, v in (made | values).items()} | nulls


def kinds_of(texts: list[dict[str, np.ndarray]]) -> list[tuple[str, float | None]]:
    adjusted = {}
    for name, kind in HEAD_KINDS.items():
        held = Running.of(texts[0]["sink_mass"].shape)
        for one in texts:
            held.add(kind.excess(one))
        adjusted[name] = holm(one_sided_p(held.mean, held.variance(), held.n)).ravel()
    return labels(adjusted)


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({}, UNCLEAR),
        ({"previous_token": 0.8}, "previous token"),
        ({"own_token": 0.8}, "own token"),
        ({"sink_mass": 0.8}, "sink"),
        ({"duplicate_token": 0.6}, "duplicate token"),
        ({"induction": 0.7}, "induction"),
        ({"induction": 0.7, "sink_mass": 0.8}, "induction"),
        ({"induction": 0.5, "induction_neighbours": 0.4}, UNCLEAR),
        ({"mean_distance": 1.5}, "local"),
        ({"entropy_normalised": 0.99}, "broad"),
        ({"previous_token": 0.2}, UNCLEAR),
    ],
)
def test_each_kind_has_its_bar(values: dict[str, float], label: str) -> None:
    random = np.random.default_rng(0)
    texts = [
        means(**{name: value + 0.02 * random.standard_normal() for name, value in values.items()})
        for _ in range(8)
    ]
    assert kinds_of(texts)[0][0] == label


def test_one_text_or_noisy_texts_give_no_label() -> None:
    assert kinds_of([means(previous_token=0.9)])[0] == (UNCLEAR, None)
    texts = [means(previous_token=value) for value in (0.95, 0.1, 0.9, 0.05)]
    assert kinds_of(texts)[0][0] == UNCLEAR


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=9))
def test_p_is_that_of_a_t_test(values: list[float]) -> None:
    one = np.array(values)
    if one.std() < 1e-6:
        return
    expected = ttest_1samp(one, 0, alternative="greater").pvalue
    got = one_sided_p(np.array(one.mean()), np.array(one.var(ddof=1)), np.array(float(len(one))))
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_p_without_spread_and_without_texts() -> None:
    n = np.array([3.0, 3.0, 1.0, 0.0])
    got = one_sided_p(np.array([0.1, -0.1, 0.1, 0.0]), np.zeros(4), n)
    assert got.tolist() == [0, 1, 1, 1]


def test_holm_by_hand() -> None:
    found = holm(np.array([[0.01, 0.04], [0.03, 0.005]]))
    np.testing.assert_allclose(found, [[0.03, 0.06], [0.06, 0.02]])


def test_a_borderline_head_is_named_in_one_model_of_twenty() -> None:
    """At the bar itself, where the excess is 0 on average, noise is named at most at rate ALPHA."""
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        excess = random.uniform(-0.3, 0.3, (10, 12))
        p = holm(one_sided_p(excess.mean(0), excess.var(0, ddof=1), np.full(12, 10.0)))
        wrong += bool((p <= ALPHA).any())
    assert wrong / 200 <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / 200) ** 0.5


def test_heads_at_the_null_get_no_label() -> None:
    """Scores scattered about their null: not one label in 200 models of 12 heads."""
    random = np.random.default_rng(1)
    for _ in range(200):
        texts = [
            {
                name: values + random.uniform(-0.05, 0.05, values.shape)
                if not name.endswith("_null")
                else values
                for name, values in means(heads=12).items()
            }
            for _ in range(6)
        ]
        assert {label for label, _ in kinds_of(texts)} == {UNCLEAR}


def false_labels(models: int, std: float) -> int:
    """Models of random weights of which a head is named for a pattern."""
    wrong = 0
    for seed in range(models):
        model = shaped(2, 4, 64)
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.normal_(std=std)
        random = np.random.default_rng(seed)
        ids = [random.integers(0, 64, n).tolist() for n in (20, 24, 30, 33, 40, 50)]
        repeats = [random.choice(64, 16, replace=False).tolist() * 4 for _ in range(8)]
        texts = [
            {name: values[i] for name, values in measured(model, batch, "streaming").items()}
            for batch in batches(model, ids)
            for i in range(len(batch.ids))
        ]
        again = measured(model, next(batches(model, repeats)), "streaming", repeated=True)
        for i, one in enumerate(texts):
            one |= {name: values[i] for name, values in again.items()}
        wrong += any(label not in (UNCLEAR, "broad", "local") for label, _ in kinds_of(texts))
    return wrong


@pytest.mark.parametrize("std", [0.02, 0.2])
def test_random_models_have_no_patterns(std: float) -> None:
    assert false_labels(10, std) == 0


@pytest.mark.soak
@pytest.mark.parametrize("std", [0.02, 0.2])
def test_two_hundred_random_models(std: float) -> None:
    assert false_labels(200, std) <= 200 * ALPHA
