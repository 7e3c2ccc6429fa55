"""The signs of a gradient, through cleverhans, and one step along signs (Goodfellow et al. 2015, arXiv 1412.6572).

The signs are the same for every epsilon, so they are computed once. cleverhans differentiates the cross-entropy of the
logits that it is given. It takes the mean over a batch, which changes a sign only where a gradient almost underflows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks.ball import assert_within
from robustness_study.attacks.scoring import Logits


def gradient_signs(logits: Logits, images: Tensor, labels: Tensor) -> Tensor:
    """The signs of the gradient of the loss, int8 N×3×H×W in {−1, 0, 1}; all of an image are 0 where it has none."""
    from cleverhans.torch.attacks.fast_gradient_method import fast_gradient_method

    stepped = fast_gradient_method(logits, images, 1.0, norm=np.inf, y=labels).detach()
    return torch.round(stepped - images).to(torch.int8)


def step(images: Tensor, signs: Tensor, epsilon_255: int) -> Tensor:
    """Images moved along the signs, each value by epsilon_255/255 and not out of [0, 1].

    Raises StudyError if the result leaves the ball or the range.
    """
    moved = (images + epsilon_255 / 255 * signs).clamp(0, 1)
    assert_within(images, moved, epsilon_255)
    return moved
