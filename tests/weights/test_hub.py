"""Opening a model by its Hub id, against a server on this machine."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.weights.hub import is_hub_id
from tests.weights.bad_files import GOOD, entry, packed
from tests.weights.hub_server import Hub, served

TOKEN = "hf_" + "Ab1" * 11
SHARDS = {"a": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}
SHARDED = {
    "model-1.safetensors": packed(GOOD),
    "model-2.safetensors": packed({"c": entry("F32", [4], 0, 16)}),
    "model.safetensors.index.json": json.dumps(
        {"metadata": {"total_size": 48}, "weight_map": SHARDS}
    ).encode(),
    "config.json": b'{"model_type": "none"}',
    "pytorch_model.bin": b"\x80\x02never",
    "README.md": b"# read me",
    "modeling_evil.py": b"raise SystemExit",
    "tokenizer.json": b"{}",
    "onnx/model.safetensors": packed(GOOD),
    "fp16/config.json": b"{}",
}
OLD = {"model.safetensors": packed({"old": entry("F32", [1], 0, 4)}), "config.json": b"{}"}
REPOSITORIES = {
    "owner/sharded": {"main": SHARDED, "v1.0": OLD},
    "single": {"main": OLD},
    "owner/pickles": {"main": {"pytorch_model.bin": b"\x80\x02never", "config.json": b"{}"}},
    "owner/hostile": {
        "main": {
            "model.safetensors.index.json": b'{"weight_map":{"a":"../../../../x.safetensors"}}',
            "config.json": b"{}",
        }
    },
}


@dataclasses.dataclass(frozen=True)
class Opened:
    """What a fresh interpreter made of a model name."""

    tensors: list[str]
    revision: str | None
    error: str | None
    findings: list[str]
    stderr: str


# Importing inspector takes longer than all that is asked of it, so one interpreter does that and
# divides for every question. The Hub's client, which reads the environment, is imported after it.
OPEN = """
import json, os, sys, traceback
from inspector.errors import CheckpointError
from inspector.weights.checkpoint import open_checkpoint
assert "huggingface_hub" not in sys.modules
def said(model):
    try:
        c = open_checkpoint(model)
        return [[t.name for t in c.tensors], c.revision, None, [f.id for f in c.findings]]
    except CheckpointError as error:
        return [[], None, str(error), [f.id for f in error.findings]]
for line in sys.stdin:
    model, folder, environment = json.loads(line)
    if not (child := os.fork()):
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        os.dup2(os.open("stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        try:
            answer = said(model)
            heavy = sorted(m for m in ("torch", "transformers") if m in sys.modules)
            print(json.dumps([*answer, heavy]), flush=True)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if status := os.waitpid(child, 0)[1]:
        print(json.dumps(status), flush=True)
"""


@pytest.fixture(scope="module")
def interpreter() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", OPEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with served({name: dict(revisions) for name, revisions in REPOSITORIES.items()}) as hub:
        yield hub


@dataclasses.dataclass(frozen=True)
class Home:
    """An empty home of the Hub's client, and an interpreter that opens models from there."""

    folder: Path
    interpreter: subprocess.Popen[str]

    def rglob(self, pattern: str) -> Iterator[Path]:
        return self.folder.rglob(pattern)


@pytest.fixture
def home(tmp_path: Path, interpreter: subprocess.Popen[str]) -> Home:
    return Home(tmp_path / "hf", interpreter)


def opened(model: str, hub: Hub, home: Home, **environment: str) -> Opened:
    folder, asked = home.folder.parent, home.interpreter
    settings = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home.folder),
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
        **environment,
    }
    asked.stdin.write(json.dumps([model, str(folder), settings]) + "\n")
    asked.stdin.flush()
    out = asked.stdout.readline()
    stderr = (folder / "stderr.txt").read_text()
    assert out.startswith("["), stderr
    *said, heavy = json.loads(out)
    assert heavy == []
    assert environment.get("HF_TOKEN", TOKEN) not in out + stderr
    assert "Traceback" not in stderr
    result = Opened(*said, stderr=stderr)
    assert "\n" not in (result.error or "")
    return result


