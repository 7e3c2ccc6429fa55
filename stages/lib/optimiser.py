"""The optimiser: SGD with Nesterov momentum, a one-cycle learning rate, and averaged weights.

Sources: one-cycle, Smith & Topin 2017 (arXiv 1708.07120); no weight decay on norms and biases, Goyal et
al. 2017 (arXiv 1706.02677), section 5.3; averages of weights, Polyak & Juditsky 1992.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from stages.lib.schema.recipe import Recipe


def make_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum; weight decay on weights of two or more dimensions only."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(
        groups, lr=recipe.peak_learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True
    )


def one_cycle(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """The learning rate of a step, counted from 0: straight up to `peak`, then straight down; never zero."""
    return float(np.interp(step + 1, [0, warmup_share * steps, steps + 1], [0, peak, 0]))


def make_average(model: nn.Module, decay: float) -> AveragedModel | None:
    """An exponential moving average of weights and buffers, new = decay · old + (1 − decay) · now; None for 0."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None
