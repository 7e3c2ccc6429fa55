"""CIFAR-10 from archives and folders: which files are read, which are refused, and when the images are official."""

from __future__ import annotations

import bz2
import errno
import functools
import gzip
import hashlib
import json
import lzma
import os
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_cifar10 import (
    CLASSES,
    RECORDS,
    batch_arrays,
    batch_pickle,
    binary_files,
    names_pickle,
    pack,
    published,
    python_files,
    unpack,
)

from robustness_study.core.errors import StudyError
from robustness_study.datasets import _cifar10_files, cifar10
from robustness_study.datasets._cifar10_files import BATCHES, BINARY, PYTHON, Release, read_batches, read_class_names
from robustness_study.datasets._tar import Member
from robustness_study.datasets.base import Dataset, array_checksum, describe, validate
from robustness_study.datasets.cifar10 import CORRECT, DOWNLOAD_AGAIN
from robustness_study.natural import cifar10_1
from stages import download

RECORD = 3073
ADVICE = "do this"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(tmp_path_factory.mktemp("cifar") / "small.tar.gz", binary_files())


def loaded(source: Path) -> Dataset:
    """What the user named, judged by what is published of the small images."""
    return cifar10.load_from(source, Path("none"), published())


# --- what is read ------------------------------------------------------------------------------------------


def with_names(wrap: Callable[..., Path], release: Release, content: bytes | None, top: Path) -> Path:
    """A copy whose file of class names has this content; None if it has no such file."""
    files = binary_files() if release is BINARY else python_files()
    del files[release.names]
    return wrap(top / "copy", files if content is None else files | {release.names: content})


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
    **{
        f"{wrap.__name__} {release.folder} with {what} class names": functools.partial(
            with_names, wrap, release, content
        )
        for wrap in (unpack, pack)
        for release in (BINARY, PYTHON)
        for what, content in {
            "no": None,
            "other": b"\n".join(b"name%d" % number for number in range(10)),
            "too long": bytes(100_000),
            "too few": b"cat",
        }.items()
    },
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


@pytest.mark.parametrize("release", [BINARY, PYTHON])
def test_other_images_have_the_class_names_of_their_file(tmp_path: Path, release: Release) -> None:
    turned = CLASSES[::-1]
    if release is BINARY:
        files = changed(binary_files(), "test_batch.bin", 1) | {BINARY.names: "\n".join(turned).encode()}
    else:
        files = swapped(python_files(), "data_batch_1", "data_batch_2") | {PYTHON.names: names_pickle(turned)}
    dataset = loaded(unpack(tmp_path / "images", files))
    assert not dataset.official and dataset.classes == list(turned)


def test_published_checksums_are_six_different_md5s() -> None:
    """Whether they are right is tested below, where there is a copy of the images."""
    made = cifar10.OFFICIAL
    assert len(set(made.batch_md5s)) == len(BATCHES) and made.records * len(BATCHES) == 60_000
    assert all(len(bytes.fromhex(each)) == 16 for each in (made.md5, *made.batch_md5s))
    assert made.classes == cifar10_1.CLASSES


# --- the official images, where there is a copy ------------------------------------------------------------

SOURCE_SHA256 = "4d101f31678daf544a5c65468648e4fca34b30b841f3df31fe1532d65ed2f9a5"  # of source.json
BUILDER = Path(__file__).resolve().parents[2] / "shared/cifar10/build_archive.py"


