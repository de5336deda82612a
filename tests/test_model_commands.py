"""Commands that run a model: options, many prompts, what is hostile; each says what it is worth."""

import csv
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import inspector
from inspector.demo import path
from inspector.model.attention_pairs import attention_pairs
from inspector.model.batch import Asking, batch
from inspector.model.load import Model
from inspector.model.prompts import Prompt, read_prompts
from inspector.model.records import LensPoint
from inspector.report.document import FORMATS, render
from inspector.report.schema import FOLDER
from inspector.report.terminal import print_answer

DEMO = "demo:planted"
TEXT = "the nurse said that"
SAID = [DEMO, "--text", TEXT]
CHEAP = ["--method", "feature-ablation", "--orders", "4"]
HOSTILE = "<img/src=x>|`[c](javascript:0)\x1b[31m\u202e=cmd()"
COMMANDS = {  # of the demo model, as cheap as they can be
    "attribute": [*SAID, *CHEAP, "--target", "he"],
    "agreement": [*SAID, *CHEAP, "--target", "he"],
    "layers": [*SAID, "--target", "he", "--part", "mlp"],
    "attention-map": [*SAID, "--head", "0.1", "--head", "2.3"],
    **dict.fromkeys(("attention", "lens", "ablate", "heads", "activations"), SAID),
}
VARIES = {"when", "seconds"}


def document(out: bytes | str) -> dict:
    return json.loads(out)


def settled(found: object) -> object:
    """A document without what differs from run to run."""
    if isinstance(found, dict):
        return {key: settled(value) for key, value in found.items() if key not in VARIES}
    return [settled(one) for one in found] if isinstance(found, list) else found


