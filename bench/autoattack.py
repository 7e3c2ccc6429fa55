"""AutoAttack (Croce & Hein 2020, arXiv 2003.01690) on one model of the study, as an independent measure of robustness.

`make autoattack` runs it in an environment of its own (bench/autoattack.lock): torchattacks, which has it, wants a
version of requests that DVC cannot live with. It attacks images that the study's PGD attacked, so that the figures
beside it are of the same images. An image counts as robust if it is right when clean and under all four attacks.
"""

from __future__ import annotations

import argparse
import time
from importlib.metadata import version
from typing import Any

import torch

from bench import report
from robustness_study.attacks.ball import assert_within
from robustness_study.classifier import device, storage
from robustness_study.classifier.inference import to_float
from robustness_study.core import params
from robustness_study.core.array_text import from_text
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError, run
from robustness_study.core.files import read_json, read_npz, write_json
from robustness_study.core.subsets import stratified
from robustness_study.statistics import wilson_interval


def robust_accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, epsilon_255: int) -> float:
    """The share of images, float32 in [0, 1] N×3×H×W, that AutoAttack's standard version leaves right."""
    from torchattacks import AutoAttack

    images = images.contiguous()  # torchattacks' FAB takes views of gradients, which lie in memory as the images do
    with torch.no_grad():
        classes, right = model(images).shape[1], model(images).argmax(1) == labels
    attack = AutoAttack(model, norm="Linf", eps=epsilon_255 / 255, version="standard", n_classes=classes, seed=0)
    attacked = attack(images[right], labels[right])
    assert_within(images[right], attacked, epsilon_255)
    with torch.no_grad():
        return (model(attacked).argmax(1) == labels[right]).sum().item() / len(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", default="cross_entropy")
    parser.add_argument("--train-set", default="clean")
    parser.add_argument("--seed", type=int, help="the first of params.yaml, unless said")
    parser.add_argument("--epsilon-255", type=int, default=2)
    parser.add_argument("--images", type=int, default=100, help="of those that PGD attacked, stratified (100)")
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error(f"--images is {arguments.images}; at least 1 is needed")
    seed = params.lookup(params.read(), "seeds")[0] if arguments.seed is None else arguments.seed
    cell = Cell(arguments.loss, arguments.train_set, seed)
    attack, epsilon = read_json(cell.result("attack.json")), arguments.epsilon_255
    pgd = attack["attacks"].get("pgd")
    if pgd is None:
        raise StudyError(f"PGD did not attack {cell.key}; give attack.attacks.pgd its block in params.yaml")
    if str(epsilon) not in pgd["predictions"]:
        raise StudyError(f"--epsilon-255 must be one of {', '.join(pgd['predictions'])}, which the study's PGD had")
    positions = from_text(pgd["positions"])
    on = device.choose()
    model, _ = storage.load(cell.model, on)
    images, all_labels = read_npz("data/raw/test.npz", "images", "labels")
    chosen = from_text(attack["test_indices"])[positions]
    some = stratified(all_labels[chosen], min(arguments.images, len(chosen)), 0, "autoattack")
    positions, chosen = positions[some], chosen[some]
    labels = all_labels[chosen]
    started = time.perf_counter()
    found = robust_accuracy(
        model, to_float(torch.from_numpy(images[chosen]).to(on)), torch.from_numpy(labels).long().to(on), epsilon
    )
    fgsm = from_text(attack["attacks"]["fgsm"]["predictions"][str(epsilon)])[positions]
    left = {
        "autoattack": found,
        "pgd": float((from_text(pgd["predictions"][str(epsilon)])[some] == labels).mean()),
        "fgsm": float((fgsm == labels).mean()),
    }
    row: dict[str, Any] = {
        "model": cell.key,
        "epsilon_255": epsilon,
        "images": len(chosen),
        **left,
        "interval_95": {name: wilson_interval(share, len(chosen)) for name, share in left.items()},
        "seconds": round(time.perf_counter() - started),
        "machine": report.machine(on) | {"torchattacks": version("torchattacks")},
    }
    write_json(report.RESULTS / "autoattack.json", row)
    print(
        f"{cell.key}, epsilon {epsilon}/255, {len(chosen)} images: AutoAttack {found:.3f}, "
        f"PGD {left['pgd']:.3f}, FGSM {left['fgsm']:.3f}; {row['seconds']} s"
    )


if __name__ == "__main__":
    run(main)
