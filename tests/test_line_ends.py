"""Whole clones under git's settings for Windows: the bytes that DVC hashes are those of any other clone."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tools import workspace

pytestmark = pytest.mark.skipif(not workspace.is_repository(), reason="this folder is no git repository")
SETTINGS = {
    "autocrlf": ["core.autocrlf=true"],
    "input": ["core.autocrlf=input"],
    "eol": ["core.eol=crlf"],
    "eol and autocrlf": ["core.eol=crlf", "core.autocrlf=true", "core.safecrlf=true"],
    "own attributes": ["core.attributesFile=../attributes"],
}


def clone(folder: Path, settings: list[str]) -> Path:
    (folder / "attributes").write_text("* text=auto eol=crlf\n*.yaml text eol=crlf\n", encoding="utf-8")
    options = [part for setting in settings for part in ("-c", setting)]
    workspace.git("clone", "-q", *options, str(workspace.ROOT), str(folder / "clone"), folder=folder)
    return folder / "clone"


def contents(top: Path) -> dict[str, str]:
    """The digest of each tracked file."""
    names = workspace.git("ls-files", "-z", folder=top).split("\0")[:-1]
    return {name: hashlib.sha256((top / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone(tmp_path_factory.mktemp("plain"), [])


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
def test_every_file_of_a_clone_has_the_same_bytes(plain: Path, tmp_path: Path, settings: list[str]) -> None:
    other = clone(tmp_path, settings)
    assert contents(other) == contents(plain) and len(contents(plain)) > 300
    assert b"\r" not in (plain / "params.yaml").read_bytes()
    (other / "params.yaml").touch()  # git compares the content of a touched file
    assert workspace.git("status", "--porcelain", folder=other) == ""


@pytest.mark.slow
def test_dvc_finds_nothing_changed_in_a_clone_with_autocrlf(plain: Path, tmp_path: Path) -> None:
    """Compared with a plain clone, because the committed dvc.lock may be older than the code."""
    told = []
    for top in (plain, clone(tmp_path, SETTINGS["eol and autocrlf"])):
        for command in (["dvc", "status"], ["dvc", "repro", "--dry", "--allow-missing"]):
            done = subprocess.run(
                command, cwd=top, env=workspace.environment(), check=False, capture_output=True, encoding="utf-8"
            )
            told.append((done.returncode, done.stdout))
    assert told[:2] == told[2:] and all(stdout for _, stdout in told)
