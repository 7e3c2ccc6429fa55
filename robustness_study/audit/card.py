"""`model-card.md` of an audited model, in the form that the Hugging Face hub reads."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from robustness_study.audit import texts
from robustness_study.audit.study import Audit
from robustness_study.report.markdown import bullets, escaped, table
from robustness_study.report.tables import shown
from robustness_study.results.cell_results import CellResults

ROWS = {  # names of metrics → what the hub's table calls them
    "test_clean": "Accuracy, clean images",
    "test_corrupted": "Accuracy, corrupted images (mix)",
    "suite_mean": "Mean accuracy under CIFAR-10-C's corruptions",
    "natural_cifar10_1": "Accuracy, CIFAR-10.1",
    "fgsm_2": "Accuracy under FGSM, epsilon 2/255",
    "robust_2": "Accuracy under every attack, epsilon 2/255",
    "robust_4": "Accuracy under every attack, epsilon 4/255",
    "robust_8": "Accuracy under every attack, epsilon 8/255",
    "calibration_error_clean": "Expected calibration error, clean images",
}


def card(audit: Audit, result: CellResults, metrics: dict[str, float]) -> str:
    """The text of the card of one model. `metrics` are its values by name."""
    dataset, about, key = result.evaluate["dataset"], result.evaluate["about"], result.cell.key
    found = [
        {"type": "accuracy" if not name.startswith("calibration") else "ece", "name": title, "value": metrics[name]}
        for name, title in ROWS.items()
        if name in metrics
    ]
    head = {
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "robustness"],
        "model-index": [
            {
                "name": key,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": dataset["name"], "type": dataset["name"], "split": "test"},
                        "metrics": found,
                    }
                ],
            }
        ],
    }
    own = audit.tables["summary"][[key]]
    parts = [
        f"---\n{_yaml(head)}---",
        f"# {key}",
        "## Model",
        bullets([f"{name}: `{value}`" for name, value in about.items()]),
        f"It has {len(dataset['classes'])} classes, in this order: {escaped(', '.join(dataset['classes']))}.",
        "## Results",
        table(shown(own)),
        texts.INTERVALS,
        texts.ROBUST,
        *_alarms(result),
        "## How it was tested",
        bullets(texts.tested(result)),
        f"Images: {escaped(dataset['name'])} from {escaped(dataset['origin'])}, checksum `{dataset['checksum']}`. "
        f"Computed with {', '.join(f'{name} {value}' for name, value in result.evaluate['computed_with'].items())}.",
        "## What was not tested",
        bullets(texts.not_tested(result)),
    ]
    return "\n\n".join(parts) + "\n"


def path_of(result: CellResults) -> Path:
    """Where the card of a model belongs."""
    return result.cell.result("model-card.md")


def _alarms(result: CellResults) -> list[str]:
    found = result.attack["alarms"].items()
    return [texts.ALARMS, bullets([f"**{name}**: {why}." for name, why in found])] if found else [texts.NO_ALARM]


def _yaml(values: dict[str, Any]) -> str:
    stream = io.StringIO()
    yaml = YAML()
    yaml.dump(values, stream)
    return stream.getvalue()
