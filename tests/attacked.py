"""Images, models and settings for the tests of attacks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustness_study import losses
from robustness_study.attacks import catalogue, one_model, outcome
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.pgd import descend, start_at, step_size
from robustness_study.attacks.scoring import Logits, Target, predict
from robustness_study.attacks.settings import Settings
from robustness_study.attacks.subject import ModelUnderAttack, Neighbours
from robustness_study.classifier import storage
from robustness_study.classifier.inference import to_float
from robustness_study.classifier.model import Classifier
from robustness_study.core import params
from robustness_study.core.cell import CURVES_DIGEST, Cell
from robustness_study.core.files import write_record
from robustness_study.losses.head import Head
from robustness_study.networks import Network
from robustness_study.schema.attack import Attack

PARAMS = params.read(Path(__file__).resolve().parents[1] / "params.yaml")
CONFIGS = PARAMS["loss_config"]
ALL_IMAGES = {"recipe": "tiny", "recipes": {"tiny": {"evidence_share": 1.0}}}  # what stages after training read of it
SIDE, CLASSES, COUNT = 8, 3, 14
WIDTH = 512  # of the features of `tiny_model`
BLOCKS: dict[str, Any] = {  # small ones
    "random_signs": {},
    "pgd": {"images": 10, "epsilons_255": [2, 4], "large_epsilon_255": 64, "steps": 3, "restarts": 2},
    "apgd": {
        "images": 12,
        "epsilons_255": [2, 4],
        "steps": 5,
        "targets": 2,
        "restarts": 2,
        "control_epsilon_255": 4,
    },
    "rescaled_logits": {"factors": [0.1, 10.0]},
    "square": {"images": 6, "epsilon_255": 4, "queries": 12},
    "nearest_neighbours": {"temperature": 0.02, "control_epsilons_255": [2, 4]},
}
SECTION: dict[str, Any] = {
    "epsilons_255": [0, 1, 2, 4, 8, 16],
    "images": 100,
    "control_images": 8,
    "batch_size": 5,
    "seed": 0,
    "attacks": BLOCKS | {name: block for name, block in PARAMS["attack"]["attacks"].items() if name not in BLOCKS},
    "examples": 2,
    "example_epsilon_255": 8,
    "accept": [],
}


def some_images(count: int = COUNT, side: int = SIDE, seed: int = 11) -> Tensor:
    """Random uint8 images, N×S×S×3, a tenth of their values black and a tenth white, so that clipping matters."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-32, 288, (count, side, side, 3), generator=generator).clamp(0, 255).to(torch.uint8)


def some_labels(count: int = COUNT) -> Tensor:
    return torch.randint(0, CLASSES, (count,), generator=torch.Generator().manual_seed(12))


class Changed(Head):
    """A linear head that changes its logits with a given function."""

    def __init__(self, change: Callable[[Tensor], Tensor], width: int = WIDTH, classes: int = CLASSES) -> None:
        super().__init__()
        self.linear, self.change = nn.Linear(width, classes), change

    def forward(self, features: Tensor) -> Tensor:
        return self.change(self.linear(features))


class Same(Head):
    """A head that returns the features as logits."""

    def forward(self, features: Tensor) -> Tensor:
        return features


def tiny_model(change: Callable[[Tensor], Tensor] = lambda logits: logits) -> Classifier:
    """A frozen network of one convolution with batch norm. Its buffers differ from their initial values."""
    torch.manual_seed(0)
    flat = nn.Linear(8 * SIDE * SIDE, WIDTH)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh(), nn.Flatten(), flat)
    model = Classifier(backbone, Changed(change), [0.4, 0.5, 0.6], [0.2, 0.25, 0.3], width=WIDTH)
    model(to_float(some_images()))
    return model.eval().requires_grad_(False)


class TwoPlanes:
    """A linear model of two classes. `norm` is the 1-norm of the vector that gives its margin."""

    def __init__(self) -> None:
        self.weights = torch.randn(2, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(4))
        self.norm = (self.weights[0] - self.weights[1]).abs().sum().item()

    def __call__(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weights.T


def grey_images(count: int) -> Tensor:
    """Images float32 N×3×S×S that stay in [0, 1] at an epsilon of 16/255."""
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5)) * 0.8 + 0.1


def fgsm_by_loop(model: Logits, images: Tensor, labels: Tensor, epsilon: float) -> np.ndarray:
    """FGSM image by image: x + ε · sign(∇), clipped, with the cross-entropy written out."""
    attacked = []
    for image, label in zip(images, labels, strict=True):
        x = image.clone().requires_grad_(True)
        logits = model(x[None])[0]
        (torch.log(torch.exp(logits - logits.max().detach()).sum()) + logits.max().detach() - logits[label]).backward()
        assert x.grad is not None
        moved = x.detach().double() + epsilon * torch.sign(x.grad).double()
        attacked.append(moved.clamp(0, 1).numpy())
    return np.stack(attacked)


