"""The picture of some attacked images: the clean image, what the attack added, and the attacked image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from robustness_study.attacks.signs import step
from robustness_study.attacks.subject import ModelUnderAttack
from robustness_study.plotting import class_labels, save


def draw(path: str | Path, subject: ModelUnderAttack, count: int, epsilon_255: int, classes: list[str]) -> None:
    """Draw the picture for one model to `path`, with `count` of its images. FGSM must have run with this epsilon."""
    shown = subject.chosen(count)
    target, signs = subject.target.of(shown), subject.gradient.signs[torch.from_numpy(shown).to(subject.device)]
    predictions = subject.found["fgsm"].of(shown)
    attack_examples(
        path,
        target.images.cpu().numpy(),
        step(target.images, signs, epsilon_255).cpu().numpy(),
        subject.labels[shown],
        (predictions[0], predictions[epsilon_255]),
        classes,
        epsilon_255,
    )


def attack_examples(
    path: str | Path,
    clean: np.ndarray,
    attacked: np.ndarray,
    labels: np.ndarray,
    predictions: tuple[np.ndarray, np.ndarray],
    classes: list[str],
    epsilon_255: int,
) -> None:
    """Draw one column per image: the clean image, the perturbation, the attacked image.

    Images are float32 in [0, 1], N×3×H×W; `labels` and both `predictions` (clean, attacked) are N. The perturbation is
    centred on grey and scaled to the full range. The predicted class is above each image, in red if it is wrong.
    """
    names = class_labels(classes)
    magnified = 0.5 + (attacked - clean) * 255 / (2 * epsilon_255)
    rows = (
        ("clean", clean, predictions[0]),
        (f"perturbation\n× {255 / (2 * epsilon_255):.0f}", magnified, None),
        ("attacked", attacked, predictions[1]),
    )
    count = len(clean)
    figure = Figure(figsize=(1.25 * count + 1, 4.6), layout="constrained")
    figure.suptitle(f"Fast gradient sign method, ε = {epsilon_255}/255; predictions above, red if wrong", fontsize=11)
    axes = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images, said) in zip(axes, rows, strict=True):
        for axis, image, label, position in zip(line, images, labels, range(count), strict=True):
            axis.imshow(np.clip(image, 0, 1).transpose(1, 2, 0), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if said is not None:
                wrong = said[position] != label
                axis.set_title(names[said[position]], fontsize=9, color="#C00000" if wrong else "black")
            else:
                axis.set_title(f"label: {names[label]}", fontsize=7, color="#555555")
        line[0].set_ylabel(name, fontsize=9)
    save(figure, path)
