"""Checkpoints of a training run: written beside and renamed, outside DVC's outputs, one process at a time.

`.checkpoints/KEY/` holds `FINGERPRINT.safetensors`, one for each way of training that was interrupted;
`.checkpoints/KEY.lock` says who trains the model now. The fingerprint is of everything that decides the
result, so that a checkpoint of other parameters, data, code or versions is never continued, and is found
again when those are set back.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

TOP = Path(".checkpoints")
CODE = Path(__file__).parent.parent  # whatever of it a loss imports: any change makes another fingerprint
PATIENCE_S = 10.0  # a holder whose parent has just died needs a moment to follow it


def fingerprint(values: Any, arrays: dict[str, np.ndarray]) -> str:
    """32 hexadecimal digits of `values` (as JSON), the arrays' types, shapes and bytes, and the project's code."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    for path in sorted(CODE.rglob("*.py")):
        digest.update(path.relative_to(CODE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:32]


class Checkpoints:
    """The checkpoints of one model, identified by a fingerprint; use inside `held`."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        self.path = folder / f"{fingerprint}.safetensors"

    def save(self, tensors: dict[str, Tensor], notes: Any) -> None:
        """Write a checkpoint in place of the last one; `notes` is anything that JSON holds."""
        from safetensors.torch import save_file

        with replacing(self.path) as beside:
            save_file(
                {name: tensor.contiguous() for name, tensor in tensors.items()}, beside, {"notes": json.dumps(notes)}
            )

    def load(self) -> tuple[dict[str, Tensor], Any] | None:
        """The last checkpoint's tensors, on the CPU, and notes; None if there is none.

        A line names each checkpoint that does not match; StudyError if the one that does is broken. What a
        killed process had half-written is removed.
        """
        for half_written in self.folder.glob(".*"):
            half_written.unlink()
        for other in sorted(self.folder.glob("*.safetensors")):
            if other != self.path:
                print(f"{other} is of other parameters, data, code or versions: it is left alone", flush=True)
        if not self.path.exists():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                names = sorted(file.keys())
                return {name: file.get_tensor(name) for name in names}, json.loads(file.metadata()["notes"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            raise StudyError(f"{self.path} is broken; delete it to train from the beginning") from None

    def remove(self) -> None:
        """Remove the checkpoint, and the folder with it if it was the last; for a training that ended well."""
        self.path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


@contextmanager
def held(folder: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the folder alone, as long as the process lives; StudyError, naming the holder, if another has it.

    The lock is the operating system's: it goes with its process, however that ends. Its file stays, for
    removing it would let two processes hold two files of the same name.
    """
    import fcntl

    folder.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_s
    with folder.with_name(f"{folder.name}.lock").open("a+", encoding="utf-8") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.seek(0)
                    raise StudyError(
                        f"{folder} is held by {lock.read().strip() or 'another process'}, which trains this model now; "
                        "wait for it or stop it"
                    ) from None
            time.sleep(0.1)
        lock.truncate(0)
        lock.write(f"process {os.getpid()}\n")
        lock.flush()
        yield
