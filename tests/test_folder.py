"""The dataset `folder`: what is in the folder is read as it is, or it is counted, or refused by name."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import save_image, two_classes
from PIL import Image

from robustness_study.core.errors import StudyError
from robustness_study.datasets import folder
from robustness_study.datasets._image_file import TRAITS, UnreadableImageError, read_picture
from robustness_study.datasets.base import Dataset, check_classes, validate
from stages import download

BLACK_ON_NOTHING = np.zeros((16, 16, 4), np.uint8)  # a black square on a transparent ground
BLACK_ON_NOTHING[4:12, 4:12, 3] = 255


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "pictures")


def load(top: Path, size: int = 8) -> Dataset:
    return folder.load_folder(top, size, "white")


def pixels_of(path: Path, size: int = 8, background: str = "white") -> np.ndarray:
    return read_picture(path, size, background).pixels


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


# --- what is refused by name -------------------------------------------------------------------------------


def remove(*names: str) -> Callable[[Path], None]:
    """A fault: removes these files or empty folders."""

    def fault(top: Path) -> None:
        for name in names:
            for path in [*(top / name).rglob("*.*"), top / name]:
                path.rmdir() if path.is_dir() else path.unlink()

    return fault


def sixteen_bits(top: Path) -> None:
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(top / "train/dog/a.png")


def floating_point(top: Path) -> None:
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(top / "train/dog/a.tif")


def half_a_file(top: Path) -> None:
    path = top / "train/dog/c.jpeg"
    path.write_bytes(path.read_bytes()[:-300])


def sixteen_bits_in_colour(top: Path) -> None:
    """TIFF by hand, because PIL writes none: 12 of the 16 bits are used, as by many cameras."""
    values = np.full((8, 8, 3), 0x0FFF, "<u2").tobytes()
    bits, pixels = 8 + 2 + 10 * 12 + 4, 8 + 2 + 10 * 12 + 4 + 6
    tags = [(256, 1, 8), (257, 1, 8), (258, 3, bits), (259, 1, 1), (262, 1, 2), (273, 1, pixels), (277, 1, 3)]
    tags += [(278, 1, 8), (279, 1, len(values)), (284, 1, 1)]
    header = b"II*\0" + struct.pack("<IH", 8, len(tags))
    table = b"".join(struct.pack("<HHII", tag, 3, count, value) for tag, count, value in tags)
    content = header + table + struct.pack("<I", 0) + struct.pack("<HHH", 16, 16, 16) + values
    (top / "train/dog/a.tif").write_bytes(content)


def too_many_pixels(top: Path) -> None:
    Image.new("1", (15_000, 12_000)).save(top / "train/dog/a.png")


def link_to_a_class(top: Path) -> None:
    (top / "train/eel").symlink_to("cat")


def two_forms(top: Path) -> None:
    for form in ("NFC", "NFD"):
        save_image(top / "train" / unicodedata.normalize(form, "é") / "a.png")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no train": (remove("train/cat", "train/dog", "train"), "has no subfolder 'train', but 'test'; add it"),
    "no test": (
        lambda top: (top / "test").rename(top / "Test"),
        "has no subfolder 'test', but 'Test', 'train'; add it",
    ),
    "a class twice": (
        link_to_a_class,
        "'train/cat' and 'train/eel' are the same folder, by a link",
    ),
    "class only in train": (remove("test/dog"), "train has classes that test lacks: 'dog'"),
    "class only in test": (lambda top: save_image(top / "test/eel/a.png"), "test has classes that train lacks: 'eel'"),
    "one class": (remove("train/dog", "test/dog"), "the dataset has 1 class; it must have 2 to 256 classes"),
    "one training image": (
        remove("train/cat/a.png", "train/cat/b.PNG"),
        "class 'cat' has 1 training image; add some: at least 2 are needed (training and validation)",
    ),
    "no training image": (
        remove("train/dog/a.png", "train/dog/b.PNG", "train/dog/c.jpeg"),
        "class 'dog' has 0 training images; add some: at least 2",
    ),
    "no test image": (remove("test/dog/x.JPG"), "class 'dog' has no test image; add at least 1"),
    "only images of another kind": (
        lambda top: (top / "test/dog/x.JPG").rename(top / "test/dog/x.heic"),
        "class 'dog' has no test image; add at least 1; 1 file or folder is not used, for example 'test/dog/x.heic'",
    ),
    "a folder in a class": (
        lambda top: save_image(top / "train/dog/more/a.png"),
        "'train/dog/more' is a folder inside a class; the layout must be FOLDER/{train,test}/CLASS/IMAGE, so move",
    ),
    "one name in two forms": (two_forms, "two folders whose names differ only in how Unicode writes an accent"),
    "no image": (
        lambda top: (top / "train/dog/b.PNG").write_text("text"),
        "'train/dog/b.PNG' is not a PNG, JPEG, WebP",
    ),
    "empty": (lambda top: (top / "train/dog/b.PNG").write_text(""), "'train/dog/b.PNG' is not a PNG, JPEG, WebP"),
    "half an image": (half_a_file, "'train/dog/c.jpeg' cannot be decoded (Truncated File Read)"),
    "16 bits": (sixteen_bits, "'train/dog/a.png' has more than 8 bits per channel; save it with 8 bits"),
    "floating point": (floating_point, "'train/dog/a.tif' has more than 8 bits per channel"),
    "16 bits in colour": (sixteen_bits_in_colour, "'train/dog/a.tif' has more than 8 bits per channel"),
    "too many pixels": (too_many_pixels, "'train/dog/a.png' has more than 178,956,970 pixels; make it smaller"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_of_a_folder_is_named(pictures: Path, name: str) -> None:
    fault, message = FAULTS[name]
    fault(pictures)
    with pytest.raises(StudyError) as caught:
        load(pictures)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_all_broken_images_are_counted_and_three_are_named(pictures: Path) -> None:
    for name in ("a.png", "b.PNG", "c.jpeg"):
        (pictures / "train/cat" / name).write_bytes(b"")
        (pictures / "train/dog" / name).write_bytes(b"")
    with pytest.raises(
        StudyError, match=r"6 files cannot be read as an image: 'train/cat/a\.png' is not a .*, \.\.\.; replace"
    ):
        load(pictures)


def test_counts_are_checked_before_images_are_read(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pictures / "test/dog/x.JPG").unlink()
    monkeypatch.setattr(folder, "read_picture", lambda *_: pytest.fail("an image was read"))
    with pytest.raises(StudyError, match="no test image"):
        load(pictures)


def test_a_tag_of_an_unexpected_type_does_not_matter(tmp_path: Path) -> None:
    """EXIF is broken in many ways, pixels are good: the image is read, with the same pixels."""
    exif = Image.Exif()
    exif[0x010F], exif[0x829A] = "maker", (1, 3)
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    good, data = pixels_of(tmp_path / "a.jpg"), (tmp_path / "a.jpg").read_bytes()
    start = data.index(b"Exif")
    end = start - 2 + struct.unpack(">H", data[start - 2 : start])[0]
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = np.frombuffer(data, np.uint8).copy()
        broken[rng.integers(start + 6, end, 3)] = rng.integers(0, 256, 3)
        (tmp_path / "b.jpg").write_bytes(broken.tobytes())
        np.testing.assert_array_equal(pixels_of(tmp_path / "b.jpg"), good)


BROKEN_NOTES = {
    "a text with a wrong checksum": b"\0\0\0\x04tEXtabcd\0\0\0\0",
    "a colour profile of an unknown kind": chunk(b"iCCP", b"name\0\x07xxxx"),
    "a text that unpacks to 3 MB": chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(3_000_000))),
    "a short resolution": chunk(b"pHYs", b"\0"),
    "a short gamma": chunk(b"gAMA", b"\0"),
    "short frames": chunk(b"acTL", b"\0"),
}


@pytest.mark.parametrize("name", BROKEN_NOTES)
def test_good_pixels_beside_a_broken_note_are_read(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    after_header = 8 + 12 + 13
    (tmp_path / "a.png").write_bytes(content[:after_header] + BROKEN_NOTES[name] + content[after_header:])
    assert pixels_of(tmp_path / "a.png")[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xff\xff\xe0\0\x06JFIF",
        b"\xff\xe0\0\x06JFIF",
        b"\xff\xee\0\x07Adobe",
        b"\xff\xe2\0\x03I",
        b"\xff\xfe\0\x02",
    ],
)
def test_a_jpeg_with_a_short_segment_is_read(tmp_path: Path, segment: bytes) -> None:
    Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / "a.jpg", quality=95)
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[:2] + segment + content[2:])
    assert pixels_of(tmp_path / "a.jpg")[0, 0].tolist() == pytest.approx([10, 20, 30], abs=3)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
def test_ordinary_tiff_is_read(tmp_path: Path, mode: str, compression: str | None) -> None:
    Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(tmp_path / "a.tif", compression=compression)
    assert (pixels_of(tmp_path / "a.tif") == 255).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif", "a.tif", "a.bmp"])
def test_a_damaged_image_is_read_or_refused_in_one_line(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / name)
    data = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
    refused = 0
    for _ in range(150):
        broken = data.copy()
        broken[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
        (tmp_path / name).write_bytes(broken[: rng.integers(1, len(data)) if rng.random() < 0.2 else None].tobytes())
        try:
            assert pixels_of(tmp_path / name).shape == (8, 8, 3)
        except UnreadableImageError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 200
    assert refused > 10 and capfd.readouterr().err == ""


@pytest.mark.parametrize("transparent", [False, True])
def test_png_with_16_bits_in_colour_is_read_unless_a_colour_is_transparent(tmp_path: Path, transparent: bool) -> None:
    values = np.full((8, 8, 3), 0xC012, ">u2")
    values[0, 0] = 0x1234
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))]
    parts += [chunk(b"tRNS", values[0, 0].tobytes())] if transparent else []
    parts += [chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))), chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    if transparent:  # PIL compares the 16-bit value with 8-bit pixels, so no pixel would be transparent
        with pytest.raises(UnreadableImageError, match="more than 8 bits"):
            pixels_of(tmp_path / "a.png")
    else:
        assert np.unique(pixels_of(tmp_path / "a.png")).tolist() == [0x12, 0xC0]


# --- names of classes --------------------------------------------------------------------------------------


REFUSED = {
    "caf\udce9": "is not UTF-8",
    "a\nb": "has a line break",
    "a\tb": "has a line break or another character that cannot be seen",
    "a\x1b[31m": "has a line break or another",
    "a\u2028b": "has a line break",
    "a\u202eb": "has a line break or another",  # the rest would be shown from right to left
    "zero\u200bwidth": "has a line break or another",
    " a": "is empty, or begins or ends with a space",
    "a\u00a0": "is empty, or begins or ends with a space",
    " ": "is empty",
    "": "has characters that cannot be seen, where they are not needed",
    "a\u200d": "has characters that cannot be seen",
    "\u3164": "has characters that cannot be seen",
    "\ufe0f": "has characters that cannot be seen",
    "＝1+1": "begins with ＝",
    "=1+1": "begins with =, so that a spreadsheet would run it as a formula",
    "@SUM(1)": "begins with @",
    "+cmd|' /C calc'!A0": "begins with +",
    "-1+2": "begins with -",
}
SHOWN_AS_THEY_ARE = [
    *(
        "$",
        "$$",
        "$x",
        "a|b",
        "a,b",
        '"q"',
        "'",
        "`x`",
        "*x*",
        "_x",
        "<b>",
        "&amp;",
        "[x](y)",
        "a\\nb",
        "#1",
        "~",
        "%s",
        "{}",
    ),
    *(
        "007",
        "1e3",
        "-1",
        "+1",
        "-0.5",
        "NA",
        "nan",
        "None",
        "true",
        "null",
        "a=b",
        "a@b",
        "a b",
        "é",
        "猫",
        "🐈",
        "قطة",
    ),
    *("👩\u200d🔬", "می\u200cخواهم"),
]


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_cannot_be_shown_everywhere_are_refused(name: str) -> None:
    with pytest.raises(StudyError) as caught:
        check_classes(["other", name])
    assert f"a class with the name {name!r}, which {REFUSED[name]}" in str(caught.value) and "\n" not in str(
        caught.value
    )
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("other", ["a\u200db", "ab\ufe0f", "a\u034fb"])
def test_two_names_that_look_the_same_are_refused(other: str) -> None:
    with pytest.raises(StudyError, match="two classes with the name 'ab', or that look so; rename one"):
        check_classes(["ab", other])


def test_other_names_are_taken_as_they_are(tmp_path: Path) -> None:
    check_classes(SHOWN_AS_THEY_ARE)
    for name in (*SHOWN_AS_THEY_ARE, "x" * 255):
        for file in ("train/{}/a.png", "train/{}/b.png", "test/{}/a.png"):
            save_image(tmp_path / file.format(name))
    assert load(tmp_path).classes == sorted([*SHOWN_AS_THEY_ARE, "x" * 255])


def test_a_folder_whose_name_is_not_utf_8_is_refused_by_name(pictures: Path) -> None:
    for part in ("train", "test"):
        os.rename(pictures / part / "dog", os.fsencode(pictures / part) + b"/caf\xe9")
    with pytest.raises(StudyError, match=r"with the name 'caf\\udce9', which is not UTF-8; rename it$"):
        load(pictures)


def test_names_do_not_depend_on_the_locale(tmp_path: Path) -> None:
    top = two_classes(tmp_path / "pictures", "Größe", "猫")
    code = (
        "import sys; from pathlib import Path; from robustness_study.datasets.folder import load_folder\n"
        "dataset = load_folder(Path(sys.argv[1]), 8, 'white'); print(ascii([dataset.classes, dataset.test_files]))"
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, top], env={**os.environ, **plain}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ascii([["Größe", "猫"], ["test/Größe/x.JPG", "test/猫/x.JPG"]])


def test_an_accent_written_in_two_ways_is_one_class(tmp_path: Path) -> None:
    top = two_classes(tmp_path / "pictures", "cat", unicodedata.normalize("NFC", "café"))
    (top / "test" / unicodedata.normalize("NFC", "café")).rename(top / "test" / unicodedata.normalize("NFD", "café"))
    dataset = load(top)
    assert dataset.classes == [unicodedata.normalize("NFC", "café"), "cat"] and dataset.test_labels.tolist() == [0, 1]


def test_a_file_whose_name_is_not_utf_8_is_used(pictures: Path) -> None:
    os.rename(pictures / "train/dog/a.png", os.fsencode(pictures / "train/dog") + b"/caf\xe9.png")
    assert "train/dog/caf\udce9.png" in (load(pictures).train_files or [])


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
