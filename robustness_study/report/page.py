"""The text of reports/report.md."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustness_study.report import attack_sections, pictures, suite_tables, tables
from robustness_study.report.study import Study
from robustness_study.results import differences
from robustness_study.results.cell_results import CellResults, Cells
from robustness_study.results.conclusions import Conclusion
from robustness_study.results.differences import LEVEL, Difference
from robustness_study.results.overstated import with_accepted_alarm
from robustness_study.statistics import half_width

BESIDE = (
    "On test images. An image and its corrupted copy are a pair: so many of those right when clean still are. "
    "Calibration error (15 bins) and negative log-likelihood are of each loss's own logits, so they also tell how it "
    "scales them. Angles are the mean over pairs of test images: of the backbone's features, which are never negative, "
    "so that no angle exceeds 90°, and of the embeddings that a head makes of them, where it makes some. With several "
    "seeds the intervals of calibration, likelihood and angles are over seeds alone; with one they have none."
)


def markdown(study: Study) -> str:
    """The whole report; pictures are linked by their paths under reports/.

    Raises StudyError if a picture's heading is none that shows pictures.
    """
    pictures.refuse_unshown()
    cells, every, first = study.cells, study.every, study.first
    seeds = sorted({result.cell.seed for result in every})
    parts = ["# Comparison", *_dataset(first), _setting(every, seeds), *_accepted(every, study.transfer)]
    parts += ["## Test accuracy", _spread(len(seeds)), _summaries(study.tables["studies"])]
    parts += pictures.under("Test accuracy", study)
    if "flip_test_time_augmentation" in study.tables:
        parts += ["With flip test-time augmentation:", _summaries(study.tables["flip_test_time_augmentation"])]
    parts += ["## What can be said", *_sentences(study.differences, study.conclusions, len(seeds))]
    parts += ["## Every figure", _explanation(first, cells), _summaries(study.tables["all_metrics"])]
    parts += ["## Beside accuracy", BESIDE, _summaries(study.tables["beside_accuracy"])]
    parts += attack_sections.sections(study)
    parts += ["## Corruptions", *_suite(study), *pictures.under("Corruptions", study)]
    parts += ["## Recall of each class", _summaries(study.tables["recall_per_class"])]
    parts += pictures.under("Recall of each class", study)
    parts += ["## Training", *pictures.under("Training", study)]
    parts += ["## Features", _table(study.features), *_planes(cells), _stability(study.stability)]
    return "\n\n".join(parts) + "\n"


def _dataset(first: CellResults) -> list[str]:
    dataset = first.evaluate["dataset"]
    line = f"Dataset: **{dataset['name']}** from {dataset['origin']} ({dataset['checksum']})."
    if dataset["official"]:
        return [line]
    if dataset["name"] == "folder":
        return ["> **Unofficial data.** A person's own images: there is no published figure to compare with.", line]
    warning = (
        "> **Unofficial data.** These images are not the official release: "
        "figures are not strictly comparable to published ones."
    )
    return [warning, line]


def _setting(every: list[CellResults], seeds: list[int]) -> str:
    first = every[0]
    counts = ", ".join(f"{row['images']} {row['set'].replace('_', ' ')}" for row in first.evaluate["sets"])
    return f"Recipe `{first.evaluate['recipe']}`, seeds {seeds}, trained with {_trained_with(every)}. Images: {counts}."


def _trained_with(every: list[CellResults]) -> str:
    """What the models were trained with; which with what, where it is not one for all."""
    models: dict[str, list[CellResults]] = {}
    for result in every:
        said = ", ".join(f"{name} {value}" for name, value in result.evaluate["trained_on"].items())
        models.setdefault(said, []).append(result)
    if len(models) == 1:
        return next(iter(models))
    of_seeds = {said: sorted({result.cell.seed for result in results}) for said, results in models.items()}
    each_seed_alike = sum(map(len, of_seeds.values())) == len({result.cell.seed for result in every})
    if each_seed_alike:
        parts = [f"{said} (seeds {of_seeds[said]})" for said in sorted(models, key=lambda said: of_seeds[said])]
        return "; ".join(parts) + ": models of one seed were trained alike, and the spread over seeds is also of this"
    parts = [f"{said} ({', '.join(result.cell.key for result in models[said])})" for said in sorted(models)]
    return "; ".join(parts) + ": **differences between these models are also of what they were trained with**"


def _spread(seeds: int) -> str:
    said = f"n = {seeds} {'seed' if seeds == 1 else 'seeds'}. Here and below: mean"
    if seeds == 1:
        return f"{said}, and in brackets a 95 % interval over images."
    return (
        f"{said} ± standard deviation over seeds (ddof = 1), and in brackets a 95 % interval over seeds and images; of "
        "train_ and val_ figures over seeds, of the generalisation gap over seeds and test images, and of mCE, "
        "calibration, likelihood and angles over seeds."
    )


def _explanation(first: CellResults, cells: Cells) -> str:
    alarmed = [f"{loss}, {train_set}" for loss, train_set in with_accepted_alarm(cells)]
    k = first.evaluate["knn_neighbours"]
    return (
        "`generalisation_gap` is train_clean − test_clean, `corruption_drop` test_clean − test_corrupted, `knn_…` the "
        f"accuracy of {k} nearest neighbours, by angle, on the backbone's features (sought among the model's own "
        "training images, corrupted ones for a model trained on them), `probe_…` that of a logistic regression fitted "
        "to the same features, `fgsm_n` under attack with ε = n/255. "
        "`statistics.json` has the same as numbers."
        + (f" Of {' and '.join(alarmed)} some `fgsm_n` flatter the model: see the accepted alarm." if alarmed else "")
    )


def _sentences(found: list[Difference], concluded: list[Conclusion], seeds: int) -> list[str]:
    if not found:
        return ["There is one model, and nothing to compare it with."]
    if seeds > 1:
        note = (
            "Differences in percentage points of accuracy, paired by seed and image, each with its own 95 % interval "
            "over seeds and images. p-values are adjusted for their number (Holm), twice: the differences that answer "
            "the studies are a family of their own, so that another loss beside them changes no answer, and all in the "
            f"table are another. Where the adjusted p is not below {LEVEL}, the difference is not distinguishable from "
            "chance, also where its own interval, which knows of no other difference, lies on one side of zero. "
            "McNemar's p is of the images of one seed alone, not adjusted."
        )
    else:
        note = (
            "One seed: differences in percentage points, paired by image, with 95 % intervals over images alone. How "
            "models of other seeds would differ is not in them, so nothing is tested and nothing concluded."
        )
    claims = [
        "\n".join(
            [
                f"- {conclusion.claim}: **{conclusion.verdict()}**.",
                *(f"  - {difference.sentence()}" for difference in conclusion.differences),
            ]
        )
        for conclusion in concluded
    ]
    return [
        note,
        *(["The studies' conclusions:", "\n".join(claims)] if claims else []),
        "Every difference:",
        differences.table(found, [each for one in concluded for each in one.differences]).to_markdown(
            disable_numparse=True
        ),
    ]


def _suite(study: Study) -> list[str]:
    stress = study.first.stress
    groups = stress.groups()
    note = (
        f"On {stress.images} test images, stratified, the same for every model and corruption: over images alone, one "
        f"model's 95 % interval is at most ± {half_width(stress.images):.3f}. `main` is CIFAR-10-C's corruptions "
        f"({len(groups['main'])} of 15), `held out` its others ({len(groups['held out'])} of 4), each at five "
        "severities (Hendrycks & Dietterich 2019, arXiv 1903.12261), drawn anew on these images. `seen` are those of "
        "`main` akin to the mix or to the recipe's augmentation "
        f"({', '.join(groups['seen']) or 'none'}), `unseen` the rest."
    )
    if suite_tables.REFERENCE in study.cells:
        error = (
            "mCE is relative to the cross-entropy model trained on clean images, which has 1; lower is better. Where "
            "it is not given, `corruption_errors.json` says why."
        )
    else:
        error = f"mCE is not given: {suite_tables.NO_REFERENCE}."
    return [note, error, _summaries(study.tables["suite"])]


def _planes(cells: Cells) -> list[str]:
    parts = [
        f"UMAP planes of seed {next(iter(cells.values()))[0].cell.seed}: fitted on clean test images; corrupted and "
        "attacked ones transformed into the same plane. An arrow leads from where a class's clean images go when they "
        "are transformed as well to where their copies go (medians). Distances and sizes of clusters in it mean "
        "little; each caption says how far to trust it. Pale grey points are the clean images again, not a class."
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
        f"How much of a plane is its seed's doing, for {stability['model']}: under {len(stability['seeds'])} seeds, "
        f"two planes share {found['shared_neighbours_mean']:.3f} of a point's {stability['neighbours']} nearest "
        f"neighbours (least {found['shared_neighbours_lowest']:.3f}); standard deviation of the trustworthiness "
        f"{found['trustworthiness_std']:.4f}, of the share of the same class {found['neighbour_purity_plane_std']:.4f}."
    )


def _summaries(frame: pd.DataFrame) -> str:
    return _table(tables.shown(frame))


def _table(frame: pd.DataFrame) -> str:
    return frame.to_markdown(floatfmt=".4f")
