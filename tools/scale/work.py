"""What a worker does with one model: its stages, in a clone of the repository that belongs to this model alone.

The clone is kept until the model is done. So a second attempt on the same disk goes on from the checkpoint of the
first. The lock beside the clone keeps two attempts from running at the same time.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ruamel.yaml import YAML

from robustness_study.core.files import write_json
from tools.scale import fleet

PATIENCE_S = 900  # for an earlier attempt that is still ending
KNOWN: dict[tuple[tuple[str, str], ...], fleet.Environment] = {}  # what this process trains with, by its settings


class WorkError(Exception):
    """A model's stages, or what they need, failed on a worker. Its text is one line."""


@dataclass(frozen=True)
class Order:
    """What a worker needs to know to do one model."""

    key: str
    stages: tuple[str, ...]
    inputs: tuple[str, ...]  # files and folders of earlier stages, in DVC's cache
    revision: str  # the commit that holds the code, the params and dvc.lock
    bundle: str | bytes  # this commit as a git bundle, or the path of one
    scratch: str  # the folder for clones
    dvc_settings: dict[str, dict[str, str]]  # of .dvc/config.local: the shared cache, or the remote
    has_remote: bool  # results go through a DVC remote, as there is no shared cache
    settings: dict[str, str] = field(default_factory=dict)  # environment variables of the stages
    expected: fleet.Environment | None = None  # what every model of this run is trained with
    notes: str = ""  # the head's folder for notes about running models, if workers can see it

    @property
    def clone(self) -> Path:
        """The folder of this model's clone."""
        return Path(os.path.expandvars(self.scratch)) / self.key


def place() -> str:
    """The name of this worker: host, and GPU if the engine gave it one."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    return socket.gethostname() + (f", GPU {gpu}" if gpu else "")


def work(order: Order) -> dict[str, Any]:
    """Run the model's stages; return their entries in dvc.lock. Raises WorkError with the reason."""
    order.clone.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(f"{order.clone}.lock").acquire(timeout=PATIENCE_S)
    except Timeout:
        raise WorkError(f"an earlier attempt at {order.key} did not end; stop it on its machine") from None
    with lock:
        note(order)
        prepare(order)
        if order.expected is not None and (here := environment(order)) != order.expected:
            raise WorkError(
                f"this worker trains with {fleet.text(here)}, and the others with {fleet.text(order.expected)}; "
                "name workers of one kind in the site's file"
            )
        run(order)
        entries = locked(order)
        shutil.rmtree(order.clone, ignore_errors=True)
    return entries


def note(order: Order) -> None:
    """Tell the head, if it can be seen, that the model runs here."""
    if order.notes and Path(order.notes).is_dir():
        write_json(Path(order.notes) / f"{order.key}.json", {"where": place()})


def prepare(order: Order) -> None:
    """Make the clone, or bring that of an earlier attempt to the same commit. What git ignores stays: checkpoints."""
    clone = order.clone
    # A killed attempt may have left locks and a half-written index. The whole of .git is small and quickly made again.
    shutil.rmtree(clone / ".git", ignore_errors=True)
    for left in ("lock", "rwlock", "rwlock.lock"):
        (clone / ".dvc/tmp" / left).unlink(missing_ok=True)
    clone.mkdir(parents=True, exist_ok=True)
    bundle = order.bundle
    if isinstance(bundle, bytes):
        received = clone.with_name(f"{clone.name}.bundle")
        received.write_bytes(bundle)
        bundle = str(received)
    for arguments in (["init", "-q"], ["fetch", "-q", bundle, "+refs/scale/*:refs/scale/*"],
                      ["reset", "-q", "--hard", order.revision], ["clean", "-q", "-f", "-d"]):  # fmt: skip
        command(order, ["git", *arguments])
    config = configparser.ConfigParser(interpolation=None)
    config.read_dict(order.dvc_settings)
    with (clone / ".dvc/config.local").open("w", encoding="utf-8") as stream:
        config.write(stream)


def environment(order: Order) -> fleet.Environment:
    """What this worker trains with. A worker's process asks once, because that takes seconds."""
    settings = tuple(sorted(order.settings.items()))
    if settings not in KNOWN:
        KNOWN[settings] = fleet.of_process(order.clone, order.settings)
    return KNOWN[settings]


def probe(order: Order) -> fleet.Environment:
    """What this worker trains with, for the head, which asks before it sends models."""
    prepare(order)
    try:
        return fleet.of_process(order.clone, order.settings)
    finally:
        shutil.rmtree(order.clone, ignore_errors=True)


def run(order: Order) -> None:
    """Get the inputs, run the stages, and send the results to the remote if there is one."""
    pull = ["--pull"] if order.has_remote else []
    dvc(order, ["pull" if order.has_remote else "checkout", *order.inputs])
    dvc(order, ["repro", "--single-item", *pull, *order.stages])
    if order.has_remote:
        dvc(order, ["push", "--run-cache", *order.stages])


def dvc(order: Order, arguments: Sequence[str]) -> None:
    """Run DVC in the clone; its process ends with this worker."""
    command(order, [sys.executable, "-m", "tools.scale.guarded", "tools.scale.fast_dvc", *arguments])


def command(order: Order, arguments: Sequence[str]) -> None:
    """Run a command in the clone; its output is in a file beside the clone. Raises WorkError with its last line."""
    done = subprocess.run(
        arguments, cwd=order.clone, env=fleet.environment_variables() | order.settings, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="backslashreplace",
    )  # fmt: skip
    with open(f"{order.clone}.log", "a", encoding="utf-8") as log:
        log.write(done.stdout)
    if done.returncode:
        raise WorkError(f"{reason(done.stdout) or f'exit status {done.returncode}'} [on {place()}]")


def reason(printed: str) -> str:
    """The line that says why something failed: the last one that begins with `error:`, or else the last one."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("error:")), lines[-1] if lines else "")


def locked(order: Order) -> dict[str, Any]:
    """The entries of the model's stages in the clone's dvc.lock, as plain values."""
    stages = YAML(typ="safe", pure=True).load(order.clone / "dvc.lock")["stages"]
    found: dict[str, Any] = json.loads(json.dumps({name: stages[name] for name in order.stages}))
    return found
