"""Every corruption gives the same bytes for the same image; and the package as its users see it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

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
from robustness_study.corruptions import apply, corrupt, registry
from robustness_study.corruptions.draws import Draws

REPOSITORY = Path(__file__).resolve().parents[1]
NAMES = corruptions.names()
IMAGES = natural_images(12)
RANDOM = [name for name in NAMES if name not in {
    "defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "saturate",
}]  # fmt: skip


OWN = {
    **corruptions.CIFAR_10_C_FAMILIES,
    "studies": ("color_jitter", "horizontal_flip", "rotation", "mix", "mix_without_flip"),
}


def test_names_are_those_of_the_literature() -> None:
    """The corruptions that come with the project. Users may add families, and corruptions at the end of these."""
    families = corruptions.families()
    assert {family: families[family][: len(members)] for family, members in OWN.items()} == OWN
    first, others = list(families)[:4], list(families)[4:]
    assert first == ["noise", "blur", "weather", "digital"] and others == sorted(others)
    assert [name for members in corruptions.families().values() for name in members] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_corruption_is_documented_and_has_five_severities(name: str) -> None:
    found = corruptions.find(name)
    assert found.name == name and len(found.severities) == 5 and found.function.__doc__
    assert name in corruptions.families()[corruptions.family_of(name)]


def test_names_read_from_the_source_are_all_corruptions() -> None:
    for path in registry.FOLDER.glob("[!_]*.py"):
        module = import_module(f"robustness_study.corruptions.{path.stem}")
        own = [
            name
            for name, value in vars(module).items()
            if isinstance(value, corruptions.Corruption) and value.function.__module__ == module.__name__
        ]
        assert own == list(corruptions.families().get(path.stem, ()))


def test_benchmark_has_fifteen_corruptions_and_four_more() -> None:
    assert len(set(corruptions.CIFAR_10_C)) == 15 and len(set(corruptions.HELD_OUT)) == 4
    by_family = [name for members in corruptions.CIFAR_10_C_FAMILIES.values() for name in members]
    assert sorted(by_family) == sorted((*corruptions.CIFAR_10_C, *corruptions.HELD_OUT))
    assert [name for name in by_family if name not in corruptions.HELD_OUT] == list(corruptions.CIFAR_10_C)


# --- adding a corruption -------------------------------------------------------------------------------------

SHADE = """

@corruption(0.9, 0.8, 0.7, 0.6, 0.5)
def {name}(images, share, draws):
    "Darker."
    return images * share
