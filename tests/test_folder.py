"""The dataset `folder`: what is in the folder is read as it is, or it is counted."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import chunk, load, pixels_of, save_image, two_classes
from PIL import Image

from robustness_study.core.errors import StudyError
from robustness_study.datasets import folder
from robustness_study.datasets._image_file import TRAITS, read_picture
from robustness_study.datasets.base import validate
from stages import download

BLACK_ON_NOTHING = np.zeros((16, 16, 4), np.uint8)  # a black square on a transparent ground
BLACK_ON_NOTHING[4:12, 4:12, 3] = 255


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "pictures")


# --- a good folder -----------------------------------------------------------------------------------------


def test_folder_is_read_in_sorted_order(pictures: Path) -> None:
    save_image(pictures / "train/cat/b.PNG", (255, 255, 255))
    dataset = load(pictures, 16)
    validate(dataset, 16)
    assert dataset.classes == ["cat", "dog"]
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1] and dataset.test_labels.tolist() == [0, 1]
    assert dataset.train_images[1].min() == 255  # b.PNG between a.png and c.jpeg
    assert dataset.train_images[0].mean(axis=(0, 1)).tolist() == [255, 0, 0]
    assert dataset.test_images[1].mean(axis=(0, 1)) == pytest.approx([0, 0, 255], abs=3)
    assert (dataset.official, dataset.origin) == (False, "a local folder")
    assert dataset.checksum == load(pictures, 16).checksum
    assert dataset.checksum.startswith("sha256:")
    assert dataset.train_files == [
        f"train/{name}/{file}" for name in ("cat", "dog") for file in ("a.png", "b.PNG", "c.jpeg")
    ]
    assert dataset.test_files == ["test/cat/x.JPG", "test/dog/x.JPG"]


def test_share_of_jpeg_files_is_that_of_training_images_by_their_content(pictures: Path) -> None:
    assert load(pictures).jpeg_share == pytest.approx(2 / 6)  # one file of each class; the test images are all JPEG
    Image.new("RGB", (8, 8)).save(pictures / "train/cat/a.png", format="JPEG")
    Image.new("RGB", (8, 8)).save(pictures / "train/dog/b.PNG", format="JPEG")
    Image.new("RGB", (8, 8)).save(pictures / "train/dog/c.jpeg", format="PNG")
    Image.new("RGB", (8, 8)).save(pictures / "test/dog/x.JPG", format="PNG")
    assert load(pictures).jpeg_share == pytest.approx(3 / 6)


def test_image_is_cropped_in_the_middle_and_averaged(tmp_path: Path) -> None:
    pixels = np.zeros((8, 20, 3), np.uint8)
    pixels[:, :6], pixels[:, 14:] = (255, 0, 0), (0, 0, 255)  # outside the central square
    pixels[::2, 6:14] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (pixels_of(tmp_path / "wide.png", 4) == 100).all()
    np.testing.assert_array_equal(pixels_of(tmp_path / "wide.png", 8), pixels[:, 6:14])


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_image_is_turned_upright_and_made_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    black_on_top = np.repeat([[0], [255]], 8, axis=0).repeat(16, axis=1).astype(np.uint8)
    turns = {1: (0, 0), 3: (180, 0), 6: (270, 0), 8: (90, 0)}  # how far to the left the upright image is turned
    for orientation, (degrees, _) in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright = Image.fromarray(black_on_top).convert("RGB")
        upright.rotate(-degrees, expand=True).save(path, exif=exif)
        image = pixels_of(path)
        assert image.shape == (8, 8, 3) and image[0].max() < 25 and image[-1].min() > 230


# --- transparent pixels ------------------------------------------------------------------------------------


def with_alpha(path: Path) -> None:
    Image.fromarray(BLACK_ON_NOTHING).save(path, lossless=True)


def grey_with_alpha(path: Path) -> None:
    Image.fromarray(BLACK_ON_NOTHING[..., [0, 3]]).save(path)


def palette(path: Path) -> None:
    Image.fromarray(np.repeat(BLACK_ON_NOTHING[..., 3:] // 255, 3, 2) * 0).quantize(2).save(path)
    image = Image.fromarray(BLACK_ON_NOTHING[..., 3] // 255, mode="P")
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.save(path, transparency=0)


def palette_with_alpha(path: Path) -> None:
    image = Image.fromarray(BLACK_ON_NOTHING[..., 3] // 255, mode="P")
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.save(path, transparency=bytes([0, 255]))


def one_colour_is_transparent(path: Path) -> None:
    pixels = np.full((16, 16, 3), (9, 8, 7), np.uint8)
    pixels[4:12, 4:12] = 0
    Image.fromarray(pixels).save(path, transparency=(9, 8, 7))


def one_grey_is_transparent(path: Path) -> None:
    pixels = np.full((16, 16), 9, np.uint8)
    pixels[4:12, 4:12] = 0
    Image.fromarray(pixels).save(path, transparency=9)


TRANSPARENT = {
    "RGBA.png": with_alpha,
    "RGBA.webp": with_alpha,
    "RGBA.tif": with_alpha,
    "RGBA.gif": with_alpha,
    "LA.png": grey_with_alpha,
    "P.png": palette,
    "P alpha.png": palette_with_alpha,
    "RGB.png": one_colour_is_transparent,
    "L.png": one_grey_is_transparent,
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_pixels_are_laid_on_the_background(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    TRANSPARENT[name](path)
    for background, colour in (("white", (255, 255, 255)), ("black", (0, 0, 0)), ("#ff8000", (255, 128, 0))):
        picture = read_picture(path, 16, background)
        expected = np.where(BLACK_ON_NOTHING[..., 3:] > 0, 0, np.array(colour, np.uint8))
        np.testing.assert_array_equal(picture.pixels, expected)
        assert "transparent" in picture.traits


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_transparent_grey_of_few_bits(tmp_path: Path, bits: int) -> None:
    """PIL scales such pixels to 8 bits, but not the value that is transparent."""
    values = np.zeros((8, 8), np.uint8)
    values[:, 4:] = 1
    rows = np.packbits(np.unpackbits(values[..., None], axis=2)[..., 8 - bits :].reshape(8, -1), axis=1)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    content = [header, chunk(b"tRNS", struct.pack(">H", 1)), data, chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(content))
    picture = read_picture(tmp_path / "a.png", 8, "#ff0000")
    assert "transparent" in picture.traits
    assert (picture.pixels[:, :4] == 0).all() and (picture.pixels[:, 4:] == (255, 0, 0)).all()


def test_a_bitmap_with_transparency_in_its_fourth_byte(tmp_path: Path) -> None:
    Image.fromarray(BLACK_ON_NOTHING).save(tmp_path / "a.bmp")
    assert "transparent" in read_picture(tmp_path / "a.bmp", 16, "white").traits
    expected = np.where(BLACK_ON_NOTHING[..., 3:] > 0, 0, 255).repeat(3, 2)
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.bmp", 16), expected)
    Image.new("RGBA", (8, 8), (10, 20, 30, 255)).save(tmp_path / "b.bmp")
    assert pixels_of(tmp_path / "b.bmp")[0, 0].tolist() == [10, 20, 30]


def test_what_the_first_frame_of_a_gif_does_not_cover_is_transparent(tmp_path: Path) -> None:
    Image.new("P", (8, 8), 1).save(tmp_path / "a.gif")
    content = bytearray((tmp_path / "a.gif").read_bytes())
    content[6:10] = struct.pack("<HH", 16, 16)  # a larger screen
    (tmp_path / "a.gif").write_bytes(content)
    picture = read_picture(tmp_path / "a.gif", 16, "#00ff00")
    assert "transparent" in picture.traits
    assert (picture.pixels[8:] == (0, 255, 0)).all() and (picture.pixels[:8, :8] != (0, 255, 0)).any(2).all()


def test_half_transparent_pixels_are_mixed_with_the_background(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 51)).save(tmp_path / "a.png")  # one fifth red
    assert pixels_of(tmp_path / "a.png")[0, 0].tolist() == [255, 204, 204]


def test_an_alpha_channel_without_a_transparent_pixel_is_not_counted(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 255)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", 8, "white").traits == ("plain",)


# --- what a person is told ---------------------------------------------------------------------------------


def test_notes_count_what_was_done_to_images_and_name_one(pictures: Path) -> None:
    notes = load(pictures, 12).notes
    assert notes == [
        f"8 of 8 images {TRAITS['cropped']}; for example 'train/cat/a.png'",
        f"8 of 8 images {TRAITS['enlarged'].format(size=12)}; for example 'train/cat/a.png'",
        f"8 of 8 images {TRAITS['plain']}; for example 'train/cat/a.png'",
    ]
    with_alpha(pictures / "train/dog/b.PNG")
    with_alpha(pictures / "test/dog/y.webp")
    frames = [Image.fromarray(np.full((16, 16, 3), grey, np.uint8)) for grey in (10, 200)]
    frames[0].save(pictures / "train/dog/d.gif", save_all=True, append_images=frames[1:])
    dataset = load(pictures, 8)
    told = "2 of 10 images have transparent pixels, which are laid on white (download.background); for example"
    assert dataset.notes[0] == f"{told} 'train/dog/b.PNG'"
    assert dataset.notes[1] == f"1 of 10 images {TRAITS['frames']}; for example 'train/dog/d.gif'"
    assert (dataset.train_images[6] == 10).all()  # the first frame


LEFT_OUT: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda top: (top / "train/cat/notes.txt").write_text("x"), "'train/cat/notes.txt' (its name does not end"),
    "no suffix": (lambda top: (top / "train/cat/image").write_text("x"), "'train/cat/image' (its name does not end"),
    "AVIF": (
        lambda top: (top / "test/dog/a.avif").write_text("x"),
        "'test/dog/a.avif' (its name does not end in .png, ",
    ),
    "dangling link": (
        lambda top: (top / "train/cat/d.png").symlink_to("gone.png"),
        "'train/cat/d.png' (a link to nothing)",
    ),
    "dangling class": (lambda top: (top / "train/eel").symlink_to("gone"), "'train/eel' (a link to nothing)"),
    "pipe": (lambda top: os.mkfifo(top / "train/cat/p.png"), "'train/cat/p.png' (not a file)"),
    "hidden image": (lambda top: save_image(top / "train/cat/.d.png"), "'train/cat/.d.png' (a hidden file)"),
    "hidden class": (lambda top: save_image(top / "train/.eel/d.png"), "'train/.eel' (a hidden file)"),
    "beside classes": (lambda top: save_image(top / "train/d.png"), "'train/d.png' (not in the layout"),
    "beside train": (lambda top: save_image(top / "val/cat/d.png"), "'val' (not in the layout"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_not_used_is_counted_and_named(pictures: Path, name: str) -> None:
    fault, told = LEFT_OUT[name]
    fault(pictures)
    dataset = load(pictures)
    assert dataset.notes[0].startswith(f"1 file or folder is not used, for example {told}")
    assert len(dataset.train_images) == 6 and "\n" not in dataset.notes[0]


def test_what_looks_like_an_image_is_named_before_other_files(pictures: Path) -> None:
    for name in ("LEFT OUT", "AVIF", "text"):
        LEFT_OUT[name][0](pictures) if name in LEFT_OUT else (pictures / "train/a.md").write_text("x")
    save_image(pictures / "train/z.png")
    assert load(pictures).notes[0].startswith("4 files or folders are not used, for example 'train/z.png' (not in the")


def test_what_desktops_leave_behind_is_silent(pictures: Path) -> None:
    before = load(pictures).notes
    for place in (pictures, pictures / "train", pictures / "train/cat"):
        for name in ("Thumbs.db", "thumbs.db", "desktop.ini", ".DS_Store", "._a.png", "Icon\r"):
            (place / name).write_text("x")
        save_image(place / "__MACOSX/._a.png")
    assert load(pictures).notes == before


@pytest.mark.parametrize("suffix", ["webp", "bmp", "gif", "tiff", "TIF", "jfif", "jpe"])
def test_every_kind_of_image_is_used(pictures: Path, suffix: str) -> None:
    path = pictures / f"train/dog/z.{suffix}"
    Image.new("RGB", (8, 8), (0, 0, 250)).save(path, format="JPEG" if suffix[0] == "j" else None)
    dataset = load(pictures)
    assert len(dataset.train_images) == 7 and dataset.train_images[6, 0, 0].tolist() == pytest.approx(
        [0, 0, 250], abs=20
    )


# --- which folder ------------------------------------------------------------------------------------------


def test_the_home_is_expanded(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(pictures.parent))
    assert folder.existing("~/pictures") == pictures
    monkeypatch.chdir(pictures.parent)
    Path("~x").mkdir()
    assert folder.existing("~x") == Path("~x")


@pytest.mark.parametrize("text", ["absent", "~nobody-of-this-name/x", "a\0b", "x" * 5000, "$", "[1]", "ä ö", "file"])
def test_folder_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("no folder")
    with pytest.raises(StudyError) as caught:
        folder.existing(text)
    assert "which is not a folder; name one with the layout" in str(caught.value) and "\n" not in str(caught.value)
    assert """type -S 'download.folder="my images"', or write""" in str(caught.value)


def test_a_relative_folder_in_a_copy_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dvc exp run --temp` runs stages in such a copy."""
    copy = tmp_path / ".dvc/tmp/exps/standalone/tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(StudyError, match="--temp or --queue copies only what git tracks, so give the absolute path"):
        folder.existing("my_images")
    with pytest.raises(StudyError, match="which is not a folder"):
        folder.existing(str(tmp_path / "my_images"))


