"""Training augmentation against a slow loop, and that an image's draws are its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.lib.augmentation import CropAndFlip

CPU = torch.device("cpu")


def images(count: int, height: int = 9, width: int = 9) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def slowly(augment: CropAndFlip, batch: torch.Tensor, positions: list[int]) -> np.ndarray:
    """Pad, cut and mirror one image after the other."""
    results = []
    for image, position in zip(batch.numpy(), positions, strict=True):
        height, width = image.shape[1:]
        padded = np.pad(image, ((0, 0), *[(augment.padding, augment.padding)] * 2), mode="reflect")
        top, left = augment.offsets[position].tolist()
        cut = padded[:, top : top + height, left : left + width]
        results.append(cut[:, :, ::-1] if augment.flips[position] else cut)
    return np.stack(results)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 4, 6])
@pytest.mark.parametrize("shape", [(9, 9), (7, 12)], ids=["square", "oblong"])
def test_batch_is_what_a_slow_loop_gives(shape: tuple[int, int], padding: int, flip: bool) -> None:
    augment = CropAndFlip.draw(40, padding, flip, 3, 2, CPU)
    positions = np.random.default_rng(0).permutation(40)[:25].tolist()
    batch = images(25, *shape)
    result = augment(batch, torch.tensor(positions))
    assert result.dtype == torch.float32 and result.shape == batch.shape
    np.testing.assert_array_equal(result.numpy(), slowly(augment, batch, positions))


def test_neither_padding_nor_flip_is_the_identity() -> None:
    batch = images(10)
    assert torch.equal(CropAndFlip.draw(10, 0, False, 0, 1, CPU)(batch, torch.arange(10)), batch)


def test_middle_of_the_padding_is_the_image_itself() -> None:
    batch = images(2)
    augment = CropAndFlip(4, torch.full((2, 2), 4), torch.tensor([False, True]))
    assert torch.equal(augment(batch, torch.arange(2)), torch.stack([batch[0], batch[1].flip(2)]))


def test_result_does_not_depend_on_the_batch() -> None:
    batch, augment = images(12), CropAndFlip.draw(12, 4, True, 0, 1, CPU)
    whole = augment(batch, torch.arange(12))
    for positions in ([5, 2], [2], [11, 0, 5, 5]):
        assert torch.equal(augment(batch[positions], torch.tensor(positions)), whole[positions])


def test_given_images_are_left_as_they_were() -> None:
    batch = images(5)
    before = batch.clone()
    CropAndFlip.draw(5, 4, True, 0, 1, CPU)(batch, torch.arange(5))
    assert torch.equal(batch, before)


@pytest.mark.parametrize("padding", [1, 4])
def test_offsets_reach_both_ends_in_both_directions(padding: int) -> None:
    offsets = CropAndFlip.draw(2000, padding, True, 0, 1, CPU).offsets
    for direction in offsets.T:
        counts = np.bincount(direction.numpy())
        assert len(counts) == 2 * padding + 1
        assert counts.min() > 0.7 * counts.mean() and counts.max() < 1.3 * counts.mean()
    assert not torch.equal(offsets[:, 0], offsets[:, 1])


def test_half_of_the_images_are_mirrored_or_none() -> None:
    assert 900 < CropAndFlip.draw(2000, 4, True, 0, 1, CPU).flips.sum() < 1100
    assert CropAndFlip.draw(2000, 4, False, 0, 1, CPU).flips.sum() == 0


def test_draws_follow_seed_and_epoch_alone() -> None:
    torch.manual_seed(5)
    draws = [CropAndFlip.draw(50, 4, True, *at, CPU) for at in ((0, 1), (0, 2), (1, 1), (0, 1))]
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(5)))
    for part in ("offsets", "flips"):
        values = [tuple(getattr(draw, part).flatten().tolist()) for draw in draws]
        assert values[0] == values[3] and len(set(values)) == 3
