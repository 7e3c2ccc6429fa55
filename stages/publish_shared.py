"""Stage `publish_shared`: results that concern several models → `reports/`, which is in git.

That is how well images attacked through one model serve against another (`transfer`), and how stable a UMAP plane is
(`stability`). As in `publish`, the stages themselves have cached outputs alone.
"""

from __future__ import annotations

from pathlib import Path

from robustness_study.core.errors import run
from robustness_study.core.files import copy_file

NAMES = ("transfer.json", "stability.json")


def main() -> None:
    for name in NAMES:
        copy_file(Path("data/shared") / name, Path("reports") / name)


if __name__ == "__main__":
    run(main)
