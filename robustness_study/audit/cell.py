"""The files of an audited model: all in one folder of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from robustness_study.core.cell import Cell


@dataclass(frozen=True, order=True)
class AuditedCell(Cell):
    """A model that was trained elsewhere: `loss` is its name, and it has no training set. Its files are in `top`."""

    top: Path

    @classmethod
    def of(cls, name: str, out: Path) -> AuditedCell:
        """The cell of the model with this name, in the folder that the audit writes to."""
        return cls(loss=name, train_set="", seed=0, top=out / "models" / name)

    @property
    def key(self) -> str:
        """The name of the model."""
        return self.loss

    @property
    def evaluated(self) -> Path:
        """The file with logits and features for every set of images."""
        return self.top / "evaluated.npz"

    @property
    def attacked(self) -> Path:
        """The file with the signs of the gradients, and features and confidences of attacked images."""
        return self.top / "attacked.npz"

    @property
    def stressed(self) -> Path:
        """The file with the confidences of the predictions under every corruption."""
        return self.top / "stressed.npz"

    @property
    def embedded(self) -> Path:
        """The file with the points of the UMAP plane."""
        return self.top / "embedded.npz"

    def result(self, name: str) -> Path:
        """The path of a small result such as `evaluate.json`."""
        return self.top / name

    def published(self, name: str) -> Path:
        """The same path: nothing of an audit is copied into git."""
        return self.top / name

    def plane(self, name: str) -> Path:
        """The path of `plane.png` or `plane.json`."""
        return self.top / name
