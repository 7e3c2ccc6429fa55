"""Keeps what a comparison of training sets found, for docs/results.md: `bench/results/robust_training.json`.

It copies the statistics of the study in `reports/`, and adds how its models were trained and on which machine. Make
that study first, on the same machine, with the command that docs/results.md shows under "Two other ways to robustness".
Then: `python -m bench.robust_training`
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from bench import report
from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_json
from robustness_study.core.program import run
from tools import study_pages

STUDY = {
    "recipe": "quick",
    "losses": ["cross_entropy"],
    "train_sets": ["adversarial", "augmix", "clean", "corrupted"],
}
KEPT = ("metrics", "differences", "conclusions", "alarms")


def described(statistics: dict[str, Any], trained_on: dict[str, Any]) -> dict[str, Any]:
    """The recipe, losses and training sets of a study, with the keys of `STUDY`."""
    train_sets = {name.removesuffix("_trained") for of_loss in statistics["metrics"].values() for name in of_loss}
    return {"recipe": trained_on["recipe"], "losses": list(statistics["metrics"]), "train_sets": sorted(train_sets)}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    study = study_pages.numbers(study_pages.TOP)
    trained_on = study_pages.trained_on(study_pages.TOP, study)
    found = described(study.statistics, trained_on)
    if found != STUDY:
        raise StudyError(f"{study.source} is of {found}, not of {STUDY}; run the command that docs/results.md shows")
    machine = report.machine(torch.device(trained_on["device"]))
    if machine["versions"]["torch"] != trained_on["torch"]:
        raise StudyError(f"the models were trained with torch {trained_on['torch']}; run this in that environment")
    path = report.RESULTS / "robust_training.json"
    kept = {key: study.statistics[key] for key in KEPT}
    write_json(path, {"trained_on": trained_on, "machine": machine, **kept, "tables": {}})
    print(f"{path.name}: {trained_on['models']} models, recipe {trained_on['recipe']}, {machine['device']}")


if __name__ == "__main__":
    run(main)
