"""Checks whether two checkouts hold the same results, byte by byte: `python -m tools.same_results OLD NEW`

It compares every file under `models/`, `data/` and `reports/` of two folders in which the pipeline ran with the same
params. For files that were moved, use `--renamed 'PATTERN=REPLACEMENT'` (regular expressions on paths, applied in the
given order). For JSON files and archives of arrays, it prints the keys that differ; for JSON numbers also by how much.
The exit status is 1 if anything differs or is in one folder only.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robustness_study.core.files import read_arrays, read_json
from robustness_study.core.program import run

TOPS = ("models", "data", "reports")


def results(top: Path) -> dict[str, Path]:
    """The result files under a folder, by their posix paths; without DVC's own .gitignore files."""
    found = (path for name in TOPS for path in sorted((top / name).rglob("*")) if path.is_file())
    return {path.relative_to(top).as_posix(): path for path in found if path.name != ".gitignore"}


def renamed(name: str, rules: list[tuple[str, str]]) -> str:
    """The path in the new folder of a file from the old folder."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """Texts, one for each key at which two JSON values differ; for floats with the size of the difference."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            inner = f"{key}.{name}" if key else str(name)
            if name not in old or name not in new:
                yield f"{inner} is only in {'the new' if name in new else 'the old'} file"
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
    """Whether both arrays exist and have the same type, shape and bytes."""
    if one is None or other is None:
        return False
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def of_files(old: Path, new: Path) -> list[str]:
    """What differs between two files, as texts; empty if they hold the same bytes."""
    if old.read_bytes() == new.read_bytes():
        return []
    if old.suffix == ".json":
        found = list(differences(read_json(old), read_json(new)))
        return found or ["same values, other bytes"]
    if old.suffix == ".npz":
        one, other = (read_arrays(path, "make it again") for path in (old, new))
        found = [f"array {name}" for name in one | other if not same_array(one.get(name), other.get(name))]
        return found or ["same arrays, other bytes"]
    return ["different bytes"]


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
            parser.error(f"--renamed is {rule!r}; write it as PATTERN=REPLACEMENT")
    rules = [(pattern, replacement) for pattern, _, replacement in (rule.partition("=") for rule in arguments.renamed)]
    try:
        names = {name: renamed(name, rules) for name in results(arguments.old)}
    except re.error as error:
        parser.error(f"--renamed is no regular expression ({error})")
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        parser.error(f"--renamed gives two files of the old folder the name {twice[0]}")
    old = {names[name]: path for name, path in results(arguments.old).items()}
    new = results(arguments.new)
    for top, files in ((arguments.old, old), (arguments.new, new)):
        if not files:
            parser.error(f"{top} has no file under {', '.join(TOPS)}; give a folder in which the pipeline ran")
    same, lines = 0, []
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            lines.append(f"{name}: only in the {'new' if name in new else 'old'} folder")
        elif found := of_files(old[name], new[name]):
            lines.append(f"{name}: {'; '.join(found[:5])}{f'; and {len(found) - 5} more' if len(found) > 5 else ''}")
        else:
            same += 1
    print("\n".join([*lines, f"{same} files are the same, {len(lines)} differ"]))
    return 1 if lines else 0


if __name__ == "__main__":
    run(main)
