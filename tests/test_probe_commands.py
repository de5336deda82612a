"""`inspector probe` and `probes`: records, gates, resuming, items for audit, bad material."""

import csv
import io
import json
import re

import jsonschema
import pytest

import inspector
from inspector.demo.corpus import OCCUPATIONS, TEMPLATES
from inspector.fairness.probes.table import PROBES
from inspector.fairness.verdicts import VERDICTS
from inspector.report.document import FORMATS, render
from inspector.report.schema import FOLDER

HOSTILE = "<b>**[x](javascript:0)=1+1"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Pairs in the words of the demo corpus, each occupation a cluster."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "more", "less", "category", "cluster", "direction"])
        for name, occupation in OCCUPATIONS.items():
            if not occupation.leaning:
                continue
            for i, template in enumerate(TEMPLATES[:2]):
                text = template.replace("{subject}", f"the {name}").replace("{mood}", "tired")
                sides = [text.replace("{pronoun}", word) for word in ("he", "she")]
                if occupation.leaning < 0:
                    sides.reverse()
                rows.writerow([f"{name}{i}", *sides, HOSTILE, name, "stereo"])
    return path


def asked(model, pairs, *more):
    return ("probe", model, "--probe", "pairs", "--data", str(pairs), *more)


def test_a_document_holds_every_number_with_its_receipt(run, pairs):
    code, out, err = run(*asked("demo:planted", pairs, "--json"))
    assert (code, err) == (0, "")
    found = json.loads(out)
    jsonschema.validate(found, json.loads((FOLDER / "probe.json").read_text()))
    whole = found["records"][0]
    assert (whole["probe"], whole["category"], whole["verdict"]) == ("pairs", "all", VERDICTS[0])
    assert found["summary"]["guard"]["problem"] is None and len(whole["data_sha256"]) == 64
    assert found["records"][1]["category"] == HOSTILE
    assert found["source"]["seed"] == 0 and found["coverage"]["tensors_total"]
    made = inspector.probe(inspector.load("demo:planted"), "pairs", pairs)
    assert json.loads(made.to_json())["records"] == found["records"]
    for form in FORMATS:
        assert render(made, form)


def test_the_terminal_says_the_verdict_first_and_text_plainly(run, pairs):
    code, out, _ = run(*asked("demo:planted", pairs))
    told = out.decode()
    assert code == 0 and told.startswith("bias detected: preference is ")
    assert "\x1b" not in told and "\u202e" not in told
    assert "no link with harm in use" in told


@pytest.mark.parametrize(
    ("model", "more", "code"),
    [
        ("demo:planted", ["--fail-on", "bias"], 1),
        ("demo:balanced", ["--fail-on", "bias"], 0),
        ("demo:balanced", ["--fail-on", "unproven"], 1),
        ("demo:balanced", ["--fail-on", "unproven", "--margin", "0.45"], 0),
        ("demo:planted", ["--fail-on", "change", "--baseline", "demo:planted"], 0),
        ("demo:balanced", ["--fail-on", "change", "--baseline", "demo:planted"], 1),
        ("demo:balanced", ["--fail-on", "change"], 1),
        ("demo:balanced", ["--fail-on", "nonsense"], 2),
        ("demo:balanced", ["--margin", "0"], 2),
        ("demo:balanced", ["--scorer", "pll"], 2),
    ],
)
def test_verdicts_stop_a_pipeline(run, pairs, model, more, code):
    found, _, err = run(*asked(model, pairs, *more, "--json"))
    assert found == code
    assert bool(err) == bool(code)


def test_a_measurement_that_failed_is_never_a_pass(run, pairs, tmp_path):
    """Of a model that knows none of the words nothing is measured, whatever is asked for."""
    bare = tmp_path / "pairs.csv"
    bare.write_text("id,more,less,category,cluster,direction\n1,zz qq,qq zz,x,a,stereo\n")
    for gate in ("bias", "unproven"):
        assert run(*asked("demo:planted", bare, "--fail-on", gate, "--json"))[0] == 1
    code, out, _ = run(*asked("demo:planted", bare, "--json"))
    assert json.loads(out)["records"][0]["verdict"] == "invalid measurement"
    assert code == 1  # by the finding of the guard


