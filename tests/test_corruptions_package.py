"""What holds for every corruption: same image, same bytes; and what a person sees of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from natural_images import natural_images
from PIL import Image

from robustness_study import corruptions
from robustness_study.core.errors import StudyError
from robustness_study.core.seeds import streams
from robustness_study.corruptions import apply
from robustness_study.corruptions.apply import corrupt
from robustness_study.corruptions.draws import Draws

REPOSITORY = Path(__file__).resolve().parents[1]
NAMES = corruptions.names()
IMAGES = natural_images(12)
RANDOM = [name for name in NAMES if name not in {
    "defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "saturate",
}]  # fmt: skip


def test_names_are_the_fields() -> None:
    assert len(corruptions.BENCHMARK) == 19 and len(set(NAMES)) == len(NAMES) == 24
    assert set(corruptions.HELD_OUT) < set(corruptions.BENCHMARK)
    for name in NAMES:
        found = corruptions.find(name)
        assert found.name == name and len(found.severities) == 5 and found.function.__doc__
        assert name in corruptions.FAMILIES[corruptions.family_of(name)]


@settings(max_examples=40)
@given(
    st.sampled_from(NAMES),
    st.lists(st.integers(0, 11), min_size=1, max_size=12),
    st.integers(0, 5),
    st.integers(0, 2**31),
    st.sampled_from([8, 16, 33, 64]),
)
def test_any_images_at_any_severity(name: str, chosen: list[int], severity: int, seed: int, side: int) -> None:
    """Shape, type and determinism, whatever the size; in whatever order and batch an image comes, the same bytes."""
    images, indices = natural_images(12, side)[chosen], np.array(chosen)
    whole = corrupt(images, name, severity, seed=seed, split="test", indices=indices)
    assert whole.dtype == np.uint8 and whole.shape == images.shape
    if severity == 0:
        assert np.array_equal(whole, images)
    order = np.random.default_rng(seed).permutation(len(chosen))
    shuffled = corrupt(images[order], name, severity, seed=seed, split="test", indices=indices[order])
    assert np.array_equal(shuffled, whole[order])


@pytest.mark.parametrize("name", NAMES)
def test_bytes_depend_on_the_images_own_names_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    severities = np.arange(12) % 6
    together = corrupt(IMAGES, name, severities, seed=0, split="test")
    for index in range(12):
        alone = corrupt(IMAGES[[index]], name, int(severities[index]), seed=0, split="test", indices=np.array([index]))
        assert np.array_equal(alone[0], together[index]), index
    monkeypatch.setattr(apply, "CHUNK_PIXELS", 5 * 32 * 32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert np.array_equal(corrupt(IMAGES, name, severities, seed=0, split="test"), together)
    finally:
        torch.set_num_threads(threads)


def test_images_draw_from_the_streams_of_their_names() -> None:
    indices = np.array([0, 7, 49_999])
    for ours, named in zip(
        Draws(indices, 3, "test", "fog", 2).rngs, streams(indices, 3, "test", "fog", 2), strict=True
    ):
        np.testing.assert_array_equal(ours.random(9), named.random(9))
        np.testing.assert_array_equal(ours.poisson(4.0, 9), named.poisson(4.0, 9))
    with pytest.raises(ValueError, match="index -1 is negative"):
        Draws(np.array([2, -1]), 3, "test", "fog", 2).rngs  # noqa: B018


@pytest.mark.parametrize("name", RANDOM)
def test_streams_differ(name: str) -> None:
    """By split, seed, index and severity: what is drawn for one image says nothing about another's."""
    twice = np.repeat(natural_images(1, seed=3), 24, 0)
    first = corrupt(twice, name, 5, seed=0, split="test")
    assert len(np.unique(first.reshape(24, -1), axis=0)) > (1 if name == "horizontal_flip" else 15)
    for other in ({"seed": 1, "split": "test"}, {"seed": 0, "split": "train"}):
        assert not np.array_equal(corrupt(twice, name, 5, **other), first)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_images_stay_in_range_and_are_changed(name: str) -> None:
    """In floats, before anything is clipped to bytes, and of extreme images too."""
    extremes = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8), *IMAGES[:4]])
    images = torch.from_numpy(extremes).permute(0, 3, 1, 2).float() / 255
    before = images.clone()
    for severity in corruptions.SEVERITIES:
        out = corruptions.find(name)(images, severity, Draws(np.arange(6), 0, "test", name, severity))
        assert out.shape == images.shape and out.dtype == torch.float32
        assert out.isfinite().all() and out.min() >= 0 and out.max() <= 1
        assert torch.equal(images, before), "the input was written to"
    assert not torch.equal(out, images)


