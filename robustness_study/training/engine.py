"""The training engine: data on the device, one training step for every loss, and a run that can stop and resume.

In: a model, training images with labels, a recipe, a seed. Out: the trained model (changed in place) and one `Epoch`
per epoch.

All random numbers are drawn from (seed, purpose, epoch). So the draws of an epoch do not depend on what ran before it,
and a run that resumes from a checkpoint ends with the same bits. Random numbers that the network itself draws
(dropout), and those of an attack on the batch, follow from (seed, purpose, step) in the same way. On the CPU the same
call gives the same bits. On a GPU it does so if the recipe's `deterministic` is true.

Sources of training at a lower resolution first: Karras et al. 2018 (arXiv 1710.10196) and, for speed, Howard's
DAWNBench entry (2018).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from robustness_study.augmentation.crop_flip_cutout import Augmentation
from robustness_study.augmentation.trivial_augment import TrivialAugment
from robustness_study.classifier.inference import all_features, to_float
from robustness_study.classifier.model import Classifier
from robustness_study.classifier.precision import is_out_of_memory, precision_of, repeatable
from robustness_study.core.errors import StudyError
from robustness_study.core.seeds import derive_seed
from robustness_study.losses.head import Head
from robustness_study.schema.recipe import Recipe
from robustness_study.training.batches import epoch_batches
from robustness_study.training.optimiser import Average, Optimiser, one_cycle
from robustness_study.training.under_attack import attacked_batch, pgd_accuracy
from robustness_study.training.watcher import Epoch, Images, Watcher, accuracies_and_loss
from robustness_study.training_sets import BatchAttack

CHECKPOINT_INTERVAL_S = 30.0
LARGEST_FEATURE = 1e15  # later stages sum the squares of thousands of features in float32, which ends at 3e38


def image_width(epoch: int, recipe: Recipe, width: int) -> int:
    """The width in pixels of the images in an epoch (counted from 1): half of `width` at first, then all of it.

    The first `low_resolution_share` of the epochs train at half the width. There is no width between the two: on a
    CPU, three quarters of the pixels cost nearly as much time as all of them.
    """
    return width // 2 if epoch <= round(recipe.low_resolution_share * recipe.epochs) else width


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers in all tensors are finite. It waits for a GPU only once."""
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())


