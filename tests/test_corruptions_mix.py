"""The studies' corruption (the mix) against slow loops; an image's copy does not depend on other images."""

from __future__ import annotations

import colorsys
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustness_study.core.files import write_npz
from robustness_study.core.seeds import derive_seed
from robustness_study.corruptions import corrupt as under
from robustness_study.corruptions import mix as corruptions
from robustness_study.corruptions.copies import mixed_copies, under_named
from robustness_study.corruptions.mix import JITTERS, JitterStrengths, MixStrengths, draw_mix, draw_noise, mix
from robustness_study.schema.corrupt import Mix
from stages import corrupt as stage

Pixel = tuple[float, float, float]


def strengths(
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
    max_degrees: float = 10.0,
    probability: float = 0.5,
    sigma: float = 0.1,
) -> MixStrengths:
    jitter = JitterStrengths(brightness, contrast, saturation, hue)
    return MixStrengths(jitter, max_degrees, probability, sigma)


def as_section(strengths: MixStrengths) -> dict[str, Any]:
    """As params.yaml writes them."""
    return {
        "color_jitter": asdict(strengths.color_jitter),
        "rotation": {"max_degrees": strengths.max_degrees},
        "horizontal_flip": {"probability": strengths.flip_probability},
        "gaussian_noise": {"sigma": strengths.sigma},
    }


NOTHING = strengths(0, 0, 0, 0, 0, 0, 0)


def grey_levels(count: int, height: int = 8, width: int = 8) -> np.ndarray:
    """uint8 images of random pixels."""
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def as_floats(levels: np.ndarray) -> np.ndarray:
    return levels.transpose(0, 3, 1, 2).astype(np.float32) / 255


def made(count: int, height: int = 6, width: int = 7) -> np.ndarray:
    """Random images that also contain grey, primary and mixed colours, black and white."""
    special = [(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1)]
    images = as_floats(grey_levels(count, height, width))
    for place, colour in enumerate([*special, (0.2, 0.7, 0.7), (0.7, 0.7, 0.2), (0.7, 0.2, 0.7)]):
        images[:, :, place // width, place % width] = colour
    return images


def for_each_pixel(images: np.ndarray, function: Callable[[int, Pixel], Pixel]) -> np.ndarray:
    """Applies `function` to image number and colour, pixel by pixel."""
    results = np.empty(images.shape)
    for number, row, column in np.ndindex(len(images), *images.shape[2:]):
        red, green, blue = (float(value) for value in images[number, :, row, column])
        results[number, :, row, column] = function(number, (red, green, blue))
    return results


def grey(pixel: Pixel) -> float:
    return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]


def blended(pixel: Pixel, other: float, factor: float) -> Pixel:
    red, green, blue = (min(max(factor * value + (1 - factor) * other, 0.0), 1.0) for value in pixel)
    return red, green, blue


