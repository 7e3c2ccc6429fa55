"""Attacks during training: on each batch that the model learns from, and on the images that watch it.

A training set may attack each batch before the model learns from it (`BatchAttack` in training_sets/__init__.py). Then
the model is also watched under a short PGD (Madry et al. 2018, arXiv 1706.06083). Otherwise catastrophic overfitting
would not be seen: the training loss falls as before, while robustness to small steps is lost within an epoch (Wong et
al. 2020, arXiv 2001.03994).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from robustness_study.classifier.inference import accuracy, to_float
from robustness_study.classifier.model import Classifier
from robustness_study.core.errors import StudyError
from robustness_study.training.watcher import Images
from robustness_study.training_sets import BatchAttack

PGD_IMAGES = (
    200  # validation images that watch the training; PGD on them takes less than a tenth of the training's time
)
PGD_STEPS = 10
PGD_STEP = 2.5 / PGD_STEPS  # of epsilon, as in Madry et al.: a step can reach any point of the ball and turn back


@contextmanager
def for_input_gradients(model: nn.Module) -> Iterator[None]:
    """A context in which passes through the model change nothing in it and compute no gradients of its weights.

    In training mode, batch norm still normalises by the batch, as in the training step that follows and in the authors'
    code. But the batch does not enter the running statistics. So these hold each batch once, as the model learns from
    it; in the authors' code they also hold the noisy images.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for norm in norms:
        norm.track_running_stats = not norm.training
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        for weight in weights:
            weight.requires_grad_(True)


def attacked_batch(
    attack: BatchAttack, model: Classifier, loss: Callable[[Tensor], Tensor], images: Tensor, rng: torch.Generator
) -> Tensor:
    """The images of a batch, float32 N×3×H×W in [0, 1], after the attack. `loss` maps images to the training loss.

    Raises StudyError if the attack returns images of another type or shape.
    """

    def gradient(at: Tensor) -> Tensor:
        at = at.detach().requires_grad_()
        return torch.autograd.grad(loss(at), at)[0]

    with for_input_gradients(model):
        attacked = attack.attacked(images, gradient, rng).detach()
    if attacked.shape != images.shape or attacked.dtype != images.dtype:
        raise StudyError(
            f"train: batch_attack of the training set made {attacked.dtype} images of shape {tuple(attacked.shape)}; "
            f"they must be {images.dtype} of shape {tuple(images.shape)}, one for each image of the batch"
        )
    return attacked


def pgd_accuracy(
    model: Classifier,
    watched: Images,
    epsilon_255: float,
    rng: torch.Generator,
    precision: AbstractContextManager[None],
) -> float:
    """Accuracy, in [0, 1], on the watched images under PGD of this size, in units of 1/255.

    One random start from `rng`, which is on the CPU, then `PGD_STEPS` steps on the cross-entropy of the logits. The
    head must be fitted. Leaves the model in evaluation mode.
    """
    model.eval()
    images, epsilon = to_float(watched.images), epsilon_255 / 255
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    start = torch.empty(images.shape).uniform_(-epsilon, epsilon, generator=rng).to(images.device)
    attacked = torch.clamp(images + start, low, high)

    def logits(images: Tensor) -> Tensor:
        with precision:
            features = model.features(images)
        return model.head(features.float())

    with for_input_gradients(model):
        for _ in range(PGD_STEPS):
            attacked.requires_grad_()
            (slope,) = torch.autograd.grad(cross_entropy(logits(attacked), watched.labels), attacked)
            attacked = torch.clamp(attacked.detach() + PGD_STEP * epsilon * slope.sign(), low, high)
        with torch.no_grad():
            return accuracy(logits(attacked), watched.labels)
