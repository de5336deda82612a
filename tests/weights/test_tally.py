"""Every field of a scan record is that of the values, whatever the dtype, shape and values."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from inspector.weights import refine
from inspector.weights import scan as scanning
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.formats import FORMATS, pattern_dtype
from inspector.weights.scan import scan
from inspector.weights.statistics import TensorStatistics
from inspector.weights.tally import Moments
from tests.weights import reference
from tests.weights.build import (
    BITS,
    Stored,
    bf16,
    random_bytes,
    stored,
    write_file,
    write_shards,
)

SHAPES = ((), (0,), (1,), (3, 0, 5), (1, 1, 1), (17,), (7, 11), (2, 3, 5, 7), (4099,))
WIDE = [dtype for dtype in BITS if BITS[dtype] > 16]


def records(path) -> dict[str, TensorStatistics]:
    result = scan(open_checkpoint(path))
    assert result.coverage.tensors_measured == result.coverage.tensors_total
    assert result.coverage.parameters_measured == result.coverage.parameters_total
    assert result.coverage.bytes_read == result.coverage.bytes_total
    return {record.name: record for record in result}


def moderate(tensor: Stored) -> Stored:
    """The same, 64-bit floats cut to a range whose fourth powers float64 can hold."""
    dtype, shape, data = tensor
    if dtype != "F64":
        return tensor
    x = np.frombuffer(data, np.float64).copy()
    with np.errstate(invalid="ignore"):
        far = (np.abs(x) > 2.0**200) & np.isfinite(x)
    x[far] = np.ldexp(np.frexp(x[far])[0], 200)
    return dtype, shape, x.tobytes()


@pytest.mark.parametrize("dtype", BITS)
def test_every_shape_of_random_patterns(dtype, tmp_path):
    shapes = SHAPES if dtype != "F4" else ((0,), (2,), (4, 7), (3, 2), (4098,))
    tensors = {
        f"t{i}": moderate((dtype, shape, random_bytes(dtype, math.prod(shape), seed=i)))
        for i, shape in enumerate(shapes)
    }
    found = records(write_file(tmp_path / "model.safetensors", tensors))
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        reference.assert_is(found[name], tensor)


def weights(n: int) -> np.ndarray:
    """Numbers like a layer's: normal, off centre, with a heavy tail and zeros."""
    rng = np.random.default_rng(5)
    x = rng.normal(0.003, 0.02, n)
    x[rng.integers(0, n, n // 1000)] *= 40
    x[rng.integers(0, n, n // 50)] = 0
    return x


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_three_million_values(dtype, tmp_path):
    x = weights(3_000_019).astype(np.float32)
    tensor = ("BF16", x.shape, bf16(x).tobytes()) if dtype == "BF16" else stored("F32", x)
    found = records(write_file(tmp_path / "model.safetensors", {"w": tensor}))
    reference.assert_is(found["w"], tensor)


@pytest.mark.parametrize(("dtype", "kind"), [("F16", "f2"), ("F64", "f8"), ("F32", "f4")])
def test_a_million_weights(dtype, kind, tmp_path):
    tensor = stored(dtype, weights(1_000_003).astype(kind))
    found = records(write_file(tmp_path / "model.safetensors", {"w": tensor}))
    reference.assert_is(found["w"], tensor)


@pytest.mark.parametrize("dtype", ["F32", "F64", "BF16", "F16"])
@pytest.mark.parametrize("centre", [1.0, -3e4])
def test_a_small_spread_far_from_zero_keeps_its_tails(dtype, centre, tmp_path):
    x = centre * (1 + 1e-5 * np.random.default_rng(1).exponential(size=100_003))
    data = bf16(x) if dtype == "BF16" else x.astype(reference.ORACLES[dtype])
    tensor = (dtype, x.shape, data.tobytes())
    found = records(write_file(tmp_path / "model.safetensors", {"w": tensor}))
    # In float64 the values themselves are spaced as widely as the sums round.
    reference.assert_is(found["w"], tensor, rounding=1e-12 if dtype != "F64" else 1e-10)


@pytest.mark.parametrize("value", [0.1, -1e-300, 1e300, 0.0, -0.0, 5e-324])
@pytest.mark.parametrize("n", [1, 3, 10_007])
def test_constants_have_no_spread(value, n, tmp_path):
    tensor = stored("F64", np.full(n, value))
    record = records(write_file(tmp_path / "model.safetensors", {"w": tensor}))["w"]
    assert (record.mean, record.std, record.min, record.max) == (value, 0.0, value, value)
    assert record.rms == abs(value)
    assert record.skewness is record.kurtosis is None
    assert (record.beyond_3sigma, record.beyond_6sigma) == (0, 0)
    assert (record.distinct, record.entropy_bits) == (1, 0.0)


@pytest.mark.parametrize("size", [1e300, 1e-160, 5e-324, 1e150, 1e-75])
def test_what_float64_cannot_hold_is_none_and_never_wrong(size, tmp_path):
    x = size * np.array([1.0, -2.0, 3.0, 1.0])
    path = write_file(tmp_path / "model.safetensors", {"w": stored("F64", x)})
    result = scan(open_checkpoint(path))
    record = result[0]
    want = reference.moments(x)
    assert (record.min, record.max, record.q50) == (x.min(), x.max(), x[0])
    assert "WT-RANGE" in [f.id for f in result.findings]
    for field in ("mean", "std", "rms", "l1", "l2", "skewness", "kurtosis"):
        got = getattr(record, field)
        assert got is None or got == pytest.approx(want[field], rel=1e-12), field
    assert record.mean is not None
    assert record.l1 is not None


@pytest.mark.parametrize("times", [1, 2, 3, 200, 255, 256, 257, 1000])
def test_entropy_of_evenly_repeated_values(times, tmp_path):
    x = np.repeat(np.arange(2**20 // times, dtype=np.float32), times)
    path = write_file(tmp_path / "model.safetensors", {"w": stored("F32", x)})
    record = records(path)["w"]
    assert record.distinct == len(x) // times
    assert record.entropy_bits == pytest.approx(math.log2(len(x) // times), abs=1e-12)


SPECIALS = {
    dtype: [0, (1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) - 1, 1, (1 << (bits - 1)) + 1]
    for dtype, bits in BITS.items()
} | {
    # largest finite, infinity, quiet and signalling NaN, smallest normal; then negative ones
    "F16": [0x7BFF, 0x7C00, 0x7E00, 0x7C01, 0x0400, 0xFBFF, 0xFC00, 0x8000, 0x8001, 0, 1],
    "BF16": [0x7F7F, 0x7F80, 0x7FC0, 0x7F81, 0x0080, 0xFF7F, 0xFF80, 0x8000, 0x8001, 0, 1],
    "F32": [
        *(0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x7F800001, 0x00800000),
        *(0xFF7FFFFF, 0xFF800000, 0x80000000, 0x80000001, 0, 1),
    ],
    "F64": [
        *(0x7FF0 << 48, 0x7FF8 << 48, (0x7FF0 << 48) + 1, 0x0010 << 48, 0xFFF0 << 48),
        *(1 << 63, 0, 1),
    ],
}  # fmt: skip


@st.composite
def tensors(draw: st.DrawFn) -> Stored:
    """A small tensor of any dtype: few or many different patterns, special ones among them."""
    dtype = draw(st.sampled_from(list(BITS)))
    shape = tuple(draw(st.lists(st.integers(0, 6), max_size=3)))
    if dtype == "F4":
        shape = (*shape, 2)
    any_pattern = st.one_of(
        st.sampled_from(SPECIALS[dtype]),
        st.integers(0, (1 << BITS[dtype]) - 1),
        st.integers(0, 3),
    )
    pool = draw(st.lists(any_pattern, min_size=1, max_size=8))
    n = math.prod(shape)
    patterns = draw(st.lists(st.sampled_from(pool), min_size=n, max_size=n))
    data = np.array(patterns, dtype=pattern_dtype(dtype))
    if dtype == "F4":
        data = data[::2] | data[1::2] << 4
    return moderate((dtype, shape, data.astype(pattern_dtype(dtype)).tobytes()))


@given(st.lists(tensors(), min_size=1, max_size=4))
def test_any_tensors_in_one_file(tmp_path_factory, many):
    named = {f"t{i}": tensor for i, tensor in enumerate(many)}
    path = write_file(tmp_path_factory.mktemp("any") / "model.safetensors", named)
    found = records(path)
    for name, tensor in named.items():
        x = reference.values(tensor[0], tensor[2])
        spread = np.ptp(x[np.isfinite(x)]) if np.isfinite(x).any() else 0.0
        if tensor[0] == "F64" and 0 < spread < 1e-70:
            continue  # see test_what_float64_cannot_hold_is_none_and_never_wrong
        reference.assert_is(found[name], tensor)


def mixed_tensors() -> dict[str, Stored]:
    """One tensor of every dtype, large enough to be cut, with few and with many patterns."""
    rng = np.random.default_rng(2)
    made: dict[str, Stored] = {}
    for i, dtype in enumerate(BITS):
        n = 6006
        data = np.frombuffer(random_bytes(dtype, n, seed=i), np.uint8).copy()
        data[rng.integers(0, len(data), len(data) // 2)] = 0
        made[dtype] = moderate((dtype, (77, 78), data.tobytes()))
    for dtype, kind in (("F32", "f4"), ("F64", "f8")):
        made[f"{dtype} of weights"] = stored(dtype, weights(6006).astype(kind).reshape(77, 78))
        made[f"{dtype} of one"] = stored(dtype, np.full((77, 78), 0.1).astype(kind))
        made[f"{dtype} of two"] = stored(dtype, np.tile([1.0, 1 + 2**-20], 3003).astype(kind))
    return made


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    path = write_file(tmp_path_factory.mktemp("mixed") / "model.safetensors", mixed_tensors())
    return path, scan(open_checkpoint(path), channels=True)


def assert_same(one, other) -> None:
    """Equal in everything but where the tensors lie."""
    assert len(one) == len(other)
    by_name = {record.name: record for record in other}
    for record in one:
        for field in TensorStatistics.__dataclass_fields__:
            if field != "shard":
                assert getattr(record, field) == getattr(by_name[record.name], field), field
    assert one.channels.keys() == other.channels.keys()
    for name, profile in one.channels.items():
        assert profile.outliers == other.channels[name].outliers
        for axis in ("rows", "columns"):
            a, b = getattr(profile, axis), getattr(other.channels[name], axis)
            for field in ("abs_max", "abs_max_at"):
                np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
            for field in ("mean", "rms"):  # sums of parts round differently
                np.testing.assert_allclose(
                    getattr(a, field), getattr(b, field), rtol=1e-9, atol=1e-300
                )


@pytest.mark.parametrize("gather", [0, 60, 800, 24_008])
def test_how_much_is_sorted_at_a_time_changes_nothing(mixed, gather, monkeypatch):
    path, want = mixed
    monkeypatch.setattr(refine, "GATHER", gather)
    wide = "^(F32|F64|I32|U32|I64|U64) of" if gather < 800 else "^(F32|F64|I32|U32|I64|U64)"
    got = scan(open_checkpoint(path), where=wide)
    assert len(got) >= 6
    wanted = {record.name: record for record in want}
    for record in got:
        other = wanted[record.name]
        assert record.entropy_bits == pytest.approx(other.entropy_bits, abs=1e-12)
        for field in set(TensorStatistics.__dataclass_fields__) - {"entropy_bits"}:
            assert getattr(record, field) == getattr(other, field), (record.name, field)


@pytest.mark.parametrize("part", [40, 1024, 4104, 10**6])
@pytest.mark.parametrize("workers", [1, 5])
def test_parts_and_threads_change_nothing(mixed, part, workers, monkeypatch):
    path, want = mixed
    monkeypatch.setattr(scanning, "PART", part)
    assert_same(scan(open_checkpoint(path), channels=True, workers=workers), want)


@pytest.mark.parametrize("chunk", [56, 1000, 32_776, 2**20])
def test_chunks_change_nothing(mixed, chunk, monkeypatch):
    path, want = mixed
    monkeypatch.setattr(scanning, "CHUNK", chunk)
    got = scan(open_checkpoint(path), channels=True)
    wanted = {record.name: record for record in want}
    sums = {"mean", "std", "skewness", "kurtosis", "l1", "l2", "rms"}
    for record in got:
        other = wanted[record.name]
        for field in TensorStatistics.__dataclass_fields__:
            one, two = getattr(record, field), getattr(other, field)
            if field in sums and BITS[record.dtype] > 16 and one is not None:
                assert one == pytest.approx(two, rel=1e-11, abs=1e-11), (record.name, field)
            else:
                assert one == two, (record.name, field)


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_shards_change_nothing(mixed, shards, tmp_path):
    _, want = mixed
    tensors = list(mixed_tensors().items())
    split = [dict(tensors[i::shards]) for i in range(shards)]
    assert_same(scan(open_checkpoint(write_shards(tmp_path / "m", split)), channels=True), want)


def test_profiles_of_channels_change_no_record(mixed):
    path, want = mixed
    assert scan(open_checkpoint(path)).records == want.records


def test_the_kernels_wrap_no_counter():
    from inspector.weights import counts

    table = np.full(1 << 16, 2**32 - 5, dtype=np.uint64)
    counts.count_high(np.zeros(10, dtype=np.uint32), 16, table)
    assert table[0] == 2**32 + 5
    assert scanning.PART * 2 < 2**32  # a part of the narrowest format fits its 32-bit counters


@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=20), max_size=5))
def test_moments_of_parts_add_up(parts):
    def moments(values: list[float]) -> Moments:
        x = np.array(values, dtype=np.float64)
        return Moments.of_values(x, np.ones(len(x), dtype=np.uint64))

    whole = moments([x for part in parts for x in part])
    rows = np.array([moments(part).row() for part in parts]).reshape(-1, 7)
    added = Moments.of_rows(rows)
    assert added.n == whole.n
    size = max((abs(x) for part in parts for x in part), default=0.0)
    for k, field in enumerate(("mean", "s1", "s2", "s3", "s4"), start=0):
        scale = size if k == 0 else size**k * max(whole.n, 1)
        got, want = getattr(added, field), getattr(whole, field)
        assert abs(got - want) <= 1e-13 * scale, field


def test_every_format_is_tested():
    assert set(BITS) == set(FORMATS)
