"""Pictures of probes: every mark stands where its number is, told in words and as a table."""

import dataclasses

import pytest

from inspector.fairness.localize_records import Localised
from inspector.fairness.probes.records import Probe
from inspector.fairness.verdicts import CHANGED, DETECTED, EQUIVALENT, INCONCLUSIVE, INVALID
from inspector.report import bias_words as words
from inspector.report import charts_bias, charts_localize

WHOLE = Probe(
    probe="pairs",
    metric="preference",
    category="all",
    estimate=0.6,
    low=0.55,
    high=0.65,
    null=0.5,
    unit="share",
    p_value=0.001,
    p_adjusted=0.001,
    family="all",
    n_items=400,
    n_clusters=400,
    n_ties=3,
    n_excluded=7,
    mde80=0.07,
    scorer="pll",
    data_sha256="0" * 64,
    verdict=DETECTED,
    reason="p = 0.001",
    margin=None,
)


def part(category, **fields) -> Probe:
    return dataclasses.replace(WHOLE, **{"category": category, "family": "categories"} | fields)


RECORDS = [
    WHOLE,
    part("age", estimate=0.51, low=0.48, high=0.54, verdict=EQUIVALENT),
    part("race", estimate=0.52, low=0.4, high=0.64, verdict=INCONCLUSIVE),
    part("none", estimate=None, low=None, high=None, verdict=INVALID),
    part("sides shuffled", family="controls", estimate=0.5, low=0.4, high=0.6),
]


def layers(chart) -> list[dict]:
    return chart.figure.to_dict()["layer"]


def drawn(chart) -> list[dict]:
    """The rows that the marks stand for."""
    found = chart.figure.to_dict()["datasets"].values()
    return max(found, key=lambda rows: (len(rows), len(rows[0])))


def test_a_forest_has_a_row_for_every_number_also_where_there_is_none():
    chart = charts_bias.forest(RECORDS)
    rows = drawn(chart)
    assert [row["label"] for row in rows] == [
        *("all", "age", "race", "none", "control: sides shuffled")
    ]
    assert [row["says"] for row in rows][:4] == [
        "bias detected: 60.0 %",
        "equivalent: 51.0 %",
        "inconclusive: 52.0 %",
        "invalid measurement: no number",
    ]
    assert rows[3]["at"] == 0.5  # on the line of no bias, as a cross, without an interval
    assert rows[3]["low"] is None
    assert [row["at"] for row in rows][:3] == [0.6, 0.51, 0.52]
    assert len(chart.table) == len(RECORDS)
    for told in ("1 bias detected", "1 invalid", "60.0 % (55.0 % to 65.0 %)"):
        assert told in chart.alt


def test_verdicts_are_told_by_shape_and_word_not_by_colour_alone():
    chart = charts_bias.forest(RECORDS)
    (marks,) = (one for one in layers(chart) if one["mark"]["type"] == "point")
    shape = marks["encoding"]["shape"]["scale"]
    assert dict(zip(shape["domain"], shape["range"], strict=True)) == {
        DETECTED: "diamond",
        EQUIVALENT: "circle",
        INCONCLUSIVE: "square",
        INVALID: "cross",
    }
    assert any(one["mark"]["type"] == "text" for one in layers(chart))


def test_the_line_of_no_bias_and_the_margin_stand_in_the_picture():
    plain, wide = charts_bias.forest(RECORDS), charts_bias.forest(RECORDS, margin=0.3)
    (line,) = (one for one in layers(plain) if one["mark"].get("strokeDash"))
    assert line["encoding"]["x"]["field"] == "null"
    assert "rect" not in [one["mark"]["type"] for one in layers(plain)]
    assert "rect" in [one["mark"]["type"] for one in layers(wide)]
    (marks,) = (one for one in layers(wide) if one["mark"]["type"] == "point")
    low, high = marks["encoding"]["x"]["scale"]["domain"]
    assert low < 0.2 < 0.8 < high


def test_names_that_look_alike_keep_a_row_each():
    long = "x" * 50
    rows = drawn(charts_bias.forest([part(long + "a"), part(long + "b"), part("a\u202eb")]))
    labels = [row["label"] for row in rows]
    assert len(set(labels)) == 3
    assert "\u202e" not in "".join(labels)


def test_of_many_rows_the_first_are_drawn_and_the_table_has_all():
    many = [WHOLE, *(part(f"category {i}") for i in range(100))]
    chart = charts_bias.forest(many)
    assert len(drawn(chart)) == charts_bias.MOST_ROWS
    assert len(chart.table) == 101
    assert "the table has all" in chart.alt


def test_nats_are_told_as_nats():
    chart = charts_bias.forest([dataclasses.replace(WHOLE, metric="gap", unit="nats", null=0.0)])
    assert drawn(chart)[0]["says"] == "bias detected: 0.6 nats"
    assert "Dashed: without bias, 0 nats" in chart.alt


def test_changes_are_drawn_against_no_change():
    changed = {"change": -0.1, "change_low": -0.15, "change_high": -0.05, "baseline": 0.7}
    after = dataclasses.replace(WHOLE, **changed, change_verdict=CHANGED, change_p_adjusted=0.01)
    chart = charts_bias.changes([after, part("age")])
    (row,) = drawn(chart)
    assert (row["at"], row["says"]) == (-0.1, "changed: -10.0 points")
    assert (row["before"], row["after"]) == (0.7, 0.6)
    assert "Dashed: no change, 0.0 points" in chart.alt
    assert "rect" not in [one["mark"]["type"] for one in layers(chart)]
    assert "rect" in [one["mark"]["type"] for one in layers(charts_bias.changes([after], 0.3))]


