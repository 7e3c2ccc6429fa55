"""Each corruption against a slow, simple version: per pixel, or with scipy and Pillow."""

from __future__ import annotations

import colorsys
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from natural_images import natural_images
from PIL import Image
from scipy import ndimage

from robustness_study.corruptions import SEVERITIES, droplets, find, sampling, textures
from robustness_study.corruptions.draws import Draws

COUNT, SIDE = 3, 32
FLOATS = natural_images(COUNT, seed=1).astype(np.float64) / 255  # N×H×W×3


def draws(name: str, severity: int, count: int = COUNT) -> Draws:
    return Draws(np.arange(count), 0, "test", name, severity)


def ours(name: str, severity: int, images: np.ndarray = FLOATS) -> np.ndarray:
    """Images N×H×W×3 corrupted, as N×H×W×3."""
    tensor = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    return find(name)(tensor, severity, draws(name, severity, len(images))).permute(0, 2, 3, 1).numpy()


def constants(name: str, severity: int) -> Any:
    return find(name).severities[severity - 1]


def each_channel(function: Any, image: np.ndarray) -> np.ndarray:
    return np.stack([function(image[..., channel]) for channel in range(image.shape[-1])], -1)


def close(found: np.ndarray, expected: list[np.ndarray] | np.ndarray, tolerance: float = 2e-6) -> None:
    np.testing.assert_allclose(found, np.clip(np.stack(list(expected)), 0, 1), atol=tolerance, rtol=0)


# --- noise --------------------------------------------------------------------------------------------------

GREY = np.full((40, SIDE, SIDE, 3), 0.5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_and_speckle_have_their_standard_deviation(severity: int) -> None:
    for name, level in (("gaussian_noise", 1.0), ("speckle_noise", 0.5)):
        noise = ours(name, severity, GREY) - 0.5
        assert abs(noise.mean()) < 4 * noise.std() / math.sqrt(noise.size)
        assert noise.std() == pytest.approx(constants(name, severity) * level, rel=0.01)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_shot_noise_has_a_poisson_variance(severity: int) -> None:
    photons = constants("shot_noise", severity)
    counts = ours("shot_noise", severity, GREY) * photons
    np.testing.assert_allclose(counts, counts.round(), atol=1e-3)
    assert counts.mean() == pytest.approx(photons / 2, rel=0.01)
    assert counts.var() == pytest.approx(photons / 2, rel=0.02)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulses_are_black_or_white(severity: int) -> None:
    out, share = ours("impulse_noise", severity, GREY), constants("impulse_noise", severity)
    assert set(np.unique(out)) == {0.0, 0.5, 1.0}
    for level in (0, 1):
        assert (out == level).mean() == pytest.approx(share / 2, rel=0.1)


# --- blur ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_blur_equals_scipys(severity: int) -> None:
    sigma = constants("gaussian_blur", severity)
    close(
        ours("gaussian_blur", severity),
        [each_channel(lambda c: ndimage.gaussian_filter(c, sigma, mode="nearest"), image) for image in FLOATS],
    )


@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_is_a_softened_disk(severity: int) -> None:
    radius, softness = constants("defocus_blur", severity)
    disk = np.array([[float(x * x + y * y <= radius**2) for x in range(-8, 9)] for y in range(-8, 9)])
    taps = np.array([math.exp(-0.5 * (x / softness) ** 2) for x in (-1, 0, 1)])
    kernel = ndimage.convolve(disk / disk.sum(), np.outer(taps, taps) / taps.sum() ** 2, mode="constant")
    assert kernel.sum() == pytest.approx(1)
    close(
        ours("defocus_blur", severity),
        [each_channel(lambda c: ndimage.convolve(c, kernel, mode="mirror"), image) for image in FLOATS],
    )


@pytest.mark.parametrize(("severity", "side"), [(1, 32), (5, 32), (3, 64)])
def test_glass_blur_equals_a_loop_over_pixels(severity: int, side: int) -> None:
    """At 64 pixels shifts also go forward, so that a pixel may copy a pixel that was itself copied before."""
    images = natural_images(2, side, seed=2) / 255
    sigma, shift, times = constants("glass_blur", severity)
    sigma, shift = sigma * side / 32, shift * side // 32
    inner = side - 2 * shift
    shifts = draws("glass_blur", severity, 2).integers(-shift, shift, times, inner, inner, 2).numpy()
    expected = []
    for image, of_image in zip(images, shifts, strict=True):
        image = each_channel(lambda c: ndimage.gaussian_filter(c, sigma, mode="nearest"), image)
        for once in of_image:
            for row in range(side - shift, shift, -1):
                for column in range(side - shift, shift, -1):
                    right, down = once[row - shift - 1, column - shift - 1]
                    image[row, column] = image[row + down, column + right]
        expected.append(each_channel(lambda c: ndimage.gaussian_filter(c, sigma, mode="nearest"), image))
    close(ours("glass_blur", severity, images), expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_is_a_weighted_mean_along_a_line(severity: int) -> None:
    radius, sigma = constants("motion_blur", severity)
    angles = draws("motion_blur", severity).uniform(-45, 45).double().numpy()
    weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / sigma) ** 2)
    expected = np.zeros_like(FLOATS)
    for n, angle in enumerate(np.deg2rad(angles)):
        for tap, weight in enumerate(weights / weights.sum()):
            down, right = (math.ceil(tap * part - 0.5) for part in (math.sin(angle), math.cos(angle)))
            for y in range(SIDE):
                for x in range(SIDE):
                    at = min(max(y + down, 0), SIDE - 1), min(max(x + right, 0), SIDE - 1)
                    expected[n, y, x] += weight * FLOATS[n][at]
    close(ours("motion_blur", severity), expected, 1e-5)


