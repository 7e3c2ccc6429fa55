"""Settings of all tests."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import settings
from matplotlib.figure import Figure

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


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what git holds of a whole study, and nothing else; it is the working folder.

    Pictures are drawn as far as their contents; only `compared` writes their pixels, which take most of the time.
    """
    from made_cells import write_study  # not above, where every test run would wait for it

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: Path(path).write_bytes(b""))
    write_study()
    return tmp_path


@pytest.fixture(scope="session")
def compared_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from made_cells import write_study

    from stages import compare

    folder = tmp_path_factory.mktemp("compared")
    with contextlib.chdir(folder):
        write_study()
        compare.main()
    return folder


@pytest.fixture
def compared(compared_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the same study after `compare`, for tests that change nothing in it."""
    monkeypatch.chdir(compared_once)
    return compared_once
