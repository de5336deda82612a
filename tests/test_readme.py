"""Every example in the README runs."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from inspector import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip()
    for language, block in BLOCKS
    if not language
    for line in block.splitlines()
    if line.startswith("inspector ")
]
SERVES = ("inspector app",)  # started and asked over HTTP in test_server.py


def test_the_readme_has_examples():
    assert len(COMMANDS) >= 6
    assert {language for language, _ in BLOCKS if language} == {"python", "sh"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith(SERVES)])
def test_commands_run(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = dict.fromkeys(("MODEL", "BASE", "TUNED"), "demo:planted") | {"NAME": "lm_head.weight"}
    monkeypatch.setattr(sys, "argv", [words.get(word, word) for word in shlex.split(command)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0


LONG = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]


@pytest.mark.parametrize("command", LONG)
def test_options_of_commands_that_take_data_or_minutes_are_known(command, capsys, monkeypatch):
    name, *rest = command.split("#")[0].split()[1:]
    monkeypatch.setattr(sys, "argv", ["inspector", name, "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(word in told for word in rest if word.startswith("--"))


@pytest.mark.parametrize("program", [block for language, block in BLOCKS if language == "python"])
def test_programs_run(program, capsys, minilm):
    assert '"path/to/model"' in program or '"demo:planted"' in program
    exec(compile(program.replace("path/to/model", str(minilm)), "README.md", "exec"), {})
    told = capsys.readouterr().out
    expected = ("encoder.layer.0.output.dense.weight", "better than random", "bias detected")
    assert any(word in told for word in expected)


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)", README))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()
