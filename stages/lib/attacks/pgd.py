"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083): many small steps, from several random starts.

Its step and its projection are cleverhans'. cleverhans' own loop draws the start from torch's global generator for
the whole batch; here an image's starts follow from its index and the seed, whatever images are beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stages.lib.attacks import Logits
from stages.lib.attacks.ball import assert_within
from stages.lib.seeds import streams

REACH = 2.5  # all steps together, in epsilons: every point of the ball is within reach of every other (Madry et al.)


def random_starts(indices: Sequence[int] | np.ndarray, shape: Sequence[int], seed: int, restart: int) -> Tensor:
    """Starting points in [−1, 1] of epsilon, float32 N×shape, on the CPU."""
    drawn = [rng.uniform(-1, 1, tuple(shape)) for rng in streams(indices, seed, "pgd", restart)]
    return torch.from_numpy(np.stack(drawn).astype(np.float32))


def projected_gradient_descent(
    logits: Logits, images: Tensor, labels: Tensor, epsilon_255: int, steps: int, starts: Tensor
) -> Tensor:
    """The attacked images after the last step. `starts`, in [−1, 1], say where in the ball each begins.

    Raises StudyError if the result leaves the ball or the range.
    """
    from cleverhans.torch.attacks.fast_gradient_method import fast_gradient_method
    from cleverhans.torch.utils import clip_eta

    epsilon = epsilon_255 / 255
    attacked = (images + epsilon * starts).clamp(0, 1)
    for _ in range(steps):
        stepped = fast_gradient_method(
            logits, attacked, REACH * epsilon / steps, norm=np.inf, clip_min=0.0, clip_max=1.0, y=labels
        ).detach()
        attacked = (images + clip_eta(stepped - images, np.inf, epsilon)).clamp(0, 1)
    assert_within(images, attacked, epsilon_255)
    return attacked
