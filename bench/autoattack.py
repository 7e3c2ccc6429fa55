"""Runs AutoAttack (Croce & Hein 2020, arXiv 2003.01690) on one model, as an independent measure of robustness.

`make autoattack` runs it in a separate environment (bench/autoattack.lock): it uses torchattacks, which needs a version
of requests that does not work with DVC. It attacks images that the study's PGD attacked, so the reported accuracies
under PGD and FGSM are of the same images. An image counts as robust if the model classifies it correctly when it is
clean and under all four attacks of AutoAttack.
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
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_npz, read_record, write_json
from robustness_study.core.program import run
from robustness_study.core.subsets import stratified
from robustness_study.statistics import wilson_interval


def robust_accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, epsilon_255: int) -> float:
    """The share of images (float32 in [0, 1], N×3×H×W) that remain correct under AutoAttack's standard version."""
    from torchattacks import AutoAttack

    images = images.contiguous()  # FAB in torchattacks makes views of gradients, so they must be contiguous
    with torch.no_grad():
        classes, correct = model(images).shape[1], model(images).argmax(1) == labels
    attack = AutoAttack(model, norm="Linf", eps=epsilon_255 / 255, version="standard", n_classes=classes, seed=0)
    attacked = attack(images[correct], labels[correct])
    assert_within(images[correct], attacked, epsilon_255)
    with torch.no_grad():
        return (model(attacked).argmax(1) == labels[correct]).sum().item() / len(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", default="cross_entropy")
    parser.add_argument("--train-set", default="clean")
    parser.add_argument("--seed", type=int, help="default: the first seed in params.yaml")
    parser.add_argument("--epsilon-255", type=int, default=2)
    parser.add_argument(
        "--images", type=int, default=100, help="how many of the images that PGD attacked, stratified (default: 100)"
    )
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error(f"--images is {arguments.images}; at least 1 is needed")
    seed = params.lookup(params.read(), "seeds")[0] if arguments.seed is None else arguments.seed
    cell = Cell(arguments.loss, arguments.train_set, seed)
    attack, epsilon = read_record(cell.result("attack.json")), arguments.epsilon_255
    pgd = attack["attacks"].get("pgd")
    if pgd is None:
        raise StudyError(f"PGD did not attack {cell.key}; add the block pgd to attack.attacks in params.yaml")
    if str(epsilon) not in pgd["predictions"]:
        raise StudyError(f"--epsilon-255 is {epsilon}; the study's PGD ran with {', '.join(pgd['predictions'])} only")
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
    accuracies = {
        "autoattack": found,
        "pgd": float((from_text(pgd["predictions"][str(epsilon)])[some] == labels).mean()),
        "fgsm": float((fgsm == labels).mean()),
    }
    row: dict[str, Any] = {
        "model": cell.key,
        "epsilon_255": epsilon,
        "images": len(chosen),
        **accuracies,
        "interval_95": {name: wilson_interval(share, len(chosen)) for name, share in accuracies.items()},
        "seconds": round(time.perf_counter() - started),
        "machine": report.machine(on) | {"torchattacks": version("torchattacks")},
    }
    write_json(report.RESULTS / "autoattack.json", row)
    print(
        f"{cell.key}, epsilon {epsilon}/255, {len(chosen)} images, accuracy: AutoAttack {found:.3f}, "
        f"PGD {accuracies['pgd']:.3f}, FGSM {accuracies['fgsm']:.3f}; {row['seconds']} s"
    )


if __name__ == "__main__":
    run(main)