def test_items_are_written_for_audit(run, pairs, tmp_path):
    path = tmp_path / "items.csv"
    assert run(*asked("demo:planted", pairs, "--items", str(path), "--quiet", "--json"))[0] == 0
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [row["id"] for row in rows][:2] == ["nurse0", "nurse1"]
    assert all(float(row["gap"]) > 0 for row in rows) and " he " in rows[0]["text_more"]
    code, _, err = run(*asked("demo:planted", pairs, "--items", str(tmp_path / "items.txt")))
    assert code == 2 and ".parquet" in err


def test_a_run_goes_on_from_its_scores(run, pairs, tmp_path):
    scores = tmp_path / "scores.jsonl"
    first = json.loads(run(*asked("demo:planted", pairs, "--scores", str(scores), "--json"))[1])
    lines = scores.read_text().splitlines(keepends=True)
    scores.write_text("".join(lines[:20]) + lines[20][:30])  # killed while it wrote
    again = json.loads(run(*asked("demo:planted", pairs, "--scores", str(scores), "--json"))[1])
    assert again["records"] == first["records"]
    assert 0 < again["summary"]["scores"]["asked_now"] < first["summary"]["scores"]["asked_now"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"id,more\n1,a\n", "less"),
        (b'id,more,less,category,cluster,direction\n1,"a,b,c,d,stereo\n', "quote"),
        (b"id,more,less,category,cluster,direction\n1,\xff\xfe,b,c,d,stereo\n", "UTF-8"),
    ],
)
def test_bad_material_is_told_before_the_model_is_loaded(run, tmp_path, content, told):
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    code, out, err = run(*asked("demo:planted", path, "--json"))
    assert code == 2 and told in err and "Traceback" not in err and not out


def test_a_probe_that_is_not_there_is_told_with_those_that_are(run):
    code, _, err = run("probe", "demo:planted", "--probe", HOSTILE)
    assert code == 2 and "crows-pairs" in err and "\x1b" not in err
    code, _, err = run("probe", "demo:planted", "--probe", "crows-pairs")
    assert code == 2 and "crows_pairs_anonymized.csv" in err


def test_the_list_has_every_probe_with_its_criticism(run):
    found = json.loads(run("probes", "--json")[1])
    jsonschema.validate(found, json.loads((FOLDER / "probes.json").read_text()))
    assert [one["probe"] for one in found["records"]] == list(PROBES)
    assert all(one["criticism"] and one["source"] and one["data"] for one in found["records"])
    told = run("probes")[1].decode()
    assert all(name in told for name in PROBES)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("nonsense=1", "it has "),
        ("pooling", "name=value"),
        ("pooling=[", "cannot be read"),
        ("pooling=[1]", "pooling"),
    ],
)
def test_options_of_one_probe_are_checked_before_any_work(run, setting, told):
    code, out, err = run("probe", "demo:planted", "--probe", "seat", "--set", setting)
    assert code == 2 and told in err and not out


def test_help_follows_the_way_through_a_model(run):
    """What is in it, how it decides, whether it is fair; and last what helps with all of it."""
    names = re.findall(r"^  ([\w-]+)  ", run("--help")[1].decode(), re.MULTILINE)
    way = ["scan", "health", "compare", "attribute", "lens", "probes", "probe", "localize", "app"]
    assert [name for name in names if name in way] == way


def test_a_gap_is_located_beside_its_whole(run):
    asked = ("localize", "demo:planted", "--data", "demo:words", "--what", "blocks", "--json")
    code, out, err = run(*asked, "--fail-on", "bias")
    found = json.loads(out)
    assert code == 1 and "bias detected" in err
    jsonschema.validate(found, json.loads((FOLDER / "localize.json").read_text()))
    assert {one["what"] for one in found["records"]} == {"blocks"}
    assert found["summary"]["gap"]["low"] > 0 and found["summary"]["patched"]
    code, _, err = run("localize", "demo:planted", "--what", "nonsense", "--data", "demo:words")
    assert code == 2 and "matrices" in err
