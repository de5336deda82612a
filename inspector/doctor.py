"""Whether this machine has what inspector needs."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

from inspector.errors import BadOption
from inspector.results import NOTHING_READ, Finding, Records
from inspector.weights import cache
from inspector.weights.checkpoint import no_model

REQUIRED = (
    *("numpy", "numba", "pandas", "pyarrow", "pydantic", "safetensors", "huggingface_hub"),
    *("typer", "rich", "jinja2", "jaxtyping", "platformdirs", "psutil"),
)
OPTIONAL = {
    "streamlit": "the app (`pip install inspector[app]`)",
    "torch": "models and demo training (`pip install inspector[model]`)",
    "transformers": "models and demo training (`pip install inspector[model]`)",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at; `ok` is None where it is absent and only some work needs it."""

    check: str
    ok: bool | None
    detail: str


def examine() -> Records[Check]:
    """All checks; a failed one is also a Finding of severity error."""
    import psutil

    checks = [Check(check="python", ok=sys.version_info >= (3, 11), detail=sys.version.split()[0])]
    for name in REQUIRED:
        found = _version(name)
        checks.append(Check(check=name, ok=found is not None, detail=found or "not installed"))
    for name, needed_for in OPTIONAL.items():
        found = _version(name)
        detail = found or f"not installed; needed for {needed_for}"
        checks.append(Check(check=name, ok=True if found else None, detail=detail))
    memory = psutil.virtual_memory()
    checks += [
        Check(check="cores", ok=True, detail=str(os.cpu_count())),
        Check(
            check="memory",
            ok=True,
            detail=f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free",
        ),
        _cache(),
    ]
    findings = tuple(
        Finding(
            id="RT-DOCTOR",
            severity="error",
            where=check.check,
            statement=f"{check.check}: {check.detail}",
            remedy="Install the requirements again, or set INSPECTOR_CACHE to a writable folder.",
        )
        for check in checks
        if check.ok is False
    )
    return Records(
        command="doctor",
        record_type=Check,
        source=no_model(),
        coverage=NOTHING_READ,
        summary={"ok": not findings},
        records=tuple(checks),
        findings=findings,
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cache() -> Check:
    folder = cache.folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(check="cache", ok=False, detail=f"{folder}: {error.strerror}")
    return Check(check="cache", ok=True, detail=str(folder))


def streamlit_command(port: int) -> list[str]:
    """The command that serves the app on localhost; raises BadOption when streamlit is missing.

    Streamlit reads its safe settings from `.streamlit/config.toml` beside the script.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise BadOption("The app needs streamlit: `pip install inspector[app]`.")
    script = Path(__file__).parent / "pages" / "router.py"
    return [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}"]
