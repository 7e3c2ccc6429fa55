"""Tests on a GPU, and its agreement with the CPU. Skipped, with the reason, where there is no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustness_study import corruptions, losses, training_sets
from robustness_study.classifier.inference import to_float
from robustness_study.classifier.model import Classifier
from robustness_study.core import params
from robustness_study.corruptions import corrupt
from robustness_study.schema.recipe import Recipe
from robustness_study.training.one_model import train_cell
from robustness_study.training.progress import Progress

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

VALUES = params.read(Path(__file__).resolve().parents[1] / "params.yaml")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
LABELS = (np.arange(200) % 10).astype(np.uint8)
INDICES = {"train": np.arange(160), "val": np.arange(160, 200)}


def trained(name: str, adversarial: bool = False, **changes: Any) -> Classifier:
    chosen = {"epochs": 2, "batch_size": 40, "watched_images": 40, "compile": False, "average_decay": 0.9}
    recipe = Recipe.model_validate(VALUES["recipes"]["gpu"] | chosen | changes)
    loss = losses.make(name, VALUES["loss_config"][name])
    on = torch.device("cuda")
    settings = training_sets.config_class("adversarial").model_validate(VALUES["train_set_config"]["adversarial"])
    attack = training_sets.batch_attack("adversarial", settings) if adversarial else None
    model, _ = train_cell(IMAGES, LABELS, INDICES, 10, loss, recipe, 0, on, Progress(recipe.epochs), attack)
    return model.eval()


@pytest.mark.parametrize("name", losses.names())
def test_logits_agree_with_the_cpu(name: str) -> None:
    model = trained(name, precision="float32")
    with torch.no_grad():
        on_gpu = model(to_float(torch.from_numpy(IMAGES).cuda())).cpu()
        on_cpu = model.cpu()(to_float(torch.from_numpy(IMAGES)))
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("adversarial", [False, True])
@pytest.mark.parametrize("name", losses.names())
def test_deterministic_gives_the_same_bits(name: str, adversarial: bool) -> None:
    one, other = (trained(name, adversarial, deterministic=True).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch 2.11 uses it itself
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # they are off, so that float32 is float32
@pytest.mark.parametrize("adversarial", [False, True])
def test_compiled_recipe_trains(adversarial: bool) -> None:
    model = trained("cross_entropy", adversarial, compile=True)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", corruptions.names())
def test_corruptions_agree_with_the_cpu_up_to_rounding(name: str) -> None:
    """As measured on an H200. Rounding decides about more bytes where values lie between two bytes: HSV and Poisson."""
    here, there = (corrupt(IMAGES, name, 3, seed=0, split="test", device=on).astype(int) for on in ("cpu", "cuda"))
    most = {"shot_noise": 0.02, "brightness": 0.02, "saturate": 0.1}.get(name, 0.001)
    assert (here != there).mean() < most
    assert name == "shot_noise" or np.abs(here - there).max() <= 1