def changed(section: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The section with some values changed; part of an attack's block may be given by the attack's name."""
    blocks = section["attacks"]
    of_blocks = {name: value for name, value in changes.items() if name in blocks}
    rest = {name: value for name, value in changes.items() if name not in blocks}
    return section | {"attacks": blocks | {name: blocks[name] | value for name, value in of_blocks.items()}} | rest


def without(section: dict[str, Any], attack: str) -> dict[str, Any]:
    """Returns the section with one attack turned off."""
    return section | {"attacks": {name: block for name, block in section["attacks"].items() if name != attack}}


SHORT = changed(  # the least work for each attack
    SECTION,
    batch_size=12,
    pgd={"epsilons_255": [4], "steps": 2, "restarts": 1},
    apgd={"steps": 2, "targets": 1, "restarts": 1},
    square={"queries": 4},
    nearest_neighbours={"control_epsilons_255": [4]},
)


def pgd_images(logits: Logits, images: Tensor, labels: Tensor, epsilon_255: int, steps: int, starts: Tensor) -> Tensor:
    """PGD's images after the last step. `starts`, in [−1, 1], are the starting points in the ball."""
    size, attacked = step_size(epsilon_255, steps), start_at(images, starts, epsilon_255)
    return descend(logits, images, labels, epsilon_255, size, steps, attacked)


class ModelUnderTest(ModelUnderAttack):
    """A model under attack with all attack settings, so that a test can run one attack at a time."""

    blocks: dict[str, Settings]

    def run(self, name: str) -> dict[str, Found]:
        """Runs one attack as the stage does, with its alarms; returns its results."""
        entry = next(entry for entry in catalogue.RUN if entry.name == name)
        return one_model.run_one(self, entry, self.blocks.get(name, Settings()))

    def worst_case(self) -> Found:
        """The worst case of all attacks so far, with its alarms."""
        found = outcome.worst_case(self.found, self.labels, self.clean)
        one_model.keep(self, catalogue.WORST_CASE, found)
        return found["worst_case"]

    def fgsm(self) -> tuple[Found, Found]:
        """FGSM's results on the attacked images, and on the same images rounded to 8 bits."""
        found = self.run("fast_gradient_sign")
        return found["fgsm"], found["fgsm_8_bit"]


def subject_of(
    logits: Logits,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    clean: np.ndarray | None = None,
    neighbours: Neighbours | None = None,
    **changes: Any,
) -> ModelUnderTest:
    """A model under attack on float32 images (default: `some_images`). They count as test images 3, 10, 17 and so on.

    `clean` are the predictions of `evaluate` (default: those of the logits).
    """
    images = to_float(some_images()) if images is None else images
    labels = some_labels() if labels is None else labels
    section = Attack.model_validate(changed(SECTION, **changes))
    clean = predict(logits, images, section.batch_size) if clean is None else clean
    subject = ModelUnderTest(logits, Target(images, labels, np.arange(len(labels)) * 7 + 3), section, clean, neighbours)
    subject.blocks = catalogue.settings_of(section)
    return subject


def alarm_names(subject: ModelUnderAttack) -> set[str]:
    """The names of the alarms that were raised."""
    return {alarm.name for alarm in subject.alarms}


def saved_model(name: str, folder: Path, seed: int = 2, factor: float = 1.0) -> None:
    """An untrained ResNet-18 with a fitted classifier. The weights of its head are multiplied by the factor."""
    torch.manual_seed(seed)
    loss = losses.make(name, CONFIGS[name])
    network = Network("resnet18", "imagenet", 16)
    model = storage.build(network, loss, CLASSES, [0.5] * 3, [0.25] * 3)
    images = to_float(some_images(30, 16))
    with torch.no_grad():
        model.train().features(images)
        model.head.fit(model.eval().features(images), some_labels(30))
        for weight in model.head.parameters():
            weight.mul_(factor)
    notes = {"recipe": "tiny", "environment": {"device": "cpu", "precision": "float32"}, CURVES_DIGEST: "of no curves"}
    storage.save(folder, model, network, loss, ["a", "b", "c"], notes)


def study_of(folder: Path, cells: Sequence[Cell], **sections: Any) -> None:
    """Writes data of 18 training and 12 test images, a model for each cell, and a params.yaml into `folder`."""
    for number, cell in enumerate(cells):
        saved_model(cell.loss, folder / cell.model, seed=2 + number)
    images, labels = some_images(30, 16).numpy(), some_labels(30).numpy().astype(np.uint8)
    for name in ("raw", "training_sets", "corrupted", "split"):
        (folder / "data" / name).mkdir(parents=True)
    for split, chosen in (("train", slice(0, 18)), ("test", slice(18, 30))):
        np.savez(folder / f"data/raw/{split}.npz", images=images[chosen], labels=labels[chosen])
        np.savez(folder / f"data/corrupted/{split}.npz", images=images[chosen])
    for name in ("clean", "corrupted"):
        np.savez(folder / f"data/training_sets/{name}.npz", images=images[:18])
    for seed in {cell.seed for cell in cells}:
        np.savez(folder / f"data/split/{seed}.npz", train=np.arange(9, 18), val=np.arange(9), test=np.arange(12))
    source = {"name": "made", "origin": "a test", "checksum": "none", "official": False, "classes": ["a", "b", "c"]}
    source["jpeg_share"] = 0.0
    write_record(folder / "data/raw/source.json", source)
    write_record(folder / "data/natural/sets.json", {"sets": {}})
    settings = {
        "batch_size": 7,
        "knn_neighbours": 3,
        "probe_inverse_penalty": 0.01,
        "flip_test_time_augmentation": False,
    }
    (folder / "params.yaml").write_text(json.dumps({"evaluate": settings, "attack": SHORT} | ALL_IMAGES | sections))
