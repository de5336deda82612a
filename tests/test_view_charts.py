"""Charts of judgements: their numbers against a second derivation."""

import math
import re
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from inspector.report import (
    charts_grid,
    charts_init,
    charts_pruning,
    charts_quantization,
    charts_spectrum,
)
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.shape_noise import shape_noise
from inspector.weights.spectrum import MatrixSpectrum, measure, spectrum
from inspector.weights.tensor import Histogram
from tests.weights.build import stored, write_file


def record_of(values: np.ndarray) -> tuple[MatrixSpectrum, np.ndarray]:
    rows, columns = values.shape
    singular = np.linalg.svd(values, compute_uv=False)
    fields = measure(singular, rows, columns, shape_noise(*sorted(values.shape)), replicates=20)
    return MatrixSpectrum(name="w", layer=0, role="q", head=None, **fields), singular


@pytest.fixture(scope="module", params=[(300, 300), (200, 800), (800, 200)], ids=str)
def noise_matrix(request) -> tuple[MatrixSpectrum, np.ndarray]:
    return record_of(np.random.default_rng(1).normal(0, 0.05, request.param))


def values_of(spec: dict, layer: int = 0) -> pd.DataFrame:
    """The data a layer of a chart draws."""
    one = spec["layer"][layer] if "layer" in spec else spec
    return pd.DataFrame(spec["datasets"][one.get("data", spec.get("data"))["name"]])


def test_a_histogram_of_noise_follows_its_curve(noise_matrix):
    record, singular = noise_matrix
    edges = np.linspace(0, record.mp_edge * 1.1, 9)
    expected = charts_spectrum.expected_counts(edges, record)
    assert expected.sum() == pytest.approx(len(singular), rel=1e-6)
    counts, _ = np.histogram(singular, edges)
    # eigenvalues of one matrix repel each other: counts are far closer than sqrt(n)
    assert np.abs(counts - expected).max() < 4


def test_what_lies_beyond_noise_is_marked():
    rng = np.random.default_rng(2)
    values = rng.normal(0, 0.05, (200, 300))
    left, right = (v / np.linalg.norm(v) for v in (rng.normal(size=200), rng.normal(size=300)))
    values += 6 * np.outer(left, right)
    record, singular = record_of(values)
    assert record.mp_spikes == 1
    chart = charts_spectrum.singular_values(singular, record)
    beyond = chart.table[chart.table["which"] == "beyond noise"]
    assert beyond["count"].sum() == 1
    assert chart.table["count"].sum() == len(singular)
    assert "1 lie beyond" in chart.alt
    spec = chart.figure.to_dict()
    marks = values_of(spec, 2)
    assert list(marks["value"]) == [record.mp_edge, record.mp_threshold]


def test_the_line_in_the_tail_is_the_fitted_power_law():
    rng = np.random.default_rng(3)
    size = 400
    eigenvalues = np.sort((1 - rng.random(size)) ** (-1 / 1.5))[::-1]  # density ~ x^-2.5
    left, right = (np.linalg.qr(rng.normal(size=(size, size)))[0] for _ in range(2))
    record, singular = record_of((left * np.sqrt(eigenvalues)) @ right)
    assert record.alpha == pytest.approx(2.5, abs=0.4)
    line = values_of(charts_spectrum.tail(singular, record).figure.to_dict(), 1)
    law = line[line["line"] == "power law"]
    start = law.iloc[0]
    assert start["eigenvalue"] == pytest.approx(record.alpha_xmin)
    assert start["share"] == pytest.approx((singular**2 >= record.alpha_xmin * 0.999999).mean())
    slope = np.diff(np.log(law["share"])) / np.diff(np.log(law["eigenvalue"]))
    assert slope == pytest.approx(1 - record.alpha)


def test_points_of_the_tail_are_the_shares_of_eigenvalues():
    record, singular = record_of(np.random.default_rng(4).normal(size=(60, 90)))
    table = charts_spectrum.tail(singular, record).table
    for row in table.itertuples():
        assert row.share == pytest.approx((singular**2 >= row.eigenvalue * (1 - 1e-9)).mean())
    assert table["eigenvalue"].max() == pytest.approx(singular[0] ** 2)


def test_a_long_tail_is_thinned_where_points_crowd():
    record, _ = record_of(np.random.default_rng(5).normal(size=(20, 30)))
    many = np.linspace(10, 1, 50_000)
    record = MatrixSpectrum(**{**vars(record), "rank": len(many)})
    table = charts_spectrum.tail(many, record).table
    assert len(table) <= charts_spectrum.MOST_POINTS
    assert list(table["eigenvalue"][:50]) == list(many[:50] ** 2)
    assert table["eigenvalue"].min() == 1


@pytest.mark.parametrize("shape", [(3, 5), (10, 10), (1, 8)])
def test_small_matrices_have_charts_too(shape):
    record, singular = record_of_small(np.random.default_rng(6).normal(size=shape))
    for chart in (
        charts_spectrum.singular_values(singular, record),
        charts_spectrum.tail(singular, record),
    ):
        chart.figure.to_dict()
        assert "too few" in chart.alt or record.alpha is not None


def record_of_small(values: np.ndarray) -> tuple[MatrixSpectrum, np.ndarray]:
    singular = np.linalg.svd(values, compute_uv=False)
    fields = measure(singular, *values.shape, None, replicates=5)
    return MatrixSpectrum(name="w", layer=0, role="q", head=None, **fields), singular