def cut_to(image: np.ndarray, side: int) -> np.ndarray:
    start = (len(image) - side) // 2
    return image[start : start + side, start : start + side]


def zoomed(image: np.ndarray, factor: float) -> np.ndarray:
    """The middle, enlarged by scipy and cut."""
    side = len(image)
    cut = math.ceil(side / factor)
    start = (side - cut) // 2
    middle = image[start : start + cut, start : start + cut]
    return cut_to(each_channel(lambda c: ndimage.zoom(c, factor, order=1), middle), side)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_zoom_blur_is_a_mean_of_enlargements(severity: int) -> None:
    steps = constants("zoom_blur", severity)
    assert steps == len(np.arange(1, 1 + [0.06, 0.11, 0.16, 0.21, 0.26][severity - 1], 0.01))
    close(
        ours("zoom_blur", severity),
        [(i + sum(zoomed(i, 1 + s / 100) for s in range(steps))) / (steps + 1) for i in FLOATS],
        1e-5,
    )


# --- weather ------------------------------------------------------------------------------------------------


def test_clouds_are_a_plasma_fractal() -> None:
    """Each height is the mean of those of its four neighbours that already exist, plus a shift."""
    decay, size = 1.75, 16
    found = textures.clouds(size, decay, draws("fog", 5, 2)).numpy()
    for index in range(2):
        heights, reach, spacing = np.zeros((size, size)), 1.0, size
        stream = Draws(np.array([index]), 0, "test", "fog", 5)
        while spacing >= 2:
            half, cells = spacing // 2, size // spacing
            shifts = stream.uniform(-reach, reach, 3, cells, cells)[0].double().numpy()
            for kind, (down, right) in enumerate([(half, half), (0, half), (half, 0)]):
                ways = [(1, 1), (1, -1), (-1, 1), (-1, -1)] if kind == 0 else [(1, 0), (-1, 0), (0, 1), (0, -1)]
                for row in range(cells):
                    for column in range(cells):
                        y, x = row * spacing + down, column * spacing + right
                        around = [heights[(y + half * dy) % size, (x + half * dx) % size] for dy, dx in ways]
                        heights[y, x] = sum(around) / 4 + shifts[kind, row, column]
            spacing, reach = half, reach / decay**2
        expected = (heights - heights.min()) / (heights.max() - heights.min())
        np.testing.assert_allclose(found[index], expected, atol=1e-5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_is_as_bright_as_the_image(severity: int) -> None:
    strength, decay = constants("fog", severity)
    cloud = textures.clouds(SIDE, decay, draws("fog", severity)).numpy()
    brightest = FLOATS.max((1, 2, 3), keepdims=True)
    close(ours("fog", severity), (FLOATS + strength * cloud[..., None]) * brightest / (brightest + strength), 1e-5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_and_saturation_equal_colorsys(severity: int) -> None:
    images = np.concatenate([FLOATS, np.zeros((1, SIDE, SIDE, 3)), np.full((1, SIDE, SIDE, 3), 0.5)])
    added, (factor, offset) = constants("brightness", severity), constants("saturate", severity)
    brighter, coloured = np.empty_like(images), np.empty_like(images)
    for at in np.ndindex(images.shape[:3]):
        hue, saturation, value = colorsys.rgb_to_hsv(*images[at])
        brighter[at] = colorsys.hsv_to_rgb(hue, saturation, min(value + added, 1))
        coloured[at] = colorsys.hsv_to_rgb(hue, min(max(saturation * factor + offset, 0), 1), value)
    close(ours("brightness", severity, images), brighter)
    close(ours("saturate", severity, images), coloured)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_is_streaks_on_a_whitened_image(severity: int) -> None:
    mean, sigma, enlarged, threshold, radius, fade, kept = constants("snow", severity)
    drawn = draws("snow", severity)
    flakes = mean + sigma * drawn.normal(1, SIDE, SIDE).double().numpy()[:, 0]
    angles = np.deg2rad(drawn.uniform(-135, -45).double().numpy())
    expected = []
    for image, layer, angle in zip(FLOATS, flakes, angles, strict=True):
        layer = zoomed(layer[..., None], enlarged)[..., 0]
        layer = np.where(layer < threshold, 0, np.clip(layer, 0, 1))
        weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / fade) ** 2)
        y, x = np.mgrid[:SIDE, :SIDE]
        streaks = np.zeros((SIDE, SIDE))
        for tap, weight in enumerate(weights / weights.sum()):
            row, column = y + math.ceil(tap * math.sin(angle) - 0.5), x + math.ceil(tap * math.cos(angle) - 0.5)
            streaks += weight * layer[row.clip(0, SIDE - 1), column.clip(0, SIDE - 1)]
        luma = (image @ [0.299, 0.587, 0.114])[..., None]
        whitened = kept * image + (1 - kept) * np.maximum(image, luma * 1.5 + 0.5)
        expected.append(whitened + (streaks + np.rot90(streaks, 2))[..., None])
    close(ours("snow", severity), expected, 2e-5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_is_a_weighted_sum_with_ice(severity: int) -> None:
    of_image, of_ice = constants("frost", severity)
    ice = textures.ice(SIDE, 1.0, draws("frost", severity)).numpy()
    assert 0 <= ice.min() < ice.max() <= 1
    close(ours("frost", severity), of_image * FLOATS + of_ice * ice[..., None])


@pytest.mark.parametrize("severity", [4, 5])
def test_mud_covers_the_image(severity: int) -> None:
    mean, sigma, smoothing, threshold, strength, _ = constants("spatter", severity)
    layers = mean + sigma * draws("spatter", severity).normal(1, SIDE, SIDE).double().numpy()[:, 0]
    expected = []
    for image, layer in zip(FLOATS, layers, strict=True):
        above = ndimage.gaussian_filter(layer, smoothing, mode="nearest") > threshold
        spots = ndimage.gaussian_filter(above.astype(float), strength, mode="nearest")[..., None]
        spots[spots < 0.8] = 0
        expected.append(image * (1 - spots) + np.array([63, 42, 20]) / 255 * spots)
    close(ours("spatter", severity), expected)
    assert all((np.abs(one - image) > 0.1).any() for one, image in zip(expected, FLOATS, strict=True))


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_water_lightens_in_one_colour_where_drops_are(severity: int) -> None:
    mean, sigma, smoothing, threshold, strength, _ = constants("spatter", severity)
    layers = mean + sigma * draws("spatter", severity, 40).normal(1, SIDE, SIDE).double().numpy()[:, 0]
    added = ours("spatter", severity, np.zeros((40, SIDE, SIDE, 3)))
    colour = np.array([175, 238, 238]) / 255
    share = added / colour
    np.testing.assert_allclose(share, share[..., :1].repeat(3, 3), atol=1e-6)
    for one, layer in zip(share[..., 0], layers, strict=True):
        dry = ndimage.gaussian_filter(layer, smoothing, mode="nearest") < threshold - 1e-5
        assert (one[dry] == 0).all()
        assert one.max() == pytest.approx(0 if dry.all() else strength, abs=1e-6)


def test_distance_is_euclidean_up_to_its_limit() -> None:
    marked = np.random.default_rng(0).random((5, 1, 40, 40)) < 0.003
    expected = [np.minimum(ndimage.distance_transform_edt(~one[0]), 20) for one in marked]
    np.testing.assert_allclose(droplets.distance(torch.from_numpy(marked))[:, 0], expected, atol=1e-5)
    assert (droplets.distance(torch.zeros((1, 1, 32, 32), dtype=torch.bool)) == 20).all()


def test_edges_of_a_square_are_one_pixel_wide() -> None:
    """The edges of a square are on its border, one pixel wide. A weak edge counts if a strong one touches it."""
    image = torch.zeros((1, 1, 16, 16))
    image[..., 4:12, 4:12] = 200
    found = droplets.edges(image, 50, 150)[0, 0].numpy()
    inner = ndimage.binary_erosion(np.pad(np.ones((10, 10), bool), 3), iterations=3)
    assert found.any() and not (found & inner).any() and not found[:3].any() and not found[:, 13:].any()
    assert all(2 <= found[row].sum() <= 4 for row in range(6, 10))
    faint = torch.zeros((1, 1, 16, 16))
    faint[..., 8:] = 20  # the gradient is 80: weak
    assert not droplets.edges(faint, 50, 150).any()
    faint[..., :6, 8:] = 60  # and strong above
    assert droplets.edges(faint, 50, 150)[0, 0, 9:].any()


def test_equalised_histogram_is_flat() -> None:
    rng = np.random.default_rng(1)
    levels = np.minimum(rng.integers(0, 30, (2, 1, 32, 32)) ** 2 // 4, 255)
    found = droplets.equalised(torch.from_numpy(levels).float()).numpy()
    for one, out in zip(levels[:, 0], found[:, 0], strict=True):
        darkest = (one == one.min()).sum()
        for level in np.unique(one):
            expected = round(float(((one <= level).sum() - darkest) * 255 / (one.size - darkest)))
            assert set(out[one == level]) == {expected}
    same = torch.full((1, 1, 8, 8), 7.0)
    assert torch.equal(droplets.equalised(same), same)


# --- digital ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_is_about_each_channels_mean(severity: int) -> None:
    mean = FLOATS.mean((1, 2), keepdims=True)
    close(ours("contrast", severity), mean + constants("contrast", severity) * (FLOATS - mean))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_equals_pillows_box_filter(severity: int) -> None:
    images = natural_images(COUNT, seed=1)
    small = int(32 * constants("pixelate", severity))
    smaller = [Image.fromarray(image).resize((small, small), Image.Resampling.BOX) for image in images]
    expected = [np.asarray(image.resize((32, 32), Image.Resampling.BOX)) / 255 for image in smaller]
    close(ours("pixelate", severity, images / 255), expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_equals_pillows(severity: int) -> None:
    images = natural_images(COUNT, seed=1)
    expected = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=constants("jpeg_compression", severity))
        expected.append(np.asarray(Image.open(file)) / 255)
    close(ours("jpeg_compression", severity, images / 255), expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_is_an_affine_map_and_displacements(severity: int) -> None:
    strength, sigma, shift = (constant * SIDE for constant in constants("elastic_transform", severity))
    drawn = draws("elastic_transform", severity)
    points = np.array([[26.0, 26.0], [26.0, 6.0], [6.0, 6.0]])  # x, y
    moved = points + drawn.uniform(-shift, shift, 3, 2).double().numpy()
    shifts = None if strength == 0 else drawn.uniform(-1, 1, 2, SIDE, SIDE).double().numpy()
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    expected = []
    for n, image in enumerate(FLOATS):
        back = np.linalg.solve(np.c_[moved[n], np.ones(3)], points)
        source = np.stack([x, y, np.ones_like(x)], -1) @ back
        at = [source[..., 1], source[..., 0]]
        image = each_channel(lambda c, at=at: ndimage.map_coordinates(c, at, order=1, mode="mirror"), image)
        if shifts is not None:
            smooth = [ndimage.gaussian_filter(s, sigma, mode="reflect", truncate=3) * strength for s in shifts[n]]
            at = [y + smooth[1], x + smooth[0]]
            image = each_channel(lambda c, at=at: ndimage.map_coordinates(c, at, order=1, mode="reflect"), image)
        expected.append(image)
    close(ours("elastic_transform", severity), expected, 2e-4)


# --- other sizes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "motion_blur", "glass_blur", "snow", "spatter"])
def test_lengths_scale_with_the_image(name: str) -> None:
    """An image of twice the width, corrupted and shrunk, changes about as much as the small one."""
    small = natural_images(20, 32, seed=5) / 255
    large = small.repeat(2, 1).repeat(2, 2)
    shrunk = ours(name, 5, large).reshape(20, 32, 2, 32, 2, 3).mean((2, 4))
    change = np.abs(ours(name, 5, small) - small).mean()
    assert np.abs(shrunk - small).mean() == pytest.approx(change, rel=0.35)


def test_matrices_keep_the_brightness() -> None:
    for matrix in (
        sampling.gaussian(32, 1.3),
        sampling.zoom(32, *sampling.zoom_sizes(32, 1.17)),
        sampling.box(32, 27),
        sampling.box(27, 32),
    ):
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
