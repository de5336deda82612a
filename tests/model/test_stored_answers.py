"""Answers kept on disk are those the functions give; what cannot be asked says so."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inspector import jobs
from inspector.demo import path
from inspector.model.ablation import ablate
from inspector.model.attention_map import attention_map, maps
from inspector.model.lens import lens
from inspector.model.load import load
from inspector.model.stored import (
    ANSWERS,
    PROMPT,
    answer_key,
    load_answer,
    prompt_questions,
    stored_prompt,
)
from inspector.weights.checkpoint import open_checkpoint

TEXT = "the nurse from the north said that"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))


def test_what_is_kept_of_a_prompt_is_what_the_functions_say() -> None:
    checkpoint = open_checkpoint("demo:planted")
    told: list[tuple[int, int, str]] = []
    stored_prompt(checkpoint, TEXT, "he", "she", lambda *at: told.append(at))
    kept = {
        command: load_answer(answer_key(checkpoint, command, **question), command)
        for command, question in prompt_questions(TEXT, "he", "she").items()
    }
    assert tuple(kept) == PROMPT
    model = load("demo:planted")
    assert list(kept["lens"]) == list(lens(model, TEXT))
    assert list(kept["ablate"]) == list(ablate(model, [TEXT], "he", "she"))
    assert len(kept["attention"]) == sum(block.heads for block in model.blocks)
    found = maps(model, TEXT)
    for name, array in found.arrays.items():
        np.testing.assert_array_equal(kept["maps"].arrays[name], array)
    assert [token.text for token in kept["maps"]][-1] == "that"
    done = [at[0] for at in told]
    assert done == sorted(done)
    assert told[-1][:2] == (400, 400)


def test_a_map_of_one_head_is_that_of_the_whole() -> None:
    model = load("demo:planted")
    every, one = maps(model, TEXT), maps(model, TEXT, heads=[[1, 2]])
    place = every.summary["heads"].index((1, 2))
    np.testing.assert_array_equal(one.arrays["weights"][0], every.arrays["weights"][place])
    direct = attention_map(model, TEXT, [(1, 2)])
    np.testing.assert_array_equal(one.arrays["weights"], direct.weights)


def test_what_a_model_cannot_be_asked_is_kept_with_the_reason(minilm: Path) -> None:
    checkpoint = open_checkpoint(str(minilm))
    stored_prompt(checkpoint, "A short text.")
    asked = prompt_questions("A short text.")
    kept = load_answer(answer_key(checkpoint, "lens", **asked["lens"]), "lens")
    assert kept is not None
    assert "no head" in kept.summary["refused"]
    assert list(kept) == []
    seen = load_answer(answer_key(checkpoint, "attention", **asked["attention"]), "attention")
    assert seen is not None
    assert len(seen) == 6 * 12


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_another_tokenizer_is_another_question(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(path("planted"), tmp_path / "model")
    checkpoint = open_checkpoint(folder)
    before = answer_key(checkpoint, "lens", text=TEXT)
    assert answer_key(open_checkpoint(folder), "lens", text=TEXT) == before
    with (folder / name).open("a") as file:
        file.write(" ")
    assert answer_key(checkpoint, "lens", text=TEXT) != before


def test_every_answer_is_work_and_its_function_is_there() -> None:
    assert ANSWERS.keys() <= jobs.WORK.keys()
    for one in ANSWERS.values():
        module = importlib.import_module(f"inspector.model.{one.module}")
        assert callable(getattr(module, one.function))
    code = (
        "import sys, inspector.jobs, inspector.model.stored\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