def test_only_weights_index_and_config_are_fetched_and_only_once(hub: Hub, home: Home) -> None:
    first = opened("owner/sharded", hub, home)
    assert first.error is None
    assert sorted(first.tensors) == ["a", "b", "c"]
    assert first.findings == []
    assert first.revision == hub.commit("owner/sharded", "main")
    assert hub.fetched() == {
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
        "config.json",
    }
    hub.requests.clear()
    assert opened("owner/sharded", hub, home) == dataclasses.replace(first, stderr="")
    assert hub.requests == []


def test_name_without_owner(hub: Hub, home: Home) -> None:
    assert opened("single", hub, home).tensors == ["old"]


@pytest.mark.parametrize("revision", ["v1.0", "commit"])
def test_revision(revision: str, hub: Hub, home: Home) -> None:
    commit = hub.commit("owner/sharded", "v1.0")
    asked = commit if revision == "commit" else revision
    result = opened(f"owner/sharded@{asked}", hub, home)
    assert result.tensors == ["old"]
    assert result.revision == commit


def test_two_revisions_do_not_mix(hub: Hub, home: Home) -> None:
    assert opened("owner/sharded@v1.0", hub, home).tensors == ["old"]
    assert len(opened("owner/sharded", hub, home).tensors) == 3
    hub.requests.clear()
    assert opened("owner/sharded@v1.0", hub, home).tensors == ["old"]
    assert hub.requests == []


def test_interrupted_download_is_completed(hub: Hub, home: Home) -> None:
    """A shard that the index lists but the cache lacks is fetched, the rest is not again."""
    assert opened("owner/sharded", hub, home).error is None
    shard = next(home.rglob("model-2.safetensors"))
    blob = shard.resolve()
    shard.unlink()
    blob.unlink()
    hub.requests.clear()
    assert len(opened("owner/sharded", hub, home).tensors) == 3
    assert hub.fetched() == {"model-2.safetensors"}


@pytest.mark.parametrize(
    ("status", "part"), [(401, "log in"), (403, "log in"), (404, "no such"), (500, "network")]
)
def test_refusal_is_one_clear_line(status: int, part: str, hub: Hub, home: Home) -> None:
    hub.status = status
    result = opened("owner/sharded", hub, home)
    assert result.error is not None
    assert result.error.startswith("owner/sharded: ")
    assert part in result.error
    assert "hf auth login" in result.error
    assert hub.tokens == {TOKEN}  # the token went to the server and nowhere else


@pytest.mark.parametrize(
    ("status", "token"),
    [(400, TOKEN), (401, TOKEN), (401, "secret-of-another-form"), (429, f"{TOKEN}.ey-Jh.x_")],
)
def test_token_in_the_answer_is_not_repeated(status: int, token: str, hub: Hub, home: Home) -> None:
    hub.status, hub.echo_token = status, True
    assert opened("owner/sharded", hub, home, HF_TOKEN=token).error is not None


def test_missing_revision_and_missing_repository(hub: Hub, home: Home) -> None:
    for model in ("owner/sharded@gone", "owner/none", "none@main"):
        result = opened(model, hub, home)
        assert result.error is not None
        assert result.error.startswith(f"{model}: ")


def test_offline_uses_the_cache_or_says_so(hub: Hub, home: Home) -> None:
    result = opened("owner/sharded", hub, home, HF_HUB_OFFLINE="1")
    assert result.error is not None
    assert "network" in result.error
    assert hub.requests == []
    assert opened("owner/sharded", hub, home).error is None
    assert len(opened("owner/sharded", hub, home, HF_HUB_OFFLINE="1").tensors) == 3


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_no_server_and_no_proxy_are_one_clear_line(hub: Hub, home: Home) -> None:
    nowhere = f"http://127.0.0.1:{unused_port()}"
    for environment in (
        {"HF_ENDPOINT": nowhere},
        {"NO_PROXY": "", "HTTP_PROXY": nowhere, "http_proxy": nowhere, "no_proxy": ""},
    ):
        result = opened("owner/sharded", hub, home, **environment)
        assert result.error is not None
        assert "network" in result.error


