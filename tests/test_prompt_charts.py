"""Charts of what models do: their numbers against the records, their sentences and limits."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from inspector.model import questions
from inspector.model.attention_metrics import ATTENTION_METRICS
from inspector.model.heads_taxonomy import HEAD_KINDS, UNCLEAR
from inspector.model.records import Ablation, HeadAttention, LayerActivations, LensPoint
from inspector.model.samples import MOST_CHARACTERS, Asked, mask_word, sample, why_not
from inspector.report import (
    charts_ablation,
    charts_attention,
    charts_lens,
    charts_signals,
    prompt_words,
)
from inspector.weights.checkpoint import open_checkpoint
from tests.weights.build import stored, write_file

EMPTY_HEAD = dict.fromkeys(field.name for field in dataclasses.fields(HeadAttention))
WRONG = "<b>x</b> & $y$"


def head(layer: int, number: int, stack: str = "", label: str = UNCLEAR, **numbers: float):
    known = {"name": "a", "stack": stack, "layer": layer, "head": number, "label": label}
    return HeadAttention(**EMPTY_HEAD | known | {"texts": 3} | numbers)


def point(layer: int | None, position: int | None, token: str, answer: str, **other: float):
    numbers = {"probability": 0.6, "answer_probability": 0.3, "entropy": 1.0, "divergence": 0.5}
    return LensPoint(
        name="embedding" if layer is None else f"layer {layer}",
        layer=layer,
        position=position,
        text=None if position is None else f"w{position}",
        token=token,
        answer=answer,
        answer_rank=1 if token == answer else 2,
        agrees=token == answer,
        tokens=(token, "other"),
        probabilities=(0.6, 0.25),
        **numbers | other,
    )


def ablation(component: str, layer: int | None, number: int | None, change: float) -> Ablation:
    ranged = dict.fromkeys(f.name for f in dataclasses.fields(Ablation) if "_" in f.name)
    return Ablation(
        name=f"{component} {layer} {number}",
        layer=layer,
        role=None,
        component=component,
        stack="",
        part="",
        head=number,
        parameters=None,
        loss=1.0,
        divergence=abs(change),
        kept=1.0,
        **ranged | {"answer_change": change, "loss_change": -change},
    )


def data_of(chart) -> pd.DataFrame:
    return pd.DataFrame(next(iter(chart.figure.to_dict()["datasets"].values())))


def test_every_metric_and_kind_has_its_words():
    assert prompt_words.METRIC_WORDS.keys() == ATTENTION_METRICS.keys()
    assert prompt_words.KIND_MARKS.keys() == {*HEAD_KINDS, UNCLEAR}
    letters = [letter for letter, _ in prompt_words.KIND_MARKS.values()]
    assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("signed", [True, False])
def test_a_grid_holds_each_head_beside_its_null(signed):
    values = np.random.default_rng(0).uniform(0, 1, (3, 4))
    heads = [
        head(i, j, sink_mass=float(values[i, j]), sink_mass_null=0.25)
        for i in range(3)
        for j in range(4)
    ]
    chart = charts_attention.grid(heads, "sink_mass", signed)
    np.testing.assert_array_equal(chart.table["value"], values.ravel())
    np.testing.assert_allclose(chart.table["difference"], values.ravel() - 0.25)
    low, high = (np.unravel_index(f(values), values.shape) for f in (np.argmin, np.argmax))
    assert f"from {values[low]:.3g} (layer {low[0]}, head {low[1]}, uniform 0.25)" in chart.alt
    assert f"to {values[high]:.3g} (layer {high[0]}, head {high[1]}" in chart.alt
    (param,) = chart.figure.to_dict()["params"]
    assert param["name"] == charts_attention.PICK
    assert param["select"]["fields"] == ["block", "head"]


def test_blocks_of_two_stacks_are_told_apart():
    heads = [head(0, 0, stack, sink_mass=0.5) for stack in ("encoder", "decoder")]
    chart = charts_attention.grid(heads, "sink_mass")
    assert list(chart.table["block"]) == ["encoder 0", "decoder 0"]
    assert "encoder layer 0" in chart.alt
    assert charts_attention.known_metrics(heads) == ["sink_mass"]


def test_kinds_are_letters_and_counts():
    labels = ["induction", "sink", UNCLEAR, "sink"]
    heads = [head(0, i, label=label) for i, label in enumerate(labels)]
    chart = charts_attention.kinds(heads)
    assert "4 heads" in chart.alt
    assert "1 induction, 2 sink, 1 unclear" in chart.alt
    assert list(data_of(chart)["letter"]) == ["I", "S", "·", "S"]


def test_a_map_names_the_largest_and_takes_no_tags_from_tokens():
    rows = np.tril(np.ones((5, 5)))
    rows /= rows.sum(-1, keepdims=True)
    rows[3] = [0, 0.9, 0.1, 0, 0]
    tokens = ["a", WRONG, "c", "d", "e"]
    chart = charts_attention.token_map(rows, tokens, "weights")
    assert "0.9, is from token 3 (d) at token 1" in chart.alt
    drawn = chart.figure.data[0]
    np.testing.assert_allclose(drawn.z, rows, rtol=1e-6)
    told = [*chart.figure.layout.xaxis.ticktext, *np.ravel(drawn.customdata)]
    assert not any(re.search(r"<|&(?!lt;|gt;|amp;)", text) for text in told)


def test_of_a_long_map_the_part_asked_for_is_drawn():
    size, most = 450, charts_attention.MOST_SIDE
    rows = np.random.default_rng(0).uniform(size=(size, size))
    chart = charts_attention.token_map(rows, ["w"] * size, "weights", (250, 100))
    assert chart.figure.data[0].z.shape == (most, most)
    np.testing.assert_allclose(chart.figure.data[0].z, rows[250:450, 100:300], rtol=1e-6)
    assert chart.table.shape == (most, most + 1)
    assert list(chart.table["looks"])[0] == "250: w"


def test_without_the_first_token_rows_add_up_again():
    rows = np.random.default_rng(0).dirichlet(np.ones(6), 6)
    before = rows.copy()
    left = charts_attention.without_first(rows)
    np.testing.assert_array_equal(rows, before)
    assert (left[:, 0] == 0).all()
    np.testing.assert_allclose(left.sum(-1), 1)
    np.testing.assert_allclose(left[2, 1:] / left[2, 1], rows[2, 1:] / rows[2, 1])
    alone = charts_attention.without_first(np.array([[1.0, 0.0]]))
    np.testing.assert_array_equal(alone, 0)


def test_effect_says_how_far_chance_goes():
    table = pd.DataFrame(
        {"block": "0", "head": range(26), "difference": np.arange(26.0), "change": -np.arange(26.0)}
    )
    chart = charts_attention.effect(table, "sink_mass", 1.0)
    assert "Rank correlation 1.00; unrelated numbers stay within ±0.39" in chart.alt
    assert (data_of(chart)["size"] >= 0).all()
    assert "one of both is constant" in charts_attention.effect(table, "sink_mass", None).alt


def test_ranges_of_a_head_leave_out_what_is_no_share():
    one = head(
        1,
        2,
        induction=0.9,
        induction_low=0.8,
        induction_high=1.0,
        induction_null=0.1,
        entropy=3.0,
        entropy_null=2.0,
    )
    chart = charts_attention.ranges(one)
    assert list(chart.table["metric"]) == ["induction"]
    assert "Of layer 1, head 2" in chart.alt
    assert "induction 0.90 (uniform 0.10)" in chart.alt


def test_the_lens_marks_what_agrees_in_the_order_of_depth():
    points = [
        point(layer, i, token, "yes")
        for layer, token in ((None, "no"), (0, "yes"), (1, "yes"))
        for i in range(3)
    ]
    shown = charts_lens.places(points)[1:]
    assert shown == ["1: w1", "2: w2"]
    chart = charts_lens.grid(points, shown)
    assert len(chart.table) == 6
    words = data_of(chart)["word"].str.split("\n").str[0]
    assert list(words) == ["no"] * 2 + ["✓ yes"] * 4
    y = chart.figure.to_dict()["layer"][0]["encoding"]["y"]
    assert y["sort"] == ["layer 1", "layer 0", "embedding"]
    assert "embedding 0%, layer 0 100%, layer 1 100%" in chart.alt


@pytest.mark.parametrize("colour", charts_lens.COLOURS)
def test_every_colour_of_the_lens_is_drawn(colour):
    points = [point(layer, 0, "a", "b", **{colour: 0.123}) for layer in (0, 1)]
    chart = charts_lens.grid(points, charts_lens.places(points), colour)
    assert data_of(chart)["word"].str.endswith("0.12").all()


def test_what_is_left_of_the_probability_is_drawn_too():
    chart = charts_lens.top(point(3, None, "yes", "yes"))
    assert list(chart.table["probability"]) == pytest.approx([0.6, 0.25, 0.15])
    assert chart.table["probability"].sum() == pytest.approx(1)
    assert "Likeliest after layer 3: yes 0.6" in chart.alt


def test_depth_follows_the_final_answer():
    points = [point(i, 4, "a", "b", answer_probability=0.1 * i) for i in range(5)]
    chart = charts_lens.depth(points)
    assert "final answer (b) at 4: w4 through 5 steps: from 0.000 to 0.400" in chart.alt


def test_of_many_parts_the_largest_changes_are_drawn_and_all_are_in_the_table():
    changes = np.random.default_rng(0).normal(size=30)
    records = [ablation("head", 0, i, change) for i, change in enumerate(changes)]
    records += [ablation("layer", i, None, 0.1) for i in range(3)]
    chart = charts_ablation.bars(records, "answer_change")
    drawn = data_of(chart)
    heads = drawn[drawn["kind"] == "heads"]
    most = charts_ablation.MOST_OF_A_KIND
    expected = np.sort(np.abs(changes))[-most:]
    np.testing.assert_allclose(np.sort(heads["change"].abs()), expected)
    assert len(chart.table) == 33
    assert list(drawn["kind"])[:3] == ["whole layers"] * 3
    assert f"of 30 heads {changes[np.abs(changes).argmax()]:+.3g}" in chart.alt
    assert f"the {most + 3} largest" in chart.alt
    assert list(charts_ablation.effect_table(records[:1], "loss_change")["change"]) == [-changes[0]]


def test_signals_sum_up_units_and_sizes():
    records = [
        LayerActivations(
            name=f"layer {i}", layer=i, stack="", stream_rms=2.0**i, stream_rms_low=None,
            stream_rms_high=None, growth=2.0, cosine=0.9, largest=3.0, attention_rms=0.5,
            mlp_rms=0.25, units=10, dead_units=i, saturated_units=2, linear_units=0,
            saturated_share=0.1,
        )
        for i in range(3)
    ]  # fmt: skip
    chart = charts_signals.units(records)
    assert "Of 30 units on every token: 3 dead, 6 saturated, 0 linear" in chart.alt
    assert chart.table.groupby("sort")["share"].sum()["dead"] == pytest.approx(0.3)
    sizes = charts_signals.sizes(records)
    assert "3 layers: 1 after the first, 4 after the last" in sizes.alt
    assert len(sizes.table) == 9


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "empty"),
        (" \t\n", "empty"),
        ("x" * (MOST_CHARACTERS + 1), "200,001 characters"),
        ("a \ud800 b", "Character 2"),
    ],
    ids=["empty", "blank", "long", "surrogate"],
)
def test_what_is_wrong_with_a_text_is_said_without_a_model(text, told):
    assert told in (why_not(text) or "")
    assert why_not("a word") is None
    assert MOST_CHARACTERS == questions.MOST_CHARACTERS


@pytest.mark.parametrize(
    "token, expected",
    [('"<mask>"', "<mask>"), ('{"content": "[M]"}', "[M]"), ("null", "[MASK]"), ("7", "[MASK]")],
)
def test_a_masked_model_is_offered_its_own_mask(tmp_path, token, expected):
    one = {"bert.embeddings.word_embeddings.weight": stored("F32", np.ones((3, 4), np.float32))}
    write_file(tmp_path / "model.safetensors", one)
    (tmp_path / "config.json").write_text('{"architectures": ["BertForMaskedLM"]}')
    (tmp_path / "tokenizer_config.json").write_text(f'{{"mask_token": {token}}}')
    checkpoint = open_checkpoint(str(tmp_path))
    assert mask_word(checkpoint) == expected
    assert f" {expected}." in sample(checkpoint).text


def test_what_is_offered_for_a_demo_is_in_its_words():
    assert sample(open_checkpoint("demo:planted")) == Asked(
        text="the nurse from the north said that", target="he", versus="she"
    )
