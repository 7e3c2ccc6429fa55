"""Shows a training run: a bar on a terminal, one line per epoch, live curves. Also saves its checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from robustness_study.training.watcher import Epoch

if TYPE_CHECKING:
    from torch import Tensor
    from tqdm import tqdm

    from robustness_study.training.checkpoints import Checkpoints
    from robustness_study.training.live_curves import LiveCurves


class Progress:
    """A `Watcher` that prints. It also saves checkpoints and live curves if it is given them."""

    def __init__(self, epochs: int, checkpoints: Checkpoints | None = None, curves: LiveCurves | None = None) -> None:
        self.epochs, self.checkpoints, self.curves = epochs, checkpoints, curves
        self.bar: tqdm[Any] | None = None
        self.said = set[str]()  # what could not be written, and was told

    def step(self, done: int, steps: int) -> None:
        """Move the bar. Without a terminal, nothing is printed per step."""
        if not sys.stderr.isatty():
            return
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(total=steps, unit="step", leave=False)
        self.bar.update(done - self.bar.n)

    def resumed(self, epochs: list[Epoch]) -> None:
        """Start the live curves with the epochs from before the interruption."""
        self._add(epochs)

    def epoch(self, epoch: Epoch) -> None:
        """Print one line for the epoch and add it to the live curves."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        left = round((self.epochs - epoch.epoch) * epoch.seconds)
        under_pgd = "" if epoch.val_pgd_accuracy is None else f"val under PGD {epoch.val_pgd_accuracy:.3f}  "
        print(
            f"epoch {epoch.epoch:3d}/{self.epochs}  loss {epoch.training_loss:7.4f}  train {epoch.train_accuracy:.3f}  "
            f"val {epoch.val_accuracy:.3f}  {under_pgd}{epoch.images_per_second:6.0f} images/s  "
            f"{epoch.seconds:5.1f} s  {left // 60}:{left % 60:02d} left",
            flush=True,
        )
        self._add([epoch])

    def load(self) -> tuple[dict[str, Tensor], Any] | None:
        """The checkpoint to resume from, or None."""
        return self.checkpoints.load() if self.checkpoints else None

    def save(self, tensors: dict[str, Tensor], notes: Any) -> None:
        """Save a checkpoint. A full disk does not end the training: there may be room again when it ends."""
        if self.checkpoints:
            with self._going_on("checkpoints", "a stop would lose the steps since the last one"):
                self.checkpoints.save(tensors, notes)

    def _add(self, epochs: list[Epoch]) -> None:
        if self.curves:
            with self._going_on("live curves", "curves.csv will have all epochs"):
                self.curves.add(epochs)

    @contextmanager
    def _going_on(self, what: str, so: str) -> Iterator[None]:
        """Go on after an error of the disk in the `with` block, and say so once."""
        try:
            yield
        except OSError as error:
            if what not in self.said:
                self.said.add(what)
                where = f" ({error.filename})" if error.filename else ""
                print(f"{what} cannot be written: {error.strerror}{where}; training goes on, but {so}", flush=True)
