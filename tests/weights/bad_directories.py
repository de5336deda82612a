"""Malformed directories, indexes, configs and pickles; they join the cases of bad_files."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.weights.bad_files import (
    CASES,
    GOOD,
    POINTER,
    READABLE,
    UNREADABLE,
    WITH_ERRORS,
    Builder,
    bad,
    config,
    entry,
    one,
    packed,
    plain_file,
    raw,
    table,
)

INDEX = "model.safetensors.index.json"


# ------------------------------------------------------------ 15-16: the index
def sharded(
    folder: Path,
    weight_map: Mapping[str, Any] | None = None,
    total: Any = 48,
    text: str | None = None,
) -> Path:
    """Two shards with `a`, `b` in one and `c` in the other, and an index that may say otherwise."""
    one(folder, packed(GOOD), "model-1.safetensors")
    one(folder, packed({"c": entry("F32", [4], 0, 16)}), "model-2.safetensors")
    stated = {"a": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}
    document = {"metadata": {"total_size": total}, "weight_map": {**stated, **(weight_map or {})}}
    (folder / INDEX).write_text(json.dumps(document) if text is None else text)
    return folder


def victim(folder: Path) -> Path:
    """A file outside the model's folder that a hostile index or link tries to reach."""
    outside = folder.parent / "victim"
    outside.mkdir(exist_ok=True)
    return one(outside, packed({"secret": entry("F32", [1], 0, 4)}), "x.safetensors")


def target(value: str) -> Builder:
    """The index says that a fourth tensor is in a file of this name; a victim lies in wait."""

    def build(folder: Path) -> Path:
        victim(folder)
        (folder / "sub").mkdir()
        (folder / "sub" / "x.safetensors").write_bytes(packed(GOOD))
        return sharded(folder, {"d": value})

    return build


ABSOLUTE = "/etc/passwd"
table(
    [
        ("index target up", target("../victim/x.safetensors"), "IX-TARGET", 1, 3),
        ("index target absolute", target(ABSOLUTE), "IX-TARGET", 1, 3),
        ("index target absolute with suffix", target("/tmp/x.safetensors"), "IX-TARGET", 1, 3),
        ("index target on a drive", target("C:\\x.safetensors"), "IX-TARGET", 1, 3),
        ("index target on a share", target("\\\\host\\x.safetensors"), "IX-TARGET", 1, 3),
        ("index target up, Windows", target("..\\victim\\x.safetensors"), "IX-TARGET", 1, 3),
        ("index target in a folder", target("sub/x.safetensors"), "IX-TARGET", 1, 3),
        ("index target with a dot", target("./model-2.safetensors"), "IX-TARGET", 1, 3),
        ("index target with NUL", target("x\0.safetensors"), "IX-TARGET", 1, 3),
        ("index target of half a pair", target("\ud800.safetensors"), "IX-TARGET", 1, 3),
        ("index target of a byte", target("\udcff.safetensors"), "IX-TARGET", 1, 3),
        ("index target too long", target("x" * 300 + ".safetensors"), "IX-TARGET", 1, 3),
        ("index target empty", target(""), "IX-TARGET", 1, 3),
        ("index target the folder above", target(".."), "IX-TARGET", 1, 3),
        ("index target a URL", target("https://example.org/x.safetensors"), "IX-TARGET", 1, 3),
        ("index target a pickle", target("pytorch_model.bin"), "IX-PICKLE", 1, 3),
        ("index target text", target("x.txt"), "IX-TARGET", 1, 3),
        ("missing shard", target("model-3.safetensors"), "IX-MISSING-SHARD", 1, 3),
        ("target is a folder", target("folder.safetensors"), "IX-MISSING-SHARD", 1, 3),
    ]
)


def linked(name: str, to: Callable[[Path], str | Path], listed: bool = True) -> Builder:
    def build(folder: Path) -> Path:
        sharded(folder, {"d": name} if listed else None)
        (folder / name).symlink_to(to(folder))
        return folder

    return build


def index_text(text: str) -> Builder:
    return lambda folder: sharded(folder, text=text)


