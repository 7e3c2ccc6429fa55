"""Do two checkouts hold the same results, byte by byte? `python -m tools.same_results OLD NEW`


It compares every file under `models/`, `data/` and `reports/` of two folders in which the pipeline ran with the same
params. A file that has moved is found by `--renamed 'PATTERN=REPLACEMENT'` (regular expressions on paths, in the order
given). Of JSON files and archives of arrays that differ it names the keys, and by how much numbers differ.
Exit status 1 if anything differs or is in one folder alone.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

TOPS = ("models", "data", "reports")


def results(top: Path) -> dict[str, Path]:
    """The result files under a folder, by their posix paths; DVC's own .gitignore files are none."""
    found = (path for name in TOPS for path in sorted((top / name).rglob("*")) if path.is_file())
    return {path.relative_to(top).as_posix(): path for path in found if path.name != ".gitignore"}


def renamed(name: str, rules: list[tuple[str, str]]) -> str:
    """Where a file of the old folder is in the new one."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """The keys at which two values of JSON differ, and by how much where both are numbers."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            inner = f"{key}.{name}" if key else str(name)
            if name not in old or name not in new:
                yield f"{inner} is in {'the new' if name in new else 'the old'} file alone"
            else:
                yield from differences(old[name], new[name], inner)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{key}.{place}")
    elif isinstance(old, float) and isinstance(new, float) and old != new:
        yield f"{key} differs by {abs(new - old):.1e}"
    elif old != new:
        yield f"{key} differs"


def same_array(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Whether both are there, of one type and shape, with the same bytes."""
    if one is None or other is None:
        return False
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def of_files(old: Path, new: Path) -> list[str]:
    """What differs between two files; empty if they are the same bytes."""
    if old.read_bytes() == new.read_bytes():
        return []
    if old.suffix == ".json":
        found = list(differences(*(json.loads(path.read_text(encoding="utf-8")) for path in (old, new))))
        return found or ["the same values, written otherwise"]
    if old.suffix == ".npz":
        with np.load(old) as one, np.load(new) as other:
            names = dict.fromkeys([*one, *other])
            found = [f"array {name}" for name in names if not same_array(one.get(name), other.get(name))]
            return found or ["the same arrays, written otherwise"]
    return ["other bytes"]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.same_results", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--renamed", action="append", default=[], metavar="PATTERN=REPLACEMENT")
    arguments = parser.parse_args()
    for rule in arguments.renamed:
        if "=" not in rule:
            parser.error(f"--renamed is {rule!r}; PATTERN=REPLACEMENT is wanted")
    rules = [(pattern, replacement) for pattern, _, replacement in (rule.partition("=") for rule in arguments.renamed)]
    old = {renamed(name, rules): path for name, path in results(arguments.old).items()}
    new = results(arguments.new)
    for top, files in ((arguments.old, old), (arguments.new, new)):
        if not files:
            parser.error(f"{top} has no file under {', '.join(TOPS)}; name a folder in which the pipeline ran")
    same, told = 0, []
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            told.append(f"{name}: in the {'new' if name in new else 'old'} folder alone")
        elif found := of_files(old[name], new[name]):
            told.append(f"{name}: {'; '.join(found[:5])}{f'; and {len(found) - 5} more' if len(found) > 5 else ''}")
        else:
            same += 1
    print("\n".join([*told, f"{same} files are the same bytes, {len(told)} are not"]))
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
