"""The reader of tar archives: what usual programs write is read, and hostile archives end at once, in one line."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_cifar10 import RECORDS, binary_files, pack, published, unpack

from robustness_study.core.errors import LONGEST, StudyError
from robustness_study.datasets import cifar10
from robustness_study.datasets._cifar10_files import BATCHES, BINARY, read_batches
from robustness_study.datasets._tar import BLOCK, MOST_EXTENSION, MOST_HEADERS, Forward, members

GNU, PAX, USTAR = tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT
MOST = 10_000_000


def read(content: bytes) -> dict[str, bytes]:
    """The regular files of an archive by name."""
    stream = Forward(io.BytesIO(content), MOST)
    found = {member.name: member.read() for member in members(stream) if member.regular}
    stream.finish()
    return found


# --- what usual programs write -----------------------------------------------------------------------------


FOLDERS = ["", "./", "a/b/", "a" * 70 + "/" + "b" * 70 + "/", "f" * 140 + "/"]  # ustar cannot hold the last


@pytest.mark.parametrize(
    ("form", "folder"),
    [(form, folder) for form in (GNU, PAX, USTAR) for folder in FOLDERS[: -1 if form == USTAR else 5]],
)
def test_files_are_found_in_folders_of_any_length(form: int, folder: str) -> None:
    files = {f"{name}.bin": np.random.default_rng(size).bytes(size) for size, name in enumerate(["none", "one", "two"])}
    files |= {"block.bin": bytes(BLOCK), "more.bin": bytes(BLOCK + 1), "ä.bin": b"a"}
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=form, pax_headers={"comment": "x"}) as tar:
        tar.addfile(tarfile.TarInfo(folder + "directory/"))
        for name, content in files.items():
            info = tarfile.TarInfo(folder + name)
            info.size, info.mtime = len(content), 1.5 if form == PAX else 1  # a fraction needs a pax header
            tar.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo(folder + name + ".link")
            link.type, link.linkname = tarfile.SYMTYPE, "l" * 150 if form != USTAR else "l"
            tar.addfile(link)
    found = read(written.getvalue())
    assert found.pop("directory", b"") == b"" and found == files


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no program tar")
@pytest.mark.parametrize("form", ["gnu", "posix", "ustar", "v7"])
def test_archive_of_the_program_tar_is_read(tmp_path: Path, form: str) -> None:
    folder = unpack(tmp_path / BINARY.folder, binary_files())
    (folder / "a link").symlink_to("test_batch.bin")
    path = tmp_path / "a.tar.gz"
    subprocess.run(["tar", "-C", tmp_path, f"--format={form}", "-czf", path, BINARY.folder], check=True)
    assert cifar10.load_from(path, tmp_path / "none", published()).official


def test_archive_without_the_zeros_at_its_end_is_read() -> None:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        info = tarfile.TarInfo("a")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    assert read(written.getvalue()[: 2 * BLOCK]) == read(written.getvalue()) == {"a": b"abc"}


def test_what_is_not_asked_for_is_skipped() -> None:
    """A member's content need not be read for the next one to be found."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name in "abc":
            info = tarfile.TarInfo(name)
            info.size = 3_000_001
            tar.addfile(info, io.BytesIO(name.encode() * info.size))
    stream = Forward(io.BytesIO(written.getvalue()), MOST)
    assert [member.read()[-1:] for member in members(stream) if member.name in "bc"] == [b"b", b"c"]


# --- hostile ones ------------------------------------------------------------------------------------------


