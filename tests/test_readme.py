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
    assert {language for language, _ in BLOCKS if language} == {"python"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith(SERVES)])
def test_commands_run(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = dict.fromkeys(("MODEL", "BASE", "TUNED"), "demo:planted") | {"NAME": "lm_head.weight"}
    monkeypatch.setattr(sys, "argv", [words.get(word, word) for word in shlex.split(command)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0


@pytest.mark.parametrize("program", [block for language, block in BLOCKS if language == "python"])
def test_programs_run(program, capsys, minilm):
    assert '"path/to/model"' in program or '"demo:planted"' in program
    exec(compile(program.replace("path/to/model", str(minilm)), "README.md", "exec"), {})
    told = capsys.readouterr().out
    assert "encoder.layer.0.output.dense.weight" in told or "better than random" in told


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)", README))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()