def changed_demo(folder: Path, words: dict[str, str | None] = {}, **tensors) -> Path:  # noqa: B006
    """The demo model with words renamed, or dropped where they are None, and tensors replaced."""
    shutil.copytree(path("planted"), folder)
    for name, value in tensors.items():
        values = load_file(folder / "model.safetensors")
        values[name] = np.full_like(values[name], value)
        save_file(values, folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "tokenizer.json"
    made = json.loads(file.read_text())
    vocabulary = made["model"]["vocab"]
    for word, new in words.items():
        vocabulary[new] = vocabulary.pop(word)
    file.write_text(json.dumps(made))
    return folder


ASKED = {  # the same questions in Python, of a model, a text and an answer
    "attribute": lambda model, text, answer: inspector.attribute(
        model, text, answer, method="feature-ablation", orders=4
    ),
    "agreement": lambda model, text, answer: inspector.agreement(
        model, text, answer, methods=["feature-ablation"], orders=4
    ),
    "layers": lambda model, text, answer: inspector.layers(model, text, answer, parts=["mlp"]),
    "attention-map": lambda model, text, _: attention_pairs(model, text, [(0, 1), (2, 3)]),
    "attention": lambda model, text, _: inspector.attention(model, [text]),
    "lens": lambda model, text, _: inspector.lens(model, text),
    "ablate": lambda model, text, _: inspector.ablate(model, [text]),
    "heads": lambda model, text, _: inspector.heads(model, [text]),
    "activations": lambda model, text, _: inspector.activations(model, [text]),
}


@pytest.fixture(scope="module")
def model() -> Model:
    return inspector.load(DEMO)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_its_function_and_says_first_what_it_is_worth(run, model, command):
    code, out, err = run(command, *COMMANDS[command], "--json")
    assert (code, err) == (0, "")
    found = document(out)
    made = ASKED[command](model, TEXT, "he")
    assert found["records"] and settled(found) == settled(made.to_dict())
    rows = csv.DictReader(io.StringIO(render(made, "csv").decode()))
    assert len(list(rows)) == len(pd.read_parquet(io.BytesIO(render(made, "parquet"))))
    table = run(command, *COMMANDS[command])[1].decode()
    verdict = table.splitlines()[0].strip()[:30]
    assert len(verdict) > 20
    assert f"**Verdict:** `{verdict}" in render(made, "md").decode()
    start = html.escape(verdict, quote=False)
    assert f"<strong>Verdict:</strong> {start}" in html_text(render(made, "html"))
    sarif = document(render(made, "sarif"))
    assert len(sarif["runs"][0]["results"]) == len(found["findings"])


def html_text(out: bytes) -> str:
    return out.decode().replace("&#34;", '"').replace("&#39;", "'")


def test_help_names_what_can_be_chosen(run):
    from inspector.model.ablation import COMPONENTS
    from inspector.model.attribution import METHODS
    from inspector.model.gates import ABLATIONS
    from inspector.model.layers import PARTS

    for command, words in (
        ("attribute", [*METHODS, "tokens", "words", ".jsonl", ".csv", ".tsv"]),
        ("ablate", COMPONENTS),
        ("heads", ABLATIONS),
        ("layers", PARTS),
    ):
        told = " ".join(run(command, "--help")[1].decode().split())
        assert not [word for word in words if word not in told.replace("- ", "-")], command


def test_options_reach_the_functions(run):
    def asked(*more: str) -> dict:
        return document(run("attribute", *SAID, "--target", "he", *more, "--json")[1])

    words = asked(*CHEAP, "--units", "the nurse, said that")
    assert [record["text"] for record in words["records"]] == ["the nurse", "said that"]
    assert words["summary"]["faithfulness"]["exhaustive"]
    few = asked("--method", "lime", "--samples", "7", "--orders", "0", "--baseline", "unk")
    assert few["summary"]["samples"] == 7
    assert few["summary"]["verdict"] == "not tested"
    assert {record["baseline"] for record in few["records"]} == {"<unk>"}
    found = document(run("ablate", *SAID, "--component", "mlp", "--json")[1])
    assert {record["component"] for record in found["records"]} == {"mlp"}
    found = document(run("heads", *SAID, "--ablation", "mean", "--top", "3", "--json")[1])
    assert found["summary"]["ablation"] == "mean"
    assert sum(record["effect"] is not None for record in found["records"]) == 3
    found = document(run("attention", *SAID, "--max-tokens", "3", "--json")[1])
    assert found["summary"]["longest"] == 3
    code, _, err = run("attention", *SAID, "--max-bytes", "10")
    assert code == 2 and "--max-bytes" in err


def test_an_attention_map_is_that_of_the_python_function(run, model):
    found = inspector.attention_map(model, TEXT, [(0, 1), (2, 3)])
    pairs = document(run("attention-map", *SAID, "--head", "0.1", "--head", "2.3", "--json")[1])
    assert len(pairs["records"]) == 2 * 15
    for one in pairs["records"]:
        which = [(0, 1), (2, 3)].index((one["layer"], one["head"]))
        at = one["query"], one["key"]
        assert one["weight"] == pytest.approx(found.weights[which][at], abs=1e-7)
        assert one["value_weighted"] == pytest.approx(found.value_weighted[which][at], abs=1e-6)
        assert one["rollout"] == pytest.approx(found.rollout[at], abs=1e-7)
        assert one["key_text"] == ("<s> " + TEXT).split()[one["key"]]
    bare = document(run("attention-map", *SAID, "--head", "0.1", "--without-sink", "--json")[1])
    rows = pd.DataFrame(bare["records"])
    assert (rows[rows.key == 0].weight == 0).all()
    sums = rows[rows["query"] > 0].groupby("query").weight.sum()
    assert np.allclose(sums, 1)
    assert bare["summary"]["sink_mass"]["0.1"] == pytest.approx(found.weights[0, 1:, 0].mean())


# many prompts


def prompts_file(folder: Path) -> Path:
    file = folder / "prompts.csv"
    rows = [
        ("the nurse said that", "he", "she"),
        ("the engineer said that", "she", "he"),
        ("", "he", "she"),
        ("the farmer asked if", "he", ""),
        ("the nurse " * 40, "he", "she"),
        ("the writer said that", "zzz", ""),
        ("the writer said that", "he", "he"),
        ("the teacher said that", "he", "she"),
    ]
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([("text", "target", "versus"), *rows])
    return file


ANSWERED = [1, 2, 4, 8]


def test_many_prompts_are_answered_as_each_alone(run, tmp_path):
    file = prompts_file(tmp_path)
    code, out, _ = run("attribute", DEMO, "--prompts", file, *CHEAP, "--json")
    found = document(out)
    assert code == 1  # some could not be asked
    jsonschema.validate(found, json.loads((FOLDER / "attribute.json").read_text()))
    assert sorted({record["prompt"] for record in found["records"]}) == ANSWERED
    summaries = found["summary"]["prompts"]
    assert [one["prompt"] for one in summaries] == list(range(1, 9))
    failed = {one["prompt"] for one in summaries if one["verdict"] == "could not be asked"}
    told = {f["where"]: f["statement"] for f in found["findings"] if f["id"] == "PR-FAILED"}
    assert {f"prompt {number}: text" for number in failed} == told.keys()
    assert failed == {1, 2, 3, 4, 5, 6, 7, 8} - set(ANSWERED)
    for number, words in ((3, "empty"), (5, "81 tokens"), (6, "zzz"), (7, "same answer")):
        assert words in told[f"prompt {number}: text"]
    assert sum(found["summary"]["verdicts"].values()) == 8
    assert found["summary"]["verdicts"]["could not be asked"] == found["summary"]["failed"] == 4
    alone = ["--text", "the farmer asked if", "--target", "he"]
    one = document(run("attribute", DEMO, *alone, *CHEAP, "--json")[1])
    records = [record for record in found["records"] if record["prompt"] == 4]
    assert records == [{**record, "prompt": 4} for record in one["records"]]
    receipt = settled(one["summary"])
    assert receipt.items() <= settled(summaries[3]).items()
    shown = run("attribute", DEMO, "--prompts", file, *CHEAP)[1].decode()
    assert "could not be asked (4)" in shown.splitlines()[0]


def test_one_text_a_line_takes_the_answers_of_the_command(run, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("the nurse said that\r\nthe engineer said that\n")
    asked = ["--target", "he", "--versus", "she"]
    found = document(run("attribute", DEMO, "--prompts", file, *asked, *CHEAP, "--json")[1])
    assert [one["text"] for one in found["summary"]["prompts"]] == [
        "the nurse said that",
        "the engineer said that",
    ]
    assert {(one["target"], one["versus"]) for one in found["summary"]["prompts"]} == {
        ("he", "she")
    }
    found = document(run("lens", DEMO, "--prompts", file, "--json")[1])
    alone = document(run("lens", DEMO, "--text", "the engineer said that", "--json")[1])
    second = [record for record in found["records"] if record["prompt"] == 2]
    assert second == [{**record, "prompt": 2} for record in alone["records"]]
    assert found["summary"]["prompts"][1]["settled"] == alone["summary"]["settled"]


def test_what_of_a_file_is_not_used_is_told(run, tmp_path):
    file = prompts_file(tmp_path)
    file.write_text("text,target\nthe nurse said that,he\n,he\nthe engineer said that,\n")
    for command in ("ablate", "heads", "attention", "activations"):
        code, out, _ = run(command, DEMO, "--prompts", file, "--json")
        found = document(out)
        told = {finding["id"]: finding["statement"] for finding in found["findings"]}
        assert code == 0
        assert "1 of 3 prompts are empty and left out: 2" in told["PR-EMPTY"]
        assert "2 prompts" in told["PR-UNUSED"]
        assert found["summary"]["texts"] == 2


def test_a_killed_run_goes_on_where_it_stopped(run, tmp_path):
    file, whole, killed = prompts_file(tmp_path), tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    asked = ["attribute", DEMO, "--prompts", file, *CHEAP, "--json"]
    code, out, err = run(*asked, "-o", whole)
    assert code == 1 and str(whole) in err
    lines = whole.read_text().splitlines()
    assert len(lines) == 8
    schema = json.loads((FOLDER / "attribute.json").read_text())
    for line in lines:
        jsonschema.validate(document(line), schema)
    slow = (  # each prompt waits, so that the kill lands in the middle
        "import sys, time; from inspector import cli; from inspector.model import batch\n"
        "answer = batch._answer\n"
        "def wait(*given): time.sleep(0.3); return answer(*given)\n"
        "batch._answer = wait\n"
        "cli.main()"
    )
    command = [sys.executable, "-c", slow, *map(str, asked), "-o", str(killed)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as worker:
        while not (killed.exists() and killed.read_bytes().count(b"\n") >= 3):
            assert worker.poll() is None
            time.sleep(0.02)
        worker.kill()
    done = killed.read_bytes()
    assert 3 <= done.count(b"\n") < 8
    assert settled([document(line) for line in done.splitlines()]) == settled(
        [document(line) for line in lines[: done.count(b"\n")]]
    )
    code, again, _ = run(*asked, "-o", killed)
    assert code == 1
    assert killed.read_bytes().startswith(done)  # what was answered is not asked again
    assert settled(document(again)) == settled(document(out))
    assert len(killed.read_text().splitlines()) == 8
    before = killed.read_bytes()
    assert settled(document(run(*asked, "-o", killed)[1])) == settled(document(out))
    assert killed.read_bytes() == before


def test_progress_counts_prompts_and_begins_where_the_file_ends(model, tmp_path):
    prompts = [Prompt(number=i, text=TEXT, target=None, versus=None) for i in (1, 2, 3)]
    asking = Asking(
        command="lens",
        record_type=LensPoint,
        options={},
        ask=lambda prompt, progress: inspector.lens(model, prompt.text, progress=progress),
        outcome=lambda summary: summary["settled"],
    )
    lines = tmp_path / "a.jsonl"
    seen: list[tuple[int, int]] = []
    batch(model, prompts[:1], asking, lines)
    batch(model, prompts, asking, lines, lambda done, total, _label: seen.append((done, total)))
    assert seen == sorted(seen) and {total for _, total in seen} == {3}
    assert (seen[0], seen[-1]) == ((1, 3), (3, 3))

    def stop(done: int, _total: int, _label: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    other = tmp_path / "b.jsonl"
    with pytest.raises(KeyboardInterrupt):
        batch(model, prompts, asking, other, stop)
    assert len(other.read_bytes().splitlines()) == 2


LETTERS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(st.lists(st.tuples(LETTERS, st.none() | LETTERS.filter(bool)), min_size=1))
def test_prompts_are_read_as_they_were_written(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("prompts")
    assume(any(text.strip() for text, _ in rows))
    made = [
        Prompt(number=number, text=text, target=target, versus=None)
        for number, (text, target) in enumerate(rows, 1)
    ]
    objects = [json.dumps({"text": text, "target": target}) for text, target in rows]
    (folder / "a.jsonl").write_text("\n".join(objects), encoding="utf-8")
    assert list(read_prompts(folder / "a.jsonl")) == made
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
            writer.writerows([("text", "target"), *rows])
        assert list(read_prompts(folder / name)) == made
    lines = [text.replace("\n", " ").rstrip("\r") for text, _ in rows]
    assume(any(line.strip() for line in lines))
    (folder / "a.txt").write_bytes("".join(f"{line}\n" for line in lines).encode())
    assert [prompt.text for prompt in read_prompts(folder / "a.txt")] == lines


@pytest.fixture
def texts(tmp_path) -> Path:
    file = tmp_path / "texts.txt"
    file.write_text("the nurse said that\n\nthe engineer said that\n")
    return file


def test_a_half_written_line_is_done_again(run, texts, tmp_path):
    lines = tmp_path / "a.jsonl"
    asked = ["lens", DEMO, "--prompts", texts, "--json", "-o", lines]
    out = document(run(*asked)[1])
    whole = lines.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in (1, 5, first - 1, first, first + 1, first + 40, len(whole) - 1):
        lines.write_bytes(whole[:cut])
        assert settled(document(run(*asked)[1])) == settled(out), cut
        assert cut < first or lines.read_bytes().startswith(whole[:first])
        assert len(lines.read_bytes().splitlines()) == 3


def test_a_file_of_something_else_is_refused_and_left_alone(run, texts, tmp_path):
    lines = tmp_path / "a.jsonl"
    asked = ["lens", DEMO, "--prompts", texts, "-o", lines]
    run(*asked)
    whole = lines.read_bytes()
    (tmp_path / "other.txt").write_text(texts.read_text().replace("engineer", "writer"))
    (tmp_path / "fewer.txt").write_text("the nurse said that\n")
    questions = {
        "(top: 5; now: 3)": ["--top", "3"],
        "line 3 answers another question (text": ["--prompts", tmp_path / "other.txt"],
        "3 answers, but there are 1 prompts": ["--prompts", tmp_path / "fewer.txt"],
        "(dtype: float32; now: bfloat16)": ["--dtype", "bfloat16"],
    }
    for said, more in questions.items():
        code, _, err = run(*asked, *more)
        assert code == 2 and said in err and "Give another file" in err, said
        assert lines.read_bytes() == whole
    code, _, err = run("lens", "demo:balanced", *asked[2:])
    assert code == 2 and "(model: " in err and lines.read_bytes() == whole
    older = document(whole.splitlines()[0])
    older["summary"]["batch"]["versions"]["inspector"] = "0.0.0"
    for content in (
        texts.read_bytes(),
        b'{"text": "the nurse said that"}',
        b"the nurse said that",
        whole[: len(whole) // 2] + b"\n",
        b"\n",
        whole + b"null\n",
        whole.replace(b"inspector.lens/1", b"inspector.attribute/1"),
        json.dumps(older).encode() + b"\n",
    ):
        lines.write_bytes(content)
        code, _, err = run(*asked)
        assert code == 2 and "line " in err and len(err.splitlines()) == 2, content[:40]
        assert lines.read_bytes() == content
    code, _, err = run(*asked[:-1], tmp_path / "absent" / "a.jsonl")
    assert code == 2 and "cannot be written" in err
    (tmp_path / "folder.jsonl").mkdir()
    assert run(*asked[:-1], tmp_path / "folder.jsonl")[0] == 2


def test_two_runs_do_not_write_to_one_file(run, tmp_path):
    import fcntl

    lines = tmp_path / "a.jsonl"
    with lines.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, _, err = run("lens", *SAID, "-o", lines)
    assert code == 2 and "another process" in err
    code, out, _ = run("lens", *SAID, "-o", lines, "--json")
    assert code == 0
    assert document(lines.read_text())["records"] == document(out)["records"]


# what is hostile

LONG = "a" * 1_000_000
REFUSED = {  # name -> (arguments behind the model, what the line says)
    "empty": (["attribute", "--text", "", "--target", "he"], "empty"),
    "blank": (["attribute", "--text", " \t", "--target", "he"], "empty"),
    "special": (["attribute", "--text", "<s> </s>", "--target", "he"], "special tokens"),
    "long": (["attribute", "--text", LONG, "--target", "he"], "1000000 characters"),
    "window": (["attribute", "--text", "the " * 70, "--target", "he"], "at most 64"),
    "surrogate": (["attribute", "--text", "the \ud800", "--target", "he"], "surrogate"),
    "no target": (["attribute", "--text", TEXT], "give --target"),
    "empty target": (["attribute", "--text", TEXT, "--target", ""], "target is empty"),
    "blank target": (["attribute", "--text", TEXT, "--target", " "], "target is empty"),
    "unknown target": (["attribute", "--text", TEXT, "--target", "zzz"], "does not know"),
    "half a target": (["attribute", "--text", TEXT, "--target", "\udfff"], "surrogate"),
    "same": (["attribute", "--text", TEXT, "--target", "he", "--versus", "he"], "same answer"),
    "method": (["attribute", "--text", TEXT, "--target", "he", "--method", "x"], "shapley"),
    "methods": (["agreement", "--text", TEXT, "--target", "he", "--method", "x"], "kernel-shap"),
    "units": (["attribute", "--text", TEXT, "--target", "he", "--units", ","], "phrases"),
    "phrase": (["attribute", "--text", TEXT, "--target", "he", "--units", "x"], "does not stand"),
    "baseline": (["attribute", "--text", TEXT, "--target", "he", "--baseline", "a b"], "2 tokens"),
    "device": (["lens", "--text", TEXT, "--device", "tpu"], "auto, cpu or cuda"),
    "dtype": (["lens", "--text", TEXT, "--dtype", "int4"], "bfloat16"),
    "both": (["lens", "--text", TEXT, "--prompts", "x"], "either --text or --prompts"),
    "neither": (["lens"], "either --text or --prompts"),
    "folder": (["lens", "--prompts", "/"], "Is a directory"),
    "missing": (["lens", "--prompts", "/absent"], "No such file"),
    "lens special": (["lens", "--text", "<s>"], "special"),
    "lens long": (["lens", "--text", LONG], "1000000 characters"),
    "lens byte": (["lens", "--text", os.fsdecode(b"the \xff")], "surrogate"),
    "attention empty": (["attention", "--text", ""], "Give longer texts"),
    "attention surrogate": (["attention", "--text", "the \udc80"], "no valid text"),
    "map head": (["attention-map", "--text", TEXT, "--head", "1"], "LAYER.HEAD"),
    "map layer": (["attention-map", "--text", TEXT, "--head", "9.0"], "layers go from 0 to 2"),
    "map stack": (["attention-map", "--text", TEXT, "--head", "0.0", "--stack", "x"], "no stack"),
    "ablate empty": (["ablate", "--text", " "], "at least one word"),
    "ablate window": (["ablate", "--text", "the " * 70], "at most 64"),
    "ablate versus": (["ablate", "--text", TEXT, "--versus", "he"], "needs a target"),
    "component": (["ablate", "--text", TEXT, "--component", "x"], "biases, layer"),
    "ablation": (["heads", "--text", TEXT, "--ablation", "x"], "zero, mean"),
    "part": (["layers", "--text", TEXT, "--target", "he", "--part", "x"], "block, attention, mlp"),
    "activations long": (["activations", "--text", LONG], "1000000 characters"),
    "top": (["lens", "--text", TEXT, "--top", "99"], "1 to 50"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_asked_is_one_plain_line(run, name):
    (command, *arguments), said = REFUSED[name]
    code, out, err = run(command, DEMO, *arguments)
    assert (code, out) == (2, b"")
    assert said in err and err.startswith("inspector: ") and len(err.splitlines()) == 1
    assert err.isascii() and len(err) < 500


def test_a_gpu_that_is_not_there(run):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    code, _, err = run("lens", *SAID, "--device", "cuda")
    assert code == 2 and err == (
        "inspector: --device cuda: there is no CUDA device here. Give --device cpu.\n"
    )


FILES = {  # name -> (content, what the line says)
    "binary.txt": (b"\x7fELF\x02\xff\x00", "line 1 is no UTF-8"),
    "latin.txt": (b"the nurse\nth\xe9 nurse\n", "line 2 is no UTF-8"),
    "half.txt": (b"the \xed\xa0\x80 nurse\n", "line 1 is no UTF-8"),
    "wide.txt": ("the nurse".encode("utf-16"), "no UTF-8"),
    "nul.txt": (b"the nurse\nthe \0\n", "line 2 holds a NUL"),
    "nothing.txt": (b"", "holds no text"),
    "blank.txt": (b"\n \n\t\n", "holds no text"),
    "array.json": (b"[]", ".jsonl"),
    "torn.jsonl": (b'{"text": "a"}\n{"text"\n', "line 2 is no JSON"),
    "number.jsonl": (b'{"text": 3}\n', "text is no text"),
    "string.jsonl": (b'"the nurse"\n', "no JSON object"),
    "column.jsonl": (b'{"text": "a", "label": "b"}\n', "'label'; known are text, target, versus"),
    "deep.jsonl": (b"[" * 100_000 + b"\n", "line 1 is no JSON"),
    "none.jsonl": (b'{"target": "a"}\n', "has no text"),
    "short.csv": (b"text,target\na\n", "line 2 has 1 cells, the header 2"),
    "open.csv": (b'text\n"a\n', "line 2"),
    "many.txt": (b"the nurse said that\n" * 20_000, "at most 10,000"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_hold_no_prompts_are_refused(run, tmp_path, name):
    content, said = FILES[name]
    (tmp_path / name).write_bytes(content)
    code, out, err = run("lens", DEMO, "--prompts", tmp_path / name)
    assert (code, out) == (2, b"")
    assert said in err and len(err.splitlines()) == 1 and len(err) < 500


def test_hostile_prompts_among_others_are_findings(run, tmp_path):
    file = tmp_path / "hostile.jsonl"
    texts = ["\ud800 nurse", LONG, "<s>", TEXT, "", "the " * 70]
    rows = [{"text": text, "target": "he"} for text in texts] + [{"text": TEXT, "target": "\udfff"}]
    file.write_text("\n".join(map(json.dumps, rows)))
    code, out, _ = run("attribute", DEMO, "--prompts", file, *CHEAP, "--json")
    found = document(out)
    assert code == 1
    assert {record["prompt"] for record in found["records"]} == {4}
    assert [f["where"] for f in found["findings"] if f["id"] == "PR-FAILED"] == [
        f"prompt {number}: text" for number in (1, 2, 3, 5, 6, 7)
    ]
    code, shown, _ = run("attribute", DEMO, "--prompts", file, *CHEAP)
    assert code == 1 and len(shown) < 20_000
    file.write_text("\n".join(json.dumps(row) for row in rows if row["text"] != TEXT))
    code, out, err = run("attribute", DEMO, "--prompts", file, *CHEAP)
    assert (code, out) == (2, b"") and "None of 5 prompts could be asked" in err


def test_which_of_many_texts_is_wrong(run, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("the nurse said that\n" + "the " * 70 + "\n")
    for command in ("ablate", "heads", "activations"):
        code, _, err = run(command, DEMO, "--prompts", file)
        assert code == 2 and "Text 2 of 2" in err and "at most 64" in err


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Model:
    """The demo model whose tokens are what a browser, a terminal and Markdown would run."""
    folder = tmp_path_factory.mktemp("hostile") / "model"
    changed_demo(folder, {"nurse": f"{HOSTILE}n", "he": HOSTILE, "that": "<b>that</b>"})
    made = json.loads((folder / "tokenizer.json").read_text())
    made["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    (folder / "tokenizer.json").write_text(json.dumps(made))
    return inspector.load(folder)


@pytest.mark.parametrize("command", COMMANDS)
def test_tokens_are_shown_plain_in_every_form(hostile, capsys, command):
    made = ASKED[command](hostile, f"the {HOSTILE}n said <b>that</b>", HOSTILE)
    print_answer(made)
    shown = {form: render(made, form).decode() for form in FORMATS if form != "parquet"}
    shown["table"] = capsys.readouterr().out
    for form, text in shown.items():
        assert "\x1b" not in text and "\u202e" not in text, form
    assert "<img" not in shown["html"] and "<b>" not in shown["html"]
    bare = re.sub(r"(`+) ?.*?(?<!`)\1(?!`)", "", shown["md"])  # without code spans
    assert "<" not in bare and "](" not in bare
    assert "\n=" not in shown["csv"] and ",=" not in shown["csv"]


def test_a_model_with_nan_is_blocked_with_a_list_and_marked_when_overridden(run, tmp_path):
    broken = "model.layers.1.mlp.up_proj.weight"
    folder = changed_demo(tmp_path / "nan", **{broken: np.nan})
    code, out, err = run("activations", folder, "--text", TEXT)
    assert (code, out) == (2, b"") and broken in err and len(err.splitlines()) == 1
    for command in COMMANDS:
        arguments = [folder, "--text", TEXT, *COMMANDS[command][3:], "--override", "--json"]
        code, out, err = run(command, *arguments)
        if command in ("attention", "attention-map", "activations"):
            found = document(out)
            assert code == 0
            assert "MD-NOTFINITE" in {finding["id"] for finding in found["findings"]}
            jsonschema.validate(found, json.loads((FOLDER / f"{command}.json").read_text()))
        else:  # what the model says is no number: nobody is told that some token is the likeliest
            assert (code, out) == (2, b"") and "nan" in err.lower()
            assert len(err.splitlines()) == 1


def test_tokenizers_that_are_missing_or_of_another_model(run, tmp_path):
    absent = changed_demo(tmp_path / "absent")
    for file in absent.glob("tokenizer*"):
        file.unlink()
    code, _, err = run("lens", absent, "--text", TEXT)
    assert code == 2 and "tokenizer.json" in err and len(err.splitlines()) == 1
    other = changed_demo(tmp_path / "other")
    made = json.loads((other / "tokenizer.json").read_text())
    made["model"]["vocab"]["nurse"] = 5000
    (other / "tokenizer.json").write_text(json.dumps(made))
    for command in COMMANDS:
        code, _, err = run(command, other, "--text", TEXT, *COMMANDS[command][3:])
        assert code == 2 and "5000" in err and "75 embeddings" in err and len(err.splitlines()) == 1


def test_a_model_that_predicts_nothing(run, model, tmp_path):
    model.network.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    for command in ("attribute", "lens", "heads", "activations"):
        code, out, err = run(command, tmp_path, "--text", TEXT, *COMMANDS[command][3:], "--json")
        if command == "activations":
            assert code == 0 and document(out)["records"]
        else:
            assert (code, out) == (2, b"") and "predicts nothing" in err


def test_an_empty_vocabulary_that_transformers_makes_up_is_no_tokenizer(run, minilm, tmp_path):
    for file in ("config.json", "model.safetensors"):
        shutil.copy(minilm / file, tmp_path)
    code, _, err = run("activations", tmp_path, "--text", TEXT)
    assert code == 2 and "no vocabulary" in err


# Python


def test_every_name_is_there_and_is_what_it_says():
    for name in inspector.__all__:
        assert callable(getattr(inspector, name)), name
    with pytest.raises(AttributeError, match="nonsense"):
        inspector.nonsense  # noqa: B018


def test_importing_the_names_loads_no_torch():
    code = "import sys, inspector.cli, inspector.model.prompts; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
