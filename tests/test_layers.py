"""Imports point down the pipeline. Sources are parsed; only the light import is executed."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = [
    *("errors", "results", "engine", "weights", "model", "demo", "fairness", "finetune"),
    *("doctor", "report", "jobs", "commands", "cli", "pages"),
]
ROOT_FILES = {"app": "pages", "inspector": "weights", "inspector.__main__": "cli"}
RUN_MODELS = ("inspector.model", "inspector.demo", "inspector.fairness", "inspector.finetune")
ONLY_IN = {  # library: how the names of the modules that may import it begin
    "altair": ("inspector.report",),
    "plotly": ("inspector.report",),
    "streamlit": ("inspector.pages", "app"),
    "captum": ("inspector.model.attribution",),
    "transformers": RUN_MODELS,
    "torch": (*RUN_MODELS, "inspector.weights.spectral"),  # for a GPU, when there is one
}
HEAVY = ("torch", "transformers", "captum", "plotly", "streamlit")
FILES = {
    ".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f
    for f in (ROOT / "app.py", *ROOT.glob("inspector/**/*.py"))
}


class WithoutTypeOnlyImports(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.If | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else node


TREES = {
    module: WithoutTypeOnlyImports().visit(ast.parse(file.read_text(encoding="utf-8")))
    for module, file in FILES.items()
}


def targets(module: str) -> Iterator[str]:
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: write the import absolutely"
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in FILES else str(node.module) for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def layer(module: str) -> int:  # ValueError: a new folder has no place in PIPELINE yet
    return PIPELINE.index(ROOT_FILES.get(module) or module.split(".")[1])


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_point_down(module):
    for name in targets(module):
        library = name.split(".")[0]
        assert name != "inspector", f"{module}: import from the module that defines the name"
        assert library != "inspector" or layer(name) <= layer(module), f"{module} -> {name} goes up"
        assert module.startswith(ONLY_IN.get(library, module)), f"{module} may not use {library}"


def test_imports_make_no_circle():
    graphlib.TopologicalSorter({m: set(targets(m)) & FILES.keys() for m in FILES}).prepare()


@pytest.mark.parametrize("module", sorted(FILES))
def test_errors_that_are_built_are_raised(module):
    errors = {
        node.name for node in TREES["inspector.errors"].body if isinstance(node, ast.ClassDef)
    }
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name = node.value.func
            called = getattr(name, "id", getattr(name, "attr", ""))
            assert called not in errors, f"{module}, line {node.lineno}: {called} is not raised"


def test_the_package_imports_nothing_heavy():
    code = f"import sys, inspector; print(sorted(sys.modules.keys() & set({HEAVY})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scan_needs_no_model_libraries(minilm):
    """A module that is None in sys.modules raises ImportError when it is imported."""
    code = (
        f"import sys; sys.modules |= dict.fromkeys({HEAVY}); from inspector.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "scan", str(minilm), "--format", "csv", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 100
