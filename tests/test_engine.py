"""Work on all cores: the same results in the same order, never too many at once, and an end."""

import threading
import time

import hypothesis.strategies as st
import pytest
from hypothesis import given

from inspector.engine import ordered_map


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("inspector")]


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 6))
def test_results_come_in_order_however_long_each_takes(items, workers):
    def slow_square(item: int) -> int:
        time.sleep(item / 10_000)
        return item * item

    assert list(ordered_map(slow_square, items, workers)) == [item * item for item in items]


def test_without_a_number_all_cores_are_used():
    assert list(ordered_map(str, range(100))) == [str(i) for i in range(100)]


def test_work_is_spread_over_threads():
    together = threading.Barrier(3, timeout=30)
    assert len(list(ordered_map(lambda _: together.wait(), range(3), workers=3))) == 3


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_at_most_two_items_per_worker_are_taken_ahead(workers):
    taken = given_back = most = 0

    def items():
        nonlocal taken, most
        for i in range(100):
            taken += 1
            most = max(most, taken - given_back)
            yield i

    for _ in ordered_map(lambda item: item, items(), workers):
        given_back += 1
    assert taken == given_back == 100
    assert most <= 2 * workers


def test_an_end_ahead_of_time_drops_what_has_not_begun():
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.01)
        return item

    results = ordered_map(work, range(1000), workers=2)
    assert next(results) == 0
    results.close()
    assert len(begun) <= 4
    assert not running()


def test_an_error_in_an_item_reaches_the_caller_after_what_came_before():
    def work(item: int) -> int:
        if item == 5:
            raise ValueError("the sixth")
        return item

    seen = []
    with pytest.raises(ValueError, match="the sixth"):
        for result in ordered_map(work, range(1000), workers=2):
            seen.append(result)  # noqa: PERF402
    assert seen == [0, 1, 2, 3, 4]
    assert not running()


def test_an_error_in_giving_the_items_reaches_the_caller():
    def items():
        yield 1
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        list(ordered_map(str, items(), workers=2))
    assert not running()
