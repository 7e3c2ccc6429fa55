"""Stage `natural`: gets the natural sets that params name: test images that others collected for the same classes.

Reads the list `natural` of params.yaml, the dataset's classes and the environment variable NATURAL_FOLDER (a folder
with the files, to use instead of downloading). Writes `data/natural/sets.json` (the names, with the checksums of the
files) and `data/natural/NAME.npz` (`images` uint8 N×S×S×3, `labels` uint8 N). With an empty list there is nothing to
get.
"""

from __future__ import annotations

import os
from pathlib import Path

from robustness_study import natural
from robustness_study.core import params
from robustness_study.core.files import read_record, write_npz, write_record
from robustness_study.core.program import run
from robustness_study.natural.base import VARIABLE
from robustness_study.schema.natural import Natural

FETCHED = Path("data/external")
TOP = Path("data/natural")


def main() -> None:
    """Every set is checked before the first file is written."""
    chosen = params.validated("", {"natural": params.lookup(params.read(), "natural")}, Natural).natural
    source = read_record("data/raw/source.json", "name", "classes")
    natural.check(chosen, source["name"])
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else None
    sets = {name: natural.load(name, source["classes"], folder, FETCHED) for name in chosen}
    for name, found in sets.items():
        write_npz(TOP / f"{name}.npz", images=found.images, labels=found.labels)
        print(f"natural: {name}, {len(found.labels)} images")
    write_record(TOP / "sets.json", {"sets": {name: found.checksums for name, found in sets.items()}})


if __name__ == "__main__":
    run(main)
