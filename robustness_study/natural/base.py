"""The class `NaturalSet`, which every natural set returns, and the reader of the .npy files that such sets come as."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.files import DAMAGE, read_bytes, refuse_irregular
from robustness_study.datasets.fetch import Limits, algorithm, digest_of, fetch

VARIABLE = "NATURAL_FOLDER"  # environment variable: a folder with the files, to use instead of a download


@dataclass(frozen=True)
class NaturalSet:
    """Images uint8 N×S×S×3 with labels uint8 (N,). `checksums` maps the name of each file to its checksum."""

    images: np.ndarray
    labels: np.ndarray
    checksums: dict[str, str]


@dataclass(frozen=True)
class Source:
    """One file as its publisher gives it: where it is, its name, its length in bytes and its checksum."""

    url: str
    name: str
    bytes: int
    checksum: str  # MD5 or SHA-256, in hexadecimal

    def read(self, folder: Path | None, fetched: Path) -> np.ndarray:
        """The array in the file, from `folder`; if that is None, from `fetched`, where it is downloaded once.

        Objects are never unpickled. Raises StudyError if the file cannot be had, if its checksum is wrong, or if it is
        not an .npy file of numbers.
        """
        path = (folder or fetched) / self.name
        if folder is None and not path.exists():
            print(f"natural: fetching {self.url}", flush=True)
            fetch(self.url, path, self.checksum, Limits(self.bytes))
        if folder is not None and not path.is_file():
            raise StudyError(
                f"the environment variable {VARIABLE} is {folder}, which has no file {self.name}; put it there, or "
                "unset the variable to download it"
            )
        advice = f"delete it and get it again from {self.url}"
        refuse_irregular(path, advice)
        found = digest_of(path, self.checksum)
        if found != self.checksum:
            raise StudyError(f"{path} has {algorithm(self.checksum)} {found}, not {self.checksum}; {advice}")
        content = read_bytes(path, self.bytes, advice)
        try:
            array = np.load(io.BytesIO(content), allow_pickle=False)
        except DAMAGE as error:
            raise StudyError(
                f"{path} is not an .npy file of numbers ({' '.join(str(error).split())}); {advice}"
            ) from None
        if not isinstance(array, np.ndarray):
            raise StudyError(f"{path} is an archive of arrays, not an .npy file; {advice}")
        return array
