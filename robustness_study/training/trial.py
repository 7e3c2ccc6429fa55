"""Trains for one step at each width that the recipe uses: finds a network, a loss or a recipe that cannot train."""

from __future__ import annotations

import numpy as np
import torch

from robustness_study.classifier.precision import repeatable
from robustness_study.core.errors import StudyError
from robustness_study.losses import Loss
from robustness_study.schema.recipe import Recipe
from robustness_study.training.engine import Training
from robustness_study.training.one_model import fresh_model
from robustness_study.training.watcher import Images

LABELS = (0, 0, 1, 1)  # the smallest batch for a loss that compares images of two classes


def try_to_train(name: str, recipe: Recipe, loss: Loss, size: int, classes: int, on: torch.device) -> None:
    """Train a new model with the recipe `name` on four random images, `size`×`size` pixels, of a set of `classes`.

    Raises StudyError if the network cannot take the images, if it cannot be trained, or if the loss is not finite.
    """
    halves = 0.5 if recipe.low_resolution_share else 0.0
    # Two epochs of one step each: the first at half the width, if the recipe has that, the second at the whole width.
    # Compiling takes a minute. The learning rate is small, because a large one can fail by chance on so few images.
    changes = {"epochs": 2, "batch_size": len(LABELS), "low_resolution_share": halves, "compile": False}
    short = recipe.model_copy(update=changes | {"peak_learning_rate": min(recipe.peak_learning_rate, 0.001)})
    images = np.random.default_rng(0).integers(0, 256, (len(LABELS), size, size, 3), np.uint8)
    try:
        model = fresh_model(images, classes, loss, recipe, 0).to(on)
        training = Training(
            model, Images(torch.from_numpy(images).to(on), torch.tensor(LABELS, device=on)), short, loss.batches, 0
        )
        with repeatable(on, recipe.deterministic):
            for epoch in (1, 2):
                for _ in training.epoch_from(epoch, 0):
                    training.check_finite(epoch)
    except StudyError as error:
        raise StudyError(f"params.yaml: recipes.{name}, tried with loss {loss.name}: {error}") from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise StudyError(
            f"params.yaml: recipes.{name}.network is {recipe.network}, which cannot be trained with loss {loss.name} "
            f"on images of {size}×{size} pixels ({reason}); choose another network"
        ) from error