def header(name: str = "test_batch.bin", size: bytes = b"0", kind: bytes = b"0") -> bytes:
    """A header with a right checksum, whatever its size says."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    block[124:136], block[156:157] = size.ljust(12, b"\0"), kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def extended(kind: bytes, content: bytes) -> bytes:
    """A header that says more about the next member."""
    return header("more", b"%o" % len(content), kind) + content + bytes(-len(content) % BLOCK)


def record(key: str, value: str) -> bytes:
    """A record of a pax header."""
    length = len(f" {key}={value}\n")
    return b"%d %s=%s\n" % (length + len(str(length + 2)), key.encode(), value.encode())


MANY = 100_000  # headers
HOSTILE: dict[str, Callable[[], bytes]] = {
    "a negative size": lambda: header(size=b"-1"),
    "a negative size that leads back to the header": lambda: header("first") + header("other", b"-1000"),
    "a negative size of base 256": lambda: header("other", b"\xff" * 10 + b"\xfe\0"),
    "a size of base 256": lambda: header("other", b"\x80" + bytes(9) + b"\x10\0"),
    "a size with a line": lambda: header("other", b"1_0"),
    "a size that is not octal": lambda: header("other", b"9"),
    "a size of text": lambda: header("other", "¹²".encode()),
    "a large size": lambda: header("other", b"77777777777"),
    "a large size of a long name": lambda: header("other", b"77777777777", b"L"),
    "a large size of a pax header": lambda: header("other", b"77777777777", b"x"),
    "a long name": lambda: extended(b"L", bytes(MOST_EXTENSION + 1)),
    "a long pax header": lambda: extended(b"x", record("comment", "a" * MOST_EXTENSION)),
    "a long name that ends too early": lambda: header("other", b"2000", b"L") + bytes(BLOCK),
    "a sparse file": lambda: header(kind=b"S"),
    "a sparse file of another name": lambda: header("other", kind=b"S"),
    "a sparse file of pax": lambda: extended(b"x", record("GNU.sparse.major", "1")) + header(),
    "a sparse file of all": lambda: extended(b"g", record("GNU.sparse.map", "0,1,2,3")) + header(),
    "a size of pax": lambda: extended(b"x", record("size", "-512")) + header(),
    "a size of all": lambda: extended(b"g", record("size", "99999999999")) + header(),
    "a name for all": lambda: extended(b"g", record("path", "test_batch.bin")) + header("other"),
    "an unknown type": lambda: header(kind=b"Z"),
    "a pax header without records": lambda: extended(b"x", b"abc"),
    "a pax header of zeros": lambda: extended(b"x", bytes(100)),
    "a record of no length": lambda: extended(b"x", b" path=a\n"),
    "a record of length 0": lambda: extended(b"x", b"0 path=a\n"),
    "a record of length 2": lambda: extended(b"x", b"2 path=a\n"),
    "a record of negative length": lambda: extended(b"x", b"-9 path=a\n"),
    "a record beyond the end": lambda: extended(b"x", b"99 path=a\n"),
    "a record without a value": lambda: extended(b"x", b"7 path\n"),
    "a record without a line end": lambda: extended(b"x", b"9 path=ab"),
    "a character set that takes long to find": lambda: extended(b"x", b"1" * 60_000),
    "many headers": lambda: header("other") * MANY,
    "many long names": lambda: extended(b"L", b"a") * (MANY // 2),
    "many pax headers of all": lambda: (extended(b"g", record("comment", "a" * 60_000)) + header("other")) * 600,
    "many records, and many members": lambda: (
        extended(b"g", b"".join(record(f"{number:06d}", "a") for number in range(4000))) + header("other") * MANY
    ),
    "a damaged header": lambda: header()[:-1] + b"\x01",
    "a header that ends": lambda: header()[:-1],
}


@pytest.mark.timeout(30)  # not a measurement: without the checks some do not end, with them each takes about a second
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archive_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    """Also compressed; before the good files and behind them. It takes little memory."""
    path = tmp_path / "a.tar.gz"
    good = pack(tmp_path / "good.tar", binary_files(), mode="w").read_bytes()
    files = good.rstrip(b"\0")
    files += bytes(-len(files) % BLOCK)  # without the zeros that end an archive
    hostile = HOSTILE[case]()
    for content in (hostile, hostile + good, files + hostile):
        path.write_bytes(gzip.compress(content, compresslevel=1))
        tracemalloc.start()
        try:
            with pytest.raises(StudyError) as caught:
                read_batches(path, RECORDS, "do this")
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()
        said = str(caught.value)
        assert said.startswith(f"{path}: ") and said.endswith("; do this") and "it has no" not in said
        assert len(said) - len(str(path)) <= LONGEST and said.isascii()


def test_headers_are_limited_and_good_archives_have_fewer() -> None:
    assert read(header("a") * (MOST_HEADERS - 1)) == {"a": b""}
    with pytest.raises(ValueError, match="it has 1,000 headers or more"):
        read(header("a") * MOST_HEADERS)
    assert 10 * (2 * len(BATCHES) + 6) < MOST_HEADERS


def test_a_stream_has_at_most_its_limit() -> None:
    for most, fits in ((1000, True), (999, False)):
        stream = Forward(io.BytesIO(bytes(1000)), most)
        if fits:
            stream.finish()
        else:
            with pytest.raises(ValueError, match="it unpacks to more than 999 bytes"):
                stream.finish()
    stream = Forward(io.BytesIO(bytes(10)), 20)
    stream.skip(7)
    with pytest.raises(ValueError, match="it ends too early"):
        stream.take(4)


def test_damaged_archives_are_read_or_refused_and_never_hang(tmp_path: Path) -> None:
    """Random changes, most of them with checksums made right again."""
    generator = np.random.default_rng(0)
    good = bytearray(extended(b"x", record("path", "a/b") + record("mtime", "1.5")) + header("a", b"3") + bytes(BLOCK))
    good += extended(b"L", b"a" * 200) + header("b", b"1000") + bytes(2 * BLOCK) + bytes(2 * BLOCK)
    refused = 0
    for _ in range(3000):
        content = bytearray(good)
        for at in generator.integers(0, len(good), generator.integers(1, 4)):
            content[at] = generator.choice([0, 32, 45, 48, 55, 57, 61, 76, 83, 103, 120, 128, 255])
        for start in (0, 2 * BLOCK, 4 * BLOCK, 6 * BLOCK):
            block = content[start : start + BLOCK]
            block[148:156] = b" " * 8
            content[start + 148 : start + 156] = b"%06o\0 " % sum(block)
        try:
            read(bytes(content))
        except ValueError:
            refused += 1
    assert 100 < refused < 3000
