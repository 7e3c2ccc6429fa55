"""AugMix against a slow loop over images; an image's copy does not depend on other images."""

from __future__ import annotations

import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from natural_images import natural_images

from robustness_study.augmentation.trivial_augment import OPERATIONS
from robustness_study.training_sets._chains import NAMES, Draws, Settings, augmix, draw, mix, strengths_of
from stages import training_set as stage

SECTION: dict[str, Any] = {"chains": 3, "depth": 3, "severity": 3.0, "seed": 5}
SETTINGS = Settings(**SECTION)
IMAGES = natural_images(40)
PINNED = [
    [
        ["posterize", "posterize", "translate_y"],
        ["solarize", "autocontrast", "shear_x"],
        ["equalize", "posterize", "solarize"],
    ],
    [
        ["equalize", "autocontrast", "rotate"],
        ["shear_y", "rotate", "shear_y"],
        ["translate_x", "shear_y", "translate_x"],
    ],
]
PINNED_DEPTHS = [[3, 1, 2], [3, 3, 2]]
MANY = draw(np.arange(4000), SETTINGS, "train")


def floats(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def part(draws: Draws, chosen: slice) -> Draws:
    return Draws(*(getattr(draws, field.name)[chosen] for field in fields(draws)))


def one_by_one(image: torch.Tensor, draws: Draws) -> torch.Tensor:
    """The paper's algorithm for one image 1×3×H×W, as it is written there."""
    mixture = torch.zeros_like(image)
    for chain, weight in enumerate(draws.weights[0]):
        copy = image
        for step in range(draws.depths[0, chain]):
            name = NAMES[draws.operations[0, chain, step]]
            level, negative = (values[0, chain, step] for values in (draws.levels, draws.negative))
            strength = float(strengths_of(name, np.array([level]), np.array([negative]), image.shape[3])[0])
            copy = OPERATIONS[name](copy, torch.full((1, 1, 1, 1), strength))
        mixture = mixture + float(weight) * copy
    return (1 - float(draws.mixed[0])) * image + float(draws.mixed[0]) * mixture


def test_copies_equal_the_algorithm_image_by_image() -> None:
    images, draws = floats(IMAGES), draw(np.arange(len(IMAGES)), SETTINGS, "train")
    found = mix(images, draws)
    for index in range(len(IMAGES)):
        chosen = slice(index, index + 1)
        torch.testing.assert_close(found[chosen], one_by_one(images[chosen], part(draws, chosen)), rtol=0, atol=2e-6)


def test_draws_have_the_distributions_of_the_paper() -> None:
    assert MANY.mixed.min() >= 0 and MANY.mixed.max() <= 1
    assert abs(MANY.mixed.mean() - 1 / 2) < 0.02 and abs(MANY.mixed.var() - 1 / 12) < 0.005  # Beta(1, 1)
    np.testing.assert_allclose(MANY.weights.sum(1), 1)
    # Dirichlet(1, 1, 1): each weight has mean 1/3 and variance 1/18.
    np.testing.assert_allclose(MANY.weights.mean(0), 1 / 3, atol=0.015)
    np.testing.assert_allclose(MANY.weights.var(0), 1 / 18, atol=0.005)
    assert [round((MANY.depths == depth).mean(), 1) for depth in (1, 2, 3)] == [0.3, 0.3, 0.3]
    shares = [(MANY.operations == place).mean() for place in range(len(NAMES))]
    np.testing.assert_allclose(shares, 1 / 9, atol=0.01)
    assert 0.1 <= MANY.levels.min() < 0.11 and 2.99 < MANY.levels.max() <= 3
    assert abs(MANY.negative.mean() - 0.5) < 0.01


def test_draws_of_an_image_never_change() -> None:
    """A draw is a position in NAMES: another order would give another training set for the same params."""
    found = draw(np.array([0, 49_999]), SETTINGS, "train")
    assert [[[NAMES[place] for place in chain] for chain in image] for image in found.operations] == PINNED
    assert found.depths.tolist() == PINNED_DEPTHS


@pytest.mark.parametrize(
    ("name", "at_three", "at_ten"),
    [
        ("rotate", 9.0, 30.0), ("shear_x", 0.09, 0.3), ("shear_y", 0.09, 0.3), ("translate_x", 3, 10),
        ("translate_y", 3, 10), ("posterize", 3, 0), ("solarize", 0.7, 0), ("autocontrast", 0, 0), ("equalize", 0, 0),
    ],
)  # fmt: skip
def test_strengths_grow_with_the_level(name: str, at_three: float, at_ten: float) -> None:
    negative = np.array([False, False])
    found = strengths_of(name, np.array([3.0, 10.0]), negative, 32)
    np.testing.assert_allclose(found, [at_three, at_ten], atol=1e-12)
    turned = strengths_of(name, np.array([3.0, 10.0]), ~negative, 32)
    np.testing.assert_allclose(turned, found if name in NAMES[5:] else -found)


def test_mixing_weight_0_gives_the_image_and_1_gives_the_mean_of_chains() -> None:
    images, draws = floats(IMAGES), draw(np.arange(len(IMAGES)), SETTINGS, "train")
    assert torch.equal(mix(images, replace(draws, mixed=np.zeros(len(IMAGES)))), images)
    still = np.full_like(draws.operations, NAMES.index("rotate"))
    unmoved = replace(draws, operations=still, levels=np.zeros_like(draws.levels))
    torch.testing.assert_close(mix(images, unmoved), images, rtol=0, atol=2e-5)


@given(some.permutations(range(12)), some.integers(1, 12))
def test_an_images_copy_does_not_depend_on_its_batch(order: list[int], size: int) -> None:
    whole = augmix(IMAGES[:12], SETTINGS, "train")
    for start in range(0, 12, size):
        chosen = np.array(order[start : start + size])
        draws = draw(chosen, SETTINGS, "train")
        bytes_ = (mix(floats(IMAGES[chosen]).contiguous(), draws) * 255).round().to(torch.uint8)
        assert np.array_equal(bytes_.permute(0, 2, 3, 1).numpy(), whole[chosen])


def test_splits_and_seeds_have_different_draws() -> None:
    other_seed = replace(SETTINGS, seed=6)
    chosen = ((SETTINGS, "train"), (SETTINGS, "test"), (other_seed, "train"))
    first, *others = (draw(np.arange(5), *of) for of in chosen)
    assert all(not np.isclose(first.mixed, other.mixed).any() for other in others)


def test_result_does_not_depend_on_chunk_size() -> None:
    images = np.concatenate([IMAGES] * 13)[:510]
    whole = augmix(images, SETTINGS, "train")
    assert whole.dtype == np.uint8 and whole.shape == images.shape
    assert np.array_equal(augmix(images[495:], SETTINGS, "train", first=495), whole[495:])


def test_stage_writes_a_copy_of_every_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("raw", "corrupted"):
        (tmp_path / "data" / name).mkdir(parents=True)
        np.savez(tmp_path / f"data/{name}/train.npz", images=IMAGES)
    params = {"train_set_config": {"augmix": SECTION}}
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["training_set", "--train-set", "augmix"])
    stage.main()
    with np.load(tmp_path / "data/training_sets/augmix.npz") as archive:
        assert archive.files == ["images"]
        found = archive["images"]
    assert np.array_equal(found, augmix(IMAGES, SETTINGS, "train"))
    assert 2 < np.abs(found.astype(int) - IMAGES).mean() < 40
