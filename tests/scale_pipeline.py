"""A small pipeline for the tests of tools/scale: the study's names of stages, and files of a few bytes.

Its stages behave as the study's do: they end with DVC, write a file beside its name and rename it, and train in steps
that a second attempt goes on with from a checkpoint. Environment variables make them slow, broken or talkative.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools import workspace

KEYS = [f"{loss}-clean-{seed}" for loss in ("a", "b") for seed in (0, 1)]
STEPS = 10  # of a training
STAGE = """
import hashlib, os, pathlib, sys, time
sys.path.append(ROOT)
from robustness_study.core.die_with_parent import die_with_parent
die_with_parent()

def write(name, text):
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name("." + path.name + ".0.part")
    beside.write_text(text)
    beside.rename(path)

def log(line):
    if "TOY_LOG" in os.environ:
        with open(os.environ["TOY_LOG"], "a") as stream:
            stream.write(f"{what} {key} {line}\\n")

def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()

what, key = sys.argv[1:]
step_s = float(os.environ.get("TOY_STEP_S", "0"))
log(f"begins on GPU {os.environ.get('CUDA_VISIBLE_DEVICES')} in {os.getcwd()}")
if what == "train":
    if (pathlib.Path(os.environ.get("TOY_BROKEN", "nowhere")) / key).exists():
        sys.exit(f"error: {key} is broken; mend it")
    kept, first, value = pathlib.Path(".checkpoints") / key, 0, pathlib.Path("data/split.txt").read_text()
    if kept.exists():
        number, value = kept.read_text().split(" ", 1)
        first = int(number)
        log(f"resumes at {first}")
    for step in range(first, STEPS):
        value = digest(f"{key} {step} {value}")
        time.sleep(step_s)
        write(kept, f"{step + 1} {value}")
    write(f"models/{key}/weights.txt", value)
    kept.unlink()
elif what == "evaluate":
    time.sleep(step_s)
    write(f"data/evaluated/{key}.txt", digest(pathlib.Path(f"models/{key}/weights.txt").read_text()))
elif what == "publish":
    write(f"reports/cells/{key}.txt", pathlib.Path(f"data/evaluated/{key}.txt").read_text())
else:
    write("reports/all.txt", "".join(sorted(path.read_text() for path in pathlib.Path("reports/cells").iterdir())))
log("ends")
"""
PIPELINE = """
stages:
  split:
    cmd: mkdir -p data && echo shared > data/split.txt
    deps: [params.yaml]
    outs: [data/split.txt]
  train:
    matrix: {key: KEYS}
    cmd: python stage.py train ${item.key}
    deps: [data/split.txt]
    outs: ["models/${item.key}"]
  evaluate:
    matrix: {key: KEYS}
    cmd: python stage.py evaluate ${item.key}
    deps: ["models/${item.key}"]
    outs: ["data/evaluated/${item.key}.txt"]
  publish:
    matrix: {key: KEYS}
    cmd: python stage.py publish ${item.key}
    deps: ["data/evaluated/${item.key}.txt"]
    outs:
    - reports/cells/${item.key}.txt: {cache: false}
  compare:
    cmd: python stage.py compare all
    deps: [reports/cells]
    outs:
    - reports/all.txt: {cache: false}
"""


def make(path: Path, keys: list[str] = KEYS) -> Path:
    """Make a repository with the pipeline at `path`; it has not run yet."""
    path.mkdir(parents=True)
    for name in (".gitignore", ".dvcignore", "params.yaml"):
        shutil.copy(workspace.ROOT / name, path)
    (path / "stage.py").write_text(STAGE.replace("ROOT", repr(str(workspace.ROOT))).replace("STEPS", str(STEPS)))
    (path / "dvc.yaml").write_text(PIPELINE.replace("KEYS", f"[{', '.join(keys)}]"))
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["git", "add", "-A"], ["git", "commit", "-qm", "x"]):
        subprocess.run(command, cwd=path, env=workspace.environment(), check=True)
    return path


def site(path: Path, scratch: Path, **settings: object) -> Path:
    """Write a site's file for workers on this machine."""
    lines = {"provider": "local", "scratch": str(scratch), "workers_per_node": 2, **settings}
    path.write_text("".join(f"{name}: {value}\n" for name, value in lines.items()), encoding="utf-8")
    return path


def command(*arguments: str) -> list[str]:
    """The command line of `python -m tools.scale`."""
    return [sys.executable, "-m", "tools.scale", *arguments]


def variables(**settings: str) -> dict[str, str]:
    """The environment variables for it, in a folder elsewhere."""
    return {**os.environ, "PYTHONPATH": str(workspace.ROOT), **settings}


def scale(path: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m tools.scale` in a repository."""
    return subprocess.run(
        command(*arguments), cwd=path, env=variables(**settings), check=False, capture_output=True, text=True
    )


def results(path: Path) -> dict[str, bytes]:
    """Every file that the pipeline makes, and dvc.lock without regard to the order of its stages."""
    names = [name for top in ("data", "models", "reports") for name in (path / top).rglob("*") if name.is_file()]
    found = {str(name.relative_to(path)): name.read_bytes() for name in names}
    return found | {"dvc.lock": b"\n".join(sorted((path / "dvc.lock").read_bytes().splitlines()))}