class Training:
    """One training run: its settings, and the state that changes while it runs.

    With `attack`, each batch is attacked before the model learns from it.
    """

    def __init__(
        self,
        model: Classifier,
        training: Images,
        recipe: Recipe,
        batches: str,
        seed: int,
        attack: BatchAttack | None = None,
    ) -> None:
        self.model, self.training, self.recipe, self.batches, self.seed = model, training, recipe, batches, seed
        self.attack = attack
        self.device = training.images.device
        self.labels = training.labels.cpu().numpy()
        self.steps = len(epoch_batches(batches, self.labels, recipe.batch_size, seed, 1))
        self.dtype = precision_of(recipe.precision, self.device, recipe.network)
        self.optimiser = Optimiser(model, recipe)
        self.average = Average(model, recipe.average_decay) if recipe.average_decay else None
        self.features = torch.compile(model.features) if recipe.compile else model.features
        # The state that changes, in addition to the model, the optimiser and the average:
        self.done = 0  # number of finished steps
        self.losses = torch.zeros(self.steps, device=self.device)  # one per step of this epoch
        self.epochs: list[Epoch] = []

    def run(self, watched: dict[str, Images], watcher: Watcher) -> list[Epoch]:
        """Train from the current step to the end; return all epochs. The model then has its final weights.

        `watched` holds "train" and "val": fixed images on which the accuracy is measured after each epoch. A training
        that attacks its batches also needs "val_pgd", on which it is measured under PGD. They do not influence the
        training. Raises StudyError, which names the step, if a loss is not finite.
        """
        with repeatable(self.device, self.recipe.deterministic):
            self._run(watched, watcher)
        return self.epochs

    def _run(self, watched: dict[str, Images], watcher: Watcher) -> None:
        saved = time.monotonic()
        while len(self.epochs) < self.recipe.epochs:
            epoch, started = len(self.epochs) + 1, time.perf_counter()
            first = self.done - (epoch - 1) * self.steps  # equals `steps` if the checkpoint is of the epoch's last step
            for _ in self.epoch_from(epoch, first):
                watcher.step(self.done - (epoch - 1) * self.steps, self.steps)
                if time.monotonic() - saved > CHECKPOINT_INTERVAL_S:
                    tensors, notes = self.state()
                    if all_finite(tensors.values()):  # never replace a good checkpoint by a broken one
                        watcher.save(tensors, notes)
                    saved = time.monotonic()
            self.check_finite(epoch)
            rate = (self.steps - first) * self.recipe.batch_size / (time.perf_counter() - started)
            measured, under_pgd = self.measure(watched), self.measure_under_pgd(watched)
            seconds = time.perf_counter() - started
            self.epochs.append(Epoch(epoch, self.losses.mean().item(), *measured, seconds, rate, under_pgd))
            watcher.epoch(self.epochs[-1])
        if self.average is not None:
            self.model.load_state_dict(self.average.model.state_dict())
        if type(self.model.head).fit is not Head.fit:  # other heads do not need these features
            self.model.head.fit(all_features(self.model, self.training.images, 250), self.training.labels)

    def epoch_from(self, epoch: int, first: int) -> Iterator[None]:
        """Train the steps of one epoch, from step `first` on; yields after each. Epochs count from 1, steps from 0."""
        recipe, device, count = self.recipe, self.device, len(self.labels)
        augment = Augmentation.draw(
            count, recipe.crop_padding, recipe.flip, recipe.cutout_pixels, self.seed, epoch, device
        )
        trivial = TrivialAugment.draw(count, self.seed, epoch) if recipe.trivial_augment else None
        positions = epoch_batches(self.batches, self.labels, recipe.batch_size, self.seed, epoch)
        width = image_width(epoch, recipe, self.training.images.shape[1])
        self.model.train()
        for index, batch in enumerate(torch.from_numpy(positions).to(device)[first:], start=first):
            images = to_float(self.training.images[batch])
            if trivial is not None:
                images = trivial(images, positions[index])
            images = augment(images, batch)
            if width != images.shape[2]:
                images = interpolate(images, size=(width, width), mode="area")
            labels = self.training.labels[batch]
            if self.attack is not None:
                # Drawn on the device: on the CPU it would hold up a GPU at each step.
                rng = torch.Generator(device).manual_seed(derive_seed(self.seed, "attack on the batch", self.done))
                images = attacked_batch(self.attack, self.model, partial(self.loss, labels=labels), images, rng)
            loss = self.loss(images, labels)
            self.losses[index] = loss.detach()
            if device.type == "cpu":  # not on a GPU: reading a loss there would stop it at each step
                self.check_finite(epoch, index)
            loss.backward()
            self.optimiser.step(self.learning_rate(self.done))
            if self.average is not None:
                self.average.update(self.model, first=self.done == 0)
            self.done += 1
            yield

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The training loss, a scalar, of a batch. Dropout drops the same features at each call in a step."""
        torch.manual_seed(derive_seed(self.seed, "network", self.done))
        with self.autocast():
            features = self.features(images).float()
        return self.model.head.training_loss(features, labels)

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step; steps count from 0 over the whole run."""
        recipe = self.recipe
        return one_cycle(step, recipe.epochs * self.steps, recipe.peak_learning_rate, recipe.warmup_share)

    def autocast(self) -> torch.autocast:
        """A context that computes in bfloat16 if `precision_of` chose it, otherwise in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def check_finite(self, epoch: int, index: int | None = None) -> None:
        """Raise StudyError if a loss of this epoch is not finite. With `index`, check that step of the epoch only."""
        losses = (self.losses if index is None else self.losses[index : index + 1]).cpu()
        for at in (~losses.isfinite()).nonzero().flatten().tolist()[:1]:
            step = (epoch - 1) * self.steps + (at if index is None else index)
            raise StudyError(
                f"train: the loss is {losses[at].item()} at step {step + 1} of {self.recipe.epochs * self.steps} "
                f"(learning rate {self.learning_rate(step):.4g}); lower the recipe's peak_learning_rate"
                + (", or raise its batch_size: batch norm needs more images" if self.recipe.batch_size < 8 else "")
            )

    def measure(self, watched: dict[str, Images]) -> tuple[float, float, float]:
        """Training accuracy, validation accuracy and validation loss; of the averaged weights if there are any.

        Raises StudyError if the validation loss is not finite, or the features of the last epoch are too large.
        """
        model, watched = self.measured_model(), {name: watched[name] for name in ("train", "val")}
        with self.autocast():
            features = {name: all_features(model, images.images, 250) for name, images in watched.items()}
        if len(self.epochs) + 1 == self.recipe.epochs:
            # Earlier, features may be large: batch norm's running statistics need some steps.
            largest = max(float(found.abs().max()) for found in features.values())
            if not largest < LARGEST_FEATURE:
                raise StudyError(f"train: the largest feature is {largest:.2g}; lower the recipe's peak_learning_rate")
        return accuracies_and_loss(model.head, features, {name: images.labels for name, images in watched.items()})

    def measured_model(self) -> Classifier:
        """The model with the averaged weights, if there are any."""
        return self.model if self.average is None else self.average.model

    def measure_under_pgd(self, watched: dict[str, Images]) -> float | None:
        """Accuracy under PGD of the training's size; None if training attacks no batches. Call `measure` before."""
        if self.attack is None:
            return None
        # The same starts after each epoch, so that values differ only because of the model.
        rng = torch.Generator().manual_seed(derive_seed(self.seed, "watched under PGD"))
        return pgd_accuracy(self.measured_model(), watched["val_pgd"], self.attack.epsilon_255, rng, self.autocast())

    def state(self) -> tuple[dict[str, Tensor], Any]:
        """The state that changes: tensors by name, and notes that JSON can hold."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"momentum.{number}": momentum for number, momentum in self.optimiser.state().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.model.state_dict().items()}
        tensors["losses"] = self.losses
        return tensors, {"done": self.done, "epochs": [asdict(epoch) for epoch in self.epochs]}

    def restore(self, tensors: dict[str, Tensor], notes: Any) -> None:
        """Return to a state that `state` gave."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        self.optimiser.restore(part("momentum."))
        if self.average is not None:
            self.average.model.load_state_dict(part("average."))
        self.losses.copy_(tensors["losses"])
        self.done, self.epochs = notes["done"], [Epoch(**epoch) for epoch in notes["epochs"]]

    def largest_batch_that_fits(self) -> int:
        """The largest batch size that fits into memory: the recipe's, halved until a step works; 0 if none works.

        Call it after the exception of the failed step is gone: the exception keeps that step's tensors in memory.
        """
        self.optimiser.forget_gradients()
        size = self.recipe.batch_size
        while (size := size // 2) > 0 and not self._fits(size):
            pass
        return size

    def _fits(self, size: int) -> bool:
        images, labels = to_float(self.training.images[:size]), self.training.labels[:size]
        try:
            with self.autocast():
                features = self.model.features(images).float()
            self.model.head.training_loss(features, labels).backward()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True
