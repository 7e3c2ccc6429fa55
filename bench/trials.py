"""Tries changes of a recipe on validation images; the settings in params.yaml were chosen so. It reads no test image.

Each argument is one trial: its changes to the recipe, as JSON; `{}` is the unchanged recipe. The recipe is the one that
`params.yaml` chooses, or `--recipe`. Each trial adds a row to `bench/results/trials.json`, with its changes, the whole
recipe and the machine. The accuracy is computed as in `evaluate`: in the precision of training, on all validation
images. `--also-on corrupted` scores the model on the validation images of that training set too.
`python -m bench.trials '{"epochs": 8}' '{"epochs": 8, "flip": "off"}' [--recipe gpu] [--loss angular]
[--train-set corrupted] [--also-on clean]`
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench import report
from robustness_study import losses
from robustness_study.classifier import device
from robustness_study.classifier.reduced import Reduced
from robustness_study.core import params
from robustness_study.core.files import read_json, read_npz, read_record, write_json
from robustness_study.core.program import run
from robustness_study.evaluation.score import outputs_of, score_set
from robustness_study.schema.recipe import Recipe
from robustness_study.training.one_model import environment_of, train_cell
from robustness_study.training.progress import Progress


def trial(
    changes: dict[str, Any],
    loss_name: str,
    loss_changes: dict[str, Any],
    train_set: str,
    seed: int,
    recipe_name: str | None = None,
    *,
    also_on: Sequence[str] = (),
) -> dict[str, Any]:
    """Train one model with the changed recipe; return its results on the validation images of its split.

    Without a name, the recipe is the one that params.yaml chooses. `also_on` names training sets: the accuracy on the
    validation images of each is in the row too. Raises StudyError if the recipe or a training set's file does not
    exist, or if a change is not allowed.
    """
    values, on = params.read(), device.choose()
    recipe_name = recipe_name or values["recipe"]
    section = f"recipes.{recipe_name}"
    recipe = params.validated(section, params.lookup(values, section) | changes, Recipe)
    settings = f"loss_config.{loss_name}"
    config = params.validated(settings, params.lookup(values, settings) | loss_changes, losses.config_class(loss_name))
    images, *others = (read_npz(f"data/training_sets/{name}.npz", "images")[0] for name in (train_set, *also_on))
    (labels,) = read_npz("data/raw/train.npz", "labels")
    indices = dict(zip(("train", "val"), read_npz(f"data/split/{seed}.npz", "train", "val"), strict=True))
    classes = read_record("data/raw/source.json", "classes")["classes"]
    loss = losses.make(loss_name, config.model_dump())
    started = time.perf_counter()
    model, epochs = train_cell(images, labels, indices, len(classes), loss, recipe, seed, on, Progress(recipe.epochs))
    seconds = time.perf_counter() - started
    precision = environment_of(recipe, on)["precision"]
    reduced = Reduced(model.eval(), precision, recipe.network)

    def scored(versions: np.ndarray) -> dict[str, Any]:
        """Scores on the validation images among these versions of all training images, uint8 NHWC."""
        logits, _ = outputs_of(reduced, versions[indices["val"]], values["evaluate"]["batch_size"])
        return score_set(logits, {}, labels[indices["val"]], classes)[0]

    scores = scored(images)
    return {
        "loss": loss_name,
        "train_set": train_set,
        "seed": seed,
        "changes": changes | ({"loss_config": loss_changes} if loss_changes else {}),
        "recipe_name": recipe_name,
        "val_accuracy": scores["accuracy"],
        "val_loss": scores["loss"],
        "val_images": scores["images"],
        "also_on": {name: scored(other)["accuracy"] for name, other in zip(also_on, others, strict=True)},
        "train_accuracy": epochs[-1].train_accuracy,
        "seconds": round(seconds),
        "recipe": recipe.model_dump(),
        "precision": precision,
        "machine": report.machine(on),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="+", type=json.loads)
    parser.add_argument("--recipe", help="one of the recipes in params.yaml; that of the study if it is not given")
    parser.add_argument("--loss", default="cross_entropy")
    parser.add_argument("--loss-config", type=json.loads, default={})
    parser.add_argument("--train-set", default="clean")
    parser.add_argument(
        "--also-on",
        action="append",
        default=[],
        help="a training set whose validation images are scored too; may be repeated",
    )
    parser.add_argument("--seed", type=int, default=0, help="the study's first seed, so that rows can be compared")
    arguments = parser.parse_args()
    path = report.RESULTS / "trials.json"
    for changes in arguments.changes:
        row = trial(
            changes,
            arguments.loss,
            arguments.loss_config,
            arguments.train_set,
            arguments.seed,
            arguments.recipe,
            also_on=arguments.also_on,
        )
        write_json(path, [*(read_json(path) if path.exists() else []), row])
        told = f"{row['recipe_name']}  {arguments.loss} {json.dumps(row['changes'])}"
        also = "".join(f"{value:.4f} on {name}  " for name, value in row["also_on"].items())
        print(f"{row['val_accuracy']:.4f} on {arguments.train_set}  {also}{row['seconds']} s  {told}", flush=True)


if __name__ == "__main__":
    run(main)
