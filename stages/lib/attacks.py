"""The fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572), through cleverhans.

On images in [0, 1] with normalisation inside the model, in float32 and evaluation mode, against the true
labels: attacking the predicted label would leak it (Kurakin et al. 2017, arXiv 1611.01236). Epsilons are
in grey levels, n/255; cleverhans differentiates cross-entropy of the logits it is given.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn.functional import cross_entropy

from stages.lib.errors import StudyError
from stages.lib.model import Classifier

TOLERANCE = 1e-6
MOST_ZERO_GRADIENTS = 0.01  # above this share, the gradient is masked and the attack says nothing


def fast_gradient_sign(model: Classifier, images: Tensor, labels: Tensor, epsilon_255: int) -> Tensor:
    """The attacked images, float32 in [0, 1], N×3×H×W, each value moved by at most epsilon_255/255.

    `images` are such images as well, `labels` int64 N. Raises StudyError if the result leaves the
    ball or the range.
    """
    from cleverhans.torch.attacks.fast_gradient_method import fast_gradient_method

    attacked = fast_gradient_method(
        model, images, epsilon_255 / 255, norm=np.inf, clip_min=0.0, clip_max=1.0, y=labels
    ).detach()
    assert_within(images, attacked, epsilon_255)
    return attacked


def assert_within(images: Tensor, attacked: Tensor, epsilon_255: int) -> None:
    """StudyError unless `attacked` is in [0, 1] and within epsilon_255/255 of `images`, value by value."""
    moved = (attacked - images).abs().max().item()
    low, high = attacked.min().item(), attacked.max().item()
    if not (moved <= epsilon_255 / 255 + TOLERANCE and low >= 0 and high <= 1):
        raise StudyError(
            f"attack: epsilon {epsilon_255}/255 moved a value by {moved * 255:.3f}/255 into [{low:.4f}, {high:.4f}]; "
            "images must be in [0, 1] with normalisation inside the model"
        )


def zero_gradients(model: Classifier, images: Tensor, labels: Tensor) -> int:
    """How many images have an input gradient that is zero everywhere."""
    inputs = images.detach().clone().requires_grad_(True)
    cross_entropy(model(inputs), labels, reduction="sum").backward()
    assert inputs.grad is not None
    return int((inputs.grad.flatten(1).abs().amax(1) == 0).sum())


def refuse_masked_gradients(zero: int, images: int) -> None:
    """StudyError if more than 1 % of the images have no gradient (Athalye et al. 2018, arXiv 1802.00420)."""
    if zero > MOST_ZERO_GRADIENTS * images:
        raise StudyError(
            f"attack: the input gradient of {zero} of {images} images is zero, so the attack would look weak for no "
            "good reason; lower the scale of the loss's logits"
        )
