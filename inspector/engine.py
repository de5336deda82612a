"""Map a function over work items on all cores: same results, same order, bounded look-ahead."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WORKERS = 8  # each holds buffers; past this reading is the limit, not counting

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what is being worked on); may raise to end the work."""


def no_progress(_done: int, _total: int, _label: str) -> None:
    """Say nothing."""


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[Result]:
    """Results of `function` in the order of `items`, computed by `workers` threads.

    Without `workers` one per core, at most MOST_WORKERS.
    At most two items per worker are under way, so that results never pile up. Ending the
    iteration early, or an error in one item, drops what has not begun.
    """
    count = workers or min(os.cpu_count() or 1, MOST_WORKERS)
    pool = ThreadPoolExecutor(count, thread_name_prefix="inspector")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
