"""Charts of groups: what they draw, and the sentences that say the same."""

import dataclasses
import json
import re

import pandas as pd
import pytest

from inspector.fairness.verdicts import INCONCLUSIVE
from inspector.report import charts_groups
from inspector.report import groups_words as words
from tests.test_bias_charts import WHOLE

RATES = [
    {"group": group, "rate": rate, "outcome": "hire", "n": n, "compared": n >= 10,
     "estimate": share if n else None, "low": share - 0.1 if n else None,
     "high": share + 0.1 if n else None}
    for rate in ("selected", "true positives")
    for group, share, n in (("a <b>", 0.2, 40), ("b", 0.7, 60), ("c", 0.9, 3), ("d", 0.0, 0))
]  # fmt: skip
GAP = dataclasses.replace(
    WHOLE,
    **{"probe": "classifier-fairness", "metric": "demographic parity difference"},
    **{"category": "gender", "estimate": 0.5, "low": 0.3, "high": 0.66, "null": 0.0},
    **{"n_items": 100, "n_clusters": 100, "n_ties": 0, "n_excluded": 4},
    **{"mde80": 0.2, "expected": 0.08},
)
NONE = dict.fromkeys(("estimate", "low", "high", "expected", "p_adjusted"))


def drawn(chart) -> list[pd.DataFrame]:
    """The data of each layer."""
    spec = json.loads(chart.figure.to_json())
    names = [one.get("data", spec.get("data"))["name"] for one in spec["layer"]]
    return [pd.DataFrame(spec["datasets"][name]) for name in names]


def test_rates_are_drawn_with_their_intervals_and_small_ones_hollow():
    chart = charts_groups.rates(RATES)
    shown = drawn(chart)[1]
    assert len(shown) == 6  # a group without texts has no mark, and stands in the table
    assert len(chart.table) == 8
    assert shown[shown["group"] == "c"]["compared"].tolist() == [False, False]
    assert "selected: 20.0 % (a <b>) to 70.0 % (b)" in chart.alt
    assert "Hollow: 4 rates" in chart.alt
    marks = json.loads(chart.figure.to_json())["layer"][1]["encoding"]
    assert marks["fillOpacity"]["condition"]["test"] == "datum.compared"
    assert marks["x"]["scale"]["domain"] == [0, 1]


def test_every_gap_is_drawn_beside_what_chance_gives():
    other = dataclasses.replace(GAP, category="age", estimate=0.1, verdict=INCONCLUSIVE)
    missing = dataclasses.replace(GAP, metric="accuracy gap", **NONE)
    chart = charts_groups.gaps([GAP, other, missing])
    ranges, chance, points = drawn(chart)
    assert chance["chance"].tolist() == [0.08, 0.08]
    assert points["gap"].tolist() == [0.5, 0.1]
    assert ranges["low"].tolist() == [0.3, 0.3]
    assert len(chart.table) == 3
    assert "(gender): 50.0 points (8.0 points by chance)" in chart.alt


def test_calibration_is_drawn_beside_the_line_of_truth():
    rows = [
        {"group": name, "n": 30, "excess": 0.1, "excess_low": -0.05, "excess_high": 0.25,
         "bins": [[0.2, 0.1, 20], [0.8, 0.9, 10]]}
        for name in "abcdefgh"
    ]  # fmt: skip
    chart = charts_groups.calibration(rows)
    line, _, marks = drawn(chart)
    assert line[["x", "y"]].to_numpy().tolist() == [[0, 0], [1, 1]]
    assert marks["group"].nunique() == charts_groups.MOST_LINES
    assert chart.table["group"].nunique() == 8
    assert "a 10.0 points (-5.0 to 25.0 points)" in chart.alt
    assert "Drawn are the first 6" in chart.alt


def test_sentences_hold_the_numbers():
    told = words.sentence(GAP)
    assert re.findall(r"[\d.]+ points", told) == ["50.0 points", "66.0 points", "8.0 points"]
    assert "100 texts; 4 are left out" in told
    assert words.sentence(dataclasses.replace(GAP, **NONE)).startswith("There is no number")


@pytest.mark.parametrize(
    ("value", "low", "high", "told"),
    [
        (0.5, 0.4, 0.7, "under 0.8."),
        (0.75, 0.6, 0.9, "under 0.8; its interval holds both sides."),
        (0.9, 0.85, 1.0, "not under 0.8."),
    ],
)
def test_four_fifths_is_told_with_its_doubt(value, low, high, told):
    record = dataclasses.replace(GAP, estimate=value, low=low, high=high, unit="ratio")
    assert words.four_fifths(record).endswith(told)
