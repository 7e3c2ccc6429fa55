"""Checkpoints of a training run, kept outside DVC's outputs and used by one process at a time.

`.checkpoints/KEY/` holds one `FINGERPRINT.safetensors` for each interrupted training. `.checkpoints/KEY.lock` holds the
number of the process that trains the model now. A checkpoint is first written under another name, then renamed.

The fingerprint covers everything that decides the result (training/one_model.py lists it). So a checkpoint of other
parameters, data, code or versions is never continued. It is found again when those are set back.
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
PATIENCE_S = 10.0  # when a trainer's parent is killed, the trainer needs a moment to end too


def fingerprint(values: Any, arrays: dict[str, np.ndarray]) -> str:
    """32 hexadecimal digits, computed from `values` (as JSON) and the arrays' names, types, shapes and bytes."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


class Checkpoints:
    """The checkpoints of one model with one fingerprint. Use it inside `held`."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        self.path = folder / f"{fingerprint}.safetensors"

    def save(self, tensors: dict[str, Tensor], notes: Any) -> None:
        """Write a checkpoint, which replaces the previous one. `notes` is anything that JSON can hold."""
        from safetensors.torch import save_file

        with replacing(self.path) as temporary:
            save_file(
                {name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, {"notes": json.dumps(notes)}
            )

    def load(self) -> tuple[dict[str, Tensor], Any] | None:
        """The tensors (on the CPU) and notes of the last checkpoint, or None if there is none.

        Prints one line for each checkpoint with another fingerprint. Deletes files that a killed process left half
        written. Raises StudyError if the matching checkpoint is broken.
        """
        for half_written in self.folder.glob(".*"):
            half_written.unlink()
        for other in sorted(self.folder.glob("*.safetensors")):
            if other != self.path:
                print(f"{other} is of other parameters, data, code or versions: it is kept, but not used", flush=True)
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
        """Delete the checkpoint, and its folder if that is then empty. Call it after training has ended well."""
        self.path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


@contextmanager
def held(folder: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Keep other processes out of the folder while the `with` block runs.

    Waits up to `patience_s` seconds for another process; then raises StudyError, which names that process. The
    operating system releases the lock when the process ends, however it ends. The lock file stays: it holds the
    number of the process that has the folder, or had it last.
    """
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    holder = folder.with_name(f"{folder.name}.lock")
    try:
        lock = FileLock(holder).acquire(timeout=patience_s)
    except Timeout:
        name = holder.read_text(encoding="utf-8").strip() or "another process"
        raise StudyError(
            f"{folder} is in use by {name}, which is training this model; wait for it or stop it"
        ) from None
    with lock:
        holder.write_text(f"process {os.getpid()}\n", encoding="utf-8")
        yield
