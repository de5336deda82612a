"""Each metric against values worked out by hand, and against loops over rows."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model.rows import mean, rows_of, uniform_map

from inspector.model.attention_metrics import ATTENTION_METRICS, Rows, uniform


def harmonic(n: int) -> float:
    return sum(1 / i for i in range(1, n + 1))


@pytest.mark.parametrize(
    ("size", "expected"), [(8, 0.24541), (16, 0.15872), (64, 0.05943), (128, 0.03491)]
)
def test_uniform_causal_attention(size: int, expected: float) -> None:
    rows = rows_of(uniform_map(size))
    spread = ATTENTION_METRICS["entropy"].of(rows)[0, 0]
    torch.testing.assert_close(spread, torch.arange(1, size + 1).log())
    assert mean("entropy_normalised", rows) == pytest.approx(1)
    for name in ("previous_token", "sink_mass", "own_token", "confidence"):
        assert mean(name, rows) == pytest.approx(expected, abs=5e-6), name
    assert mean("mean_distance", rows, first=0) == pytest.approx((size - 1) / 4)
    assert mean("mean_distance", rows) == pytest.approx(size / 4)
    assert mean("learned_sink", rows) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("block", "copies", "expected"),
    [(8, 2, 0.08286), (25, 2, 0.02733), (32, 2, 0.02142), (25, 4, 0.03127)],
)
def test_uniform_induction(block: int, copies: int, expected: float) -> None:
    rows = rows_of(uniform_map(block * copies), torch.arange(block).repeat(copies))
    assert mean("induction", rows) == pytest.approx(expected, abs=5e-6)
    if copies == 2:
        exact = (harmonic(2 * block) - harmonic(block)) / block
        assert mean("induction", rows) == pytest.approx(exact)


def test_a_shift_is_a_previous_token_head() -> None:
    rows = rows_of(torch.diag(torch.ones(8), -1))
    assert mean("previous_token", rows) == 1
    assert mean("own_token", rows) == 0
    assert mean("mean_distance", rows) == 1
    assert mean("confidence", rows) == 1
    assert mean("entropy", rows) == 0


def test_perfect_induction_and_perfect_duplicates() -> None:
    block = 6
    tokens = torch.arange(block).repeat(2)
    looks = torch.zeros(2 * block, 2 * block)
    same = torch.zeros(2 * block, 2 * block)
    for i in range(block, 2 * block):
        looks[i, i - block + 1] = 1
        same[i, i - block] = 1
    assert mean("induction", rows_of(looks, tokens)) == 1
    assert mean("induction_neighbours", rows_of(looks, tokens)) == 0
    assert mean("duplicate_token", rows_of(looks, tokens)) == 0
    assert mean("duplicate_token", rows_of(same, tokens)) == 1
    assert mean("induction", rows_of(same, tokens)) == 0
    assert mean("induction_neighbours", rows_of(same, tokens)) == 0.5


def test_rows_that_give_a_share_to_a_learned_sink() -> None:
    half = uniform_map(8) / 2
    rows = rows_of(half)
    assert mean("learned_sink", rows) == pytest.approx(0.5)
    assert mean("entropy_normalised", rows) == pytest.approx(1)
    assert mean("mean_distance", rows) == pytest.approx(2)
    assert mean("sink_mass", rows) == pytest.approx(0.24541 / 2, abs=5e-6)


def test_distance_without_the_sink() -> None:
    """Half on the first token and half on the one before: without the first it is 1."""
    weights = torch.zeros(10, 10)
    weights[0, 0] = 1
    for i in range(1, 10):
        weights[i, 0] += 0.5
        weights[i, i - 1] += 0.5
    rows = rows_of(weights)
    assert mean("mean_distance_without_sink", rows) == pytest.approx(1)
    assert mean("mean_distance", rows) == pytest.approx((sum(range(1, 10)) / 9 + 1) / 2)
    assert mean("sink_mass", rows) == pytest.approx((8 * 0.5 + 1) / 9)


def by_loops(weights: list[list[float]], tokens: list[int]) -> dict[str, tuple[float, float]]:
    """Sum of each metric over all rows but the first, and over how many."""
    found: dict[str, tuple[float, float]] = {}

    def add(name: str, value: float, over: float = 1.0) -> None:
        top, bottom = found.get(name, (0.0, 0.0))
        found[name] = (top + value, bottom + over)

    for i in range(1, len(tokens)):
        row, total = weights[i], sum(weights[i])
        parts = [a / total for a in row if a > 0]
        spread = -sum(a * math.log(a) for a in parts)
        add("entropy", spread)
        add("entropy_normalised", spread / math.log(i + 1))
        add("sink_mass", row[0])
        add("learned_sink", 1 - total)
        add("previous_token", row[i - 1])
        add("own_token", row[i])
        add("confidence", max(row))
        add("mean_distance", sum(a * (i - j) for j, a in enumerate(row)), total)
        far = sum(a * (i - j) for j, a in enumerate(row) if j)
        add("mean_distance_without_sink", far, total - row[0])
        before = [j for j in range(i) if tokens[j] == tokens[i]]
        if before:
            add("duplicate_token", sum(row[j] for j in before))
        after = [j for j in range(1, i) if tokens[j - 1] == tokens[i]]
        if after:
            add("induction", sum(row[j] for j in after))
            second = [j for j in range(2, i) if tokens[j - 2] == tokens[i]]
            beside = sum(row[j] for j in before) + sum(row[j] for j in second)
            add("induction_neighbours", beside / 2)
    return found


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(3, 12), cut=st.integers(1, 12))
def test_all_metrics_by_loops_whole_and_in_chunks(seed: int, size: int, cut: int) -> None:
    random = torch.Generator().manual_seed(seed)
    weights = torch.rand(size, size, generator=random).tril()
    weights /= weights.sum(-1, keepdim=True) * 1.25
    tokens = torch.randint(0, 4, (size,), generator=random)
    expected = by_loops(weights.double().tolist(), tokens.tolist())
    for name, metric in ATTENTION_METRICS.items():
        whole = rows_of(weights, tokens)
        top, bottom = 0.0, 0.0
        for start in range(0, size, cut):
            stop = min(start + cut, size)
            part = dataclasses.replace(
                whole,
                weights=weights[None, None, start:stop, :stop].contiguous(),
                seen=whole.seen[:, start:stop],
                first_query=start,
                visible=None,
                scratch=torch.full((1, 1, stop - start, stop), 7.0),
            )
            keep = (torch.arange(start, stop) > 0).float()
            top += float((metric.of(part) * keep).sum())
            over = keep[None, None] if metric.over is None else metric.over(part) * keep
            bottom += float(over.sum())
        want = expected.get(name, (0.0, 0.0))
        assert bottom == pytest.approx(want[1], abs=1e-4), name
        assert top == pytest.approx(want[0], abs=1e-4), name


def test_metrics_leave_the_rows_as_they_were() -> None:
    weights = torch.rand(2, 7, 7).tril()
    rows = dataclasses.replace(rows_of(weights), scratch=torch.empty(1, 2, 7, 7))
    kept = rows.weights.clone()
    for metric in ATTENTION_METRICS.values():
        metric.of(rows)
    assert torch.equal(rows.weights, kept)


def test_the_null_is_the_metric_of_even_rows_over_what_is_seen() -> None:
    window = torch.ones(8, 8, dtype=torch.bool).tril().triu(-2)
    rows = Rows(
        weights=torch.rand(1, 3, 8, 8),
        tokens=torch.arange(8)[None],
        seen=window.sum(-1)[None],
        visible=window[None, None],
    )
    even = uniform(rows)
    assert even.weights.shape == (1, 1, 8, 8)
    torch.testing.assert_close(even.weights.sum(-1), torch.ones(1, 1, 8))
    assert mean("entropy_normalised", even) == pytest.approx(1)
    assert mean("previous_token", even) == pytest.approx((1 / 2 + 6 / 3) / 7)
    assert mean("mean_distance", even) == pytest.approx((1 / 2 + 6) / 7)