def source_sha256(top: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """SHA-256 of the file source.json that the stage `download` writes for a copy of the images."""
    top.mkdir()
    section = {"dataset": "cifar10", "folder": None, "background": "white", "size": 32}
    (top / "params.yaml").write_text(json.dumps({"download": section}))
    monkeypatch.chdir(top)
    monkeypatch.setenv("CIFAR10_ARCHIVE", str(source))
    download.main()
    return hashlib.sha256((top / "data/raw/source.json").read_bytes()).hexdigest()


@pytest.mark.slow
def test_official_images_from_everywhere_give_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an archive, as a folder of the binary release, and as a folder for Python."""
    if not BUILDER.is_file():
        pytest.skip(f"there is no {BUILDER.name} beside this repository, which makes an archive of the images")
    archive = tmp_path / "built.tar.gz"
    subprocess.run([sys.executable, str(BUILDER), str(archive)], check=True, capture_output=True)
    with tarfile.open(archive) as tar:
        files = {name: tar.extractfile(f"{BINARY.folder}/{name}").read() for name in BINARY.batches}  # type: ignore[union-attr]
    binary = unpack(tmp_path / BINARY.folder, files)
    tables = [np.frombuffer(content, np.uint8).reshape(-1, RECORD) for content in files.values()]
    pickles = (batch_pickle(table[:, 0], np.ascontiguousarray(table[:, 1:])) for table in tables)
    python = unpack(tmp_path / PYTHON.folder, dict(zip(BATCHES, pickles, strict=True)))
    for number, source in enumerate((archive, binary, python)):
        assert source_sha256(tmp_path / str(number), source, monkeypatch) == SOURCE_SHA256


def test_the_folder_that_torchvision_leaves_is_official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The publisher's own pickles, which the tests above only imitate."""
    folder = os.environ.get("CIFAR10_PYTHON_FOLDER")
    if not folder:
        pytest.skip(f"CIFAR10_PYTHON_FOLDER does not name a folder {PYTHON.folder}")
    source = Path(folder).resolve()
    assert source_sha256(tmp_path / "top", source, monkeypatch) == SOURCE_SHA256
    assert tuple(read_class_names(source, PYTHON, ADVICE)) == cifar10.OFFICIAL.classes


# --- what was named, or is kept ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["absent", "pipe", "device", "link to nothing"])
def test_what_is_named_must_be_a_file_or_a_folder(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "named"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind != "absent":
        path.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    with pytest.raises(StudyError, match=r"CIFAR10_ARCHIVE is .*named, which is neither a file nor a folder; correct"):
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


@pytest.mark.parametrize("release", [BINARY, PYTHON])
def test_what_to_do_depends_on_whether_the_copy_was_named(tmp_path: Path, release: Release) -> None:
    """Nobody is told to delete a file of their own, and a broken download can be made again."""
    batch = release.batches[0]
    files = binary_files() if release is BINARY else python_files()
    paths = [
        pack(tmp_path / f"{number}.tar.gz", broken)
        for number, broken in enumerate(({batch: b"x"}, files | {batch: b"x"}, files | {batch: bytes(10**6)}))
    ]
    for content in (b"", b"<html>"):
        paths.append(tmp_path / f"{len(paths)}.tar.gz")
        paths[-1].write_bytes(content)
    for path in paths:
        for source, kept, advice in ((path, tmp_path / "none", CORRECT), (None, path, DOWNLOAD_AGAIN)):
            with pytest.raises(StudyError) as caught:
                cifar10.load_from(source, kept, published())
            assert str(caught.value).startswith(str(path)) and str(caught.value).endswith(f"; {advice}")
    assert CORRECT.startswith("correct CIFAR10_ARCHIVE (") and "delete" not in CORRECT


def denied(*_: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.mark.parametrize("packed", [True, False])
def test_an_error_of_the_system_is_not_called_damage(
    tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program then ends with one line that names the error and the file."""
    source = pack(tmp_path / "a.tar", binary_files(), mode="w") if packed else unpack(tmp_path / "a", binary_files())
    with monkeypatch.context() as patched:
        patched.setattr(_cifar10_files, "check_size", denied)
        with pytest.raises(PermissionError) as caught:
            loaded(source)
    assert caught.value.filename == str(source) and caught.value.strerror == "Permission denied"
    assert loaded(source).official


# --- broken archives ---------------------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    """Assert that the archive is refused in one line that names it and ends with the advice."""
    with pytest.raises(StudyError, match=match) as caught:
        read_batches(path, RECORDS, ADVICE)
    assert str(caught.value).startswith(str(path)) and str(caught.value).endswith(f"; {ADVICE}")


@pytest.mark.parametrize("kept_bytes", [0, 1, 10, 5000, -200_000, -4])
def test_truncated_archive_is_refused(archive: Path, tmp_path: Path, kept_bytes: int) -> None:
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(archive.read_bytes()[:kept_bytes])
    refused(cut, r"cut\.tar\.gz( cannot be read \(.*|: it has no data_batch_1\.bin|: it is no tar archive.*); ")


def test_flipped_bits_are_found_by_the_final_checksum(tmp_path: Path) -> None:
    plain = pack(tmp_path / "a.tar", binary_files(), mode="w").read_bytes()
    stored = bytearray(gzip.compress(plain, compresslevel=0))
    stored[len(stored) // 2] ^= 1
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(stored)
    refused(broken, r"cannot be read .*CRC")


@pytest.mark.parametrize("place", ["before", "after"])
def test_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_cifar10_files, "MOST_UNPACKED_BYTES", 10_000_000)
    filler = {"zeros": bytes(20_000_000)}
    files = filler | binary_files() if place == "before" else binary_files() | filler
    path = pack(tmp_path / "bomb.tar.gz", files)
    assert path.stat().st_size < 1_000_000
    refused(path, r"bomb\.tar\.gz: it unpacks to more than 10,000,000 bytes")
    tail = tmp_path / "tail.tar.bz2"
    tail.write_bytes(bz2.compress(pack(tmp_path / "a.tar", binary_files(), mode="w").read_bytes() + bytes(20_000_000)))
    refused(tail, r"tail\.tar\.bz2: it unpacks to more than 10,000,000 bytes")
    refused(pack(tmp_path / "large.tar", files, mode="w"), r"large\.tar: it has more than 10,000,000 bytes")


def test_other_files_are_refused(tmp_path: Path) -> None:
    for content in (
        b"<html>not found</html>",
        b"PK\x03\x04" * 500,
        gzip.compress(b"no tar" * 500),
        b"\xfd7zXZ\x00" * 9,
        b"BZ text" * 500,
    ):
        path = tmp_path / "other"
        path.write_bytes(content)
        refused(path, "cannot be read|is no tar archive")


def test_xz_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    """Its header asks for 4 GB, and the process may have 1 GB more than it has."""
    content = bytearray(lzma.compress(bytes(9999), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]))
    assert content[12:16] == b"\x02\x00\x21\x01"  # the size of the block's header, its flags, the filter, one byte
    content[16] = 40
    content[20:24] = zlib.crc32(content[12:20]).to_bytes(4, "little")
    path = tmp_path / "greedy.tar.xz"
    path.write_bytes(content)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from robustness_study.datasets._cifar10_files import read_batches\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))\n"
        "read_batches(Path(sys.argv[1]), 20, 'do this')"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system does not say how much memory a process has")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.splitlines()[-1].endswith("to read it takes more memory than there is; do this")


# --- files of the releases ---------------------------------------------------------------------------------


@pytest.mark.parametrize("release", [BINARY, PYTHON])
@pytest.mark.parametrize("position", [0, 3, 5])
@pytest.mark.parametrize("wrap", [pack, unpack])
def test_missing_file_is_named(
    tmp_path: Path, release: Release, position: int, wrap: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    content = binary_files() if release is BINARY else python_files()
    name = release.batches[position]
    del content[name]
    refused(wrap(tmp_path / "a", content), rf"a: it has no {name}; ")


def test_folder_above_is_refused(tmp_path: Path) -> None:
    unpack(tmp_path / PYTHON.folder, python_files())
    with pytest.raises(StudyError, match=r"it has no .*; .* or its folder cifar-10-batches-bin or cifar-10-batches-py"):
        loaded(tmp_path)


@pytest.mark.parametrize("change", [-1, 1, RECORD])
@pytest.mark.parametrize("wrap", [pack, unpack])
def test_batch_of_another_size_is_refused(
    tmp_path: Path, change: int, wrap: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    content = binary_files()
    content["test_batch.bin"] = (content["test_batch.bin"] + bytes(RECORD))[: RECORDS * RECORD + change]
    refused(wrap(tmp_path / "a", content), rf"test_batch\.bin has {RECORDS * RECORD + change:,} bytes, not 61,460;")


@pytest.mark.parametrize("name", ["data_batch_4", "data_batch_4.bin", BINARY.names, PYTHON.names])
def test_size_is_checked_before_reading(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: bytes(100_000)}
    monkeypatch.setattr(Member, "read", lambda *_: pytest.fail("read before the size was checked"))
    for source in (pack(tmp_path / "a", files), unpack(tmp_path / "b", files)):
        with pytest.raises(StudyError, match=rf"{name} has 100,000 bytes, not (at most 4,096|at most 67,556|61,460);"):
            if name in BINARY.names + PYTHON.names:
                read_class_names(source, BINARY if name == BINARY.names else PYTHON, ADVICE)
            else:
                read_batches(source, RECORDS, ADVICE)


@pytest.mark.skipif(not Path("/proc/kallsyms").is_file(), reason="this system has no large file of unknown size")
def test_file_with_more_bytes_than_its_size_is_refused(tmp_path: Path) -> None:
    """Files of the kernel say that they have 0 bytes."""
    folder = unpack(tmp_path / "images", {})
    (folder / "data_batch_1").symlink_to("/proc/kallsyms")
    refused(folder, r"data_batch_1 has 67,557 bytes, not at most 67,556")


def test_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", binary_files(), mode="w")
    pack(path, {"test_batch.bin": bytes(RECORDS * RECORD)}, "elsewhere", mode="a")
    refused(path, r"it has two files test_batch\.bin")


def test_link_in_place_of_a_file_of_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(f"{BINARY.folder}/test_batch.bin")
        info.type, info.linkname = tarfile.SYMTYPE, "elsewhere"
        tar.addfile(info)
    refused(path, r"test_batch\.bin is not a regular file")


@pytest.mark.parametrize("release", [BINARY, PYTHON])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_something_other_than_a_file_of_a_folder_is_refused(tmp_path: Path, release: Release, kind: str) -> None:
    folder = unpack(tmp_path / "images", binary_files() if release is BINARY else python_files())
    path = folder / release.batches[2]
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    refused(folder, rf"{path.name} is not a regular file; ")


@pytest.mark.parametrize("kind", ["link to nothing", "link to itself"])
def test_file_that_the_system_cannot_open_is_named(tmp_path: Path, kind: str) -> None:
    folder = unpack(tmp_path / "images", binary_files())
    path = folder / "test_batch.bin"
    path.unlink()
    path.symlink_to({"link to nothing": "nowhere", "link to itself": path.name}[kind])
    with pytest.raises(OSError, match=r"No such file|Too many levels") as caught:
        loaded(folder)
    assert caught.value.filename == str(path)


def test_link_to_a_good_file_is_followed(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "images", binary_files())
    (folder / "test_batch.bin").rename(tmp_path / "store")
    (folder / "test_batch.bin").symlink_to(tmp_path / "store")
    assert loaded(folder).official


def test_label_beyond_nine_and_missing_names_are_refused(tmp_path: Path) -> None:
    content = changed(binary_files(), "data_batch_2.bin", 7 * RECORD, by=10)
    refused(pack(tmp_path / "a.tar.gz", content), r"data_batch_2\.bin: record 7 has label 1\d, not 0 to 9")
    for release, names in ((BINARY, b"cat\ndog\n"), (PYTHON, names_pickle(("cat", "dog")))):
        with pytest.raises(StudyError, match=r"batches\.meta(\.txt)? has 2 class names, not 10; do this"):
            read_class_names(unpack(tmp_path / release.folder, {release.names: names}), release, ADVICE)
        with pytest.raises(StudyError, match=r"it has no batches\.meta(\.txt)?; do this"):
            read_class_names(pack(tmp_path / "b.tar.gz", {}), release, ADVICE)
