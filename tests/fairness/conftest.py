from pathlib import Path

import pytest

PUBLIC = Path(__file__).resolve().parents[2] / "../shared/data"


@pytest.fixture(scope="session")
def public():
    """Where the public sets lie beside the project; tests on them are skipped without."""
    if not (PUBLIC / "crows_pairs").is_dir():
        pytest.skip("the public sets are not here")
    return PUBLIC
