"""The command line: streams, formats and exit codes are a contract that scripts rely on."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from inspector import cli
from inspector.report.document import FORMATS, csv_cell, md_code
from inspector.report.schema import FOLDER, RECORDS, text
from inspector.weights import scan as scanning
from inspector.weights.judgements import JUDGEMENTS

SAID = ["demo:planted", "--text", "the nurse said that"]
CHEAP = ["--target", "he", "--method", "feature-ablation", "--orders", "4"]
HOSTILE = "<img src=x onerror=alert(1)>|`[c](javascript:0)\x1b[31m\u202e=cmd()"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    rng = np.random.default_rng(0)
    save_file(
        {
            "embed_tokens.weight": rng.normal(size=(32, 8)).astype(np.float32),
            "layers.0.mlp.up_proj.weight": rng.normal(size=(16, 8)).astype(np.float16),
            "layers.0.mlp.up_proj.bias": np.zeros(16, dtype=np.float32),
        },
        folder / "model.safetensors",
    )
    return folder


def document(out: bytes) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(out, parse_constant=refuse)


TRAINING = ("calibrate", "plan", "finetune", "verify-resume")  # test_finetune_commands, soak


@pytest.mark.parametrize("command", [c for c in RECORDS if c not in TRAINING])
def test_documents_follow_the_shipped_schemas(run, checkpoint, command):
    extra = {
        "tensor": [checkpoint, "embed_tokens.weight"],
        "compare": [checkpoint, checkpoint],
        "demo": [],
        "doctor": [],
        "probes": [],
        "probe": ["demo:planted", "--probe", "pairs", "--data", "demo:words"],
        "localize": ["demo:planted", "--data", "demo:words", "--what", "blocks"],
        "sample": [checkpoint, "--sample", "4096"],
        "attribute": [*SAID, *CHEAP, "--versus", "she"],
        "agreement": [*SAID, *CHEAP],
        "layers": [*SAID, "--target", "he", "--part", "mlp"],
        "attention-map": [*SAID, "--head", "0.1"],
        **dict.fromkeys(("attention", "lens", "ablate", "heads", "activations"), SAID),
    }.get(command, [checkpoint])
    code, out, _ = run("scan" if command == "sample" else command, *extra, "--json")
    assert code == 0
    shipped = json.loads((FOLDER / f"{command}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(shipped)
    jsonschema.validate(document(out), shipped)


@pytest.mark.parametrize("command", RECORDS)
def test_shipped_schemas_are_those_of_the_records(command):
    assert (FOLDER / f"{command}.json").read_text() == text(command), (
        "python -m inspector.report.schema"
    )


def test_schemas_refuse_what_is_no_such_document(run, checkpoint):
    _, out, _ = run("scan", checkpoint, "--json")
    shipped = json.loads((FOLDER / "scan.json").read_text())
    for spoil in (
        lambda d: d["records"][0].pop("kurtosis"),
        lambda d: d["records"][0].update(zeros="none"),
        lambda d: d.update(schema="inspector.scan/2"),
        lambda d: d["coverage"].pop("skipped", None) or d.pop("coverage"),
    ):
        spoiled = document(out)
        spoil(spoiled)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(spoiled, shipped)


def test_every_format_carries_every_record(run, checkpoint, tmp_path):
    _, out, _ = run("scan", checkpoint, "--json")
    names = [record["name"] for record in document(out)["records"]]
    assert len(names) == 3
    rows = list(csv.DictReader(io.StringIO(run("scan", checkpoint, "--format", "csv")[1].decode())))
    assert [row["name"] for row in rows] == names
    target = tmp_path / "scan.parquet"
    assert run("scan", checkpoint, "-o", target)[0] == 0  # the suffix says the format
    frame = pd.read_parquet(target)
    assert list(frame["name"]) == names
    assert [int(p) for p in frame["parameters"]] == [int(row["parameters"]) for row in rows]
    for form in ("md", "html"):
        shown = run("scan", checkpoint, "--format", form)[1].decode()
        assert all(name in shown for name in names)
    sarif = document(run("scan", checkpoint, "--format", "sarif")[1])
    assert sarif["version"] == "2.1.0"
    found = {result["ruleId"] for result in sarif["runs"][0]["results"]}
    assert found == {finding["id"] for finding in document(out)["findings"]}
    assert found == {rule["id"] for rule in sarif["runs"][0]["tool"]["driver"]["rules"]}


@pytest.mark.parametrize("command", JUDGEMENTS)
def test_every_judgement_comes_in_every_format(run, checkpoint, command):
    _, out, _ = run(command, checkpoint, "--json")
    wanted = document(out)["records"]
    assert wanted
    _, text_of_csv, _ = run(command, checkpoint, "--format", "csv")
    assert len(list(csv.DictReader(io.StringIO(text_of_csv.decode())))) == len(wanted)
    _, binary, _ = run(command, checkpoint, "--format", "parquet")
    assert len(pd.read_parquet(io.BytesIO(binary))) == len(wanted)
    first = wanted[0].get("name", wanted[0].get("id"))
    for form in ("table", "md", "html"):
        code, shown, _ = run(command, checkpoint, "--format", form, "--fail-on", "never")
        assert code == 0
        assert first.split(".")[0] in shown.decode()
    sarif = document(run(command, checkpoint, "--format", "sarif")[1])
    assert len(sarif["runs"][0]["results"]) == len(document(out)["findings"])


def test_health_fails_where_it_is_told_to(run, tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(64, 64)).astype(np.float32)
    weights[3, 5] = np.nan
    save_file({"w": weights}, tmp_path / "model.safetensors")
    code, out, _ = run("health", tmp_path, "--json")
    assert code == 1
    failed = [r for r in document(out)["records"] if not r["passed"]]
    assert "HL-FINITE" in {r["id"] for r in failed}
    assert run("health", tmp_path, "--fail-on", "never", "--json")[0] == 0
    sarif = document(run("health", tmp_path, "--format", "sarif")[1])
    results = sarif["runs"][0]["results"]
    assert {"HL-FINITE"} <= {r["ruleId"] for r in results if r["level"] == "error"}


def test_compare_names_both_models(run, checkpoint):
    code, out, _ = run("compare", checkpoint, "demo:planted", "--json")
    found = document(out)
    assert code == 0
    assert found["source"]["model"] == "demo:planted"
    assert found["summary"]["base"]["model"] == str(checkpoint)
    assert {r["status"] for r in found["records"]} >= {"added", "removed"}


@pytest.mark.parametrize("form", ["table", "md", "html", "json"])
def test_compare_gives_its_verdict_in_every_form_for_people(run, checkpoint, form):
    out = run("compare", checkpoint, checkpoint, "--format", form)[1].decode()
    assert "The two models hold the same values." in out


def test_quantize_tells_of_the_whole_model_by_format(run, checkpoint):
    out = run("quantize", checkpoint, "--formats", "nf4-g64")[1].decode()
    whole = out.partition("The whole model by format")[2]
    assert "nf4-g64" in whole and "median" in whole


@pytest.mark.parametrize("command", ["compare", *JUDGEMENTS])
def test_hostile_names_stay_text_in_every_judgement(run, tmp_path, command):
    rng = np.random.default_rng(0)
    name = f"layers.0.mlp.{HOSTILE}.up_proj.weight"
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        values = rng.normal(size=(24, 16)).astype(np.float32)
        save_file({name: values, f"{HOSTILE}.bias": values[0]}, folder / "model.safetensors")
    models = (one, other) if command == "compare" else (one,)
    for form in (*FORMATS, "table"):
        if form == "parquet":
            continue
        code, out, err = run(command, *models, "--format", form)
        assert code in (0, 1), err
        for said in (out, err.encode()):
            assert b"\x1b" not in said and "\u202e".encode() not in said, form
        assert form != "html" or b"<img" not in out
        assert form != "csv" or b"\n=" not in out


def test_a_dimension_beyond_64_bits_has_every_form(run, tmp_path):
    entry = {"dtype": "F32", "shape": [2**63, 0], "data_offsets": [0, 0]}
    header = json.dumps({"a": entry}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    for form in FORMATS:
        assert run("compare", tmp_path, tmp_path, "--format", form)[0] != 70
        assert run("scan", tmp_path, "--format", form)[0] != 70


def test_a_table_is_for_the_terminal(run, checkpoint, tmp_path):
    code, out, err = run("scan", checkpoint)
    assert code == 0
    assert b"embed_tokens.weight" in out and b"100.00%" in out
    assert err == ""  # no progress where stderr is no terminal
    assert run("scan", checkpoint, "--format", "table", "-o", tmp_path / "x")[0] == 2


def test_where_chooses_and_coverage_says_of_what(run, checkpoint):
    found = document(run("scan", checkpoint, "--where", "mlp", "--json")[1])
    assert [record["role"] for record in found["records"]] == ["up", "up"]
    assert found["coverage"]["tensors_total"] == 2
    code, _, err = run("scan", checkpoint, "--where", "(")
    assert code == 2 and "regular expression" in err


def test_a_sample_says_how_far_off_it_may_be(run, minilm):
    code, out, _ = run("scan", minilm, "--sample", "1000000", "--seed", "3", "--json")
    found = document(out)
    assert code == 0
    assert found["source"]["seed"] == 3
    assert found["coverage"]["bytes_read"] <= 1_000_000
    estimates = [r for r in found["records"] if not r["exact"]]
    assert estimates
    assert all(r["q50_low"] <= r["q50"] <= r["q50_high"] for r in estimates)
    assert b"values read" in run("scan", minilm, "--sample", "1000000")[1]
    assert run("scan", minilm, "--sample", "1000000", "--channels")[0] == 2


def test_channels_name_the_outlier(run, tmp_path):
    values = np.full((5, 7), 0.01, dtype=np.float32)
    values[3, 4] = -9
    save_file({"w": values}, tmp_path / "model.safetensors")
    found = document(run("scan", tmp_path, "--channels", "--json")[1])
    (outline,) = found["summary"]["channels"]
    assert outline["rows"]["rms_max_at"] == 3 and outline["columns"]["rms_max_at"] == 4
    assert (outline["outliers"][0]["row"], outline["outliers"][0]["column"]) == (3, 4)
    tensor = document(run("tensor", tmp_path, "w", "--json")[1])
    assert tensor["summary"]["rows"]["abs_max"][3] == 9
    assert sum(tensor["summary"]["histogram"]["counts"]) == 35


def test_exit_codes(run, checkpoint, tmp_path):
    assert run("scan", checkpoint)[0] == 0
    bad = tmp_path / "nan"
    bad.mkdir()
    save_file({"w": np.array([1.0, np.nan], dtype=np.float32)}, bad / "model.safetensors")
    assert run("scan", bad, "--json")[0] == 1
    assert run("scan", bad, "--json", "--fail-on", "never")[0] == 0
    assert run("scan", checkpoint, "--fail-on", "sometimes")[0] == 2
    assert run("scan", tmp_path / "absent")[0] == 2
    assert run("scan", "--nonsense")[0] == 2
    assert run("tensor", checkpoint, "layers.0.mlp.up_proj.weigth")[0] == 2
    assert (
        "Did you mean layers.0.mlp.up_proj.weight,"
        in run("tensor", checkpoint, "layers.0.mlp.up_proj.weigth")[2]
    )


def test_an_unreadable_file_still_gives_its_document(run, tmp_path):
    pointer = tmp_path / "model.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    code, out, err = run("scan", pointer, "--json")
    assert code == 2
    errors = [f["id"] for f in document(out)["findings"] if f["severity"] == "error"]
    assert errors == ["ST-LFS"]
    jsonschema.validate(document(out), json.loads((FOLDER / "scan.json").read_text()))
    assert "git lfs pull" in document(out)["findings"][0]["remedy"]
    assert "Traceback" not in err


def test_a_bug_and_an_interrupt_have_their_own_codes(run, checkpoint, monkeypatch):
    def bug(*_arguments):
        raise ZeroDivisionError("planted")

    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(scanning, "scan", bug)
    code, _, err = run("scan", checkpoint, "--no-cache")
    assert code == 70 and "ZeroDivisionError" in err and "bug in inspector" in err
    monkeypatch.setattr(scanning, "scan", interrupt)
    assert run("scan", checkpoint, "--no-cache")[0] == 130


def test_the_second_scan_comes_from_disk_and_a_changed_file_does_not(run, checkpoint, monkeypatch):
    first = document(run("scan", checkpoint, "--json")[1])

    def no_scan(*_arguments):
        raise AssertionError("measured again")

    from inspector.weights import stored

    with monkeypatch.context() as patch:
        patch.setattr(stored, "scan", no_scan)
        again = document(run("scan", checkpoint, "--json")[1])
    assert again == first
    data = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(data[:-4] + b"\0\0\x80\x7f")  # +inf
    changed = document(run("scan", checkpoint, "--json")[1])
    assert changed["records"] != first["records"]


def test_hostile_names_stay_text(run, tmp_path):
    save_file({HOSTILE: np.ones(3, dtype=np.float32)}, tmp_path / "model.safetensors")
    for form in (*FORMATS, "table"):
        if form == "parquet":
            continue
        out = run("scan", tmp_path, "--format", form)[1]
        assert b"\x1b" not in out and "\u202e".encode() not in out, form
    assert b"<img" not in run("scan", tmp_path, "--format", "html")[1]
    rows = list(csv.DictReader(io.StringIO(run("scan", tmp_path, "--format", "csv")[1].decode())))
    assert len(rows) == 1


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start):
    cell = str(csv_cell(f"{start}cmd|' /C calc'!A0"))
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert csv_cell(-1.5) == -1.5


def test_code_spans_hold_any_number_of_backticks():
    for name in ("`", "``x`", "a`b``c", "", " ", "|", "x"):
        span = md_code(name)
        fence = len(span) - len(span.lstrip("`"))
        inside = span[fence : len(span) - fence]
        assert "|" not in span
        assert "`" * fence not in inside or fence == 0


def test_output_that_cannot_be_written_is_told(run, checkpoint, tmp_path):
    code, _, err = run("scan", checkpoint, "--json", "-o", tmp_path / "absent" / "x.json")
    assert code == 2 and "cannot be written" in err
    assert run("scan", checkpoint, "--json", "--format", "csv")[0] == 2
    assert run("scan", checkpoint, "--format", "yaml")[0] == 2


def test_demo_lists_the_shipped_models(run):
    found = document(run("demo", "--json")[1])
    assert {record["model"] for record in found["records"]} >= {"demo:planted", "demo:balanced"}
    assert all(Path(record["card"]).is_file() for record in found["records"])


def test_doctor_reports_an_unwritable_cache(run, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("INSPECTOR_CACHE", str(blocked))
    code, out, _ = run("doctor", "--json")
    assert code == 1
    assert [f["where"] for f in document(out)["findings"]] == ["cache"]


def test_a_reader_that_stops_early_is_no_error(checkpoint):
    script = f"{sys.executable} -m inspector scan {checkpoint} --format csv | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_scan_starts_without_the_heavy_libraries(checkpoint):
    program = (
        "import sys; sys.argv = ['inspector', 'scan', sys.argv[1], '--json']\n"
        "from inspector.cli import main\n"
        "try: main()\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'torch', 'transformers', 'streamlit', 'captum', 'altair', 'plotly'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(checkpoint)],
        capture_output=True, text=True, timeout=180, check=True, env=os.environ,
    )  # fmt: skip
    assert done.stderr.strip() == "[]"
    json.loads(done.stdout)


def test_the_list_of_commands_breaks_off_no_sentence(run):
    out = run("--help")[1].decode()
    assert "compare" in out and "..." not in out.partition("Commands:")[2]


@pytest.mark.parametrize(
    "command", [c.name or c.callback.__name__ for c in cli.app.registered_commands]
)
def test_every_command_has_help(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0 and len(out.splitlines()) > 3
