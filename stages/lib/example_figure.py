"""The grid of attacked images: what the model saw, what was added, what it said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from stages.lib.figures import save


def attack_examples(
    path: str | Path,
    clean: np.ndarray,
    attacked: np.ndarray,
    labels: np.ndarray,
    predictions: tuple[np.ndarray, np.ndarray],
    classes: list[str],
    epsilon_255: int,
) -> None:
    """A row per image: clean, perturbation magnified to full range about grey, attacked; predictions above.

    Images float32 in [0, 1], N×3×H×W. A wrong prediction is red.
    """
    count = len(clean)
    figure = Figure(figsize=(5.4, 1.75 * count + 0.6), layout="constrained")
    figure.suptitle(
        f"Fast gradient sign, ε = {epsilon_255}/255 (perturbation × {255 / (2 * epsilon_255):.0f})", fontsize=11
    )
    axes = figure.subplots(count, 3, squeeze=False)
    magnified = 0.5 + (attacked - clean) * 255 / (2 * epsilon_255)
    for row in range(count):
        truth = labels[row]
        columns = [(clean[row], predictions[0][row]), (magnified[row], None), (attacked[row], predictions[1][row])]
        for axis, (image, prediction) in zip(axes[row], columns, strict=True):
            axis.imshow(np.clip(image, 0, 1).transpose(1, 2, 0), interpolation="nearest")
            axis.set_axis_off()
            if prediction is None:
                axis.set_title(f"label: {classes[truth]}", fontsize=8)
            else:
                axis.set_title(classes[prediction], fontsize=9, color="black" if prediction == truth else "#C00000")
    save(figure, path)