@pytest.mark.slow  # the Hub's client tries again, with pauses
def test_transfer_that_breaks_off_is_one_clear_line(hub: Hub, home: Home) -> None:
    hub.cut_off = True
    result = opened("single", hub, home, HF_HUB_DOWNLOAD_TIMEOUT="2")
    assert result.error is not None
    hub.cut_off = False
    assert opened("single", hub, home).tensors == ["old"]


def test_repository_of_pickles_is_refused_unopened(hub: Hub, home: Home) -> None:
    result = opened("owner/pickles", hub, home)
    assert result.error is not None and "never fetched" in result.error
    assert "pytorch_model.bin" not in hub.fetched()


def test_hostile_index_asks_for_nothing_else(hub: Hub, home: Home) -> None:
    result = opened("owner/hostile", hub, home)
    assert result.error is not None
    assert result.findings == ["IX-NO-METADATA", "IX-TARGET"]
    assert hub.fetched() == {"model.safetensors.index.json", "config.json"}


# ------------------------------------------------------------ read where it is
@pytest.mark.parametrize("form", ["hf://{}", "{url}/{}", "{url}/{}/tree/main"])
def test_read_by_ranges_and_nothing_is_kept(form: str, hub: Hub, home: Home) -> None:
    result = opened(form.format("owner/sharded", url=hub.url), hub, home)
    assert result.error is None
    assert sorted(result.tensors) == ["a", "b", "c"]
    assert result.findings == ["PK-IGNORED"]  # here the whole repository is in sight
    assert result.revision == hub.commit("owner/sharded", "main")
    assert hub.fetched() == {
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
        "config.json",
    }
    assert len(hub.requests) == 5  # the commit, then each file once
    assert hub.tokens == {TOKEN}
    assert not list(home.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "model",
    ["hf://owner/sharded@v1.0", "hf://owner/sharded@v1.0/model.safetensors", "hf://single"]
    + ["hf://single/model.safetensors", "{url}/owner/sharded/blob/v1.0/model.safetensors"],
)
def test_revision_and_file_read_by_ranges(model: str, hub: Hub, home: Home) -> None:
    result = opened(model.format(url=hub.url), hub, home)
    assert (result.error, result.tensors) == (None, ["old"])
    assert result.revision in {
        hub.commit("owner/sharded", "v1.0"),
        hub.commit("single", "main"),
    }


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_refusal_by_ranges_is_one_clear_line(status: int, hub: Hub, home: Home) -> None:
    hub.status, hub.echo_token = status, True
    result = opened("hf://owner/sharded", hub, home)
    assert result.error is not None
    assert result.error.startswith("hf://owner/sharded: ")
    assert "hf auth login" in result.error


def test_pickles_and_hostile_index_by_ranges(hub: Hub, home: Home) -> None:
    result = opened("hf://owner/pickles", hub, home)
    assert result.findings == ["PK-PICKLE"]
    assert hub.fetched() == set()
    result = opened("hf://owner/hostile", hub, home)
    assert result.findings == ["IX-NO-METADATA", "IX-TARGET"]
    assert opened("hf://owner/sharded@gone", hub, home).error is not None
    assert opened("hf://owner/none", hub, home).error is not None
    offline = opened("hf://owner/sharded", hub, home, HF_HUB_OFFLINE="1")
    assert offline.error is not None


def test_what_a_hub_id_is() -> None:
    for good in ("gpt2", "owner/name", "a.b-c/d_e", "owner/name@v1.0", "o/n@refs/pr/1"):
        assert is_hub_id(good)
    for bad in (
        "",
        "/x",
        "a/b/c",
        "../x",
        "a/..",
        "a b",
        "owner/naïve",
        "a/b@",
        "~/x",
        "C:\\x",
        "./x",
        "-h",
        ".x/y",
        "a\n",
    ):
        assert not is_hub_id(bad)
