"""Settings of all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

from robustness_study import plotting

# No example may fail because a busy machine is slow, and each run tries the same examples.
settings.register_profile("untimed", deadline=None, derandomize=True, database=None)
settings.load_profile("untimed")

# Hundreds of tests draw pictures and read only their texts. Writing the pixels would take most of the time.
FULL_DPI = plotting.DPI
plotting.DPI = 20

# The slowest files. They begin first where several processes share the tests, file by file.
LONGEST = [
    "test_end_to_end.py",
    "test_commands.py",
    "test_scale_site.py",
    "test_schema_walk.py",
    "test_extend.py",
    "test_interruption.py",
    "test_checkpoints.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first; the others keep their order."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
