"""Laws that hold for everything public, whatever it does."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def public(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    """What a module or a class offers by name: functions, classes, methods, properties."""
    for child in getattr(node, "body", []):
        if isinstance(child, DEFINITIONS) and not child.name.startswith("_"):
            name = f"{prefix}.{child.name}"
            yield name, child
            if isinstance(child, ast.ClassDef):
                yield from public(child, name)


def everything() -> Iterator[tuple[str, ast.AST]]:
    for file in sorted(ROOT.glob("inspector/**/*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        tree = ast.parse(file.read_text(encoding="utf-8"))
        yield module, tree
        yield from public(tree, module)


EVERYTHING = dict(everything())


@pytest.mark.parametrize("name", EVERYTHING)
def test_everything_public_says_in_one_sentence_what_it_is(name):
    docstring = ast.get_docstring(EVERYTHING[name])
    assert docstring, f"{name} has no docstring"
    first = docstring.splitlines()[0]
    assert len(first) <= 100, f"{name}: the first line has {len(first)} characters"
    assert first.endswith((".", "?")), f"{name}: the first line is no whole sentence: {first!r}"
