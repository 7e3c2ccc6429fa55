"""What to do about a broken output of the pipeline: which file to delete, and which object of DVC's cache.

`dvc repro` and `dvc checkout` restore a deleted output from the cache. If the cache holds the same broken bytes, they
come back, because DVC does not read its objects again. So a message must name the object as well.
"""

from __future__ import annotations

import configparser
import hashlib
import json
from pathlib import Path
from typing import Any

from robustness_study.core.errors import StudyError

LOCK = Path("dvc.lock")
CONFIGS = (Path(".dvc/config"), Path(".dvc/config.local"))  # a later one wins


def remedy(path: str | Path) -> str:
    """How to get back an output that is broken at `path`: a phrase such as "delete it and run `dvc repro`"."""
    path = Path(path)
    found = _output(path)
    if found is None:
        return "delete it and run `dvc repro`"
    output, recorded = found
    cached = _object_of(path, output, recorded)
    if cached is None or not cached.exists():
        return f"delete {output} and run `dvc repro`"
    digest = md5_of(cached)
    if digest != cached.parent.name + cached.name or (path.is_file() and digest == md5_of(path)):
        return f"delete {output} and {cached}, then run `dvc repro`"
    return f"delete {output} and run `dvc checkout {output}`"


def outputs() -> dict[str, dict[str, Any]]:
    """The outputs in dvc.lock: path → what DVC recorded of it. Raises StudyError if there is no readable dvc.lock."""
    # Only here, because the corruptions, which also read and write files, can be installed without it.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        stages = YAML(typ="safe", pure=True).load(LOCK)["stages"]
        found = {out["path"]: out for stage in stages.values() for out in stage.get("outs", [])}
        if all(isinstance(out["md5"], str) for out in found.values()):
            return found
        error: Exception = TypeError("an md5 is no text")
    except (OSError, YAMLError, ValueError, KeyError, TypeError, AttributeError) as caught:
        error = caught
    raise StudyError(f"{LOCK} cannot be read ({type(error).__name__}); restore it with git")


def place(md5: str) -> Path:
    """Where DVC's cache keeps the object with this MD5. A directory's object ends in `.dir` and lists its files."""
    return _cache() / "files/md5" / md5[:2] / md5[2:]


def _output(path: Path) -> tuple[Path, dict[str, Any]] | None:
    try:
        recorded = outputs()
    except StudyError:  # the caller speaks of another file
        return None
    for candidate in (path, *path.parents):
        if candidate.as_posix() in recorded:
            return candidate, recorded[candidate.as_posix()]
    return None


def _object_of(path: Path, output: Path, recorded: dict[str, Any]) -> Path | None:
    try:
        md5 = files_of(recorded).get(path.relative_to(output).as_posix(), "")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return place(md5) if md5 else None


def files_of(recorded: dict[str, Any]) -> dict[str, str]:
    """The files of an output: path below the output (`.` for a single file) → MD5.

    Raises OSError, ValueError, KeyError or TypeError if the object that lists a folder's files is missing or broken.
    """
    md5 = recorded.get("md5", "")
    if not md5.endswith(".dir"):
        return {".": md5}
    return {entry["relpath"]: entry["md5"] for entry in json.loads(place(md5).read_bytes())}


def digest_of_folder(folder: Path) -> str:
    """What DVC records of a folder, from the files that are in it now: an MD5 that ends in `.dir`."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    listed = [{"md5": md5_of(path), "relpath": path.relative_to(folder).as_posix()} for path in files]
    listed.sort(key=lambda entry: entry["relpath"])
    return f"{hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest()}.dir"


def _cache() -> Path:
    found = Path(".dvc/cache")
    for config in CONFIGS:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(config, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        if parser.has_option("cache", "dir"):
            found = config.parent / parser.get("cache", "dir")
    return found


def md5_of(path: Path) -> str:
    """The MD5 of a file, in hexadecimal, by which DVC knows it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
