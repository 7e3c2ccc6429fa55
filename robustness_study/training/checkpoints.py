"""Checkpoints of a training run: written beside and renamed, outside DVC's outputs, one process at a time.

`.checkpoints/KEY/` holds `FINGERPRINT.safetensors`, one for each way of training that was interrupted;
`.checkpoints/KEY.lock` says who trains the model now. The fingerprint is of everything that decides the
result (training/one_model.py says what that is), so that a checkpoint of other parameters, data, code or versions is
never continued, and is found again when those are set back.
"""

from __future__ import annotations

import hashlib
import json
import os
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
PATIENCE_S = 10.0  # a holder whose parent has just died needs a moment to follow it


def fingerprint(values: Any, arrays: dict[str, np.ndarray]) -> str:
    """32 hexadecimal digits of `values` (as JSON) and the arrays' names, types, shapes and bytes."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
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

    The operating system lets the lock go when its process ends, however that ends. The lock's file stays: it holds the
    number of the process that has the folder, or had it last.
    """
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    holder = folder.with_name(f"{folder.name}.lock")
    try:
        lock = FileLock(holder).acquire(timeout=patience_s)
    except Timeout:
        name = holder.read_text(encoding="utf-8").strip() or "another process"
        raise StudyError(f"{folder} is held by {name}, which trains this model now; wait for it or stop it") from None
    with lock:
        holder.write_text(f"process {os.getpid()}\n", encoding="utf-8")
        yield
