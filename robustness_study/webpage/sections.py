"""The parts of the page that are text and tables: verdicts, alarms, every table, how the study was made."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from robustness_study.core.cell import model_name
from robustness_study.report import conclusion_sections, tables
from robustness_study.report.study import Study

TITLES = {  # of the tables, in the order in which the page shows them
    "verdicts": "Verdicts",
    "summary": "Results",
    "studies": "Test accuracy in the layout of the two studies",
    "controls": "Models that are a control",
    "all_metrics": "All metrics",
    "beside_accuracy": "Beyond accuracy",
    "robust_accuracy": "Robust accuracy",
    "fast_gradient_sign": "Fast gradient sign attack, by ε in 1/255",
    "fast_gradient_sign_in_full": "Fast gradient sign attack, in full",
    "other_attacks": "Other attacks",
    "transfer": "Attacked through one model (row), classified by another (column)",
    "suite": "Corruptions",
    "corruption_effects": "Where a training set helps and where it hurts",
    "suite_in_full": "Every corruption at every severity",
    "recall_per_class": "Recall of each class",
    "flip_test_time_augmentation": "With flip test-time augmentation",
    "features": "Features and their UMAP plane",
    "differences": "Single differences between two models",
    "confusion": "Confusion, summed over seeds",
    "calibration": "Calibration of the models of the first seed, in bins of confidence",
    "curves": "Training curves",
}


def verdicts(study: Study) -> dict[str, Any]:
    """The claims with their verdicts, what cannot be tested, and how to read the words."""
    tested = study.seeds > 1
    found = [(family, conclusion_sections.claims_table(family)) for family in study.concluded]
    return {
        "families": [
            {
                "introduction": conclusion_sections.introduction(family, tested).replace("**", ""),
                "columns": list(frame.columns),
                "rows": frame.to_dict("index"),
            }
            for family, frame in found
        ],
        "tested": tested,
        "about_other_tests": conclusion_sections.ABOUT_OTHER_TESTS.replace("*", ""),
        "by_other_tests": [
            text.replace("*", "") for text in conclusion_sections.verdicts_by_other_tests(study.concluded)
        ],
        "some_differ": conclusion_sections.SOME_DIFFER,
        "none_differs": conclusion_sections.NONE_DIFFERS,
        "seeds": study.seeds,
        "left_out": _by_reason(study.left_out),
    }


def _by_reason(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    """Why claims are not tested, without Markdown's marks → the claims."""
    found: dict[str, list[str]] = {}
    for claim, reason in left_out.items():
        found.setdefault(reason.replace("`", ""), []).append(claim)
    return found


def alarms(study: Study) -> list[dict[str, str]]:
    """The accepted alarms: of which model, the name and the reason."""
    found = [(result.cell.key, result.attack["alarms"]) for result in study.every]
    found.append(("transfer", study.transfer["alarms"]))
    return [{"of": of, "name": name, "reason": why} for of, raised in found for name, why in raised.items()]


