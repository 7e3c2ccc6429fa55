"""Runs the published APGD-CE and APGD-T of AutoAttack on one model, and compares them with this project's attacks.

Croce & Hein 2020 (arXiv 2003.01690); the code is torchattacks', a copy of the authors'. `make autoattack` runs it in an
environment of its own (bench/autoattack.lock), because torchattacks needs a version of requests that does not work with
DVC. Both sides attack the same images: some of those that the study's APGD attacked. An image counts as robust if it is
correct without an attack and under it. `--standard` adds the other two attacks of AutoAttack, FAB and Square.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import report
from robustness_study.attacks.ball import assert_within
from robustness_study.classifier import device, storage
from robustness_study.classifier.inference import to_float
from robustness_study.core import params
from robustness_study.core.array_text import from_text
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_npz, read_record, write_json
from robustness_study.core.program import run
from robustness_study.core.subsets import stratified
from robustness_study.statistics import wilson_interval

STEPS, TARGETS = 100, 9  # of AutoAttack's standard version; torchattacks has these targets built in
OURS = ("fgsm", "pgd", "apgd_ce", "apgd", "worst_case")


def published(
    model: nn.Module, images: Tensor, labels: Tensor, epsilon_255: int, standard: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """For each published attack, which images stay correct under it and those before it, bool N.

    Images are float32 in [0, 1], N×3×H×W; `labels`, int64 N.
    """
    from torchattacks import APGD, APGDT, AutoAttack

    images = images.contiguous()  # FAB in torchattacks makes views of gradients, so they must be contiguous
    with torch.no_grad():
        logits = model(images)
    classes, right = logits.shape[1], logits.argmax(1) == labels
    common = {"norm": "Linf", "eps": epsilon_255 / 255}
    attacks = {
        "published_apgd_ce": APGD(model, **common, steps=STEPS, loss="ce", seed=0),
        "published_apgd": APGDT(model, **common, steps=STEPS, n_classes=classes, seed=0),
    }
    if standard:
        attacks["autoattack"] = AutoAttack(model, **common, version="standard", n_classes=classes, seed=0)
    for name, attack in attacks.items():
        left = right.nonzero()[:, 0]
        if len(left):
            attacked = attack(images[left], labels[left])
            assert_within(images[left], attacked, epsilon_255)
            with torch.no_grad():
                right[left] = model(attacked).argmax(1) == labels[left]
        yield name, right.cpu().numpy().copy()


def of_study(attack: dict[str, Any], epsilon_255: int, positions: np.ndarray) -> dict[str, np.ndarray]:
    """For each of the study's attacks that ran on all images at these positions: which of them stay correct, bool N."""
    found = {}
    labels = from_text(attack["labels"])[positions]
    for name in OURS:
        written = attack["attacks"].get(name, {"positions": "", "predictions": {}})
        if str(epsilon_255) not in written["predictions"]:
            continue
        of_attack = from_text(written["positions"])
        if np.isin(positions, of_attack).all():
            places = np.searchsorted(of_attack, positions)
            found[name] = from_text(written["predictions"][str(epsilon_255)])[places] == labels
    return found


def row_of(epsilon_255: int, right: dict[str, np.ndarray]) -> dict[str, Any]:
    """Accuracies with intervals, and how often ours and the published attacks agree on an image, at one epsilon."""
    ours, theirs = right["apgd"], right["published_apgd"]
    return {
        "epsilon_255": epsilon_255,
        "accuracy": {name: float(each.mean()) for name, each in right.items()},
        "interval_95": {name: wilson_interval(float(each.mean()), len(each)) for name, each in right.items()},
        "agree": {
            "apgd_ce": float((right["apgd_ce"] == right["published_apgd_ce"]).mean()),
            "apgd": float((ours == theirs).mean()),
        },
        "wrong_under_ours_only": int((theirs & ~ours).sum()),
        "wrong_under_published_only": int((ours & ~theirs).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", default="cross_entropy")
    parser.add_argument("--train-set", default="clean")
    parser.add_argument("--seed", type=int, help="default: the first seed in params.yaml")
    parser.add_argument("--epsilons-255", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--images", type=int, default=200, help="how many of APGD's images (default: 200)")
    parser.add_argument("--standard", action="store_true", help="add FAB and Square: the whole of AutoAttack")
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error(f"--images is {arguments.images}; at least 1 is needed")
    seed = params.lookup(params.read(), "seeds")[0] if arguments.seed is None else arguments.seed
    cell = Cell(arguments.loss, arguments.train_set, seed)
    attack = read_record(cell.result("attack.json"))
    apgd = attack["attacks"].get("apgd")
    if apgd is None:
        raise StudyError(f"APGD did not attack {cell.key}; add the block apgd to attack.attacks in params.yaml")
    absent = [each for each in arguments.epsilons_255 if str(each) not in apgd["predictions"]]
    if absent:
        tried = ", ".join(apgd["predictions"])
        raise StudyError(f"--epsilons-255 has {absent[0]}; the study's APGD ran with {tried} only")
    on = device.choose()
    model, _ = storage.load(cell.model, on)
    images, all_labels = read_npz("data/raw/test.npz", "images", "labels")
    positions = from_text(apgd["positions"])
    of_test = from_text(attack["test_indices"])
    section = params.lookup(params.read(), "attack")
    nested = stratified(all_labels[of_test], arguments.images, section["seed"], "attacked")
    positions = np.intersect1d(positions, nested)
    chosen = of_test[positions]
    given = to_float(torch.from_numpy(images[chosen]).to(on)), torch.from_numpy(all_labels[chosen]).long().to(on)
    rows, started = [], time.perf_counter()
    for epsilon in arguments.epsilons_255:
        right = of_study(attack, epsilon, positions)
        for name, each in published(model, *given, epsilon, arguments.standard):
            right[name] = each
            print(f"epsilon {epsilon}/255, {name}: {each.mean():.3f} of {len(each)} images", flush=True)
        rows.append(row_of(epsilon, right))
        shown = ", ".join(f"{name} {share:.3f}" for name, share in rows[-1]["accuracy"].items())
        print(f"{cell.key}, epsilon {epsilon}/255: {shown}; agree: {rows[-1]['agree']}", flush=True)
    written = {name: apgd[name] for name in ("steps", "targets", "restarts")}
    path: Path = report.RESULTS / "autoattack.json"
    write_json(
        path,
        {
            "model": cell.key,
            "images": len(chosen),
            "ours": written,
            "published": {"steps": STEPS, "targets": TARGETS, "restarts": 1},
            "rows": rows,
            "seconds": round(time.perf_counter() - started),
            "machine": report.machine(on) | {"torchattacks": version("torchattacks")},
        },
    )


if __name__ == "__main__":
    run(main)
