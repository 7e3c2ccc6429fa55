"""Curves that editors and dashboards can follow while a model trains, off-line, through DVCLive.

They are in `reports/live/KEY/`, which dvc.yaml names as plots and git ignores, and they go when the training
has ended well: then the cell's curves.csv holds them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvclive.live import Live

    from robustness_study.training.watcher import Epoch

TOP = Path("reports/live")
LOGGED = ("training_loss", "train_accuracy", "val_accuracy", "val_loss", "images_per_second")


class LiveCurves:
    """The curves of one model, from its first epoch on, whatever an earlier run left there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.live: Live | None = None

    def add(self, epochs: Sequence[Epoch]) -> None:
        """Add the figures of these epochs, which follow those added before."""
        if self.live is None:
            # Imported once there is something to tell: it costs a second or two.
            from dvclive.live import Live

            # No dvc.yaml of its own and no experiment: the pipeline has both.
            self.live = Live(str(self.folder), save_dvc_exp=False, dvcyaml=None)
        for epoch in epochs:
            figures = asdict(epoch)
            self.live.step = epoch.epoch
            for name in LOGGED:
                self.live.log_metric(name, figures[name])
            self.live.make_summary()

    def remove(self) -> None:
        """Remove the curves."""
        shutil.rmtree(self.folder, ignore_errors=True)