"""
IMPORT = "from robustness_study.corruptions import corruption\n"
REPORT = """
import json, sys
from robustness_study import corruptions
from robustness_study.results.suite import Stress
rows = [{"corruption": n, "severity": 1, "accuracy": 0.5} for n in ("clean", *corruptions.names())]
texts = dict.fromkeys(("model", "weights_sha256", "images_sha256", "confidences_sha256", "test_indices", "labels"), "")
stress = Stress({**texts, "temperature": 1.0, "images": 1, "rows": rows, "predictions": {}}, [])
told = {
    "families": corruptions.families(), "lists": [corruptions.CIFAR_10_C, corruptions.HELD_OUT],
    "groups": stress.groups(), "others": stress.others(), "torch": "torch" in sys.modules,
}
import numpy as np
images = np.full((1, 8, 8, 3), 200, np.uint8)
names = [name for name in corruptions.names() if name.endswith("shade")]
told["levels"] = {name: int(corruptions.corrupt(images, name, 5, seed=0, split="a").max()) for name in names}
print(json.dumps(told))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder of corruptions in a copy of the library at the top of `tmp_path`."""
    shutil.copytree(
        REPOSITORY / "robustness_study", tmp_path / "robustness_study", ignore=shutil.ignore_patterns("__pycache__")
    )
    return tmp_path / "robustness_study/corruptions"


def python(code: str, package: Path) -> subprocess.CompletedProcess[str]:
    top = package.parents[1]
    return subprocess.run([sys.executable, "-c", code], cwd=top, capture_output=True, text=True, check=False)


def test_a_new_function_or_file_adds_a_corruption_and_leaves_the_benchmark(package: Path) -> None:
    before = json.loads(python(REPORT, package).stdout)
    with (package / "noise.py").open("a", encoding="utf-8") as noise:
        noise.write(SHADE.format(name="noise_shade"))
    (package / "light.py").write_text(IMPORT + SHADE.format(name="b_shade") + SHADE.format(name="a_shade"))
    done = python(REPORT, package)
    assert done.returncode == 0, done.stderr
    after = json.loads(done.stdout)
    others = sorted([*list(before["families"])[4:], "light"])
    assert list(after["families"]) == ["noise", "blur", "weather", "digital", *others]
    assert after["families"]["light"] == ["b_shade", "a_shade"]
    assert after["families"]["noise"] == [*before["families"]["noise"], "noise_shade"]
    for unchanged in ("lists", "groups"):
        assert after[unchanged] == before[unchanged]
    assert len(before["groups"]["main"]) == 15 and len(before["groups"]["held out"]) == 4
    assert sorted({*after["others"]} - {*before["others"]}) == ["a_shade", "b_shade", "noise_shade"]
    assert after["levels"] == dict.fromkeys(("noise_shade", "b_shade", "a_shade"), 100)
    assert not after["torch"], "listing imported torch"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (IMPORT + SHADE.format(name="fog"), ".py both have a corruption 'fog'; rename one"),
        (IMPORT + SHADE.format(name="seen"), "light.py has a corruption 'seen', but a row of the tables has this name"),
        (IMPORT + SHADE.format(name="light"), "light.py has a corruption 'light', but a row"),
        ("def broken(", "robustness_study/corruptions/light.py, line 1, is not valid Python ("),
        (
            IMPORT + SHADE.format(name="shade").replace("0.9, ", ""),
            "@corruption of shade has constants for 4 severities; it must have 5",
        ),
    ],
)
def test_error_for_an_unusable_file_is_one_line(package: Path, source: str, message: str) -> None:
    (package / "light.py").write_text(source)
    code = (
        "from robustness_study import corruptions\nfrom robustness_study.core.program import run\n"
        "run(lambda: [corruptions.find(name) for name in corruptions.families().get('light', ())])"
    )
    done = python(code, package)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ") and message in done.stderr


# --- every corruption ----------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    st.sampled_from(NAMES),
    st.lists(st.integers(0, 11), min_size=1, max_size=12),
    st.integers(0, 5),
    st.integers(0, 2**31),
    st.sampled_from([8, 16, 33, 64]),
)
def test_any_images_at_any_severity(name: str, chosen: list[int], severity: int, seed: int, side: int) -> None:
    """Shape, type and determinism at any size. The bytes do not depend on order and batch."""
    images, indices = natural_images(12, side)[chosen], np.array(chosen)
    whole = corrupt(images, name, severity, seed=seed, split="test", indices=indices)
    assert whole.dtype == np.uint8 and whole.shape == images.shape
    if severity == 0:
        assert np.array_equal(whole, images)
    order = np.random.default_rng(seed).permutation(len(chosen))
    shuffled = corrupt(images[order], name, severity, seed=seed, split="test", indices=indices[order])
    assert np.array_equal(shuffled, whole[order])


@pytest.mark.parametrize("name", NAMES)
def test_bytes_depend_only_on_the_names_of_the_image(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_images_use_the_streams_of_their_names() -> None:
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
    """Streams differ by split, seed, index and severity: draws for different images are independent."""
    twice = np.repeat(natural_images(1, seed=3), 24, 0)
    first = corrupt(twice, name, 5, seed=0, split="test")
    assert len(np.unique(first.reshape(24, -1), axis=0)) > (1 if name == "horizontal_flip" else 15)
    for other in ({"seed": 1, "split": "test"}, {"seed": 0, "split": "train"}):
        assert not np.array_equal(corrupt(twice, name, 5, **other), first)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_images_stay_in_range_and_are_changed(name: str) -> None:
    """Checked on floats, before clipping to bytes, and also for extreme images."""
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
        ([[[1]]], 3, r"images have the type list; they must be a numpy array, uint8 N×H×H×3"),
        (IMAGES.astype(np.float32), 3, r"float32 12×32×32×3; they must be uint8 N×H×H×3"),
        (IMAGES[:, :16], 3, r"uint8 12×16×32×3"),
        (IMAGES[..., :1], 3, r"12×32×32×1"),
        (IMAGES[:, :4, :4], 3, r"4 pixels wide; they must have at least 8"),
        (IMAGES, 6, r"severity is 6; it must be a whole number from 0 \(unchanged\) to 5"),
        (IMAGES, 2.5, r"severity is 2.5; it must be a whole number"),
        (IMAGES, [1] * 11, r"severity has shape \(11,\) for 12 images; give one for all or one for each"),
    ],
)
def test_invalid_images_or_severities_are_refused(images: np.ndarray, severity: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        corrupt(images, "fog", severity, seed=0, split="test")
    assert "\n" not in str(caught.value)


def test_error_for_unknown_corruption_lists_all_names() -> None:
    with pytest.raises(StudyError, match=r"no corruption 'smoke'; choose one of gaussian_noise, .*mix_without_flip"):
        corrupt(IMAGES, "smoke", 1, seed=0, split="test")


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([3], r"indices have shape \(1,\) for 12 images; give one for each image"),
        (list(range(-1, 11)), r"indices must be whole numbers, 0 or more"),
        (np.arange(12) / 2, r"indices must be whole numbers, 0 or more"),
    ],
)
def test_wrong_indices_are_refused(indices: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        corrupt(IMAGES, "fog", 1, seed=0, split="test", indices=indices)


def test_no_images_give_none() -> None:
    assert corrupt(IMAGES[:0], "fog", 1, seed=0, split="test", indices=[]).shape == (0, 32, 32, 3)


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


def test_command_corrupts_images_and_copies_other_arrays(tmp_path: Path) -> None:
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
        (["in.npz"], "IN.npz, OUT and --corruption (or --sheet) are required"),
        (["absent.npz", "out.npz", "--corruption", "fog"], "absent.npz does not exist; give a file with"),
        (["empty.npz", "out.npz", "--corruption", "fog"], "empty.npz has no images; it must hold"),
        (["number.npz", "out.npz", "--corruption", "fog"], "images are uint8"),
        (["broken.npz", "out.npz", "--corruption", "fog"], "broken.npz is broken or is not an .npz file of arrays"),
        (["flat.npz", "out.npz", "--corruption", "fog"], "images are uint8 12×32×32; they must be"),
        (["in.npz", "out", "--corruption", "fog"], "the output file is out, but its name must end in .npz"),
        (["in.npz", "out.npz", "--sheet"], "the output file is out.npz, but its name must end in .png"),
        (["in.npz", "out.npz", "--corruption", "smoke"], "invalid choice: 'smoke'"),
        (["in.npz", "out.npz", "--corruption", "fog", "--severity", "6"], "invalid choice: 6"),
        (["in.npz", "out.npz", "--corruption", "fog", "--depth"], "unrecognized arguments: --depth"),
        (["folder", "out.npz", "--corruption", "fog"], "folder is not a regular file; make it with numpy.savez"),
        (["in.npz", "in.npz/out.npz", "--corruption", "fog"], "in.npz"),
        (["kept.npz", "out.npz", "--corruption", "fog"], "kept.npz has an array named allow_pickle"),
        (["cut.npz", "out.npz", "--corruption", "fog"], "cut.npz is broken or is not an .npz file of arrays"),
        (["flipped.npz", "out.npz", "--corruption", "fog"], "flipped.npz is broken or is not an .npz file of arrays"),
        (["one.npy", "out.npz", "--corruption", "fog"], "one.npy is broken or is not an .npz file of arrays"),
    ],
)
def test_command_error_names_the_mistake(arguments: list[str], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", images=IMAGES)
    np.savez(tmp_path / "empty.npz", labels=np.arange(3))
    np.savez(tmp_path / "number.npz", images=np.array(5, dtype=np.uint8))
    np.savez(tmp_path / "flat.npz", images=IMAGES[..., 0])
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    (tmp_path / "folder").mkdir()
    with zipfile.ZipFile(tmp_path / "kept.npz", "w") as archive:
        for name in ("images", "allow_pickle"):
            with archive.open(f"{name}.npy", "w") as member:
                np.save(member, IMAGES)
    np.savez_compressed(tmp_path / "flipped.npz", images=IMAGES)
    content = bytearray((tmp_path / "flipped.npz").read_bytes())
    (tmp_path / "cut.npz").write_bytes(content[:300])
    content[200:260] = bytes(60)
    (tmp_path / "flipped.npz").write_bytes(content)
    np.save(tmp_path / "one.npy", IMAGES)
    before = sorted(path.name for path in tmp_path.iterdir())
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode != 0 and done.stdout == "" and message in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ") and "dvc" not in done.stderr
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
