"""What a run of fine-tuning says: one record for each metric of each split."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """One number about the model on one split.

    `value` in the metric's own unit with the interval from resampling rows (`low`, `high`, 95 %);
    of a number without one they are None. `n` counts what it is a mean over; `before` is the
    same of the model before fine-tuning, where it can do the task.
    """

    split: str
    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    unit: str
    ideal: str
    before: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
    """One tensor and what a run would do to it.

    `rate` is its learning rate at the top of the schedule, None where it does not move; `begins`
    the epoch from which on it moves; `ties` its other names.
    """

    name: str
    parameters: int
    moves: bool
    rate: float | None
    begins: int | None
    new: bool
    ties: str | None
