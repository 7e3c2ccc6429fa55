"""TrivialAugment's operations against torchvision's; an image's result does not depend on other images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustness_study.augmentation import trivial_augment
from robustness_study.augmentation.trivial_augment import LARGEST, LEVELS, OPERATIONS, TrivialAugment, strengths_of

SHAPES = [(8, 8), (16, 16), (32, 32), (9, 14)]
GREY = 0.5
# Operations that change nothing at strength 0; posterize keeps all bits at level 0.
WITH_ZERO = ["identity", *LARGEST, "posterize"]
# torchvision weights red by 0.2989, and the largest factor is 1.99; the largest difference seen is 8e-5.
GREY_TOLERANCE = 1.5e-4
# Bilinear weights at positions that differ by float32 rounding; the largest difference seen is 4e-6.
PLACE_TOLERANCE = 2e-5


def images(count: int, height: int = 32, width: int = 32) -> Tensor:
    """Blobs and noise in bytes' values, laid out channels last, with a range of brightness and contrast."""
    rng = torch.Generator().manual_seed(count + height)
    coarse = torch.rand(count, 3, 4, 4, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    noisy = smooth + 0.2 * torch.rand(smooth.shape, generator=rng) - 0.1
    low, span = 0.4 * torch.rand(count, 3, 1, 1, generator=rng), 0.6 * torch.rand(count, 3, 1, 1, generator=rng)
    scaled = ((low + span * noisy.clamp(0, 1)) * 255).round() / 255
    return scaled.contiguous(memory_format=torch.channels_last)


def as_bytes(batch: Tensor) -> Tensor:
    return (batch * 255).round().to(torch.uint8)


def every_strength(name: str) -> Tensor:
    """Strengths of both signs, N×1×1×1."""
    strengths = strengths_of(name)
    return (torch.cat([strengths, -strengths]) if name in LARGEST else strengths).view(-1, 1, 1, 1)


def theirs(name: str, image: Tensor, strength: float) -> Tensor:
    """torchvision's result for one image and one strength; on bytes where its results for floats differ."""
    from torchvision.transforms.v2 import functional

    still: dict[str, Any] = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    warp: dict[str, Any] = {"interpolation": "bilinear", "fill": None}  # outside is 0
    degrees = math.degrees(math.atan(strength))
    functions: dict[str, Callable[[], Tensor]] = {
        "identity": lambda: image,
        "shear_x": lambda: functional.affine(image, **still | {"shear": [degrees, 0.0]}, **warp, center=[0, 0]),
        "shear_y": lambda: functional.affine(image, **still | {"shear": [0.0, degrees]}, **warp, center=[0, 0]),
        "translate_x": lambda: functional.affine(image, **still | {"translate": [int(strength), 0]}, **warp),
        "translate_y": lambda: functional.affine(image, **still | {"translate": [0, int(strength)]}, **warp),
        "rotate": lambda: functional.rotate(image, strength, **warp),
        "brightness": lambda: functional.adjust_brightness(image, 1 + strength),
        "color": lambda: functional.adjust_saturation(image, 1 + strength),
        "contrast": lambda: functional.adjust_contrast(image, 1 + strength),
        "sharpness": lambda: functional.adjust_sharpness(image, 1 + strength),
        "posterize": lambda: functional.posterize(as_bytes(image), int(strength)) / 255,
        "solarize": lambda: functional.solarize(image, strength),
        "autocontrast": lambda: functional.autocontrast(image),
        "equalize": lambda: functional.equalize(as_bytes(image)) / 255,
    }
    return functions[name]()


def torchvision_each(name: str, batch: Tensor, strengths: Tensor) -> Tensor:
    flat = strengths.flatten().tolist()
    return torch.stack([theirs(name, image, strength) for image, strength in zip(batch, flat, strict=True)])


# --- operations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        *(("identity", 0), ("brightness", 1e-6), ("sharpness", 1e-6), ("solarize", 0), ("autocontrast", 1e-6)),
        *(("color", GREY_TOLERANCE), ("contrast", GREY_TOLERANCE), ("posterize", 0), ("equalize", 0)),
    ],
)
def test_photometric_operation_equals_torchvisions(name: str, tolerance: float, shape: tuple[int, int]) -> None:
    strengths = every_strength(name)
    batch = images(len(strengths), *shape)
    result = OPERATIONS[name](batch, strengths)
    torch.testing.assert_close(result, torchvision_each(name, batch, strengths), rtol=0, atol=tolerance)
    does_nothing = name == "identity" or (name == "equalize" and math.prod(shape) < 256)
    assert does_nothing == torch.equal(result, batch)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["shear_x", "shear_y", "translate_x", "translate_y", "rotate"])