def slow_brightness(images: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return for_each_pixel(images, lambda number, pixel: blended(pixel, 0, factors[number]))


def slow_contrast(images: np.ndarray, factors: np.ndarray) -> np.ndarray:
    means = []
    for image in images:
        greys = [grey((image[0, y, x], image[1, y, x], image[2, y, x])) for y, x in np.ndindex(*image.shape[1:])]
        means.append(math.fsum(greys) / len(greys))
    return for_each_pixel(images, lambda number, pixel: blended(pixel, means[number], factors[number]))


def slow_saturation(images: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return for_each_pixel(images, lambda number, pixel: blended(pixel, grey(pixel), factors[number]))


def slow_hue(images: np.ndarray, turns: np.ndarray) -> np.ndarray:
    def turned(number: int, pixel: Pixel) -> Pixel:
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((hue + turns[number]) % 1, saturation, value)

    return for_each_pixel(images, turned)


def slow_rotation(images: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Rotates counter-clockwise with bilinear interpolation of four pixels; the outside is black."""
    results = np.zeros(images.shape)
    height, width = images.shape[2:]
    for number, row, column in np.ndindex(len(images), height, width):
        right, up = column - (width - 1) / 2, (height - 1) / 2 - row
        back = -math.radians(degrees[number])
        before_right = right * math.cos(back) - up * math.sin(back)
        before_up = right * math.sin(back) + up * math.cos(back)
        x, y = before_right + (width - 1) / 2, (height - 1) / 2 - before_up
        for near_x in (math.floor(x), math.floor(x) + 1):
            for near_y in (math.floor(y), math.floor(y) + 1):
                if 0 <= near_x < width and 0 <= near_y < height:
                    weight = (1 - abs(x - near_x)) * (1 - abs(y - near_y))
                    results[number, :, row, column] += weight * images[number, :, near_y, near_x]
    return results


def slow_flip(images: np.ndarray, flipped: np.ndarray) -> np.ndarray:
    results = images.copy()
    for number, row, column in np.ndindex(len(images), *images.shape[2:]):
        if flipped[number]:
            results[number, :, row, images.shape[3] - 1 - column] = images[number, :, row, column]
    return results


FACTORS = np.array([0, 0.3, 0.6, 1, 1.4, 2], np.float32)
TURNS = np.array([-0.5, -0.1, 0, 0.07, 1 / 3, 0.5], np.float32)
DEGREES = np.array([-180, -45, -9.5, 0, 3.25, 120], np.float32)
FLIPPED = np.array([True, False, True, True, False, False])


# --- each corruption ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fast", "slow", "amounts", "tolerance"),
    [
        (corruptions.brightness, slow_brightness, FACTORS, 1e-6),
        (corruptions.contrast, slow_contrast, FACTORS, 1e-6),
        (corruptions.saturation, slow_saturation, FACTORS, 1e-6),
        (corruptions.hue, slow_hue, TURNS, 3e-6),
        (corruptions.rotation, slow_rotation, DEGREES, 3e-6),
        (corruptions.horizontal_flip, slow_flip, FLIPPED, 0),
    ],
    ids=["brightness", "contrast", "saturation", "hue", "rotation", "horizontal_flip"],
)
@pytest.mark.parametrize("shape", [(6, 7), (8, 8)], ids=["oblong", "square"])
def test_corruption_equals_a_slow_loop(
    fast: Callable[[np.ndarray, np.ndarray], np.ndarray],
    slow: Callable[[np.ndarray, np.ndarray], np.ndarray],
    amounts: np.ndarray,
    tolerance: float,
    shape: tuple[int, int],
) -> None:
    images = made(len(amounts), *shape)
    before = images.copy()
    result = fast(images, amounts)
    np.testing.assert_allclose(result, slow(images, amounts), rtol=0, atol=tolerance)
    assert result.dtype == np.float32 and result.shape == images.shape
    assert result.min() >= 0 and result.max() <= 1 + 1e-6
    np.testing.assert_array_equal(images, before)


def test_quarter_turn_is_counter_clockwise() -> None:
    images = made(2, 7, 7)
    turned = corruptions.rotation(images, np.array([90, -90], np.float32))
    np.testing.assert_allclose(turned[0], np.rot90(images[0], 1, axes=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(turned[1], np.rot90(images[1], -1, axes=(1, 2)), atol=1e-5)
    top_right = np.zeros((1, 3, 7, 7), np.float32)
    top_right[:, :, 0, 6] = 1
    assert corruptions.rotation(top_right, np.array([90.0]))[0, 0, 0, 0] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("degrees", [-33.0, 7.5, 180.0])
def test_rotation_equals_torchvisions(degrees: float) -> None:
    import torch
    from torchvision.transforms.functional import InterpolationMode, rotate

    images = made(2, 9, 12)
    theirs = rotate(torch.from_numpy(images), degrees, InterpolationMode.BILINEAR)
    turned = corruptions.rotation(images, np.full(2, degrees, np.float32))
    np.testing.assert_allclose(turned, theirs.numpy(), atol=1e-5)


def test_rotation_fills_the_outside_with_black() -> None:
    turned = corruptions.rotation(np.ones((1, 3, 9, 9), np.float32), np.array([45.0]))[0]
    assert turned[:, [0, 0, -1, -1], [0, -1, 0, -1]].max() == 0
    assert turned[:, 2:7, 2:7].min() == pytest.approx(1, abs=1e-6)


# --- colour jitter -----------------------------------------------------------------------------------------


def test_color_jitter_applies_the_four_in_each_images_own_order() -> None:
    slow = {"brightness": slow_brightness, "contrast": slow_contrast, "saturation": slow_saturation, "hue": slow_hue}
    orders = np.array(list(permutations(range(4))), np.uint8)
    images = made(len(orders), 3, 5)
    rng = np.random.default_rng(0)
    draws: dict[str, np.ndarray] = {"jitter_order": orders}
    for name in JITTERS:
        draws[name] = (rng.uniform(-0.5, 0.5, len(orders)) + (name != "hue")).astype(np.float32)
    expected = images.astype(np.float64)
    for number, order in enumerate(orders):
        one = slice(number, number + 1)
        for position in order:
            name = JITTERS[position]
            expected[one] = slow[name](expected[one], draws[name][one])
    result = corruptions.color_jitter(images, draws)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)
    assert result.dtype == np.float32 and result.min() >= 0 and result.max() <= 1


# --- the draws ---------------------------------------------------------------------------------------------


def test_draws_are_within_their_strengths_and_reach_them() -> None:
    draws = draw_mix(np.arange(2000), strengths(0.4, 0.3, 0.2, 0.1, 10, 0.25), 0, "train")
    assert list(draws) == [*JITTERS, "jitter_order", "angle_degrees", "flipped"]
    changes = {name: draws[name] - (name != "hue") for name in JITTERS} | {"angle_degrees": draws["angle_degrees"]}
    limits = {"brightness": 0.4, "contrast": 0.3, "saturation": 0.2, "hue": 0.1, "angle_degrees": 10}
    for name, change in changes.items():
        assert draws[name].dtype == np.float32 and draws[name].shape == (2000,)
        assert 0.99 * limits[name] < max(-change.min(), change.max()) <= limits[name] * (1 + 1e-6)
        assert 0.99 * limits[name] < min(-change.min(), change.max())
        assert change.std() == pytest.approx(limits[name] / math.sqrt(3), rel=0.05)  # uniform
    assert draws["flipped"].dtype == bool and draws["flipped"].mean() == pytest.approx(0.25, abs=0.03)
    orders, counts = np.unique(draws["jitter_order"], axis=0, return_counts=True)
    assert orders.tolist() == [list(order) for order in permutations(range(4))]
    assert counts.min() > 50 and counts.max() < 120  # 83 of each are expected


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0), (1.0, 1)])
def test_flip_probability_0_never_flips_and_1_always_flips(probability: float, share: int) -> None:
    flipped = draw_mix(np.arange(50), strengths(probability=probability), 0, "train")["flipped"]
    assert flipped.mean() == share


def test_noise_has_the_requested_standard_deviation() -> None:
    noise = draw_noise(np.arange(50), 0.1, 0, "train", (3, 16, 16))
    assert noise.shape == (50, 3, 16, 16) and noise.dtype == np.float32
    assert noise.std() == pytest.approx(0.1, rel=0.02) and abs(noise.mean()) < 0.001
    np.testing.assert_allclose(draw_noise(np.arange(50), 0.3, 0, "train", (3, 16, 16)), 3 * noise, rtol=1e-5)


@pytest.mark.parametrize("indices", [[5, 2], [2, 5], [9], [0, 3, 3]])
def test_draws_are_keyed_by_index(indices: list[int]) -> None:
    whole, some = (draw_mix(chosen, strengths(), 3, "train") for chosen in (np.arange(10), np.array(indices)))
    for name, values in some.items():
        np.testing.assert_array_equal(values, whole[name][indices])
    noise, few = (draw_noise(chosen, 0.1, 3, "train", (3, 4, 4)) for chosen in (np.arange(10), np.array(indices)))
    np.testing.assert_array_equal(few, noise[indices])


@pytest.mark.parametrize(("seed", "split"), [(0, "test"), (1, "train")])
def test_every_draw_differs_by_seed_and_raw_split(seed: int, split: str) -> None:
    indices = np.arange(100)
    ours, others = draw_mix(indices, strengths(), 0, "train"), draw_mix(indices, strengths(), seed, split)
    for name in (*JITTERS, "angle_degrees"):
        assert not np.isin(ours[name], others[name]).any()
    assert (ours["flipped"] != others["flipped"]).any()
    assert (ours["jitter_order"] != others["jitter_order"]).any()
    noise, other = draw_noise(indices, 0.1, 0, "train", (3,)), draw_noise(indices, 0.1, seed, split, (3,))
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.2


def test_draw_of_a_corruption_does_not_depend_on_the_strength_of_others() -> None:
    usual = draw_mix(np.arange(20), strengths(), 0, "train")
    without_jitter = draw_mix(np.arange(20), strengths(0, 0, 0, 0, probability=0, sigma=0), 0, "train")
    np.testing.assert_array_equal(without_jitter["angle_degrees"], usual["angle_degrees"])
    other_rotation = draw_mix(np.arange(20), strengths(max_degrees=0, probability=0.9), 0, "train")
    for name in (*JITTERS, "jitter_order"):
        np.testing.assert_array_equal(other_rotation[name], usual[name])


def test_different_corruptions_do_not_share_a_stream() -> None:
    draws = draw_mix(np.arange(500), strengths(1, 1, 1, 0.5, 180, 0.5), 0, "train")
    noise = draw_noise(np.arange(500), 1, 0, "train", (2,))
    columns = [*(draws[name] for name in (*JITTERS, "angle_degrees", "flipped")), *noise.T]
    correlations = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlations).max() < 0.15


# --- the mix -----------------------------------------------------------------------------------------------


def test_mix_is_jitter_then_rotation_then_flip_then_noise() -> None:
    images = made(8)
    draws = draw_mix(np.arange(8), strengths(max_degrees=60), 0, "train")
    noise = draw_noise(np.arange(8), 0.1, 0, "train", images.shape[1:])
    assert draws["flipped"].any() and not draws["flipped"].all()
    jittered = corruptions.color_jitter(images, draws)
    expected = slow_flip(slow_rotation(jittered, draws["angle_degrees"]), draws["flipped"]) + noise
    result = mix(images, draws, noise)
    np.testing.assert_allclose(result, np.minimum(np.maximum(expected, 0), 1), rtol=0, atol=3e-6)
    assert result.dtype == np.float32


def test_strong_noise_is_clipped_to_the_range() -> None:
    images = made(3)
    noise = draw_noise(np.arange(3), 1, 0, "train", images.shape[1:])
    result = mix(images, draw_mix(np.arange(3), NOTHING, 0, "train"), noise)
    assert (result.min(), result.max()) == (0, 1)
    assert np.isin(result, [0, 1]).mean() > 0.2


def test_identity_strengths_give_the_identity() -> None:
    images = made(6)
    draws = draw_mix(np.arange(6), NOTHING, 0, "train")
    np.testing.assert_allclose(mix(images, draws, np.zeros_like(images)), images, rtol=0, atol=1e-6)


# --- the training set and its stage ------------------------------------------------------------------------


def test_section_of_params_gives_the_strengths() -> None:
    wanted = strengths(0.1, 0.2, 0.3, 0.05, 7, 0.25, 0.15)
    assert Mix.model_validate(as_section(wanted)).strengths() == wanted


def test_identity_strengths_give_the_same_grey_levels() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    levels = np.concatenate([levels, grey_levels(5, 16, 16)])
    corrupted, _ = mixed_copies(levels, NOTHING, 0, "train")
    np.testing.assert_array_equal(corrupted, levels, strict=True)


@pytest.mark.parametrize("chunk", [1, 3, 10, 11])
def test_result_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    levels = grey_levels(10)
    whole, draws = mixed_copies(levels, strengths(), 0, "test")
    monkeypatch.setattr("robustness_study.corruptions.copies.CHUNK", chunk)
    again, drawn = mixed_copies(levels, strengths(), 0, "test")
    np.testing.assert_array_equal(again, whole)
    assert list(drawn) == list(draws)
    for name, values in draws.items():
        np.testing.assert_array_equal(drawn[name], values)


def test_first_images_do_not_depend_on_later_ones() -> None:
    levels = grey_levels(10)
    before = levels.copy()
    np.testing.assert_array_equal(
        mixed_copies(levels[:4], strengths(), 0, "train")[0], mixed_copies(levels, strengths(), 0, "train")[0][:4]
    )
    np.testing.assert_array_equal(levels, before)


def test_same_image_gets_different_corruptions_at_each_index_and_split() -> None:
    levels = np.repeat(grey_levels(1), 5, axis=0)
    copies = [
        mixed_copies(levels, strengths(), seed, split)[0] for seed, split in ((0, "train"), (0, "test"), (1, "train"))
    ]
    assert len({image.tobytes() for copy in copies for image in copy}) == 15


def test_recorded_draws_reproduce_the_image_rounded_to_the_nearest_level() -> None:
    levels = grey_levels(12)
    corrupted, draws = mixed_copies(levels, strengths(), 5, "test")
    assert corrupted.dtype == np.uint8 and corrupted.shape == levels.shape
    chosen = np.array([7, 2, 11])
    noise = draw_noise(chosen, 0.1, 5, "test", (3, 8, 8))
    again = mix(as_floats(levels[chosen]), {name: values[chosen] for name, values in draws.items()}, noise)
    exact = again.transpose(0, 2, 3, 1).astype(np.float64) * 255
    error = corrupted[chosen] - exact
    assert np.abs(error).max() <= 0.5 + 1e-4  # nearest
    assert np.abs(error).max() > 0.45 and abs(error.mean()) < 0.05  # not truncated, which would lose half a level


def test_named_corruptions_come_first_each_on_its_share_of_the_images() -> None:
    levels = grey_levels(400, 8, 8)
    before = [
        ("fog", 3, 0.25),
        ("contrast", 2, 1.0),
    ]
    found = under_named(levels, before, 3, "train")
    own = [derive_seed(3, "before", place) for place in (0, 1)]
    fogged = under(levels, "fog", 3, seed=own[0], split="train")
    in_fog, clear = (under(images, "contrast", 2, seed=own[1], split="train") for images in (fogged, levels))
    each = (found == in_fog).all((1, 2, 3)), (found == clear).all((1, 2, 3))
    assert (each[0] | each[1]).all() and 70 <= each[0].sum() <= 130 and not (each[0] & each[1]).any()
    # Which images are chosen does not depend on the other images.
    np.testing.assert_array_equal(under_named(levels[:50], before, 3, "train"), found[:50])
    assert not np.array_equal(under_named(levels, before, 3, "test"), found)
    assert under_named(levels, [], 3, "train") is levels


def test_a_corruption_named_twice_is_drawn_independently() -> None:
    levels = np.full((300, 8, 8, 3), 128, np.uint8)
    half = ("gaussian_noise", 1, 0.5)
    twice = under_named(levels, [half, half], 3, "train").astype(float)
    # A quarter of the images get no noise, half get it once, a quarter twice: choices and noise are independent.
    dose = 0.04 * 255
    doses = np.rint((twice.std((1, 2, 3)) / dose) ** 2)
    assert [round((doses == count).mean(), 1) for count in (0, 1, 2)] == pytest.approx([0.25, 0.5, 0.25], abs=0.1)


def test_stage_corrupts_the_output_of_named_corruptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    levels = grey_levels(6)
    named = {"corruption": "fog", "severity": 5, "probability": 1.0}
    section = {"seed": 4, "before": [named], "mix": as_section(strengths())}
    Path("params.yaml").write_text(json.dumps({"corrupt": section}))
    write_npz("data/raw/test.npz", images=levels, labels=np.zeros(6, np.uint8))
    monkeypatch.setattr(sys, "argv", ["corrupt", "--split", "test"])
    stage.main()
    own = derive_seed(4, "before", 0)
    expected, _ = mixed_copies(under(levels, "fog", 5, seed=own, split="test"), strengths(), 4, "test")
    with np.load("data/corrupted/test.npz") as written:
        np.testing.assert_array_equal(written["images"], expected, strict=True)


def test_stage_writes_the_copies_and_the_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    levels = grey_levels(6)
    Path("params.yaml").write_text(json.dumps({"corrupt": {"seed": 4, "before": [], "mix": as_section(strengths())}}))
    write_npz("data/raw/test.npz", images=levels, labels=np.zeros(6, np.uint8))
    monkeypatch.setattr(sys, "argv", ["corrupt", "--split", "test"])
    stage.main()
    corrupted, draws = mixed_copies(levels, strengths(), 4, "test")
    assert [path.name for path in Path("data/corrupted").iterdir()] == ["test.npz"]
    with np.load("data/corrupted/test.npz") as written:
        assert set(written) == {"images", *draws}
        np.testing.assert_array_equal(written["images"], corrupted, strict=True)
        for name, values in draws.items():
            np.testing.assert_array_equal(written[name], values, strict=True)
    change = sum(abs(int(a) - int(b)) for a, b in zip(corrupted.ravel(), levels.ravel(), strict=True)) / levels.size
    first, last = capsys.readouterr().out.splitlines()
    assert first == "corrupt test: 6 images"
    assert last == f"corrupt test: mean absolute change {change:.1f} (of 255)"