def test_alpha_without_the_largest_names_all_it_has(noise_matrix):
    record, _ = noise_matrix
    chart = charts_spectrum.alpha_without_largest(record)
    shown = dict(zip(chart.table["of"], chart.table["alpha"], strict=True))
    assert shown["without the largest 5"] == record.alpha_drop_5
    assert shown["noise of this shape"] == record.alpha_noise
    assert f"{record.alpha_drop_1:.3g}" in chart.alt


def test_alpha_by_layer_stands_on_medians_over_experts(tmp_path):
    rng = np.random.default_rng(7)
    tensors = {
        f"model.layers.{i}.self_attn.q_proj.weight": stored(
            "F32", rng.normal(size=(40, 40)).astype(np.float32)
        )
        for i in range(3)
    }
    found = spectrum(open_checkpoint(str(write_file(tmp_path / "model.safetensors", tensors))))
    table = found.to_frame().assign(block=["0", "0", "1"])
    places = charts_spectrum.alpha_by_layer(table, "q").table
    assert list(places["matrices"]) == [2, 1]
    assert places["alpha"][0] == pytest.approx(np.median([r.alpha for r in found[:2]]))
    assert charts_spectrum.alpha_by_layer(table, "nothing").alt.startswith("No matrix")


def grid_table() -> pd.DataFrame:
    rows = [
        ("outside", "embedding", 9.0, "2 to 6"),
        ("0", "down", 1.0, "2 to 6"),
        ("0", "q", 2.0, "2 to 6"),
        ("0", "expert_up", 3.0, "2 to 6"),
        ("0", "expert_up", 5.0, "above 6"),
        ("0", "expert_up", 100.0, "above 6"),
        ("1", "q", None, None),
    ]
    return pd.DataFrame(rows, columns=["block", "role", "alpha", "alpha_reading"])


def test_a_grid_holds_the_median_of_each_place():
    chart = charts_grid.grid(grid_table(), "alpha", "alpha")
    places = chart.table.set_index(["block", "role"])
    assert places.loc[("0", "expert_up"), "median"] == 5.0
    assert places.loc[("0", "expert_up"), "size"] == 3
    assert ("1", "q") not in places.index
    assert re.search(r"from 1 \(down in layer 0\) to 9 \(embedding in outside\)", chart.alt)
    assert charts_grid.role_order(grid_table()) == ["q", "down", "expert_up", "embedding"]
    nothing = charts_grid.grid(grid_table().assign(alpha=None), "alpha", "alpha")
    assert nothing.alt.startswith("No matrix")
    nothing.figure.to_dict()


def test_experts_that_disagree_about_alpha_give_no_verdict():
    places = charts_grid.reading_grid(grid_table()).table.set_index(["block", "role"])
    assert places.loc[("0", "expert_up"), "reading"] == "no verdict: it crosses a threshold"
    assert places.loc[("0", "q"), "reading"] == "2 to 6"


def test_a_fresh_draw_has_the_normal_distribution_in_its_bins():
    edges = np.linspace(-0.1, 0.1, 21)
    values = np.random.default_rng(8).normal(0, 0.02, 100_000)
    found = Histogram(edges=edges, counts=np.histogram(values, edges)[0])
    table = charts_init.against_shape(found, 0.02, "normal").table
    normal = NormalDist(0, 0.02)
    for row in table.itertuples():
        share = normal.cdf(row.to) - normal.cdf(row._1)
        assert row.expected == pytest.approx(found.counts.sum() * share, abs=1e-6)
    uniform = charts_init.against_shape(found, 0.02, "uniform")
    inside = re.search(r"([\d.]+)% of the values lie", uniform.alt)
    assert float(inside[1]) < 90


def test_signal_gain_names_totals_and_stacks():
    layers = [{"layer": i, "forward": 2.0, "backward": 0.5} for i in range(3)]
    one = {"stack": "decoder", "layers": layers, "forward_total": 4.0, "backward_total": 0.25}
    one |= {"forward_verdict": "steady", "backward_verdict": "steady"}
    chart = charts_init.signal_gain([one])
    assert list(chart.table["block"].unique()) == ["decoder 0", "decoder 1", "decoder 2"]
    assert "of the decoder" in chart.alt
    assert "factor of 4 (steady)" in chart.alt
    single = charts_init.signal_gain([{**one, "forward_total": None, "layers": layers[:1]}])
    assert "no total" in single.alt


def test_curves_say_what_half_and_most_cost():
    sparsities = [i / 20 for i in range(21)]
    chart = charts_pruning.energy_curves(
        sparsities, {charts_pruning.THIS: [s**3 for s in sparsities]}, at=0.3
    )
    assert "this matrix 12.50% and 72.9%" in chart.alt
    assert values_of(chart.figure.to_dict(), 1)["sparsity"].tolist() == [0.3]


def test_decibels_name_the_format_that_loses_most():
    rows = [("a", 8.0, 30.0, 31.0), ("b", 4.0, 10.0, 19.0), ("c", 16.0, None, 70.0)]
    table = pd.DataFrame(rows, columns=["format", "bits", "sqnr_db", "sqnr_noise_db"])
    chart = charts_quantization.decibels(table, "this matrix")
    assert "in b, 10.0 against 19.0" in chart.alt
    assert "rounding changes nothing in 1 more" in chart.alt
    assert values_of(chart.figure.to_dict())["format"].tolist() == ["a", "b"]
    nothing = charts_quantization.decibels(table.assign(sqnr_db=math.nan), "this matrix")
    assert nothing.alt == "Rounding changes nothing in any format."
