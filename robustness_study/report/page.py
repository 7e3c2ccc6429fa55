"""The text of reports/report.md."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustness_study.core.cell import model_name
from robustness_study.report import (
    attack_sections,
    conclusion_sections,
    explanations,
    pictures,
    recall,
    suite_section,
    tables,
)
from robustness_study.report.markdown import escaped, table
from robustness_study.report.study import Study
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.overstated import with_accepted_alarm


def markdown(study: Study) -> str:
    """The whole report; pictures are linked by their paths under reports/.

    Raises StudyError if a picture's heading is not one that shows pictures.
    """
    pictures.check_headings()
    cells, every, first = study.cells, study.every, study.first
    seeds = sorted({result.cell.seed for result in every})
    parts = ["# Comparison", *_dataset(first), _setting(every, seeds), *_accepted(every, study.transfer)]
    parts += ["## How to read this report", explanations.how_to_read(first.cell, len(seeds))]
    parts += ["## Test accuracy", _test_accuracy(len(seeds)), _summaries(study.tables["studies"])]
    parts += pictures.under("Test accuracy", study)
    if study.controls:
        parts += [f"`{name}`: {sentence}" for name, sentence in study.controls.items()]
        parts += [_summaries(study.tables["controls"])]
    if "flip_test_time_augmentation" in study.tables:
        parts += ["With flip test-time augmentation (the logits of an image and its mirror image are averaged):"]
        parts += [_summaries(study.tables["flip_test_time_augmentation"])]
    parts += ["## Conclusions", *conclusion_sections.sections(study)]
    parts += ["## All metrics", _explanation(first, cells), _summaries(study.tables["all_metrics"])]
    parts += ["## Beyond accuracy", explanations.BEYOND_ACCURACY]
    parts += [_summaries(study.tables["beside_accuracy"])]
    parts += attack_sections.sections(study)
    parts += ["## Corruptions", *suite_section.section(study), *pictures.under("Corruptions", study)]
    parts += ["## Recall of each class", *recall.section(study.tables["recall_per_class"])]
    parts += pictures.under("Recall of each class", study)
    parts += ["## Training", *pictures.under("Training", study)]
    parts += [
        "## Features",
        explanations.FEATURES,
        table(study.features),
        *_planes(cells),
        _stability(study.stability),
    ]
    return "\n\n".join(parts) + "\n"


def _dataset(first: CellResults) -> list[str]:
    dataset = first.evaluate["dataset"]
    name, origin, checksum = (escaped(dataset[part]) for part in ("name", "origin", "checksum"))
    line = f"Dataset: **{name}** from {origin} ({checksum})."
    if dataset["official"]:
        return [line]
    if dataset["name"] == "folder":
        return [
            "> **Unofficial data.** These are a user's own images, so there is no published result to compare with.",
            line,
        ]
    warning = (
        "> **Unofficial data.** These images are not the official release, "
        "so the results are not strictly comparable to published ones."
    )
    return [warning, line]


def _setting(every: list[CellResults], seeds: list[int]) -> str:
    first = every[0]
    counts = ", ".join(f"{row['images']} {row['set'].replace('_', ' ', 1)}" for row in first.evaluate["sets"])
    trained = f"Recipe `{first.evaluate['recipe']}`, seeds {seeds}, trained with {_trained_with(every)}."
    return f"{trained} Numbers of images: {counts}."


def _trained_with(every: list[CellResults]) -> str:
    """What the models were trained with (device, torch, precision); if this differs, which models with what."""
    models: dict[str, list[CellResults]] = {}
    for result in every:
        text = ", ".join(f"{name} {value}" for name, value in result.evaluate["trained_on"].items())
        models.setdefault(text, []).append(result)
    if len(models) == 1:
        return next(iter(models))
    of_seeds = {text: sorted({result.cell.seed for result in results}) for text, results in models.items()}
    one_way_per_seed = sum(map(len, of_seeds.values())) == len({result.cell.seed for result in every})
    if one_way_per_seed:
        parts = [f"{text} (seeds {of_seeds[text]})" for text in sorted(models, key=lambda text: of_seeds[text])]
        note = "models of one seed were trained alike, and the standard deviation over seeds includes this difference"
        return f"{'; '.join(parts)}: {note}"
    parts = [f"{text} ({', '.join(result.cell.key for result in models[text])})" for text in sorted(models)]
    return "; ".join(parts) + ": **differences between these models may come from this as well**"


def _test_accuracy(seeds: int) -> str:
    text = "The share of test images that are classified correctly. Rows: training set → test images. Each entry is the"
    if seeds == 1:
        return f"{text} value for n = 1 seed, with its 95 % interval over images in brackets."
    return f"{text} mean ± standard deviation over n = {seeds} seeds, with its 95 % interval over seeds and images."


def _explanation(first: CellResults, cells: Cells) -> str:
    alarmed = [model_name(loss, train_set) for loss, train_set in with_accepted_alarm(cells)]
    k = first.evaluate["knn_neighbours"]
    warning = f" For {' and '.join(alarmed)}, some `fgsm_n` overstate robustness: see the accepted alarm."
    return (
        "`train_…`, `val_…` and `test_…` are accuracies on training, validation and test images. "
        "`generalisation_gap` is train_clean − test_clean, and `corruption_drop` is test_clean − test_corrupted. "
        f"`knn_…` is the accuracy of the {k} nearest neighbours, by angle, of the backbone's features; the neighbours "
        "are the model's own training images (corrupted images for a model trained on corrupted images). `probe_…` is "
        "the accuracy of a logistic regression fitted to the same features. `fgsm_n` is the accuracy under FGSM with "
        "ε = n/255, and `robust_n` in the worst case of all attacks (see Robust accuracy). `suite_mean` is the mean "
        "accuracy over the main corruptions of CIFAR-10-C, and `suite_unseen_mean` "
        f"over those that are unlike training (see Corruptions). {_natural(first)} `statistics.json` has the same "
        "values as numbers." + (warning if alarmed else "")
    )


def _natural(first: CellResults) -> str:
    if not first.has("natural_cifar10_1"):
        return "`natural_…` is empty: `natural` in `params.yaml` does not name CIFAR-10.1."
    return (
        "`natural_cifar10_1` is the accuracy on CIFAR-10.1, new images of the same classes (Recht et al. 2018, arXiv "
        "1806.00451), and `natural_cifar10_1_drop` is test_clean minus this accuracy."
    )


def _planes(cells: Cells) -> list[str]:
    parts = [
        f"UMAP planes of the models of seed {next(iter(cells.values()))[0].cell.seed}. A plane is fitted on the "
        "features of clean test images; corrupted and attacked images are transformed into the same plane. Pale grey "
        "points are the clean images again, not a class. Each arrow belongs to one class. It leads from the median of "
        "its clean images, also transformed, to the median of their corrupted or attacked copies. Distances and sizes "
        "of clusters in a plane mean little; each caption says how far the plane can be trusted."
    ]
    for results in cells.values():
        cell = results[0].cell
        path = cell.plane("plane.png").relative_to("reports")
        parts.append(f"![UMAP of {cell.key}]({path.as_posix()})")
    return parts


def _by_seed(every: list[CellResults]) -> list[CellResults]:
    return sorted(every, key=lambda result: result.cell.seed)


def _accepted(every: list[CellResults], transfer: dict[str, Any]) -> list[str]:
    alarms = [(result.cell.key, alarms) for result in _by_seed(every) if (alarms := result.attack["alarms"])]
    alarms += [("transfer", transfer["alarms"])] if transfer["alarms"] else []
    lines = [f"> **Accepted alarm**, {of}: {name}: {reason}." for of, found in alarms for name, reason in found.items()]
    return ["\n>\n".join(lines)] if lines else []


def _stability(stability: dict[str, Any]) -> str:
    found = {row["measure"]: row["value"] for row in stability["measures"]}
    return (
        f"How much a plane depends on its seed, for {stability['model']}: under {len(stability['seeds'])} seeds, two "
        f"planes share on average {found['shared_neighbours_mean']:.3f} of a point's {stability['neighbours']} nearest "
        f"neighbours (lowest: {found['shared_neighbours_lowest']:.3f}). The standard deviation over seeds is "
        f"{found['trustworthiness_std']:.4f} for the trustworthiness, and "
        f"{found['neighbour_purity_plane_std']:.4f} for the share of neighbours of the same class."
    )


def _summaries(frame: pd.DataFrame) -> str:
    return table(tables.shown(frame))
