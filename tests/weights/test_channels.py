"""Rows, columns and outliers of a matrix are those of brute force."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from inspector.weights import scan as scanning
from inspector.weights.channels import ROWS_AT_A_TIME, Axis, matrix_shape, why_not
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.formats import FORMATS
from inspector.weights.scan import Scan, scan
from tests.weights import reference
from tests.weights.build import BITS, Stored, random_bytes, stored, write_file

DTYPES = ("BF16", "F16", "F32", "F64", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
SHAPES = ((1, 1), (1, 300), (300, 1), (129, 65), (257, 64), (5, 7, 11), (2, 1, 3, 4), (513, 3))


def profiled(folder, tensors: dict[str, Stored]) -> Scan:
    return scan(open_checkpoint(write_file(folder / "model.safetensors", tensors)), channels=True)


def numbers(dtype: str, shape: tuple[int, ...], kind: str, seed: int = 3) -> Stored:
    """A matrix of a kind: any patterns, weights, few different values, or hardly any finite."""
    n = math.prod(shape)
    rng = np.random.default_rng(seed)
    oracle = reference.ORACLES[dtype]
    if kind == "any":
        x = reference.values(dtype, random_bytes(dtype, n, seed))
        x = np.clip(x, -1e80, 1e80)  # NaN stays
    elif kind == "weights":
        x = rng.normal(0.01, 0.1, n)
    elif kind == "few":
        x = rng.choice([-2.0, -0.5, -0.0, 0.0, 0.5, 2.0], n)
    else:
        x = np.where(rng.random(n) < 0.97, np.nan, rng.normal(size=n))
    with np.errstate(over="ignore", invalid="ignore"):
        return dtype, shape, x.astype(oracle).tobytes()


def assert_axis(axis: Axis, x: np.ndarray) -> None:
    """`axis` is the profile of the rows of x."""
    finite = np.isfinite(x)
    known = np.where(finite, x, 0.0).astype(np.longdouble)
    n = finite.sum(axis=1)
    none = n == 0
    n = np.where(none, 1, n)
    spacing = 1e-15 * np.abs(known).max(axis=1)  # the sum is no better than its largest term
    mean = known.sum(axis=1) / n
    assert (np.isnan(axis.mean) == none).all()
    assert (np.abs(axis.mean - mean) <= 1e-12 * np.abs(mean) + spacing)[~none].all()
    square = (known * known).sum(axis=1)
    rms = np.sqrt(square / n)
    none = none | ((square > 0) & (square < 2.0**-960))  # float64 cannot hold the squares
    assert (np.isnan(axis.rms) == none).all()
    assert (np.abs(axis.rms - rms) <= 1e-12 * rms)[~none].all()
    none = ~finite.any(axis=1)
    sizes = np.where(finite, np.abs(x), -1.0)
    np.testing.assert_array_equal(axis.abs_max, np.where(none, np.nan, sizes.max(axis=1)))
    np.testing.assert_array_equal(axis.abs_max_at[~none], sizes.argmax(axis=1)[~none])


def assert_profile(result: Scan, name: str, tensor: Stored) -> None:
    dtype, shape, data = tensor
    x = reference.values(dtype, data).reshape(matrix_shape(shape))
    profile = result.channels[name]
    assert_axis(profile.rows, x)
    assert_axis(profile.columns, x.T)
    rows, columns = np.nonzero(np.isfinite(x))
    sizes = -np.abs(x[rows, columns])
    first = np.lexsort((columns, rows, sizes))[:10]
    found = [(sizes[i], rows[i], columns[i]) for i in first]
    assert [(-abs(o.value), o.row, o.column) for o in profile.outliers] == found
    record = next(record for record in result if record.name == name)
    for outlier in profile.outliers:
        assert outlier.value == x[outlier.row, outlier.column]
        if record.std:
            assert outlier.sigmas == (outlier.value - record.mean) / record.std
        else:
            assert outlier.sigmas is None


@pytest.mark.parametrize("kind", ["any", "weights", "few", "hardly any"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_shape(dtype, kind, tmp_path):
    tensors = {str(shape): numbers(dtype, shape, kind) for shape in SHAPES}
    result = profiled(tmp_path, tensors)
    assert list(result.channels) == list(tensors)
    for name, tensor in tensors.items():
        assert_profile(result, name, tensor)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_and_columns_without_a_finite_value(dtype, tmp_path):
    _, shape, data = numbers(dtype, (2 * ROWS_AT_A_TIME + 3, 70), "weights")
    oracle = reference.ORACLES[dtype]
    x = np.frombuffer(data, oracle).reshape(shape).copy()
    x[[0, ROWS_AT_A_TIME, -1]] = np.nan
    x[:, [0, 33]] = np.nan
    x[7, 7] = x[200, 7] = np.inf  # NaN where the format has no infinity
    tensor = (dtype, shape, x.tobytes())
    result = profiled(tmp_path, {"w": tensor})
    assert_profile(result, "w", tensor)
    assert np.isnan(result.channels["w"].rows.rms).sum() == 3
    assert np.isnan(result.channels["w"].columns.rms).sum() == 2


def test_sums_beyond_float64_are_unknown_and_never_infinite(tmp_path):
    x = np.array([[1e308, 1e308, -1.0], [1e-200, 1.0, 1e-200], [1e-200, 0.0, 0.0]])
    result = profiled(tmp_path, {"w": stored("F64", x)})
    rows = result.channels["w"].rows
    np.testing.assert_array_equal(np.isnan(rows.mean), [True, False, False])
    np.testing.assert_array_equal(np.isnan(rows.rms), [True, False, True])
    np.testing.assert_array_equal(rows.abs_max, [1e308, 1.0, 1e-200])
    assert result.channels["w"].outliers[0].value == 1e308
    assert "NaN" not in result.to_json()


def test_ties_go_to_the_first_across_parts(tmp_path, monkeypatch):
    tensor = stored("F16", np.tile(np.array([[1.0, -2.0, 2.0]], np.float16), (600, 1)))
    for part in (scanning.PART, 6, 600):
        monkeypatch.setattr(scanning, "PART", part)
        profile = profiled(tmp_path, {"w": tensor}).channels["w"]
        assert (profile.rows.abs_max_at == 1).all()
        assert (profile.columns.abs_max_at == 0).all()
        assert [(o.row, o.column) for o in profile.outliers] == [
            (r, c) for r in range(5) for c in (1, 2)
        ]


@given(
    rows=st.integers(1, 300),
    columns=st.integers(1, 70),
    kind=st.sampled_from(["any", "weights", "few", "hardly any"]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 10**6),
)
def test_any_matrix(tmp_path_factory, rows, columns, kind, dtype, seed):
    tensor = numbers(dtype, (rows, columns), kind, seed)
    assert_profile(profiled(tmp_path_factory.mktemp("any"), {"w": tensor}), "w", tensor)


@pytest.mark.parametrize("dtype", BITS)
def test_matrices_of_sizes_have_a_profile_and_codes_a_reason(dtype):
    sizes = FORMATS[dtype].kind == "float" and BITS[dtype] >= 8
    assert (why_not(dtype, (4, 4)) is None) == sizes
    assert why_not(dtype, ()) and why_not(dtype, (4,)) and why_not(dtype, (4, 0))
    assert why_not(dtype, (3_000_000, 2))
