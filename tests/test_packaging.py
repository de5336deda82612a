"""What is declared, what is pinned and what is imported are the same things."""

import ast
import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(lines: list[str]) -> dict[str, Requirement]:
    known = [Requirement(line) for line in lines if line.strip() and line[0] not in "#-"]
    return {canonicalize_name(requirement.name): requirement for requirement in known}


def pinned(file: str) -> dict[str, Requirement]:
    return requirements((ROOT / file).read_text(encoding="utf-8").splitlines())


EXTRAS = PROJECT["optional-dependencies"]
DECLARED = requirements(PROJECT["dependencies"] + EXTRAS["app"] + EXTRAS["model"])
WITH_HUB = DECLARED | requirements(EXTRAS["data"])  # imported only where it is asked for
NAMED_OTHERWISE = {"sklearn": "scikit-learn", "yaml": "pyyaml"}


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_every_pin_is_exact_and_installed(file):
    for name, requirement in pinned(file).items():
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        assert requirement.specifier.contains(importlib.metadata.version(name)), name


def test_the_pins_are_the_declared_dependencies_and_lie_in_their_ranges():
    pins = pinned("requirements.txt")
    assert pins.keys() == DECLARED.keys()
    for name, requirement in pins.items():
        (specifier,) = requirement.specifier
        assert DECLARED[name].specifier.contains(specifier.version), name


def named(library: str) -> str:
    return canonicalize_name(NAMED_OTHERWISE.get(library, library))


def test_every_import_is_declared():
    for file in (ROOT / "inspector").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for library in {name.split(".")[0] for name in names} - sys.stdlib_module_names:
                known = library == "inspector" or named(library) in WITH_HUB
                assert known, f"{file.relative_to(ROOT)} imports {library}"
