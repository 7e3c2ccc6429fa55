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

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

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
    digest = _md5(cached)
    if digest != cached.parent.name + cached.name or (path.is_file() and digest == _md5(path)):
        return f"delete {output} and {cached}, then run `dvc repro`"
    return f"delete {output} and run `dvc checkout {output}`"


def objects() -> dict[str, dict[str, Any]]:
    """The outputs in dvc.lock: path → what DVC recorded of it. Empty if there is no readable dvc.lock."""
    try:
        stages = YAML(typ="safe", pure=True).load(LOCK)["stages"]
        return {out["path"]: out for stage in stages.values() for out in stage.get("outs", [])}
    except (OSError, YAMLError, KeyError, TypeError, AttributeError):
        return {}


def place(md5: str) -> Path:
    """Where DVC's cache keeps the object with this MD5. A directory's object ends in `.dir` and lists its files."""
    return _cache() / "files/md5" / md5[:2] / md5[2:]


def _output(path: Path) -> tuple[Path, dict[str, Any]] | None:
    recorded = objects()
    for candidate in (path, *path.parents):
        if candidate.as_posix() in recorded:
            return candidate, recorded[candidate.as_posix()]
    return None


def _object_of(path: Path, output: Path, recorded: dict[str, Any]) -> Path | None:
    md5 = recorded.get("md5", "")
    if md5.endswith(".dir"):
        try:
            listed = {entry["relpath"]: entry["md5"] for entry in json.loads(place(md5).read_bytes())}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        md5 = listed.get(path.relative_to(output).as_posix(), "")
    return place(md5) if md5 else None


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


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
