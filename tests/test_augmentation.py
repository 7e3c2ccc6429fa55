"""Training augmentation against a slow loop; an image's draws do not depend on other images."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from robustness_study.augmentation.crop_flip_cutout import Augmentation

CPU = torch.device("cpu")


def images(count: int, height: int = 9, width: int = 9) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def draw(count: int, seed: int = 0, epoch: int = 1, **changes: Any) -> Augmentation:
    settings: dict[str, Any] = {"padding": 4, "flip": "random", "cutout": 0} | changes
    return Augmentation.draw(count, **settings, seed=seed, epoch=epoch, device=CPU)


def slowly(augment: Augmentation, batch: torch.Tensor, positions: list[int]) -> np.ndarray:
    """Pad, cut, mirror and paint grey, one image after the other."""
    results = []
    for image, position in zip(batch.numpy(), positions, strict=True):
        height, width = image.shape[1:]
        padded = np.pad(image, ((0, 0), *[(augment.padding, augment.padding)] * 2), mode="reflect")
        top, left = augment.offsets[position].tolist()
        cut = padded[:, top : top + height, left : left + width]
        result = (cut[:, :, ::-1] if augment.flips[position] else cut).copy()
        row, column = (augment.centres[position] * torch.tensor([height, width])).int().tolist()
        half = augment.cutout // 2
        for y in range(row - half, row - half + augment.cutout):
            for x in range(column - half, column - half + augment.cutout):
                if 0 <= y < height and 0 <= x < width:
                    result[:, y, x] = 0.5
        results.append(result)
    return np.stack(results)


@pytest.mark.parametrize("cutout", [0, 1, 4, 5, 20])
@pytest.mark.parametrize("flip", ["off", "random", "alternating"])
@pytest.mark.parametrize("padding", [0, 1, 6])
@pytest.mark.parametrize("shape", [(9, 9), (7, 12)], ids=["square", "oblong"])
def test_batch_equals_a_slow_loop(shape: tuple[int, int], padding: int, flip: str, cutout: int) -> None:
    augment = draw(40, 3, 2, padding=padding, flip=flip, cutout=cutout)
    positions = np.random.default_rng(0).permutation(40)[:25].tolist()
    batch = images(25, *shape)
    result = augment(batch, torch.tensor(positions))
    assert result.dtype == torch.float32 and result.shape == batch.shape
    np.testing.assert_array_equal(result.numpy(), slowly(augment, batch, positions))


def test_everything_off_is_the_identity() -> None:
    batch = images(10)
    assert torch.equal(draw(10, padding=0, flip="off")(batch, torch.arange(10)), batch)


def test_centre_crop_is_the_image_itself() -> None:
    batch = images(2)
    augment = Augmentation(4, torch.full((2, 2), 4), torch.tensor([False, True]), 0, torch.zeros(2, 2))
    assert torch.equal(augment(batch, torch.arange(2)), torch.stack([batch[0], batch[1].flip(2)]))


def test_result_does_not_depend_on_the_batch() -> None:
    batch, augment = images(12), draw(12, cutout=3)
    whole = augment(batch, torch.arange(12))
    for positions in ([5, 2], [2], [11, 0, 5, 5]):
        assert torch.equal(augment(batch[positions], torch.tensor(positions)), whole[positions])


def test_input_images_are_not_changed() -> None:
    batch = images(5)
    before = batch.clone()
    draw(5, cutout=3)(batch, torch.arange(5))
    assert torch.equal(batch, before)


@pytest.mark.parametrize("padding", [1, 4])
def test_offsets_reach_both_ends_in_both_directions(padding: int) -> None:
    offsets = draw(2000, padding=padding).offsets
    for direction in offsets.T:
        counts = np.bincount(direction.numpy())
        assert len(counts) == 2 * padding + 1
        assert counts.min() > 0.7 * counts.mean() and counts.max() < 1.3 * counts.mean()
    assert not torch.equal(offsets[:, 0], offsets[:, 1])


def test_half_of_the_images_are_mirrored_or_none() -> None:
    assert 900 < draw(2000, flip="random").flips.sum() < 1100
    assert draw(2000, flip="off").flips.sum() == 0


def test_alternating_flip_shows_every_image_both_ways_in_any_two_epochs() -> None:
    flips = [draw(2000, epoch=epoch, flip="alternating").flips for epoch in range(1, 6)]
    assert 900 < flips[0].sum() < 1100
    assert all(torch.equal(now, ~before) for before, now in itertools.pairwise(flips))
    assert not torch.equal(draw(2000, seed=1, flip="alternating").flips, flips[0])


def test_cut_out_squares_lie_anywhere_and_partly_outside() -> None:
    whole = draw(500, padding=0, flip="off", cutout=8)(torch.zeros(500, 3, 32, 32), torch.arange(500))
    grey = (whole == 0.5).all(1)  # (N, H, W)
    assert grey.flatten(1).sum(1).max() == 64 and grey.flatten(1).sum(1).min() >= 16
    assert grey.any(0).all()  # every pixel is cut out in some image


def test_draws_depend_only_on_seed_and_epoch() -> None:
    torch.manual_seed(5)
    draws = [draw(50, *at) for at in ((0, 1), (0, 2), (1, 1), (0, 1))]
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(5)))
    for part in ("offsets", "flips", "centres"):
        values = [tuple(getattr(each, part).flatten().tolist()) for each in draws]
        assert values[0] == values[3] and len(set(values)) == 3


def test_cutout_does_not_change_crops_and_flips() -> None:
    """A recipe with cutout crops and flips the same way as one without."""
    plain = draw(50)
    for changes in ({"cutout": 8}, {"flip": "alternating"}, {"flip": "off"}):
        assert torch.equal(draw(50, **changes).offsets, plain.offsets)
    assert torch.equal(draw(50, cutout=8).flips, plain.flips)