# --- the stage ---------------------------------------------------------------------------------------------


def run_download(top: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Runs the stage in `top`; returns what it wrote."""
    top.mkdir()
    section = {"dataset": "folder", "folder": str(pictures), "background": "white", "size": 16}
    (top / "params.yaml").write_text(json.dumps({"download": section}))
    monkeypatch.chdir(top)
    download.main()
    return {path.name: path.read_bytes() for path in (top / "data/raw").iterdir()}


def test_stage_writes_the_same_bytes_records_no_path_and_prints_notes(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_alpha(pictures / "train/dog/b.PNG")
    written = run_download(tmp_path / "one", pictures, monkeypatch)
    assert written == run_download(tmp_path / "other", pictures, monkeypatch)
    assert not any(str(tmp_path).encode() in content for content in written.values())
    source = json.loads(written["source.json"])
    assert source["classes"] == ["cat", "dog"] and source["size"] == 16
    assert source["counts"] == {"train": [3, 3], "test": [1, 1]} and source["jpeg_share"] == pytest.approx(1 / 3)
    assert json.loads(written["files.json"])["test"] == ["test/cat/x.JPG", "test/dog/x.JPG"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("download: 1 of 8 images have transparent pixels, which are laid on white")
    assert lines[len(lines) // 2 - 1].startswith("download: folder, 6 training and 2 test images in 2 classes")
