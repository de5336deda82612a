"""Every malformed input: the findings, the exit code, how long and how much memory it takes."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
import safetensors

import inspector.cli
from inspector.errors import CheckpointError
from inspector.results import Finding
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.problems import PROBLEMS
from inspector.weights.scan import Scan, scan
from tests.weights.bad_directories import ALL_CASES
from tests.weights.bad_files import HOSTILE_NAMES, VALID, Case, one, packed
from tests.weights.opens import open_files, recorded_opens

SECONDS = 10  # of the processor: 1, and what type checks take on cores that others use too

by_name = pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)


def opened(path: Path) -> tuple[tuple[Finding, ...], Scan | None]:
    """What opening says, and the scan where there is something to scan."""
    try:
        checkpoint = open_checkpoint(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
        return error.findings, None
    return checkpoint.findings, scan(checkpoint, workers=1)


def exit_code(scanned: Scan | None) -> int:
    if scanned is None:
        return 2
    return int(any(finding.severity == "error" for finding in scanned.findings))


@pytest.fixture(scope="module", autouse=True)
def _compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kernels are compiled once, outside the time that is measured."""
    opened(one(tmp_path_factory.mktemp("warm"), VALID["misaligned"]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def test_there_are_enough_and_their_names_differ() -> None:
    assert len(ALL_CASES) >= 60
    assert len({case.name for case in ALL_CASES}) == len(ALL_CASES)


def test_every_problem_of_files_has_a_case() -> None:
    told = {id for case in ALL_CASES for id in case.ids}
    made_by_valid = {"ST-SPACE", "ST-EXTRA"}
    made_by_servers = {"CF-UNREADABLE"}  # test_remote.py
    wanted = {id for id in PROBLEMS if id.startswith(("ST-", "PK-", "IX-", "CF-"))}
    assert wanted - told - made_by_valid - made_by_servers == set()


@by_name
def test_findings_exit_code_and_time(
    case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The whole of `inspector scan --json`, in this process."""
    path = case.build(folder)
    monkeypatch.setattr(sys, "argv", ["inspector", "scan", str(path), "--json", "--no-cache"])
    before = open_files()
    wall, work = time.perf_counter(), time.process_time()
    with recorded_opens() as files, pytest.raises(SystemExit) as ended:
        inspector.cli.main()
    wall, work = time.perf_counter() - wall, time.process_time() - work
    assert ended.value.code == case.code
    out, err = capfd.readouterr()
    document = json.loads(out)  # one document and nothing else
    told = [f for f in document["findings"] if f["id"][:3] in ("ST-", "PK-", "IX-", "CF-")]
    assert sorted(f["id"] for f in told) == sorted(case.ids)
    assert len(document["records"]) == case.measured
    for finding in document["findings"]:
        assert finding["remedy"]
        assert finding["where"].isprintable()
        assert finding["statement"].isprintable()
        assert len(finding["statement"]) < 2000
    assert "Traceback" not in err
    assert err.replace("\n", "").isprintable()
    assert open_files() == before
    assert_nothing_outside(files, folder)
    assert work < SECONDS
    assert wall < 10 * SECONDS  # this clock also runs for others on the machine


def assert_nothing_outside(files: list[str], folder: Path) -> None:
    """Neither a link's nor an index's target outside the folder was opened, nor any pickle."""
    inside, around = os.path.realpath(folder), os.path.realpath(folder.parent)
    mine = [f for f in files if f.startswith(around) or f in ("/etc/passwd", "/dev/zero")]
    assert [f for f in mine if not f.startswith(inside + os.sep)] == []
    assert [f for f in files if f.endswith((".bin", ".pt"))] == []
    assert not Path("/tmp/inspector-was-here").exists()


@by_name
def test_memory(case: Case, folder: Path) -> None:
    path = case.build(folder)
    tracemalloc.start()
    try:
        with contextlib.suppress(CheckpointError):
            open_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


def test_the_recording_sees_opens(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with recorded_opens() as files:
        os.close(os.open(tmp_path / "x", os.O_RDONLY))
        (tmp_path / "x").read_bytes()
        io.FileIO(tmp_path / "x").close()
    assert files.count(str(tmp_path.resolve() / "x")) == 3


EXACTLY_ONE = {  # one thing wrong: one finding, and the other tensor still measured
    "hole": "ST-HOLE",
    "overlap": "ST-OVERLAP",
    "one trailing byte": "ST-TRAILING",
    "truncated by two bytes": "ST-TRUNCATED",
    "shape larger than range": "ST-SIZE",
    "duplicate name": "ST-DUP",
    "dtype Q4_K": "ST-DTYPE",
    "metadata with a number": "ST-META",
}


@pytest.mark.parametrize("name", EXACTLY_ONE)
def test_one_thing_wrong_is_one_finding(name: str, folder: Path) -> None:
    case = next(case for case in ALL_CASES if case.name == name)
    findings, scanned = opened(case.build(folder))
    assert [finding.id for finding in findings] == [EXACTLY_ONE[name]]
    assert scanned is not None
    assert len(scanned) >= 1
    assert exit_code(scanned) == 1
    skipped = {one.name for one in scanned.coverage.skipped}
    assert skipped | {record.name for record in scanned} == {"a", "b"}


def test_numbers_of_the_readable_rest_are_right(folder: Path) -> None:
    case = next(case for case in ALL_CASES if case.name == "dtype Q4_K")
    _, scanned = opened(case.build(folder))
    assert scanned is not None
    assert [(r.name, r.mean, r.min, r.max) for r in scanned] == [("a", 1.5, 0.0, 3.0)]
    assert [(s.name, "Q4_K" in s.reason) for s in scanned.coverage.skipped] == [("b", True)]


def test_what_a_statement_must_name(folder: Path) -> None:
    """Both numbers of a wrong length, expected and actual bytes, what lies behind the data."""
    wanted = {
        "length 100000001": ["100,000,001", "2"],
        "header_over_the_cap": ["90,000,000", "25,000,000", "1,125,000"],
        "trailing zip": ["34", "zip"],
        "truncated by two bytes": ["2 bytes are missing"],
        "shape larger than range": ["20", "16"],
        "duplicate name": ["2 times"],
        "seven bytes": ["7 bytes"],
        "lfs pointer": ["Git-LFS"],
        "missing shard": ["1 tensors"],
        "wrong total_size": ["49", "48"],
        "hole": ["4 bytes"],
    }
    for name, parts in wanted.items():
        case = next(case for case in ALL_CASES if case.name == name)
        (folder / name).mkdir()
        findings, _ = opened(case.build(folder / name))
        for part in parts:
            assert part in findings[0].statement, name


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_name_is_shown_harmless_and_cut(name: str, folder: Path) -> None:
    header = {HOSTILE_NAMES[name]: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    findings, scanned = opened(one(folder, packed(header)))
    assert [finding.id for finding in findings] == ["ST-NAME"]
    assert len(findings[0].where) < 300
    assert scanned is not None
    assert scanned[0].name == HOSTILE_NAMES[name]  # the record keeps the name as it is


@pytest.mark.parametrize("name", VALID)
def test_valid_file_has_no_error_and_safetensors_opens_it(name: str, folder: Path) -> None:
    path = one(folder, VALID[name])
    findings, scanned = opened(path)
    assert [f.id for f in findings if f.severity != "info"] == []
    assert scanned is not None
    with safetensors.safe_open(path, framework="numpy") as library:
        assert sorted(library.keys()) == sorted(e.name for e in open_checkpoint(path).tensors)
        for entry in open_checkpoint(path).tensors:
            assert tuple(library.get_slice(entry.name).get_shape()) == entry.shape
            assert library.get_slice(entry.name).get_dtype() == entry.dtype


def test_a_million_bad_entries_stay_few_findings(folder: Path) -> None:
    header = {
        f"t{i}": {"dtype": "Q", "shape": [1], "data_offsets": [i, i + 1]} for i in range(5000)
    }
    checkpoint = open_checkpoint(one(folder, packed(header)))
    assert len(checkpoint.findings) == 101
    assert checkpoint.findings[-1].evidence["count"] == 5000
    assert len(checkpoint.tensors) == 5000


@pytest.mark.parametrize("depth", range(50, 1000, 50))
def test_config_of_any_depth(depth: int, folder: Path) -> None:
    path = one(folder, VALID["no metadata"])
    text = b'{"auto_map":' + b"[" * depth + b"]" * depth + b',"num_layers":' + b"[" * depth
    (folder / "config.json").write_bytes(text + b"]" * depth + b"}")
    findings, _ = opened(path)
    assert {f.id for f in findings} in ({"CF-CODE", "CF-RANGE"}, {"CF-JSON"})


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inspector", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ.copy(),
    )


# one of each way to end; starting the interpreter for all of them would take minutes
FROM_A_SHELL = ("lfs pointer", "duplicate name", "name ANSI", "hostile_file_name")


@pytest.mark.parametrize("name", FROM_A_SHELL)
def test_command_line(name: str, folder: Path) -> None:
    case = next(case for case in ALL_CASES if case.name == name)
    ended = cli("scan", case.build(folder), "--json")
    assert ended.returncode == case.code
    document = json.loads(ended.stdout)
    told = [finding["id"] for finding in document["findings"]]
    assert set(case.ids) <= set(told)
    assert "Traceback" not in ended.stderr
    assert "\x1b]" not in ended.stderr + ended.stdout
    assert "\u202e" not in ended.stderr + ended.stdout


def test_header_cap_can_be_lifted(folder: Path) -> None:
    """A real header over the cap: refused without, listed with a higher one."""
    names = ("x" * 2500 + str(i) for i in range(10_500))
    header = {n: {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in names}
    path = one(folder, packed(header))
    with pytest.raises(CheckpointError, match="limit is 25,000,000"):
        open_checkpoint(path)
    assert len(open_checkpoint(path, max_header=50_000_000).tensors) == 10_500
    assert path.stat().st_size > 25_000_000
