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
    "numpy",
    "numba",
    "pandas",
    "pyarrow",
    "safetensors",
    "huggingface_hub",
    "typer",
    "rich",
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


# The settings of .streamlit/config.toml, which is only found from the project's own directory.
SAFE_SETTINGS = {
    "server.address": "localhost",
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "50",
    "server.maxMessageSize": "64",
    "server.enableStaticServing": "false",
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "type",
    "client.toolbarMode": "viewer",
    "runner.magicEnabled": "false",
}
ALLOWED_HOSTS = ("localhost", "127.0.0.1")


def streamlit_command(port: int) -> list[str]:
    """The command that serves the app on localhost; raises BadOption when streamlit is missing."""
    if importlib.util.find_spec("streamlit") is None:
        raise BadOption("The app needs streamlit: `pip install inspector[app]`.")
    script = Path(__file__).parent / "pages" / "router.py"
    flags = [f"--{name}={value}" for name, value in SAFE_SETTINGS.items()]
    hosts = [flag for host in ALLOWED_HOSTS for flag in ("--server.allowedHosts", host)]
    return [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(script),
        f"--server.port={port}",
        *flags,
        *hosts,
    ]
