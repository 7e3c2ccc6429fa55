"""CIFAR-10 from archives and folders: which files are read, which are refused, and when the images are official."""

from __future__ import annotations

import bz2
import gzip
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robustness_study.core.errors import StudyError
from robustness_study.datasets import _cifar10_files, cifar10
from robustness_study.datasets._cifar10_files import BATCHES, BINARY, PYTHON, read
from robustness_study.datasets.base import Dataset, array_checksum, describe, validate
from robustness_study.natural import cifar10_1
from tests.small_cifar10 import (
    CLASSES,
    RECORDS,
    batch_arrays,
    binary_files,
    names_pickle,
    pack,
    published,
    python_files,
    unpack,
)

RECORD = 3073


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(tmp_path_factory.mktemp("cifar") / "small.tar.gz", binary_files())


def loaded(source: Path) -> Dataset:
    """What the user named, judged by what is published of the small images."""
    return cifar10.load_from(source, Path("none"), published())


# --- what is read ------------------------------------------------------------------------------------------

WRAPPED: dict[str, Callable[[Path], Path]] = {
    "archive": lambda top: pack(top / "a.tar.gz", binary_files()),
    "no compression": lambda top: pack(top / "a.tar", binary_files(), mode="w"),
    "bzip2": lambda top: pack(top / "a.tar.bz2", binary_files(), mode="w:bz2"),
    "xz": lambda top: pack(top / "a.tar.xz", binary_files(), mode="w:xz"),
    "a name without an ending": lambda top: pack(top / "a", binary_files()),
    "another order": lambda top: pack(top / "a.tar.gz", dict(reversed(binary_files().items()))),
    "another folder": lambda top: pack(top / "a.tar.gz", binary_files(), "./data/cifar"),
    "no folder": lambda top: pack(top / "a.tar.gz", binary_files(), ""),
    "more files": lambda top: pack(
        top / "a.tar.gz", {"readme.html": b"<html>", "._test_batch.bin": b""} | binary_files()
    ),
    "a folder": lambda top: unpack(top / "images", binary_files()),
    "for Python": lambda top: pack(top / "a.tar.gz", python_files(), PYTHON.folder),
    "a folder for Python": lambda top: unpack(top / "images", python_files()),
    "both": lambda top: unpack(top / "images", python_files() | binary_files()),
    "a part of one and the other": lambda top: unpack(top / "images", {BINARY.names: b""} | python_files()),
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_official_images_are_the_same_dataset_whatever_wraps_them(tmp_path: Path, wrapping: str) -> None:
    dataset = loaded(WRAPPED[wrapping](tmp_path))
    images, labels = zip(*(batch_arrays(number) for number in range(6)), strict=True)
    train_images, train_labels = np.concatenate(images[:5]), np.concatenate(labels[:5])
    np.testing.assert_array_equal(dataset.train_images, train_images)
    np.testing.assert_array_equal(dataset.train_labels, train_labels)
    np.testing.assert_array_equal(dataset.test_images, images[5])
    np.testing.assert_array_equal(dataset.test_labels, labels[5])
    validate(dataset, 32)
    assert describe(dataset, 32) == {
        "name": "cifar10",
        "origin": "a page",
        "checksum": array_checksum(train_images, train_labels, images[5], labels[5]),
        "official": True,
        "classes": list(CLASSES),
        "counts": {"train": [10] * 10, "test": [2] * 10},
        "size": 32,
        "jpeg_share": 0.0,
    }


def changed(files: dict[str, bytes], name: str, at: int, by: int = 1) -> dict[str, bytes]:
    """The files, with one byte of one of them changed."""
    content = bytearray(files[name])
    content[at] = (content[at] + by) % 256
    return files | {name: bytes(content)}


def swapped(files: dict[str, bytes], one: str, two: str) -> dict[str, bytes]:
    """The files, two of them with each other's names."""
    return files | {one: files[two], two: files[one]}


OTHERS: dict[str, Callable[[], dict[str, bytes]]] = {
    "a pixel of the first image": lambda: changed(binary_files(), "data_batch_1.bin", 1),
    "a pixel of the last test image": lambda: changed(binary_files(), "test_batch.bin", -1),
    "two batches in turn": lambda: swapped(binary_files(), "data_batch_2.bin", "data_batch_3.bin"),
    "test images for training": lambda: swapped(binary_files(), "data_batch_2.bin", "test_batch.bin"),
    "two batches in turn, for Python": lambda: swapped(python_files(), "data_batch_2", "data_batch_3"),
    "a pixel, for Python": lambda: changed(
        python_files(), "test_batch", python_files()["test_batch"].index(b"M\x00\x0c") + 2000
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_images_are_unofficial(tmp_path: Path, archive: Path, case: str) -> None:
    dataset = loaded(unpack(tmp_path / "images", OTHERS[case]()))
    assert (dataset.official, dataset.origin, dataset.jpeg_share) == (False, "a local copy", None)
    assert dataset.checksum != loaded(archive).checksum
    validate(dataset, 32)


def test_what_was_published_has_the_form_of_checksums() -> None:
    """The contents cannot be tested here, because the images are not in this repository."""
    made = cifar10.OFFICIAL
    assert len(set(made.batch_md5s)) == len(BATCHES) and made.records * len(BATCHES) == 60_000
    assert all(len(bytes.fromhex(each)) == 16 for each in (made.md5, *made.batch_md5s))
    assert made.classes == cifar10_1.CLASSES


@pytest.mark.parametrize("files", [binary_files, python_files])
def test_official_images_under_other_class_names_are_refused(
    tmp_path: Path, files: Callable[[], dict[str, bytes]]
) -> None:
    turned = CLASSES[::-1]
    names = (
        {BINARY.names: "\n".join(turned).encode()} if files is binary_files else {PYTHON.names: names_pickle(turned)}
    )
    with pytest.raises(StudyError, match=r"holds the official images, but calls their classes class9, .*; correct its"):
        loaded(unpack(tmp_path / "images", files() | names))


# --- what was named, or is kept ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["absent", "pipe", "device", "link to nothing"])
def test_what_is_named_must_be_a_file_or_a_folder(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "named"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind != "absent":
        path.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    with pytest.raises(StudyError, match=r"CIFAR10_ARCHIVE is .*named, which is no file and no folder; correct"):
        loaded(path)


def test_kept_archive_is_used_without_a_network(archive: Path) -> None:
    dataset = cifar10.load_from(None, archive, published(url="no address"))
    assert dataset.official and dataset.origin == "a page"


def test_kept_archive_of_other_images_is_refused_and_not_deleted(tmp_path: Path) -> None:
    kept = pack(tmp_path / "kept.tar.gz", changed(binary_files(), "data_batch_1.bin", 1))
    with pytest.raises(StudyError, match=r"delete the file to download it again, or run with CIFAR10_ARCHIVE=\S+kept"):
        cifar10.load_from(None, kept, published())
    assert kept.exists() and not loaded(kept).official


def test_kept_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="is not a regular file; delete it"):
        cifar10.load_from(None, unpack(tmp_path / "kept", binary_files()), published())


# --- broken archives ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept_bytes", [0, 1, 10, 5000, -200_000, -4])
def test_truncated_archive_is_refused(archive: Path, tmp_path: Path, kept_bytes: int) -> None:
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(archive.read_bytes()[:kept_bytes])
    with pytest.raises(StudyError, match=r"cut\.tar\.gz (cannot be read .*; delete it and get it again|has no )"):
        read(cut, RECORDS)


def test_flipped_bits_are_found_by_the_final_checksum(tmp_path: Path) -> None:
    plain = pack(tmp_path / "a.tar", binary_files(), mode="w").read_bytes()
    stored = bytearray(gzip.compress(plain, compresslevel=0))
    stored[len(stored) // 2] ^= 1
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(stored)
    with pytest.raises(StudyError, match=r"cannot be read .*CRC"):
        read(broken, RECORDS)


@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE], ids=["file", "name", "pax"]
)
@pytest.mark.parametrize("size", [2**33, 2**64, 2**80], ids=["large", "larger", "huge"])
def test_member_of_an_impossible_size_is_refused(tmp_path: Path, kind: bytes, size: int) -> None:
    member = tarfile.TarInfo("batch")
    member.type, member.size = kind, size
    path = tmp_path / "damaged.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(4096)))
    with pytest.raises(StudyError, match=r"damaged\.tar\.gz (cannot be read .*; delete it and get it again|has no )"):
        read(path, RECORDS)


@pytest.mark.parametrize("place", ["before", "after"])
def test_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cifar10_files, "MOST_UNPACKED_BYTES", 10_000_000)
    filler = {"zeros": bytes(20_000_000)}
    files = filler | binary_files() if place == "before" else binary_files() | filler
    path = pack(tmp_path / "bomb.tar.gz", files)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(StudyError, match=r"bomb\.tar\.gz cannot be read .it unpacks to more than 10,000,000 bytes"):
        read(path, RECORDS)
    tail = tmp_path / "tail.tar.bz2"
    tail.write_bytes(bz2.compress(pack(tmp_path / "a.tar", binary_files(), mode="w").read_bytes() + bytes(20_000_000)))
    with pytest.raises(StudyError, match=r"tail\.tar\.bz2 cannot be read .it unpacks to more than 10,000,000 bytes"):
        read(tail, RECORDS)


def test_other_files_are_refused(tmp_path: Path) -> None:
    for content in (
        b"<html>not found</html>",
        b"PK\x03\x04" * 500,
        gzip.compress(b"no tar" * 500),
        b"\xfd7zXZ\x00" * 9,
    ):
        path = tmp_path / "other"
        path.write_bytes(content)
        with pytest.raises(StudyError, match="cannot be read"):
            read(path, RECORDS)


# --- files of the releases ---------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [binary_files, python_files])
@pytest.mark.parametrize("position", [0, 3, 6])
@pytest.mark.parametrize("packed", [True, False])
def test_missing_file_is_named(
    tmp_path: Path, files: Callable[[], dict[str, bytes]], position: int, packed: bool
) -> None:
    content = files()
    name = list(content)[position]
    del content[name]
    source = pack(tmp_path / "a.tar.gz", content) if packed else unpack(tmp_path / "a", content)
    with pytest.raises(StudyError, match=rf"has no {name}; get a complete archive of CIFAR-10, or name the folder"):
        read(source, RECORDS)


def test_folder_above_is_refused(tmp_path: Path) -> None:
    unpack(tmp_path / PYTHON.folder, python_files())
    with pytest.raises(StudyError, match=r"or name the folder cifar-10-batches-bin or cifar-10-batches-py itself"):
        read(tmp_path, RECORDS)


@pytest.mark.parametrize("change", [-1, 1, RECORD])
@pytest.mark.parametrize("packed", [True, False])
def test_batch_of_another_size_is_refused(tmp_path: Path, change: int, packed: bool) -> None:
    content = binary_files()
    content["test_batch.bin"] = (content["test_batch.bin"] + bytes(RECORD))[: RECORDS * RECORD + change]
    source = pack(tmp_path / "a.tar.gz", content) if packed else unpack(tmp_path / "a", content)
    with pytest.raises(StudyError, match=rf"test_batch\.bin has {RECORDS * RECORD + change:,} bytes, not 61,460;"):
        read(source, RECORDS)


@pytest.mark.parametrize("name", [BINARY.names, PYTHON.names, "data_batch_4"])
def test_size_is_checked_before_reading(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, folder = (make(tmp_path / place, {name: bytes(100_000)}) for make, place in ((pack, "a"), (unpack, "b")))
    monkeypatch.setattr(tarfile.ExFileObject, "read", lambda *_: pytest.fail("read before the size was checked"))
    monkeypatch.setattr(_cifar10_files, "read_bytes", lambda *_: pytest.fail("read before the size was checked"))
    for source in (packed, folder):
        with pytest.raises(StudyError, match=rf"{name} has 100,000 bytes, not at most (4,096|67,556);"):
            read(source, RECORDS)


def test_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", binary_files(), mode="w")
    pack(path, {"test_batch.bin": bytes(RECORDS * RECORD)}, "elsewhere", mode="a")
    with pytest.raises(StudyError, match=r"has two files test_batch\.bin; remove one"):
        read(path, RECORDS)


def test_link_in_place_of_a_file_of_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(f"{BINARY.folder}/test_batch.bin")
        info.type, info.linkname = tarfile.SYMTYPE, "elsewhere"
        tar.addfile(info)
    with pytest.raises(StudyError, match=r"test_batch\.bin is not a regular file"):
        read(path, RECORDS)


@pytest.mark.parametrize("files", [binary_files, python_files])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to nothing", "link to itself", "unreadable"])
def test_something_else_than_a_file_of_a_folder_is_refused(
    tmp_path: Path, files: Callable[[], dict[str, bytes]], kind: str
) -> None:
    folder = unpack(tmp_path / "images", files())
    path = folder / list(files())[2]
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "unreadable":
        path.symlink_to("/proc/self/mem")  # a regular file that cannot be read from its beginning
    else:
        path.symlink_to({"device": "/dev/zero", "link to nothing": "nowhere", "link to itself": path.name}[kind])
    with pytest.raises(
        StudyError, match=r"(is not a regular file|cannot be read .*|has 0 bytes.*|is not a file .*); "
    ) as caught:
        read(folder, RECORDS)
    assert path.name in str(caught.value) and "get it again" in str(caught.value)


def test_link_to_a_good_file_is_followed(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "images", binary_files())
    (folder / "test_batch.bin").rename(tmp_path / "store")
    (folder / "test_batch.bin").symlink_to(tmp_path / "store")
    assert loaded(folder).official


def test_label_beyond_nine_and_missing_names_are_refused(tmp_path: Path) -> None:
    content = changed(binary_files(), "data_batch_2.bin", 7 * RECORD, by=10)
    with pytest.raises(StudyError, match=r"data_batch_2\.bin: record 7 has label 1\d, not 0 to 9"):
        read(pack(tmp_path / "a.tar.gz", content), RECORDS)
    for names in ({BINARY.names: b"cat\ndog\n"}, {PYTHON.names: names_pickle(("cat", "dog"))}):
        files = binary_files() if BINARY.names in names else python_files()
        with pytest.raises(StudyError, match=r"batches\.meta(\.txt)? has 2 class names, not 10"):
            read(pack(tmp_path / "b.tar.gz", files | names), RECORDS)
