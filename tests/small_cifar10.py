"""A small CIFAR-10 of random images, in every form that `download` reads, and what would be published for it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np

from robustness_study.datasets._cifar10_files import BATCHES, BINARY, PYTHON
from robustness_study.datasets.cifar10 import Published

RECORDS = 20  # of each batch
CLASSES = tuple(f"class{number}" for number in range(10))


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def batch_arrays(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images, and labels with every class twice."""
    generator = np.random.default_rng(number)
    images = generator.integers(0, 256, (RECORDS, 32, 32, 3), dtype=np.uint8)
    return images, generator.permutation(np.repeat(np.arange(10), RECORDS // 10)).astype(np.uint8)


def binary_files() -> dict[str, bytes]:
    """The files of the binary release by name."""
    content = {BINARY.names: "".join(f"{name}\n" for name in CLASSES).encode() + b"\n"}
    for number, name in enumerate(BINARY.batches):
        images, labels = batch_arrays(number)
        content[name] = b"".join(
            bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(images, labels, strict=True)
        )
    return content


def python_files() -> dict[str, bytes]:
    """The files of the release for Python by name."""
    content = {PYTHON.names: names_pickle(CLASSES)}
    for number, name in enumerate(BATCHES):
        images, labels = batch_arrays(number)
        content[name] = batch_pickle(labels, images.transpose(0, 3, 1, 2).reshape(RECORDS, -1))
    return content


def published(url: str = "http://127.0.0.1:9/file", archive: bytes = b"") -> Published:
    """What a publisher of the small images would say of them; `archive` is the content of the archive at `url`."""
    md5s = tuple(md5(content) for content in list(binary_files().values())[1:])
    return Published("a page", url, md5(archive), md5s, RECORDS, CLASSES)


def pack(path: Path, content: dict[str, bytes], folder: str = BINARY.folder, mode: str = "w:gz") -> Path:
    """Write an archive of these files, which are in `folder` there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in content.items():
            info = tarfile.TarInfo(f"{folder}/{name}" if folder else name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def unpack(folder: Path, content: dict[str, bytes]) -> Path:
    """Write these files into a folder."""
    folder.mkdir(parents=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder


# --- pickles as Python 2 wrote them ------------------------------------------------------------------------


class Python2:
    """Writes values as Python 2's `cPickle` did with protocol 2; the files of the release for Python are of this kind.

    Python 3 can read such files but cannot write them: its text and its arrays use other instructions.
    """

    def __init__(self) -> None:
        self.count = 0

    def put(self) -> bytes:
        """The instruction that gives the value on the stack the next number."""
        self.count += 1
        return b"q" + bytes([self.count]) if self.count < 256 else b"r" + self.count.to_bytes(4, "little")

    def value(self, value: object) -> bytes:
        """Instructions that put a value on the stack."""
        if value is None or isinstance(value, bool):
            return {None: b"N", False: b"\x89", True: b"\x88"}[value]
        if isinstance(value, int):
            for least, most, code, size in ((0, 255, b"K", 1), (256, 65_535, b"M", 2)):
                if least <= value <= most:
                    return code + value.to_bytes(size, "little")
            return b"J" + value.to_bytes(4, "little", signed=True)
        if isinstance(value, (str, bytes)):
            text = value.encode() if isinstance(value, str) else value
            length = b"U" + bytes([len(text)]) if len(text) < 256 else b"T" + len(text).to_bytes(4, "little")
            return length + text + self.put()
        if isinstance(value, tuple) and not value:
            return b")"
        if isinstance(value, tuple):
            items = b"".join(map(self.value, value))
            ends = {1: b"\x85", 2: b"\x86", 3: b"\x87"}
            return (items + ends[len(value)] if len(value) in ends else b"(" + items + b"t") + self.put()
        if isinstance(value, list):
            start = b"]" + self.put()
            parts = (value[at : at + 1000] for at in range(0, len(value), 1000))
            return start + b"".join(b"(" + b"".join(map(self.value, part)) + b"e" for part in parts)
        if isinstance(value, dict):
            start = b"}" + self.put() + b"("
            return start + b"".join(self.value(key) + self.value(each) for key, each in value.items()) + b"u"
        assert isinstance(value, np.ndarray) and value.dtype == np.uint8
        return self.array(value)

    def array(self, value: np.ndarray) -> bytes:
        """Instructions that call and set what numpy 1 did."""
        by_column = value.flags.f_contiguous and not value.flags.c_contiguous
        made = self.name("numpy.core.multiarray", "_reconstruct") + (
            self.name("numpy", "ndarray") + b"K\x00\x85" + self.put() + self.value("b") + b"\x87" + self.put()
        )
        made += b"R" + self.put() + b"(K\x01" + self.value(value.shape)
        made += self.name("numpy", "dtype") + self.value(("u1", 0, 1)) + b"R" + self.put()
        made += self.value((3, "|", None, None, None, -1, -1, 0)) + b"b" + self.value(by_column)
        return made + self.value(value.tobytes("F" if by_column else "C")) + b"t" + self.put() + b"b"

    def name(self, module: str, name: str) -> bytes:
        """The instruction that looks up a name."""
        return f"c{module}\n{name}\n".encode() + self.put()


def dumped(value: object) -> bytes:
    """The pickle of a value."""
    return b"\x80\x02" + Python2().value(value) + b"."


def names_pickle(names: tuple[str, ...]) -> bytes:
    """The content of `batches.meta`."""
    return dumped({"num_cases_per_batch": 10_000, "label_names": list(names), "num_vis": 3072})


def batch_pickle(labels: np.ndarray, rows: np.ndarray) -> bytes:
    """The content of a batch file: labels (N,), and uint8 N×3072, all red, all green and all blue values."""
    files = [f"leptodactylus_pentadactylus_s_{number:06d}.png" for number in range(len(labels))]
    return dumped({"batch_label": "batch", "labels": labels.tolist(), "data": rows, "filenames": files})
