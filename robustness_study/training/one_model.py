"""Trains one model of the study: images, a loss and a recipe → a classifier and its curves."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import torch

from robustness_study import losses, networks, training_sets
from robustness_study.classifier import device, storage
from robustness_study.classifier.model import Classifier
from robustness_study.classifier.precision import is_of_compiler, is_out_of_memory, precision_of
from robustness_study.core import imports
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError, one_line
from robustness_study.core.section import Section
from robustness_study.core.seeds import derive_seed
from robustness_study.core.subsets import stratified
from robustness_study.losses import Loss
from robustness_study.networks import Network
from robustness_study.schema.recipe import Recipe
from robustness_study.training.checkpoints import fingerprint
from robustness_study.training.engine import Training
from robustness_study.training.under_attack import PGD_IMAGES
from robustness_study.training.watcher import Epoch, Images, Watcher
from robustness_study.training_sets import BatchAttack

LIBRARIES = ("numpy", "pytorch-metric-learning", "torch", "torchvision")
OWN_FILE = "robustness_study/training/one_model.py"


def network_of(recipe: Recipe, images: np.ndarray) -> Network:
    """The recipe's network for images uint8 N×S×S×3. Raises StudyError if no network has that name."""
    return networks.make(recipe.network, recipe.stem, images.shape[1])


def environment_of(recipe: Recipe, on: torch.device) -> dict[str, str]:
    """What a model's notes say about where it was trained: device, torch's version, precision, threads."""
    precision = str(precision_of(recipe.precision, on, recipe.network)).removeprefix("torch.")
    # Torch's kernels split sums among the threads, so the weights depend on how many there are.
    threads = {"threads": str(torch.get_num_threads())} if on.type == "cpu" else {}
    return device.describe(on) | {"precision": precision} | threads


def code_files(loss: str, network: str, train_set: str) -> set[str]:
    """The project's files that run when a model with this loss, network and training set trains: paths from the root.

    The three are found by name at run time, so no import statement leads to their files.
    """
    roots = (OWN_FILE, losses.file_of(loss), networks.file_of(network), training_sets.file_of(train_set))
    return imports.project_imports(*(imports.ROOT / root for root in roots))


def fingerprint_of(
    cell: Cell, loss: Loss, train_set: Section, recipe: Recipe, on: torch.device, arrays: dict[str, np.ndarray]
) -> str:
    """The fingerprint, 32 hexadecimal digits, of everything that decides the weights of a model.

    It covers the loss, the training set (its settings are `train_set`), the recipe, the arrays (images, labels,
    indices), the code that training runs, the versions of the libraries, the device, and the processor's properties
    that change the order of sums.
    """
    processor = {"threads": torch.get_num_threads(), "instructions": torch.backends.cpu.get_cpu_capability()}
    libraries = [*LIBRARIES, *(["timm"] if recipe.network.startswith(networks.TIMM) else [])]
    decides = {
        "cell": cell.key,
        "loss": loss.config.model_dump(),
        "train_set": train_set.model_dump(),
        "recipe": recipe.model_dump(),
        "environment": environment_of(recipe, on) | processor,
        "versions": {name: version(name) for name in libraries},
        "code": imports.code_digest(code_files(loss.name, recipe.network, cell.train_set)),
    }
    return fingerprint(decides, arrays)


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of uint8 images N×H×W×3, in [0, 1] units."""
    counts = np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)])
    levels = np.arange(256) / 255
    mean = (counts * levels).sum(1) / counts.sum(1)
    variance = (counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1)
    return mean.tolist(), np.maximum(np.sqrt(variance), 1 / 255).tolist()


def fresh_model(images: np.ndarray, classes: int, loss: Loss, recipe: Recipe, seed: int) -> Classifier:
    """An untrained model, on the CPU. It normalises by the mean and deviation of `images`, uint8 N×S×S×3.

    Raises StudyError if the recipe's network cannot take images of each size that the recipe trains on.
    """
    torch.manual_seed(derive_seed(seed, "initialisation"))
    network = network_of(recipe, images)
    model = storage.build(network, loss, classes, *channel_statistics(images))
    if recipe.low_resolution_share:
        network.width_of(model.backbone, network.size // 2)
    if recipe.zero_init_residual:
        network.start_as_identity(model.backbone)
    return model


def train_cell(
    images: np.ndarray,
    labels: np.ndarray,
    indices: dict[str, np.ndarray],
    classes: int,
    loss: Loss,
    recipe: Recipe,
    seed: int,
    on: torch.device,
    watcher: Watcher,
    attack: BatchAttack | None = None,
) -> tuple[Classifier, list[Epoch]]:
    """Train a model on `images[indices["train"]]`; return it with its epochs.

    `images` uint8 N×S×S×3 and `labels` N are all raw training images. `indices["val"]` only serve the curves.
    With `attack`, each batch is attacked before the model learns from it. Everything random follows from `seed`.
    Resumes from the watcher's checkpoint if there is one. Raises StudyError if there is too little memory, if a loss is
    not finite, if the recipe's network cannot take the images, or if `torch.compile` fails.
    """

    def select(chosen: np.ndarray) -> Images:
        return Images(torch.from_numpy(images[chosen]).to(on), torch.from_numpy(labels[chosen].astype(np.int64)).to(on))

    watched = {}
    for name in ("train", "val"):
        positions = stratified(labels[indices[name]], recipe.watched_images, seed, "watched", name)
        watched[name] = select(indices[name][positions])
    if attack is not None:  # `positions` are those of the watched validation images
        some = stratified(labels[indices["val"][positions]], PGD_IMAGES, seed, "watched", "val under PGD")
        watched["val_pgd"] = select(indices["val"][positions][some])
    model = fresh_model(images[indices["train"]], classes, loss, recipe, seed).to(on)
    training = Training(model, select(indices["train"]), recipe, loss.batches, seed, attack)
    print(f"training on {len(indices['train'])} images for {recipe.epochs} epochs on {on.type}", flush=True)
    if (checkpoint := watcher.load()) is not None:
        training.restore(*checkpoint)
        watcher.resumed(training.epochs)
        print(f"resuming after step {training.done} of {recipe.epochs * training.steps}", flush=True)
    try:
        return model, training.run(watched, watcher)
    except RuntimeError as error:
        if is_of_compiler(error) and not is_out_of_memory(error):
            reason = one_line(str(error).strip().partition("\n")[0])[:120]
            raise StudyError(
                f"train: torch.compile failed: {reason}; install a C++ compiler (and on a GPU Triton), "
                "or set the recipe's compile to false"
            ) from error
        if not is_out_of_memory(error):
            raise
    # Outside the `except` block: the exception is gone, and with it the failed step's tensors.
    fits = training.largest_batch_that_fits()
    raise StudyError(
        f"train: out of memory on {on.type} with batch_size {recipe.batch_size}; {fits} would fit; "
        "set it in the recipe (it changes the result, so it is not set automatically)"
    )


def curves_csv(epochs: list[Epoch]) -> str:
    """The curves as CSV text, one row per epoch. `val_pgd_accuracy` is a column if training attacks its batches.

    There are no times: DVC hashes the text, so equal runs must give equal text.
    """
    names = ["epoch", "training_loss", "train_accuracy", "val_accuracy", "val_loss"]
    names += ["val_pgd_accuracy"] if all(epoch.val_pgd_accuracy is not None for epoch in epochs) else []
    rows = [",".join(names)]
    for epoch in epochs:
        rows.append(",".join(str(getattr(epoch, name)) for name in names))
    return "\n".join(rows) + "\n"