def every_table(study: Study, calibration: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All tables: name, title, columns, rows as texts, and the same as CSV with all digits.

    `calibration` are the rows of the chart of this name.
    """
    frames = {name: (tables.shown(frame), tables.in_columns(frame)) for name, frame in study.tables.items()}
    if study.transfer["rows"]:
        frames["transfer"] = (study.transfer_table.map("{:.4f}".format), study.transfer_table)
    if len(study.features):
        frames["features"] = (study.features.map(_number), study.features)
    full = study.accuracy_in_full
    frames["suite_in_full"] = (full.map(_number), full)
    if study.concluded:
        of_family = {family.title: conclusion_sections.claims_table(family) for family in study.concluded}
        claims = pd.concat(of_family, names=["family"]).reset_index("family")
        frames["verdicts"] = (claims, claims)
    long = {
        "confusion": confusion_frame(study),
        "calibration": pd.DataFrame(calibration).rename(columns={"choice": "tested on"}),
        **({"curves": tables.curves(study.cells)} if study.first.curves else {}),
    }
    frames |= {name: (frame.map(_number), frame) for name, frame in long.items()}
    if study.differences:
        single = study.differences_table.astype(str)
        frames["differences"] = (single, single)
    return [_as_table(name, TITLES[name], *frames[name]) for name in TITLES if name in frames]


def _as_table(name: str, title: str, shown: pd.DataFrame, exact: pd.DataFrame) -> dict[str, Any]:
    plain = isinstance(shown.index, pd.RangeIndex)
    head = [str(each) for each in shown.columns]
    rows = [[str(value) for value in row] for row in shown.itertuples(index=not plain)]
    return {
        "name": name,
        "title": title,
        "columns": head if plain else [str(shown.index.name or ""), *head],
        "rows": rows,
        "csv": exact.to_csv(index=not plain, lineterminator="\n", float_format="%.6f"),
    }


def _number(value: object) -> str:
    if value is None or value != value:  # a missing number is not equal to itself
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def heat(study: Study) -> dict[str, Any]:
    """Accuracy of every model by corruption and severity (0: clean), a mean over seeds."""
    frame = study.every_accuracy
    names = [name for name in dict.fromkeys(frame["corruption"]) if name != "clean"]
    found = {}
    for (loss, train_set), of_model in frame.groupby(["loss", "train_set"], sort=False):
        accuracies = of_model.set_index(["corruption", "severity"])["accuracy"]
        clean = float(accuracies["clean", 0])
        levels = sorted(set(of_model["severity"]) - {0})
        found[model_name(str(loss), str(train_set))] = [
            [round(clean, 4), *(round(float(accuracies[name, level]), 4) for level in levels)] for name in names
        ]
    return {"corruptions": names, "accuracy": found}


def confusion(study: Study) -> dict[str, Any]:
    """The confusion matrices of every model, summed over seeds: set of test images → model → rows of counts."""
    return {
        of: {
            model_name(loss, train_set): np.sum([result.confusion(f"test_{of}") for result in results], axis=0).tolist()
            for (loss, train_set), results in study.cells.items()
        }
        for of in ("clean", "corrupted")
    }


def confusion_frame(study: Study) -> pd.DataFrame:
    """The same matrices in long format: a row for each model, set of images, true and predicted class with a count."""
    classes = study.first.evaluate["dataset"]["classes"]
    rows = [
        {"model": model, "tested on": of, "true": classes[true], "predicted": classes[predicted], "images": count}
        for of, of_set in confusion(study).items()
        for model, counts in of_set.items()
        for true, row in enumerate(counts)
        for predicted, count in enumerate(row)
        if count
    ]
    return pd.DataFrame(rows)


def made(study: Study, commit: str | None) -> dict[str, str]:
    """How the study was made: data, recipe, seeds, machine, code."""
    first = study.first.evaluate
    dataset = first["dataset"]
    trained = list(dict.fromkeys(_pairs(each.evaluate["trained_on"]) for each in study.every))
    scored = list(dict.fromkeys(_pairs(each.evaluate["computed_with"]) for each in study.every))
    counts = {row["set"].replace("_", " ", 1): row["images"] for row in first["sets"]}
    official = "the official images" if dataset["official"] else "not the official release"
    return {
        "dataset": f"{dataset['name']} from {dataset['origin']} ({official})",
        "checksum": str(dataset["checksum"]),
        "images": _pairs({name: str(count) for name, count in counts.items()}),
        "recipe": first["recipe"],
        "seeds": ", ".join(str(seed) for seed in sorted({each.cell.seed for each in study.every})),
        "trained with": "; ".join(trained),
        "scored with": "; ".join(scored),
        **({"commit": commit} if commit else {}),
    }


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def as_yaml(settings: Mapping[str, Any]) -> str:
    """Sections of params.yaml as text."""
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output, yaml.allow_unicode = False, False, True  # type: ignore[assignment]
    yaml.dump(dict(settings), stream)
    return stream.getvalue()
