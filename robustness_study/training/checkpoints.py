"""Checkpoints of a training run, kept outside DVC's outputs and used by one process at a time.

`.checkpoints/KEY/` holds one `FINGERPRINT.safetensors` for each interrupted training. A checkpoint is first written
under another name, then renamed.

The fingerprint covers everything that decides the result (training/one_model.py lists it). So a checkpoint of other
parameters, data, code or versions is never continued. It is found again when those are set back.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.files import refuse_irregular, replacing

if TYPE_CHECKING:
    from torch import Tensor

TOP = Path(".checkpoints")


def fingerprint(values: Any, arrays: dict[str, np.ndarray]) -> str:
    """32 hexadecimal digits, computed from `values` (as JSON) and the arrays' names, types, shapes and bytes."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def digest_of(tensors: dict[str, Tensor], notes: str) -> str:
    """SHA-256, in hexadecimal, of the tensors' names, types, shapes and bytes, and of the notes."""
    from safetensors.torch import save

    return hashlib.sha256(save(dict(sorted(tensors.items())), {"notes": notes})).hexdigest()


class Checkpoints:
    """The checkpoints of one model with one fingerprint. Only one process may use it at a time."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        self.path = folder / f"{fingerprint}.safetensors"

    def save(self, tensors: dict[str, Tensor], notes: Any) -> None:
        """Write a checkpoint, which replaces the previous one. `notes` is anything that JSON can hold."""
        from safetensors.torch import save

        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        text = json.dumps(notes)
        content = save(tensors, {"notes": text, "digest": digest_of(tensors, text)})
        with replacing(self.path) as temporary:
            temporary.write_bytes(content)

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

        refuse_irregular(self.path, "delete it to train from the beginning")
        try:
            with safe_open(self.path, framework="pt") as file:
                tensors, metadata = {name: file.get_tensor(name) for name in sorted(file.keys())}, file.metadata()
                if metadata["digest"] != digest_of(tensors, metadata["notes"]):
                    raise ValueError("the tensors are not those that were saved")
                return tensors, json.loads(metadata["notes"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            raise StudyError(f"{self.path} is broken; delete it to train from the beginning") from None

    def remove(self) -> None:
        """Delete the checkpoint, and its folder if that is then empty. Call it after training has ended well."""
        self.path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