def test_geometric_operation_equals_torchvisions(name: str, shape: tuple[int, int]) -> None:
    """torchvision's grey fill counts borders twice. So the image minus grey is filled with black, and grey is added."""
    strengths = every_strength(name)
    batch = images(len(strengths), *shape)
    on_grey = torchvision_each(name, batch - GREY, strengths) + GREY
    result = OPERATIONS[name](batch, strengths)
    torch.testing.assert_close(result, on_grey, rtol=0, atol=PLACE_TOLERANCE)
    inside = torchvision_each(name, torch.ones_like(batch), strengths) > 1 - 1e-6
    assert 0.1 < inside.float().mean() < 0.95
    plain = torchvision_each(name, batch, strengths)
    torch.testing.assert_close(result[inside], plain[inside], rtol=0, atol=PLACE_TOLERANCE)


def test_operations_have_the_documented_directions() -> None:
    batch = torch.full((1, 3, 5, 5), GREY)
    batch[:, :, 0, 4] = 1  # top right

    def brightest(name: str, strength: float) -> list[int]:
        result = OPERATIONS[name](batch, torch.full((1, 1, 1, 1), strength))[0, 0]
        assert result.max() == pytest.approx(1, abs=1e-5)
        return list(divmod(int(result.argmax()), 5))

    assert brightest("rotate", 90.0) == [0, 0] and brightest("rotate", -90.0) == [4, 4]
    assert brightest("translate_x", -3.0) == [0, 1] and brightest("translate_y", 3.0) == [3, 4]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", WITH_ZERO)