MAPPED = (
    '"weight_map":{"a":"model-1.safetensors","b":"model-1.safetensors","c":"model-2.safetensors"}'
)
table(
    [
        ("shard is a link out", linked("x.safetensors", victim), "IX-TARGET", 1, 3),
        ("shard is a link to itself", linked("x.safetensors", lambda f: "x.safetensors"),
         "IX-TARGET", 1, 3),
        ("shard is a broken link", linked("x.safetensors", lambda f: "gone"),
         "IX-MISSING-SHARD", 1, 3),
        ("shard is a device", linked("x.safetensors", lambda f: "/dev/zero"), "IX-TARGET", 1, 3),
        ("left-over link out", linked("x.safetensors", victim, listed=False), "IX-TARGET", 1, 3),
        ("left-over broken link", linked("x.safetensors", lambda f: "gone", listed=False),
         "IX-UNLISTED-SHARD", 0, 3),
        ("index is not JSON", index_text("{"), "IX-JSON", 1, 3),
        ("index is empty", index_text(""), "IX-JSON", 1, 3),
        ("index is nested", index_text("[" * 100_000), "IX-JSON", 1, 3),
        ("index with 5000 digits", index_text('{"a":' + "9" * 5000 + "}"), "IX-JSON", 1, 3),
        ("index is a list", index_text("[]"), "IX-MAP", 1, 3),
        ("index without weight_map", index_text('{"metadata":{}}'), "IX-MAP", 1, 3),
        ("index with an empty map", index_text('{"weight_map":{}}'), "IX-MAP", 1, 3),
        ("weight_map is a list", index_text('{"weight_map":["a"]}'), "IX-MAP", 1, 3),
        ("weight_map to a number", index_text('{"weight_map":{"a":1}}'), "IX-MAP", 1, 3),
        ("index without metadata", index_text("{" + MAPPED + "}"), "IX-NO-METADATA", 0, 3),
        ("index with metadata null", index_text('{"metadata":null,' + MAPPED + "}"),
         "IX-NO-METADATA", 0, 3),
        ("wrong total_size", lambda f: sharded(f, total=49), "IX-TOTAL", 0, 3),
        ("total_size is text", lambda f: sharded(f, total="<b>48</b>"), "IX-TOTAL", 0, 3),
        ("total_size is NaN", lambda f: sharded(f, total=float("nan")), "IX-TOTAL", 0, 3),
        ("tensor in no shard", lambda f: sharded(f, {"d": "model-1.safetensors"}),
         "IX-MISSING-TENSOR", 1, 3),
        ("tensor in the other shard", lambda f: sharded(f, {"a": "model-2.safetensors"}),
         "IX-MOVED-TENSOR", 1, 3),
        ("only tensor of a shard elsewhere",
         lambda f: sharded(f, {"c": "model-1.safetensors"}, total=32),
         "IX-MISSING-TENSOR IX-UNLISTED-SHARD", 1, 2),
        ("index lists half of a shard",
         lambda f: sharded(f, text=json.dumps({"metadata": {}, "weight_map": {
             "a": "model-1.safetensors", "c": "model-2.safetensors"}})),
         "IX-UNLISTED-TENSOR", 0, 3),
    ]
)  # fmt: skip


@bad("IX-UNLISTED-SHARD", READABLE, 3)
def shard_not_listed(folder: Path) -> Path:
    one(folder, packed({"z": entry("F32", [1], 0, 4)}), "left-over.safetensors")
    return sharded(folder)


@bad("IX-TWICE", WITH_ERRORS, 3)
def tensor_in_two_shards(folder: Path) -> Path:
    sharded(folder, total=64)
    both = {"c": entry("F32", [4], 0, 16), "a": entry("F32", [2, 2], 16, 32)}
    one(folder, packed(both), "model-2.safetensors")
    return folder


@bad("ST-LENGTH", WITH_ERRORS, 2)
def one_shard_cut_off(folder: Path) -> Path:
    sharded(folder)
    path = folder / "model-2.safetensors"
    path.write_bytes(path.read_bytes()[:30])
    return folder


@bad("ST-LFS", WITH_ERRORS, 2)
def one_shard_a_pointer(folder: Path) -> Path:
    sharded(folder)
    (folder / "model-2.safetensors").write_bytes(POINTER)
    return folder


@bad("ST-LFS ST-LFS", UNREADABLE)
def all_shards_pointers(folder: Path) -> Path:
    sharded(folder)
    for number in (1, 2):
        (folder / f"model-{number}.safetensors").write_bytes(POINTER)
    return folder


@bad("IX-MISSING-SHARD IX-MISSING-SHARD", UNREADABLE)
def all_shards_missing(folder: Path) -> Path:
    sharded(folder)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    return folder


@bad("IX-JSON", UNREADABLE)
def index_opened_that_is_not_json(folder: Path) -> Path:
    return sharded(folder, text="no") / INDEX


@bad("IX-TARGET", WITH_ERRORS, 3)
def index_is_a_pipe(folder: Path) -> Path:
    sharded(folder)
    (folder / INDEX).unlink()
    os.mkfifo(folder / INDEX)  # reading it would wait for ever
    return folder


@bad("IX-TARGET", WITH_ERRORS, 3)
def index_is_a_link_out(folder: Path) -> Path:
    sharded(folder)
    (folder / INDEX).rename(folder.parent / "elsewhere.json")
    (folder / INDEX).symlink_to(folder.parent / "elsewhere.json")
    return folder


@bad("IX-CAP", WITH_ERRORS, 3)
def index_too_large(folder: Path) -> Path:
    sharded(folder)
    os.truncate(folder / INDEX, 2**40)
    return folder


@bad("IX-BOTH IX-UNLISTED-SHARD IX-UNLISTED-SHARD", READABLE, 2)
def one_file_and_shards(folder: Path) -> Path:
    one(folder, packed(GOOD))
    return sharded(folder)


@bad("IX-NONE", READABLE, 3)
def shards_without_index(folder: Path) -> Path:
    (sharded(folder) / INDEX).unlink()
    return folder


