"""`python -m tools.verify`: checks every byte that dvc.lock names, and that the results in git agree with themselves.

A disk may lose a bit, and DVC does not read again what it has in its cache. This program does: it compares the MD5 of
each object of the cache and of each output in the folder with dvc.lock. Then it computes all values in `reports/` again
that follow from the predictions of single images. One line for each problem says what to do. Outputs that are neither
in the cache nor in the folder are only counted: a fresh clone has none of the large ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from robustness_study.core import cached, params
from robustness_study.core.errors import StudyError, one_line, shortened
from robustness_study.core.files import read_record
from robustness_study.core.program import run
from robustness_study.results.cells import read_cells
from robustness_study.results.consistency import refuse_contradicting_shared

Checked = Iterator[tuple[Path, str | None]]  # what was read, and what is wrong with it (None: nothing)


def in_cache(path: Path, md5: str) -> Checked:
    """The objects that the cache has of the output at `path`."""
    objects = {"": md5}
    if md5.endswith(".dir"):
        listing = cached.place(md5)
        if not listing.exists():
            return
        good = f"{cached.md5_of(listing)}.dir" == md5
        yield listing, None if good else f"lists the files of {path} and is broken; delete it and run `dvc repro`"
        objects = cached.files_of({"md5": md5}) if good else {}
    for each in objects.values():
        kept = cached.place(each)
        if kept.exists():
            rotten = f"is a broken part of {path}; delete it and {path}, then run `dvc repro`"
            yield kept, None if cached.md5_of(kept) == each else rotten


def in_folder(path: Path, md5: str) -> Checked:
    """The output as it is in the folder; if it differs, the file of it that differs, as far as the cache knows them."""
    if not path.exists():
        return
    found = cached.digest_of_folder(path) if path.is_dir() else cached.md5_of(path)
    if found == md5:
        yield path, None
        return
    wrong = path
    if path.is_dir() and cached.place(md5).exists() and f"{cached.md5_of(cached.place(md5))}.dir" == md5:
        files = cached.files_of({"md5": md5})
        differ = [path / name for name, of_file in files.items() if _differs(path / name, of_file)]
        wrong = differ[0] if differ else path
    yield wrong, f"is not as dvc.lock says; {cached.remedy(wrong)}"


def _differs(path: Path, md5: str) -> bool:
    return not path.is_file() or cached.md5_of(path) != md5


def results() -> None:
    """Raise StudyError if the results in git contradict each other or the predictions that they follow from."""
    values = params.read()
    losses, train_sets, seeds = (params.lookup(values, name) for name in ("losses", "train_sets", "seeds"))
    cells = read_cells(losses, train_sets, seeds, seen=[])
    refuse_contradicting_shared(cells, *(read_record(f"reports/{name}.json") for name in ("transfer", "stability")))


def main() -> int:
    """Print a line for each problem. Returns 1 if there is one."""
    recorded, problems, read, absent = cached.outputs(), [], 0, 0
    for name, output in recorded.items():
        found = [*in_cache(Path(name), output["md5"]), *in_folder(Path(name), output["md5"])]
        read += len(found)
        absent += not found
        problems += [f"{path} {fault}" for path, fault in found if fault is not None]
    try:
        results()
    except StudyError as error:
        problems.append(str(error))
    for problem in problems:
        print(shortened(one_line(problem)))
    print(
        f"{len(recorded)} outputs in dvc.lock, {absent} of them not here; {read} files and folders read; "
        f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'}",
        file=sys.stderr,
    )
    return 1 if problems else 0


if __name__ == "__main__":
    run(main)
