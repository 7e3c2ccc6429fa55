"""What the dataset `folder` refuses, by name."""

from __future__ import annotations

import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import chunk, load, pixels_of, save_image, two_classes
from PIL import Image

from robustness_study.core.errors import StudyError
from robustness_study.datasets import folder
from robustness_study.datasets._image_file import UnreadableImageError


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "pictures")


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