@pytest.mark.parametrize(
    ("images", "severity", "message"),
    [
        (IMAGES.astype(np.float32), 3, r"float32 12×32×32×3; they must be uint8 N×H×H×3"),
        (IMAGES[:, :16], 3, r"uint8 12×16×32×3"),
        (IMAGES[..., :1], 3, r"12×32×32×1"),
        (IMAGES[:, :4, :4], 3, r"4 pixels wide; they must have at least 8"),
        (IMAGES, 6, r"no severity 6; severities are 0 \(nothing\) to 5"),
    ],
)
def test_what_cannot_be_corrupted_is_told(images: np.ndarray, severity: int, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        corrupt(images, "fog", severity, seed=0, split="test")
    assert "\n" not in str(caught.value)


def test_unknown_corruption_is_told_with_all_names() -> None:
    with pytest.raises(StudyError, match=r"no corruption 'smoke'; there are gaussian_noise, .*mix_without_flip"):
        corrupt(IMAGES, "smoke", 1, seed=0, split="test")


# --- for people with images and no pipeline ------------------------------------------------------------------


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "robustness_study.corruptions", *arguments],
        cwd=cwd,
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_corrupts_and_carries_over(tmp_path: Path) -> None:
    labels = np.arange(12)
    np.savez(tmp_path / "in.npz", images=IMAGES, labels=labels, path=labels)
    done = command("in.npz", "out.npz", "--corruption", "fog", "--severity", "4", "--seed", "7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as out:
        assert sorted(out.files) == ["images", "labels", "path"] and np.array_equal(out["labels"], labels)
        assert np.array_equal(out["images"], corrupt(IMAGES, "fog", 4, seed=7, split="test"))


def test_command_draws_a_sheet(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", images=natural_images(1, 16))
    done = command("in.npz", "out.png", "--sheet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out.png") as sheet:
        assert min(sheet.size) > 500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.npz"], "IN.npz, OUT and --corruption (or --sheet) are needed"),
        (["absent.npz", "out.npz", "--corruption", "fog"], "absent.npz does not exist; name a file that holds"),
        (["empty.npz", "out.npz", "--corruption", "fog"], "empty.npz has no images; it must hold"),
        (["number.npz", "out.npz", "--corruption", "fog"], "images are uint8"),
        (["broken.npz", "out.npz", "--corruption", "fog"], "broken.npz is no .npz file of plain arrays"),
        (["flat.npz", "out.npz", "--corruption", "fog"], "images are uint8 12×32×32; they must be"),
        (["in.npz", "out", "--corruption", "fog"], "out must end in .npz"),
        (["in.npz", "out.npz", "--sheet"], "out.npz must end in .png"),
        (["in.npz", "out.npz", "--corruption", "smoke"], "invalid choice: 'smoke'"),
    ],
)
def test_command_says_what_is_wrong(arguments: list[str], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", images=IMAGES)
    np.savez(tmp_path / "empty.npz", labels=np.arange(3))
    np.savez(tmp_path / "number.npz", images=np.array(5, dtype=np.uint8))
    np.savez(tmp_path / "flat.npz", images=IMAGES[..., 0])
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr
    assert "dvc" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_listing_imports_no_torch() -> None:
    code = (
        "import runpy, sys; sys.argv = ['corruptions', '--list']; "
        "runpy.run_module('robustness_study.corruptions', run_name='__main__'); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        assert name in done.stdout
