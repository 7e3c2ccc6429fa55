"""Measures everything that only a GPU can show, within a time budget, the most telling parts first.

What each part found is written to `bench/results/gpu-CARD.json` as it ends, so that a stop costs one part. A part that
fails or no longer fits is named. `--parts` chooses some, in the given order; their results join those of the same
machine that the file holds. `--tiny` tries the program, on any device: its figures mean nothing, and its file says so.
`python -m bench.gpu [--minutes 8] [--parts NAME …] [--out FOLDER] [--tiny]`
"""

from __future__ import annotations

import argparse
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench import report
from bench.gpu import agreement, checks, determinism, stems, together, ways
from bench.gpu.budget import Part, run_parts
from bench.gpu.setting import Setting
from bench.gpu.whole_models import WholeModels
from robustness_study.classifier import device
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_json, write_json
from robustness_study.core.program import run


def parts_of(given: Setting) -> list[Part]:
    """All parts, the most telling first. Their seconds are guesses: what a part needs to show anything, and a limit.

    The limit keeps one slow part from taking the time of all others.
    """
    models = WholeModels(given)
    least, most = (1.0, 600.0) if given.tiny else (15.0, 120.0)
    return [
        Part("tests", least, checks.measure, most),
        Part("speed", 2 * least, partial(stems.measure, given), most),
        Part("recipe-clean", 2 * least, partial(models.recipe, "clean")),
        Part("recipe-corrupted", 2 * least, partial(models.recipe, "corrupted")),
        Part("agreement", least, partial(agreement.measure, given), most),
        Part("ways", 2 * least, partial(ways.measure, given), most),
        Part("deterministic", 2 * least, partial(determinism.measure, given), most),
        Part("time-to-accuracy", least, models.time_to_accuracy),
        Part("together", 2 * least, partial(together.measure, given)),
    ]


def file_of(folder: Path, machine: dict[str, Any], tiny: bool) -> Path:
    """The file of a machine's results, by the name of its card."""
    card = re.sub(r"[^a-z0-9]+", "-", machine["device"].lower()).strip("-")
    return folder / f"gpu-{'tiny-' if tiny else ''}{card}.json"


def earlier(path: Path, machine: dict[str, Any]) -> dict[str, Any]:
    """What the file holds of the same machine; nothing if it is of another one, with other versions for example."""
    found = read_json(path, "machine", "parts") if path.exists() else {"machine": None, "parts": {}}
    return found["parts"] if found["machine"] == machine else {}


def main() -> int:
    # cuBLAS reads it when it starts. Without it some versions of torch refuse deterministic products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--parts", nargs="+", metavar="NAME")
    parser.add_argument("--out", type=Path, default=report.RESULTS, metavar="FOLDER")
    parser.add_argument("--tiny", action="store_true", help="try the program; its figures mean nothing")
    arguments = parser.parse_args()
    on = device.choose()
    if on.type != "cuda" and not arguments.tiny:
        raise StudyError("there is no CUDA device here; run it on a machine that has one, or add --tiny to try it")
    given = Setting(on, params.read(), arguments.tiny)
    parts = {part.name: part for part in parts_of(given)}
    chosen = arguments.parts or list(parts)
    if unknown := [name for name in chosen if name not in parts]:
        raise StudyError(f"--parts has {unknown[0]!r}, which does not exist; choose from {', '.join(parts)}")
    machine = report.machine(on) | {"cuda": torch.version.cuda if on.type == "cuda" else None}
    path = file_of(arguments.out, machine, arguments.tiny)
    results = earlier(path, machine)

    def keep(name: str, found: dict[str, Any]) -> None:
        if found["state"] == "done" or results.get(name, {}).get("state") != "done":  # a result stays
            results[name] = found
        write_json(path, {"machine": machine, "tiny": arguments.tiny, "parts": results})

    missing = run_parts([parts[name] for name in chosen], 60 * arguments.minutes, keep)
    print(f"{path}: {len(chosen) - len(missing)} of {len(chosen)} parts" + "".join(f"\nnot done: {x}" for x in missing))
    return 1 if missing else 0


if __name__ == "__main__":
    run(main)
