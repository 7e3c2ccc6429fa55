"""What a person sees of a training run: a bar on a terminal, a line per epoch, live curves; and its checkpoints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from robustness_study.training.watcher import Epoch

if TYPE_CHECKING:
    from torch import Tensor
    from tqdm import tqdm

    from robustness_study.training.checkpoints import Checkpoints
    from robustness_study.training.live_curves import LiveCurves


class Progress:
    """A `Watcher` that prints, and keeps checkpoints and live curves where it is given a place for them."""

    def __init__(self, epochs: int, checkpoints: Checkpoints | None = None, curves: LiveCurves | None = None) -> None:
        self.epochs, self.checkpoints, self.curves = epochs, checkpoints, curves
        self.bar: tqdm[Any] | None = None

    def step(self, done: int, steps: int) -> None:
        """Move the bar, where there is a terminal; nothing is printed per step otherwise."""
        if not sys.stderr.isatty():
            return
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(total=steps, unit="step", leave=False)
        self.bar.update(done - self.bar.n)

    def went_before(self, epochs: list[Epoch]) -> None:
        """Begin the live curves with the epochs of before an interruption."""
        if self.curves:
            self.curves.add(epochs)

    def epoch(self, epoch: Epoch) -> None:
        """Print the epoch's line and add it to the live curves."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        left = round((self.epochs - epoch.epoch) * epoch.seconds)
        print(
            f"epoch {epoch.epoch:3d}/{self.epochs}  loss {epoch.training_loss:7.4f}  train {epoch.train_accuracy:.3f}  "
            f"val {epoch.val_accuracy:.3f}  {epoch.images_per_second:6.0f} images/s  {epoch.seconds:5.1f} s  "
            f"{left // 60}:{left % 60:02d} left",
            flush=True,
        )
        if self.curves:
            self.curves.add([epoch])

    def load(self) -> tuple[dict[str, Tensor], Any] | None:
        """The checkpoint to go on from."""
        return self.checkpoints.load() if self.checkpoints else None

    def save(self, tensors: dict[str, Tensor], notes: Any) -> None:
        """Keep a checkpoint."""
        if self.checkpoints:
            self.checkpoints.save(tensors, notes)
