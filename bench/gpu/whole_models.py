"""Whole models: the recipe's accuracy, clean and corrupted, and the shortest training that reaches 0.90."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np

from bench.gpu import study_data
from bench.gpu.budget import start_afresh
from bench.gpu.setting import CLASSES, Setting
from bench.gpu.study_data import SEED
from robustness_study import losses
from robustness_study.classifier.model import Classifier
from robustness_study.core.errors import StudyError
from robustness_study.evaluation.score import outputs_of
from robustness_study.schema.recipe import Recipe
from robustness_study.training.one_model import train_cell
from robustness_study.training.progress import Progress
from robustness_study.training.watcher import Epoch

LOSS = "cross_entropy"
GOAL = 0.90  # of validation images; the study's 40,000
EPOCHS = (15, 30, 60, 120)  # tried in this order; the first that reaches the goal counts


class EveryTenth(Progress):
    """Prints a line for every tenth epoch and for the last."""

    def epoch(self, epoch: Epoch) -> None:
        """Print it, or not."""
        if epoch.epoch % 10 == 0 or epoch.epoch == self.epochs:
            super().epoch(epoch)


class WholeModels:
    """Trains models on the study's images. The images are read once, when the first model needs them."""

    def __init__(self, given: Setting) -> None:
        self.given = given
        self.data = cache(lambda: study_data.load(given))

    def trained(self, train_set: str, **changes: Any) -> tuple[Classifier, list[Epoch], Recipe, float]:
        """A model in evaluation mode with its epochs, its recipe, and the seconds that it took, with compiling."""
        data, given = self.data(), self.given
        recipe = Recipe.model_validate(given.recipe.model_dump() | changes)
        loss = losses.make(LOSS, given.params["loss_config"][LOSS])
        images = study_data.training_images(data, train_set, given)
        start_afresh()
        started = time.perf_counter()
        model, epochs = train_cell(
            images, data.train_labels, data.indices, CLASSES, loss, recipe, SEED, given.on, EveryTenth(recipe.epochs)
        )
        return model.eval(), epochs, recipe, time.perf_counter() - started

    def accuracy(self, model: Classifier, images: np.ndarray, labels: np.ndarray) -> float:
        """The share of images uint8 N×32×32×3 that the model classifies correctly, in float32."""
        logits, _ = outputs_of(model, images, 1000)
        return float((logits.argmax(1) == labels).mean())

    def recipe(self, train_set: str) -> dict[str, Any]:
        """One model of the whole recipe: accuracies on validation images and on test images, its time, its curve."""
        model, epochs, recipe, seconds = self.trained(train_set)
        data = self.data()
        val = data.indices["val"]
        found = {f"test_{name}": self.accuracy(model, images, data.test_labels) for name, images in data.test.items()}
        found |= {f"val_{name}": self.accuracy(model, images[val], data.train_labels[val])
                  for name, images in data.train.items()}  # fmt: skip
        print(f"{train_set}: {seconds:.0f} s  " + "  ".join(f"{name} {value:.4f}" for name, value in found.items()))
        return {
            "loss": LOSS,
            "train_set": train_set,
            "seed": SEED,
            "seconds": seconds,
            "seconds_per_epoch": float(np.median([epoch.seconds for epoch in epochs])),
            "images_per_second": float(np.median([epoch.images_per_second for epoch in epochs])),
            "accuracy": found,
            "images": {"train": len(data.indices["train"]), "val": len(val), "test": len(data.test_labels)},
            "curve": [[epoch.epoch, epoch.val_accuracy] for epoch in epochs],
            "recipe": recipe.model_dump(),
        }

    def time_to_accuracy(self) -> dict[str, Any]:
        """Seconds of the shortest training, of those tried, that reaches the goal on all validation images.

        The number of epochs is thereby chosen on validation images; test images are used once, at the end. Raises
        StudyError if none reaches the goal.
        """
        data, tried = self.data(), list[dict[str, Any]]()
        val, goal = data.indices["val"], 0.0 if self.given.tiny else GOAL
        for count in (2, 4) if self.given.tiny else EPOCHS:
            model, _, _, seconds = self.trained("clean", epochs=count)
            reached = self.accuracy(model, data.train["clean"][val], data.train_labels[val])
            tried.append({"epochs": count, "seconds": seconds, "val_accuracy": reached})
            print(f"{count} epochs: {reached:.4f} on {len(val)} validation images, {seconds:.1f} s", flush=True)
            if reached >= goal:
                test = self.accuracy(model, data.test["clean"], data.test_labels)
                return {"goal": goal, "seconds": seconds, "test_accuracy": test, "tried": tried}
        shown = ", ".join(f"{row['val_accuracy']:.3f} after {row['epochs']}" for row in tried)
        raise StudyError(f"no number of epochs reached {goal} on validation images ({shown}); try more epochs")
