"""Curves that editors and dashboards can follow while a model trains. DVCLive writes them, without a network.

They are in `reports/live/KEY/`, which git ignores; dvc.yaml names the folder under `plots`. They are deleted when the
training has ended well: the model's `curves.csv` then holds the same values.
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
LOGGED = ("training_loss", "train_accuracy", "val_accuracy", "val_loss", "images_per_second", "val_pgd_accuracy")


class LiveCurves:
    """The curves of one model. The first call of `add` replaces what an earlier run left in the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.live: Live | None = None

    def add(self, epochs: Sequence[Epoch]) -> None:
        """Add the results of these epochs, which come after those added before."""
        if self.live is None:
            # Imported only when there is something to write: the import takes one or two seconds.
            from dvclive.live import Live

            # DVCLive must not make a dvc.yaml or an experiment: the pipeline has both.
            self.live = Live(str(self.folder), save_dvc_exp=False, dvcyaml=None)
        for epoch in epochs:
            results = asdict(epoch)
            self.live.step = epoch.epoch
            for name in LOGGED:
                if results[name] is not None:
                    self.live.log_metric(name, results[name])
            self.live.make_summary()

    def remove(self) -> None:
        """Delete the curves."""
        shutil.rmtree(self.folder, ignore_errors=True)
