"""Charts of attributions: their numbers against a second derivation, and what they cannot hold."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.model.records import Agreement, LayerScore, TokenScore
from inspector.report import attribution_words as words
from inspector.report import charts_agreement, charts_attribution
from inspector.report.charts_attribution import LINE, MOST_BARS, MOST_COLUMNS


def unit(position: int, text: str, score: float, removal: float | None = None) -> TokenScore:
    return TokenScore(
        position=position,
        token=text,
        text=text,
        score=score,
        start=0,
        end=len(text),
        tokens=1,
        baseline="<pad>",
        removal=removal,
    )


def units(scores: list[float]) -> list[TokenScore]:
    return [unit(i + 1, f" word{i}", score, -score) for i, score in enumerate(scores)]


@given(st.lists(st.tuples(st.text(max_size=40), st.floats(-1e4, 1e4)), min_size=1, max_size=60))
def test_words_stand_in_their_order_and_never_on_each_other(given_units):
    placed = charts_attribution.laid_out(
        [unit(i, text, score) for i, (text, score) in enumerate(given_units)],
        max(abs(score) for _, score in given_units),
    )
    assert list(placed["position"]) == list(range(len(given_units)))
    rows = list(placed.itertuples())
    for one, other in itertools.pairwise(rows):
        assert (one.line, one.end) < (other.line, other.begin) or one.line < other.line
    for row in rows:
        assert 0 <= row.begin < row.end <= LINE
        assert row.text.isprintable()
        wide = charts_attribution._wide(row.text)
        assert row.end - row.begin >= min(wide, LINE - 2)  # its letters fit into its box


def test_colours_end_at_the_largest_score_on_both_sides():
    chart = charts_attribution.tokens(units([0.5, -2.0, 0.1]))
    spec = chart.figure.to_dict()
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == [-2.0, 0, 2.0]
    assert scale["range"] == charts_attribution.COLOURS
    doubtful = charts_attribution.tokens(units([0.5]), "Not to be read").figure.to_dict()
    assert doubtful["layer"][0]["encoding"]["color"]["scale"]["range"] != scale["range"]
    assert doubtful["title"]["text"] == "Not to be read"


def test_all_scores_zero_are_drawn_as_zero():
    for chart in (
        charts_attribution.tokens(units([0.0, 0.0])),
        charts_attribution.bars(units([0.0])),
    ):
        json.dumps(chart.figure.to_dict(), allow_nan=False)
    assert list(charts_attribution.laid_out(units([0.0]), 1.0)["signed"]) == ["0"]


def test_bars_hold_the_largest_scores_in_the_order_of_the_text():
    scores = list(np.random.default_rng(0).normal(size=100))
    chart = charts_attribution.bars(units(scores))
    kept = sorted(np.argsort(-np.abs(scores))[:MOST_BARS] + 1)
    assert list(chart.table["position"]) == kept
    assert f"the {MOST_BARS} largest of 100 units" in chart.alt
    above = sum(scores[position - 1] >= 0 for position in kept)
    assert f"{above} for the answer and {MOST_BARS - above} against it" in chart.alt


def test_bars_without_leave_one_out_have_no_diamonds():
    chart = charts_attribution.bars([unit(1, "a", 1.0)])
    assert "Diamonds" not in chart.alt
    assert chart.figure.to_dict()


def layers(count: int, positions: list[int]) -> list[LayerScore]:
    return [
        LayerScore(
            stack="",
            layer=layer,
            part="block",
            position=position,
            token="t",
            text=f"t{position}",
            score=layer + position / 1000,
        )
        for layer in range(count)
        for position in positions
    ]


def test_a_grid_of_layers_holds_every_score_of_its_window():
    records = layers(3, list(range(100)))
    chart = charts_attribution.by_layer(records, first=30)
    assert len(chart.table) == 3 * MOST_COLUMNS
    first = chart.table.iloc[0]
    assert (first["layer"], first["unit"], first["score"]) == ("0", "30 t30", 0.03)
    assert f"units 31 to {30 + MOST_COLUMNS} of 100" in chart.alt
    assert "+2.1 at 99 t99 in layer 2" in chart.alt  # of all, not of the window alone


def test_what_is_no_unit_is_left_out_only_where_it_is_zero():
    records = layers(1, [1, 2])
    silent = LayerScore(stack="", layer=0, part="block", position=-1, token="", text="", score=0.0)
    shown = charts_attribution.by_layer([*records, silent]).table
    assert "(elsewhere)" not in set(shown["unit"])
    spoken = LayerScore(stack="", layer=0, part="block", position=-1, token="", text="", score=0.5)
    shown = charts_attribution.by_layer([*records, spoken]).table
    assert "(elsewhere)" in set(shown["unit"])


RANKING = [
    {"name": "one", "verdict": words.VERDICTS.keys(), "scores": [1.0, -4.0, 0.0]},
    {"name": "other", "verdict": "", "scores": [0.0, 0.0, 0.0]},
]


def test_each_method_is_scaled_to_its_own_largest_score():
    chart = charts_agreement.by_method(RANKING, ["a", "b", "c"])
    table = chart.table.set_index(["method", "unit"])["share"]
    assert dict(table["one"]) == {"1 a": 0.25, "2 b": -1.0, "3 c": 0.0}
    assert set(table["other"]) == {0.0}  # nothing is divided by nothing
    assert "1 of 2 give the most to unit" in chart.alt


def test_correlations_stand_on_both_sides_of_the_diagonal():
    pairs = [("a", "b", 0.5), ("a", "c", -0.25), ("b", "c", None)]
    records = [
        Agreement(one=one, other=other, signed=True, spearman=value, kendall=value)
        for one, other, value in pairs
    ]
    chart = charts_agreement.rank_correlations(records, ["a", "b", "c"])
    table = chart.table.set_index(["one", "other"])["correlation"]
    assert table["a", "c"] == table["c", "a"] == -0.25
    assert np.isnan(table["b", "c"])
    assert "from -0.25 to 0.50" in chart.alt
    none = charts_agreement.rank_correlations(records[2:], ["b", "c"])
    assert "none is known" in none.alt


@pytest.mark.parametrize(
    "text, shown",
    [
        (" nurse", "nurse"),
        ("  ", "␣␣"),
        ("\n", "↵"),
        ("a\x1b[31m", "a\\x1b[31m"),
        ("\u202eb", "\\u202eb"),
        ("x" * 100, "x" * 24 + "… (100 characters)"),
        ("", ""),
    ],
)
def test_units_are_shown_in_one_plain_line(text, shown):
    assert words.visible(text) == shown


@pytest.mark.parametrize("score, shown", [(1.0989, "+1.1"), (-0.0131, "-0.0131"), (0.0, "0")])
def test_scores_carry_their_sign(score, shown):
    assert words.signed(score) == shown


@pytest.mark.parametrize(
    "score, largest, shown",
    [
        (1.0989, 1.0989, "+1.10"),
        (-0.0131, 1.0989, "-0.01"),
        (0.0000511, 0.237, "0"),
        (-0.237, 0.237, "-0.237"),
        (-1234.5, 1234.5, "-1234"),
        (0.0, 0.0, "0"),
        (3e-9, 3e-9, "+0.00000000300"),
    ],
)
def test_scores_side_by_side_end_at_the_same_place(score, largest, shown):
    assert words.side_by_side(score, largest) == shown


def test_answers_of_two_lengths_are_told_per_token():
    answers = [{"text": "a", "ids": [1]}, {"text": "b c", "ids": [1, 2]}]
    told = words.meaning({"answers": answers, "f_input": -np.log(4), "per_token": -0.5})
    assert told.startswith('"b c" is 4 times as likely as "a".')
    assert "Per token F is -0.5" in told
    alone = words.meaning({"answers": answers[:1], "f_input": np.log(0.25)})
    assert alone == '"a" has a probability of 0.25.'


@pytest.mark.parametrize(
    "verdicts, begins",
    [
        (["better than random on this prompt", "no better than random on this prompt"], "Told"),
        (["nothing to explain", "nothing to explain"], "Told"),
        (["no better than random on this prompt"], "Nothing here is better than random"),
    ],
)
def test_where_no_method_holds_that_is_said_first(verdicts, begins):
    ranking = [{"verdict": verdict} for verdict in verdicts]
    assert words.headline({"ranking": ranking, "told": "Told."}).startswith(begins)
