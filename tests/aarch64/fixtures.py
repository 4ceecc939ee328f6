"""In the place of tests/conftest.py, which needs torch: the bundle that ships with the tests."""

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent.parent / "data" / "golden-1.0" / "flow"


@pytest.fixture(scope="session")
def tiny_bundle() -> Path:
    """Do not change it: copy it."""
    return GOLDEN
