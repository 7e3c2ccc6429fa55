"""Reads the results of every model, and checks them: against their predictions, and against each other."""

from __future__ import annotations

from collections.abc import Sequence

from robustness_study.attacks import catalogue
from robustness_study.core.array_text import from_text
from robustness_study.core.cell import IMAGES_DIGEST, Cell, split_of
from robustness_study.core.errors import StudyError
from robustness_study.results.cell_results import CellResults, Cells, read, whole
from robustness_study.results.consistency import refuse_contradictions


def read_cells(
    losses: list[str], train_sets: list[str], seeds: list[int], seen: Sequence[str], planes: bool = True
) -> Cells:
    """Reads every model of the study. If `planes` is true, the models of the first seed have their UMAP planes.

    `seen` names the corruptions that are similar to what training does to images. Raises StudyError if a model is
    missing, contradicts itself or cannot be compared with the others.
    """
    cells = {
        (loss, train_set): [
            read(Cell(loss, train_set, seed), seen, embedded=planes and seed == seeds[0]) for seed in seeds
        ]
        for loss in losses
        for train_set in train_sets
    }
    every = [result for row in cells.values() for result in row]
    for result in every:
        with whole(result.cell):
            refuse_contradictions(result)
    for result in every:
        with whole(result.cell):
            refuse_incomparable(result, every[0])
            refuse_another_model(result)
    return cells


def refuse_another_model(result: CellResults) -> None:
    """Raises StudyError if attack.json and evaluate.json are results of different models.

    At epsilon 0, the attacks on the model and on its nearest neighbours must give the predictions of `evaluate`.
    """
    _, clean = result.predictions("test_clean")
    chosen = from_text(result.attack["test_indices"])
    differ = [result.attacked("fgsm", 0)[1] != clean[chosen]]
    if "knn_fgsm" in result.attack["attacks"]:
        of_neighbours = from_text(result.evaluate["details"]["test_clean"]["knn_predictions"])[chosen]
        positions = from_text(result.attack["attacks"]["knn_fgsm"]["positions"])
        differ.append(result.attacked("knn_fgsm", 0)[1] != of_neighbours[positions])
    # Rounding in other batches or on another device changes few predictions; another model changes many.
    if any(each.sum() > max(1, 0.01 * len(each)) for each in differ):
        raise StudyError(
            f"the attack on {result.cell.key} at epsilon 0 and evaluate give different predictions; "
            f"run `dvc repro -f evaluate@{result.cell.key} attack@{result.cell.key}`"
        )


def refuse_incomparable(result: CellResults, first: CellResults) -> None:
    """Raises StudyError if two cells differ in something that all models of a comparison must have in common."""
    conditions = [
        {
            "dataset": each.evaluate["dataset"],
            "recipe": each.evaluate["recipe"],
            "the number of epochs": len(each.curves.get("epoch", [])),
            "numbers of images": {split_of(row["set"]): row["images"] for row in each.evaluate["sets"]},
            "test images": each.evaluate["labels"]["test"],
            "the natural sets": each.evaluate["natural"],
            "k of the nearest neighbours": each.evaluate["knn_neighbours"],
            "flip test-time augmentation": each.row("test_clean")["flip_accuracy"] is not None,
            "attacked images": each.attack["test_indices"],
            "the suite's images": (each.stress.test_indices, each.stress.copies),
            "the test images' pixels": each.evaluate[IMAGES_DIGEST],
            "the suite's corruptions": sorted(each.stress.by_corruption),
            "attack's epsilons": [row["epsilon_255"] for row in each.attack["ladder"]],
            "attacks": {
                name: {
                    **{setting: found[setting] for setting in catalogue.must_be_equal(name) if setting in found},
                    "epsilons": list(found["predictions"]),
                }
                for name, found in each.attack["attacks"].items()
            },
        }
        for each in (result, first)
    ]
    for what, value in conditions[0].items():
        if value != conditions[1][what]:
            raise StudyError(
                f"{result.cell.key} and {first.cell.key} differ in {what}, so they cannot be compared; "
                "run `dvc repro` for both"
            )
