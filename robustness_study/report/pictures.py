"""The list of pictures: what each shows, how it is drawn, and under which heading of the report it appears.

To add a picture, write a function that draws it and add an entry here. `compare` draws every entry into
`reports/figures/NAME.png`, and the report shows it with its caption under its heading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robustness_study.core.cell import model_name
from robustness_study.core.errors import StudyError
from robustness_study.plotting import MANY
from robustness_study.report import charts, suite_charts, suite_tables
from robustness_study.report.study import Study
from robustness_study.results import overstated
from robustness_study.results.intervals import covers, mean_and_interval
from robustness_study.statistics import half_width

HEADINGS = (  # the headings of the report that can have pictures
    "Test accuracy",
    "Fast gradient sign attack",
    "Other attacks",
    "Corruptions",
    "Recall of each class",
    "Training",
)


@dataclass(frozen=True)
class Picture:
    """One picture. `caption` gives the number of images and any accepted alarm; `draw` writes a PNG to the path."""

    name: str
    heading: str
    caption: Callable[[Study], str]
    draw: Callable[[Path, Study], None]

    def lines(self, study: Study) -> list[str]:
        """The lines of the report: the picture and the caption below it."""
        caption = self.caption(study)
        return [f"![{caption}](figures/{self.name}.png)", f"*{caption}.*"]


def chance(study: Study) -> float:
    """The accuracy of guessing, with all classes equally likely."""
    return 1 / len(study.first.evaluate["dataset"]["classes"])


def accuracy(path: Path, study: Study) -> None:
    """Draws the test accuracy for every loss and training set, as bars."""
    groups = {f"{name} → {test}": (name, test) for _, name in study.cells for test in ("clean", "corrupted")}
    bars, ends = {}, {}
    for loss in dict.fromkeys(loss for loss, _ in study.cells):
        of_loss = study.summaries[loss]
        rows = [of_loss[f"{train_set}_trained"][f"test_{test}"] for train_set, test in groups.values()]
        bars[loss] = [row["mean"] for row in rows]
        ends[loss] = [row["interval_95"] for row in rows]
    images = len(study.first.predictions("test_clean")[0])
    over = covers(study.seeds)
    note = f"Trained on → tested on; {images} test images, {study.one_each}, 95 % interval over {over}"
    charts.grouped_bars(path, list(groups), bars, ends, note)


def ladder(path: Path, study: Study) -> None:
    """Draws accuracy under the fast gradient sign method against epsilon."""
    table = study.tables["fast_gradient_sign"]
    series = {str(name): np.array([mean_and_interval(summary) for summary in table[name]]) for name in table}
    title = (
        f"Fast gradient sign method on {study.first.attack['images']} clean test images\n"
        f"{study.one_each}, 95 % interval over {covers(study.seeds)}"
    )
    stronger = {}
    for (loss, train_set), row in overstated.with_accepted_alarm(study.cells).items():
        factor, summaries = overstated.under_strongest_factor(row)
        images = next(iter(summaries.values()))["images"]
        accuracies = {epsilon_255: mean_and_interval(summary) for epsilon_255, summary in summaries.items()}
        stronger[model_name(loss, train_set)] = f"† gradient of {factor} × the logits, {images} images", accuracies
    charts.ladder(path, table.index.tolist(), series, stronger, chance(study), title)


def transfer(path: Path, study: Study) -> None:
    """Draws the accuracy of each model on images attacked through each model."""
    transferred = study.transfer
    title = (
        f"Accuracy, FGSM ε = {transferred['epsilon_255']}/255, seed {study.first.cell.seed}\n"
        f"{transferred['images']} clean test images, 95 % interval ± {half_width(transferred['images']):.3f} at most"
    )
    charts.transfer_matrix(path, study.transfer_table, title)


def curves(path: Path, study: Study) -> None:
    """Draws training and validation accuracy against epoch."""
    charts.training_curves(path, {result.cell.key: result.curves for result in study.every})


def confusion(path: Path, study: Study) -> None:
    """Draws the confusion matrices of the first seed's models."""
    matrices = {row[0].cell.key: row[0].confusion("test_clean") for row in study.cells.values()}
    charts.confusion_grid(path, matrices, study.first.evaluate["dataset"]["classes"])


def suite(path: Path, study: Study) -> None:
    """Draws heat maps: accuracy under each corruption at each severity."""
    stress, groups = study.first.stress, study.first.stress.groups()
    order = [*groups["main"], *groups["held out"]]
    order += [name for name in stress.by_corruption if name not in order]
    corrupted = study.every_accuracy[study.every_accuracy["severity"] > 0]
    accuracies = {}
    for loss, train_set in study.cells:
        of_model = corrupted[(corrupted["loss"] == loss) & (corrupted["train_set"] == train_set)]
        accuracies[model_name(loss, train_set)] = {
            name: of_model.loc[of_model["corruption"] == name, "accuracy"].tolist() for name in order
        }
    half_widths = (corrupted["upper_95"] - corrupted["lower_95"]) / 2
    ends = [end for end in (len(groups["main"]), len(groups["main"] + groups["held out"])) if 0 < end < len(order)]
    means = study.tables["suite"]
    suite_charts.heat_maps(
        path,
        accuracies,
        {model: float(means[model]["main"]["mean"]) for model in accuracies},
        stress.seen,
        ends,
        len(groups["main"]),
        f"{stress.images} test images, {study.one_each}; 95 % interval over {covers(study.seeds)} "
        f"± {half_widths.median():.3f} (median), ± {half_widths.max():.3f} at most"
        + "; * similar to training"
        * stress.training_is_known,
    )