@bad("IX-UNREADABLE", WITH_ERRORS, 2)
def broken_link_beside_a_file(folder: Path) -> Path:
    one(folder, packed(GOOD), "part-1.safetensors")
    (folder / "part-2.safetensors").symlink_to("../../blobs/gone")
    return folder


@bad("IX-UNREADABLE", UNREADABLE)
def only_a_pipe(folder: Path) -> Path:
    config(folder)
    os.mkfifo(folder / "model.safetensors")
    return folder


@bad("IX-TARGET", UNREADABLE)
def only_a_link_out(folder: Path) -> Path:
    config(folder)
    (folder / "model.safetensors").symlink_to(victim(folder))
    return folder


@bad("ST-LENGTH", UNREADABLE)
def hostile_file_name(folder: Path) -> Path:
    one(folder, raw(b"{}", length=9), "\x1b[2J\u202e<img src=x>.safetensors")
    return folder


@bad("", READABLE, 2)
def file_name_that_is_not_text(folder: Path) -> Path:
    return one(folder, packed(GOOD), os.fsdecode(b"\xff.safetensors"))


# ------------------------------------------------------------ 18: pickles
class Bomb:
    """Leaves a trace when unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (os.mkdir, ("/tmp/inspector-was-here",))


def torch_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(), protocol=2))
    return path


@bad("PK-PICKLE", UNREADABLE)
def zip_under_the_wrong_name(folder: Path) -> Path:
    config(folder)
    return torch_zip(folder / "model.safetensors")


@bad("PK-PICKLE", UNREADABLE)
def pickle_file_named(folder: Path) -> Path:
    config(folder)
    return torch_zip(folder / "pytorch_model.bin")


@bad("PK-PICKLE", UNREADABLE)
def only_pickles(folder: Path) -> Path:
    config(folder)
    torch_zip(folder / "pytorch_model.bin")
    torch_zip(folder / "optimizer.pt")
    return folder


@bad("PK-IGNORED", READABLE, 2)
def pickles_beside(folder: Path) -> Path:
    one(folder, packed(GOOD))
    torch_zip(folder / "training_args.bin")
    return folder


table(
    [
        (f"pickle protocol {p}", plain_file(pickle.dumps(Bomb(), protocol=p)), "PK-PICKLE", 2, 0)
        for p in (2, 3, 4, 5)
    ]
)


# ------------------------------------------------------------ 19: config.json
def configured(text: bytes) -> Builder:
    def build(folder: Path) -> Path:
        path = one(folder, packed(GOOD))
        config(folder, text)
        return path

    return build


def nested_value(depth: int) -> bytes:
    return b'{"auto_map":' + b"[" * depth + b"]" * depth + b"}"


table(
    [
        ("config is not JSON", configured(b"{"), "CF-JSON", 0, 2),
        ("config is a list", configured(b"[]"), "CF-JSON", 0, 2),
        ("config is not text", configured(b"\xff\xfe\xfd"), "CF-JSON", 0, 2),
        ("config nested", configured(b"[" * 100_000), "CF-JSON", 0, 2),
        ("config with 5000 digits", configured(b'{"a":' + b"9" * 5000 + b"}"), "CF-JSON", 0, 2),
        ("config of 500 MB", lambda f: _grown(configured(b"{}")(f), 500_000_000), "CF-CAP", 0, 2),
        ("config with code", configured(b'{"auto_map":{"A":"evil.A"}}'), "CF-CODE", 0, 2),
        ("config trusts code", configured(b'{"trust_remote_code":true}'), "CF-CODE", 0, 2),
        ("config with kernels", configured(b'{"_attn_implementation_internal":"evil/kernel"}'),
         "CF-CODE", 0, 2),
        ("config with 10^9 layers", configured(b'{"n_layers":1000000000}'), "CF-RANGE", 0, 2),
        ("config with -1 layers", configured(b'{"n_layer":-1}'), "CF-RANGE", 0, 2),
        ("config with NaN layers", configured(b'{"num_layers":NaN}'), "CF-RANGE", 0, 2),
        ("config with layers as text", configured(b'{"num_layers":"<b>12</b>"}'), "CF-RANGE", 0, 2),
    ]
)  # fmt: skip


def _grown(path: Path, size: int) -> Path:
    os.truncate(path.parent / "config.json", size)
    return path


@bad("CF-MISSING", READABLE, 2)
def config_missing(folder: Path) -> Path:
    path = one(folder, packed(GOOD))
    (folder / "config.json").unlink()
    return path


@bad("CF-TARGET", READABLE, 2)
def config_is_a_link_out(folder: Path) -> Path:
    path = one(folder, packed(GOOD))
    (folder / "config.json").rename(folder.parent / "secret.json")
    (folder / "config.json").symlink_to(folder.parent / "secret.json")
    return path


@bad("CF-MISSING", READABLE, 2)
def config_is_a_pipe(folder: Path) -> Path:
    path = one(folder, packed(GOOD))
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    return path


ALL_CASES = tuple(CASES)  # those of bad_files and those entered here