def estimate(value: float, half: float = 0.1) -> dict:
    return {"value": value, "low": value - half, "high": value + half, "unit": "nats"}


def test_scorers_stand_side_by_side():
    shares = {"pll": estimate(0.6), "aul": estimate(0.48)}
    chart = charts_bias.scorers({"shares": shares, "n_items": 50, "spread": 0.12})
    assert [row["share"] for row in drawn(chart)] == [0.6, 0.48]
    assert "pll 60.0 %, aul 48.0 %" in chart.alt
    assert "12.0 points" in chart.alt


def test_templates_alone_and_left_out():
    def line(name, alone, without):
        measured = [None if v is None else {"estimate": estimate(v)} for v in (alone, without)]
        told = {"verdict": INCONCLUSIVE}
        return {
            "template": name,
            "alone": measured[0],
            "judged": told,
            "without": measured[1],
            "judged_without": told,
        }

    found = {
        "templates": [line("{target} said", 0.2, 0.4), line("<b>{target}</b>", None, 0.3)],
        "overall": {"estimate": estimate(0.3), "null": 0.0},
        "lowest": 0.2,
        "highest": 0.2,
    }
    chart = charts_bias.templates(found)
    assert [(row["which"], row["estimate"]) for row in drawn(chart)] == [
        ("this template alone", 0.2),
        ("all without it", 0.4),
        ("all without it", 0.3),
    ]
    assert "all together 0.3" in chart.alt


def test_categories_are_counted():
    chart = charts_bias.counts({"race": 516, "age": 87})
    assert "603 in all; the largest has 516: race" in chart.alt
    assert [row["items"] for row in drawn(chart)] == [516, 87]


KNOWN = {
    "name": "layer 0 head 0",
    "layer": 0,
    "head": 0,
    "what": "heads",
    "quantity": "ablation",
    "effect": 0.5,
    "low": 0.4,
    "high": 0.6,
    "p_adjusted": 0.02,
    "share": 0.5,
    "null_effect": 0.01,
    "null_low": -0.02,
    "null_high": 0.03,
    "slope": 0.4,
    "n_items": 100,
    "n_clusters": 9,
    "verdict": DETECTED,
    "reason": "p = 0.02",
}
PLACE = Localised(**{field.name: KNOWN.get(field.name) for field in dataclasses.fields(Localised)})


def test_the_map_of_heads_keeps_sign_place_and_what_was_not_taken_out():
    against = dataclasses.replace(
        PLACE, name="layer 1 head 0", layer=1, effect=-0.2, verdict=INCONCLUSIVE
    )
    small = dataclasses.replace(PLACE, name="layer 1 head 1", layer=1, head=1, effect=None)
    chart = charts_localize.heads([PLACE, against, small])
    cells = {(row["layer"], row["head"]): row for row in drawn(chart)}
    assert cells[0, 0]["written"] == "◆ +0.5"
    assert cells[1, 0]["written"] == "-0.2"
    assert cells[1, 1]["effect"] is None
    scale = layers(chart)[0]["encoding"]["color"]["scale"]["domain"]
    assert scale == [-0.5, 0, 0.5]  # no effect is white
    assert "Most without layer 0 head 0: +0.5. 1 stand out" in chart.alt
    assert "1 with small slopes were not taken out" in chart.alt


def test_parts_have_bars_with_intervals_beside_the_controls():
    parts = [dataclasses.replace(PLACE, name=f"layer {i}", layer=i) for i in range(60)]
    parts[7] = dataclasses.replace(parts[7], effect=-0.9, share=None)
    chart = charts_localize.bars(parts, "nats of the gap")
    rows = drawn(chart)
    assert len(rows) == charts_localize.MOST_BARS
    assert len(chart.table) == 60
    assert next(row for row in rows if row["part"] == "layer 7")["effect"] == -0.9
    assert [row["part"] for row in rows] == [f"layer {i}" for i in range(40)]
    assert "Most: layer 7 with -0.9" in chart.alt
    assert "nothing could be carried" in charts_localize.bars([], "nats").alt


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (WHOLE, "The preference is 60.0 % (95 % interval 55.0 % to 65.0 %); without bias it would "
         "be 50.0 % (towards the stereotype). It rests on 400 items, 3 of them ties; 7 could not "
         "be asked. Bias under 7.0 points would mostly go unseen."),
        (part("a", estimate=0.4, n_clusters=20, n_ties=0, mde80=None),
         "against the stereotype). It rests on 400 items in 20 independent units; 7 could not be "
         "asked. No size of bias can be detected with so few."),
        (part("a", estimate=None), "There is no number: 400 items"),
        (part("a", estimate=0.5), "without bias it would be 50.0 %. It"),
        (part("a", metric="icat", unit="", null=None), "The icat is 0.6 (95 % interval 0.55"),
    ],
)  # fmt: skip
def test_a_number_in_a_sentence(record, told):
    assert told in words.sentence(record)


def test_a_change_in_a_sentence():
    after = dataclasses.replace(WHOLE, baseline=0.7, change=-0.1, change_low=-0.2, change_high=0.0)
    assert words.change_sentence(after) == (
        "From 70.0 % in the baseline to 60.0 %: -10.0 points (95 % interval -20.0 points to 0.0 "
        "points), paired item by item."
    )
    assert "no change to tell" in words.change_sentence(WHOLE)