def severity(path: Path, study: Study) -> None:
    """Draws accuracy against severity, a panel per group of corruptions."""
    panels = {
        suite_tables.LABELS.get(group, group): {
            model_name(loss, train_set): suite_tables.by_severity(results, group)
            for (loss, train_set), results in study.cells.items()
        }
        for group, members in study.first.stress.groups().items()
        if members and group not in ("main", "held out")
    }
    of = f"{study.first.stress.images} test images, {study.one_each}"
    title = f"Mean accuracy; {of}; 95 % interval over {covers(study.seeds)}"
    suite_charts.by_severity(path, panels, chance(study), title)


def _ladder_caption(study: Study) -> str:
    dagger = (
        "; dashed (†): the stronger attack by the gradient of rescaled logits, on fewer images "
        f"(see {study.where_alarms_are})"
    )
    return (
        f"Accuracy under the fast gradient sign method (FGSM) on {study.first.attack['images']} test images, against "
        f"ε; bands are 95 % intervals{dagger if overstated.with_accepted_alarm(study.cells) else ''}"
    )


def _transfer_caption(study: Study) -> str:
    weak = [
        results[0].cell.key
        for results in overstated.with_accepted_alarm(study.cells).values()
        if study.transfer["epsilon_255"] in overstated.clear_at(results[0])
    ]
    warning = f"; FGSM through {' and '.join(weak)} is weaker than it could be (see the accepted alarm)"
    return (
        f"Accuracy on {study.transfer['images']} test images that were attacked through the model of the row and are "
        f"classified by the model of the column, seed {study.first.cell.seed}{warning if weak else ''}"
    )


def _confusion_caption(study: Study) -> str:
    classes = len(study.first.evaluate["dataset"]["classes"])
    of = f"Confusion matrices on {len(study.first.predictions('test_clean')[0])} clean test images"
    of += study.of_first_seed
    if classes <= MANY:
        return f"{of}: numbers of images, shaded by their share of the images with the same true label"
    every = charts.labelled_every(classes)
    some = f"; one class in {every} has its label" if every > 1 else ""
    return (
        f"{of}: the share of the images with the same true label, darker for more. The {classes} classes are in the "
        f"order of their numbers, from the top and from the left{some}"
    )


STAR = "; a star marks a corruption similar to what training does to images"
PICTURES = (
    Picture(
        "accuracy",
        "Test accuracy",
        lambda study: (
            f"Test accuracy on {len(study.first.predictions('test_clean')[0])} images, clean or corrupted; "
            "whiskers are 95 % intervals"
        ),
        accuracy,
    ),
    Picture("ladder", "Fast gradient sign attack", _ladder_caption, ladder),
    Picture("transfer", "Other attacks", _transfer_caption, transfer),
    Picture(
        "suite",
        "Corruptions",
        lambda study: (
            f"Accuracy under each corruption at each severity, on {study.first.stress.images} test images"
            + STAR * study.first.stress.training_is_known
            + ". The file `tables/suite_in_full.csv` has the 95 % interval of every value"
        ),
        suite,
    ),
    Picture(
        "severity",
        "Corruptions",
        lambda study: (
            "Accuracy against severity: means over the corruptions of a group, on "
            f"{study.first.stress.images} test images; bands are 95 % intervals"
        ),
        severity,
    ),
    Picture(
        "confusion",
        "Recall of each class",
        _confusion_caption,
        confusion,
    ),
    Picture(
        "curves",
        "Training",
        lambda _: (
            "Training curves of every model: accuracy after each epoch on some of its training images (dashed) and of "
            "its validation images (solid). Both are of the kind that the model trains on, so values cannot be "
            "compared between training sets. For adversarial training, dotted: accuracy on some of the validation "
            "images under PGD of the size that the model is trained against. A loss that classifies by class "
            "centroids computes them from these "
            "training images"
        ),
        curves,
    ),
)


def check_headings() -> None:
    """Raises StudyError if a picture's heading is not one of `HEADINGS`, since the report would not show it."""
    for picture in PICTURES:
        if picture.heading not in HEADINGS:
            raise StudyError(
                f"robustness_study/report/pictures.py: the picture {picture.name!r} has the heading "
                f"{picture.heading!r}, under which the report shows no pictures; use one of {', '.join(HEADINGS)}"
            )


def under(heading: str, study: Study) -> list[str]:
    """The lines of all pictures under a heading of the report; `heading` must be one of `HEADINGS`."""
    assert heading in HEADINGS, heading
    return [line for picture in PICTURES if picture.heading == heading for line in picture.lines(study)]
