"""The charts: their rows. chart_specs.py says how they are drawn.

A chart with several `choices` shows one of them at a time: the rows whose `choice` it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from robustness_study.attacks import catalogue
from robustness_study.core.cell import model_name
from robustness_study.corruptions import CIFAR_10_C, CIFAR_10_C_FAMILIES, SEVERITIES
from robustness_study.report import suite_tables, tables
from robustness_study.report.study import Study
from robustness_study.results.intervals import Summary, summarise
from robustness_study.results.metric_kinds import fgsm_on_images_of, under_attack, under_corruptions
from robustness_study.results.metrics import METRICS
from robustness_study.webpage.chart_specs import bars, lines, reliability, training
from robustness_study.webpage.shown import Shown

BINS = 15  # of a calibration diagram, as in the expected calibration error
Row = dict[str, Any]


def every_chart(study: Study, models: Sequence[Shown]) -> dict[str, Any]:
    """The charts of a study by name; each has rows, a specification and the choices that it offers."""
    of_models = [model_name(loss, train_set) for loss, train_set in study.cells]
    found: dict[str, Any] = {
        "comparison": _chart(comparison(study), bars()),
        "ladder": _chart(ladder(study), lines("epsilon_255", "ε (in 1/255)")),
        "severity": _chart(by_severity(study), lines("severity", "severity of the corruption (0: clean)")),
        "calibration": _chart(calibration(models), reliability()),
    }
    if all(result.curves for result in study.every):
        found["curves"] = _chart(curves(study), training())
    return {"models": of_models, **found}


def _chart(rows: list[Row], spec: dict[str, Any]) -> dict[str, Any]:
    return {"rows": rows, "spec": spec, "choices": list(dict.fromkeys(row["choice"] for row in rows))}


def comparison(study: Study) -> list[Row]:
    """The mean of every metric that is a share of images, with its interval."""
    rows = []
    for metric in METRICS:
        for loss, of_loss in study.summaries.items():
            for train_set, of_cell in of_loss.items():
                summary = of_cell[metric.name]
                if not metric.is_difference and summary["mean"] is not None:
                    model = model_name(loss, train_set.removesuffix("_trained"))
                    rows.append({"choice": metric.title, "model": model, **_numbers(summary)})
    return rows


def ladder(study: Study) -> list[Row]:
    """Accuracy against ε under each attack that all models had, on the images that the attack had."""
    rows = []
    names = [
        name for name in study.first.attack["attacks"] if len(study.first.attack["attacks"][name]["predictions"]) > 1
    ]
    for name in sorted(names, key=lambda name: name != "worst_case"):
        for (loss, train_set), results in study.cells.items():
            written = results[0].attack["attacks"][name]
            title = f"{catalogue.title(name)} ({written['images']} images)"
            metrics = {"0": fgsm_on_images_of(name, 0)} | {
                each: under_attack(name, each) for each in written["predictions"]
            }
            for epsilon, metric in metrics.items():
                place = {"choice": title, "model": model_name(loss, train_set), "epsilon_255": int(epsilon)}
                rows.append(place | _numbers(summarise(results, metric)))
    return rows


def by_severity(study: Study) -> list[Row]:
    """Mean accuracy against severity, over groups of corruptions and for each corruption."""
    stress = study.first.stress
    groups = stress.groups()
    titles = {f"{len(groups['main'])} of CIFAR-10-C's {len(CIFAR_10_C)} main corruptions": "main"}
    titles |= {f"{name}: {len(groups[name])} of them": name for name in CIFAR_10_C_FAMILIES}
    titles |= {f"{title}: {len(groups[name])} of them": name for name, title in suite_tables.LABELS.items()}
    titles |= {name.replace("_", " "): name for name in stress.by_corruption}
    rows = []
    for title, group in titles.items():
        if not groups.get(group, [group]):
            continue
        metrics = [under_corruptions("clean"), *(under_corruptions(group, severity) for severity in SEVERITIES)]
        for (loss, train_set), results in study.cells.items():
            for severity, metric in enumerate(metrics):
                place = {"choice": title, "model": model_name(loss, train_set), "severity": severity}
                rows.append(place | _numbers(summarise(results, metric)))
    return rows


def calibration(models: Sequence[Shown]) -> list[Row]:
    """Accuracy against confidence, in bins, for test images; before and after scaling by the temperature."""
    rows = []
    for of in ("clean", "corrupted"):
        for scaled in (False, True):
            choice = f"{of} test images{', after temperature scaling' if scaled else ''}"
            for model in models:
                divisor = model.result.evaluate["temperature"] if scaled else 1.0
                if divisor is None:
                    continue
                labels = model.result.predictions(f"test_{of}")[0]
                for row in bins(model.logits[of].astype(np.float64) / divisor, labels):
                    rows.append({"choice": choice, "model": model.name, **row})
    return rows


def bins(logits: np.ndarray, labels: np.ndarray) -> Iterable[Row]:
    """For each bin with images: their mean confidence, their accuracy and their number; logits N×classes, labels N."""
    confidence = 1 / np.exp(logits - logits.max(1, keepdims=True)).sum(1)
    right = logits.argmax(1) == labels
    of_bin = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    for each in np.unique(of_bin):
        members = of_bin == each
        yield {
            "confidence": _short(confidence[members].mean()),
            "accuracy": _short(right[members].mean()),
            "images": int(members.sum()),
        }


def curves(study: Study) -> list[Row]:
    """Accuracy after each epoch of training, for each model."""
    kinds = {
        "val_accuracy": "validation images",
        "train_accuracy": "training images",
        "val_pgd_accuracy": "validation images under PGD",
    }
    frame = tables.curves(study.cells)
    return [
        {
            "choice": title,
            "model": f"{row['loss']}, {row['train_set']}",
            "run": row["model"],
            "epoch": int(row["epoch"]),
            "accuracy": _short(row[key]),
        }
        for key, title in kinds.items()
        if key in frame
        for row in frame.dropna(subset=[key]).to_dict("records")
    ]


def _numbers(summary: Summary) -> Row:
    """The parts of a summary that a chart shows."""
    low, high = summary["interval_95"] or (None, None)
    text = f"{summary['mean']:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")
    found = {"mean": summary["mean"], "low": low, "high": high}
    numbers = {name: value if value is None else _short(value) for name, value in found.items()}
    return {**numbers, "text": text, "n": summary["n"], "over": summary.get("interval_covers") or ""}


def _short(value: float) -> float:
    return round(float(value), 4)
