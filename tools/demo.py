"""`make demo`: the study on scikit-learn's digits, in `.demo/`, then its table and where the report is.

Nothing is downloaded and no tracked file changes. It runs the working tree as it stands, so a change
to a loss or a corruption can be tried here first.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from typing import Any

from tools import workspace

TARGET = workspace.ROOT / ".demo"
OVERRIDES: dict[str, Any] = {
    "recipe": "cpu",
    "download.dataset": "digits",
    "split.train_share": 0.6,
    "suite.corruptions": ["gaussian_noise", "motion_blur", "fog", "jpeg_compression"],
    "suite.images": 200,
    "recipes.cpu.stem": "imagenet",
    "recipes.cpu.epochs": 8,
    "recipes.cpu.batch_size": 50,
    "recipes.cpu.flip": "off",
    "recipes.cpu.watched_images": 300,
    "attack.images": 200,
    "attack.control_images": 100,
    "attack.pgd.images": 40,
    "attack.pgd.large_epsilon_255": 128,  # 16 is little between black and white
    "attack.square.images": 20,
    "attack.square.queries": 50,
    "transfer.images": 200,
    "embed.images": 300,
}


def main() -> int:
    started = time.monotonic()
    if shutil.which("git") is None:
        print("error: git is not installed; DVC needs it", file=sys.stderr)
        return 1
    workspace.create(TARGET, OVERRIDES)
    print("The pipeline on scikit-learn's digits, in .demo/ (tracked files stay as they are)", flush=True)
    status = subprocess.run(["dvc", "repro"], cwd=TARGET, env=workspace.environment(), check=False).returncode
    if status:
        return status
    report = (TARGET / "reports/report.md").read_text(encoding="utf-8")
    print("\n" + report.split("## Test accuracy")[1].split("![")[0].strip())
    print(f"\nDone in {time.monotonic() - started:.0f} s. The report, with figures: .demo/reports/report.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
