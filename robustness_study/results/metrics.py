"""The list of metrics: every number that is reported for a model.

`METRICS` are the entries of `reports/metrics.json` and `reports/comparison.json`. Other programs rely on their names:
add names, but never rename one. `BESIDE` holds the further metrics, which the report shows under "Beyond accuracy". To
add a metric, add an entry to one of the two. metric.py says what a metric is; metric_kinds.py has functions that make
one.
"""

from __future__ import annotations

from robustness_study.corruptions import CIFAR_10_C_FAMILIES
from robustness_study.results.metric import Metric, refuse_repeated
from robustness_study.results.metric_kinds import (
    accuracy,
    calibration_under,
    gap,
    mean_angle,
    natural,
    of_row,
    on_features,
    right,  # noqa: F401  # for a metric of your own: docs/extend/metric.md
    robust,
    still_correct,
    under_attack,
    under_corruptions,
    worst_recall,
)
from robustness_study.schema.attack import HEADLINE_EPSILONS_255, ROBUST_EPSILON_255

METRICS: tuple[Metric, ...] = (
    accuracy("train_clean", "its own training images, clean"),
    accuracy("val_clean", "clean validation images"),
    accuracy("val_corrupted", "corrupted validation images"),
    accuracy("test_clean", "clean images"),
    accuracy("test_corrupted", "corrupted images"),
    gap("generalisation_gap", "training minus test accuracy, clean", "train_clean", "test_clean"),
    gap("corruption_drop", "test accuracy, clean minus corrupted", "test_clean", "test_corrupted"),
    on_features("knn", "test_clean", "clean, by nearest neighbours"),
    on_features("knn", "test_corrupted", "corrupted, by nearest neighbours"),
    on_features("probe", "test_clean", "clean, by a linear probe"),
    on_features("probe", "test_corrupted", "corrupted, by a linear probe"),
    *(under_attack("fgsm", epsilon_255) for epsilon_255 in HEADLINE_EPSILONS_255),
    robust(ROBUST_EPSILON_255),
    under_corruptions("main", name="suite_mean", title="CIFAR-10-C's corruptions"),
    under_corruptions("unseen", name="suite_unseen_mean", title="CIFAR-10-C's corruptions unlike training"),
    *natural("cifar10_1", "CIFAR-10.1"),
)
BY_NAME = {metric.name: metric for metric in METRICS}

CALIBRATION = {
    "calibration_error": "expected calibration error",
    "calibration_error_scaled": "expected calibration error after temperature scaling",
}

BESIDE: tuple[Metric, ...] = (
    worst_recall("clean"),
    worst_recall("corrupted"),
    Metric(
        "right_corrupted_of_right_clean",
        "correct when corrupted, among images correct when clean",
        value=lambda result: float(still_correct(result).mean()) if len(still_correct(result)) else None,
        share_of=lambda result: len(still_correct(result)) or None,
    ),
    *(
        of_row(key, test, title)
        for key, title in (
            *CALIBRATION.items(),
            ("loss", "negative log-likelihood"),
        )
        for test in ("clean", "corrupted")
    ),
    *(calibration_under(family, *named) for named in CALIBRATION.items() for family in CIFAR_10_C_FAMILIES),
    Metric("temperature", "temperature of the logits", value=lambda result: result.evaluate["temperature"]),
    *(
        Metric(
            f"{where}_class_degrees_{of}_{test}",
            f"angle {where} classes in degrees, {of}, {test}",
            value=mean_angle(of, test, where),
        )
        for of in ("features", "embeddings")
        for test in ("clean", "corrupted")
        for where in ("within", "between")
    ),
)

refuse_repeated((*METRICS, *BESIDE))