def test_nothing_changes_at_level_zero(name: str, shape: tuple[int, int]) -> None:
    batch = images(5, *shape)
    result = OPERATIONS[name](batch, strengths_of(name)[:1].expand(5).view(-1, 1, 1, 1))
    torch.testing.assert_close(result, batch, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_results_have_the_shape_type_and_range_of_images(name: str, shape: tuple[int, int]) -> None:
    strengths = every_strength(name)
    batch = images(len(strengths), *shape)
    batch[0], batch[1], batch[2] = 0, 1, torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    before = batch.clone()
    result = OPERATIONS[name](batch, strengths)
    assert result.shape == batch.shape and result.dtype == torch.float32
    assert result.min() >= 0 and result.max() <= 1  # false for nan as well
    assert torch.equal(batch, before)


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_flat_images_do_not_change(name: str) -> None:
    flat = (torch.tensor([0, 51, 128, 255]) / 255).view(-1, 1, 1, 1).expand(4, 3, 8, 8)
    assert torch.equal(OPERATIONS[name](flat, torch.zeros(4, 1, 1, 1)), flat)


def test_translation_beyond_the_image_gives_grey() -> None:
    result = trivial_augment.translate_x(images(2, 8, 8), torch.tensor([9.0, -32.0]).view(-1, 1, 1, 1))
    assert (result == GREY).all()


# --- draws -------------------------------------------------------------------------------------------------


def test_strengths_equal_torchvisions() -> None:
    from torchvision.transforms.v2 import TrivialAugmentWide

    space = TrivialAugmentWide._AUGMENTATION_SPACE
    assert [name.lower() for name in space] == [name.replace("_", "") for name in OPERATIONS]
    for name, (magnitudes, signed) in zip(OPERATIONS, space.values(), strict=True):
        expected = magnitudes(LEVELS, 32, 32)
        expected = torch.zeros(LEVELS) if expected is None else expected.float()
        if name.startswith("translate"):  # the way in which torchvision applies them
            expected = expected.int().float()
        assert torch.equal(strengths_of(name), expected)
        assert signed == (name in LARGEST)


def test_operations_levels_and_signs_are_drawn_equally_often() -> None:
    count = 14 * 31 * 2 * 50
    drawn = TrivialAugment.draw(count, 0, 1)
    assert drawn.operations.device.type == drawn.strengths.device.type == "cpu"
    shares = drawn.operations.bincount(minlength=14) / count * 14
    assert len(shares) == 14 and shares.min() > 0.93 and shares.max() < 1.07  # 5 standard deviations
    for place, name in enumerate(OPERATIONS):
        strengths = drawn.strengths[drawn.operations == place]
        values, times = strengths.abs().unique(return_counts=True)
        assert torch.equal(values, strengths_of(name).unique())
        per_level = torch.isin(strengths_of(name), values[:, None]).sum() / LEVELS
        assert per_level == 1
        if len(values) == LEVELS:
            assert times.min() > 0.5 * times.float().mean() and times.max() < 1.5 * times.float().mean()
        negative = (strengths < 0).sum() / (strengths != 0).sum()
        assert negative == pytest.approx(0.5, abs=0.05) if name in LARGEST else not (strengths < 0).any()


def test_draws_depend_only_on_seed_and_epoch() -> None:
    torch.manual_seed(5)
    draws = [TrivialAugment.draw(50, *at) for at in ((0, 1), (0, 2), (1, 1), (0, 1))]
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(5)))
    for part in ("operations", "strengths"):
        values = [tuple(getattr(each, part).tolist()) for each in draws]
        assert values[0] == values[3] and len(set(values)) == 3


# --- batches -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_every_image_gets_its_own_operation(shape: tuple[int, int]) -> None:
    batch, augment = images(200, *shape), TrivialAugment.draw(300, 0, 1)
    positions = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:200]
    before = batch.clone()
    result = augment(batch, positions)
    assert torch.equal(batch, before) and result.data_ptr() != batch.data_ptr()
    assert result.dtype == torch.float32 and result.shape == batch.shape
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert augment(batch.contiguous(), positions).is_contiguous()
    names = list(OPERATIONS)
    for image, position, changed in zip(batch, positions, result, strict=True):
        function = OPERATIONS[names[augment.operations[position]]]
        assert torch.equal(function(image[None], augment.strengths[position].view(1, 1, 1, 1))[0], changed)


@pytest.mark.parametrize("shape", SHAPES)
def test_bits_do_not_depend_on_the_batch(shape: tuple[int, int]) -> None:
    batch, augment = images(150, *shape), TrivialAugment.draw(150, 1, 1)
    whole = augment(batch, torch.arange(150))
    shuffled = torch.randperm(150, generator=torch.Generator().manual_seed(0)).tolist()
    for positions in (shuffled, shuffled[:70], shuffled[70:87], [5, 2], [2], [11, 0, 5, 5]):
        assert torch.equal(augment(batch[positions], torch.tensor(positions)), whole[positions])
    assert torch.equal(augment(batch.contiguous(), np.arange(150)), whole)


@pytest.mark.parametrize("name", OPERATIONS)
def test_bits_do_not_depend_on_the_group_size(name: str) -> None:
    strengths = every_strength(name)
    batch = images(len(strengths), 9, 14)
    whole = OPERATIONS[name](batch, strengths)
    for start, stop in ((0, 1), (1, 4), (4, 20), (20, 31)):
        assert torch.equal(OPERATIONS[name](batch[start:stop], strengths[start:stop]), whole[start:stop])


def test_deterministic_algorithms_suffice() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    batch, augment = images(150), TrivialAugment.draw(150, 2, 1)
    plain = augment(batch, torch.arange(150))
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(augment(batch, torch.arange(150)), plain)
    finally:
        torch.use_deterministic_algorithms(before)
