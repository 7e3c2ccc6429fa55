"""Stage `publish_shared`: copies the results of `transfer` and `stability` to `reports/`, which is in git.

`transfer` says how well images attacked through one model work against another model. `stability` says how much a UMAP
plane depends on its seed. As in `publish`, all outputs of these stages are in DVC's cache.
"""

from __future__ import annotations

from pathlib import Path

from robustness_study.core.files import copy_file, read_record
from robustness_study.core.program import run

NAMES = ("transfer.json", "stability.json")


def main() -> None:
    for name in NAMES:
        read_record(Path("data/shared") / name)  # refuses a file that was changed, before it is in git
        copy_file(Path("data/shared") / name, Path("reports") / name)


if __name__ == "__main__":
    run(main)
