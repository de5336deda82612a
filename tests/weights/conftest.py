"""What the tests of weights share."""

from collections.abc import Callable

import pytest
from weights.tiny_models import Tiny, build


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tiny]:
    """Tiny models by name, each built once."""
    made: dict[str, Tiny] = {}

    def one(name: str) -> Tiny:
        if name not in made:
            made[name] = build(name, tmp_path_factory.mktemp(name))
        return made[name]

    return one
