"""Several models at a time on one GPU: what they train together, in images per second, for 1, 2 and 4 processes.

Each process compiles and warms up, says so, and waits. Then all train during the same seconds.
`python -m bench.gpu.together [--tiny]` is one such process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench import speed
from bench.gpu.setting import Setting, endless_steps, training_of, warm_up
from robustness_study.classifier import device
from robustness_study.classifier.precision import repeatable
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.core.program import run

ROOT = Path(__file__).resolve().parents[2]
READY = "ready"


def together(given: Setting, count: int) -> list[float]:
    """Images per second of each of `count` processes. Raises StudyError if one fails."""
    command = [sys.executable, "-m", "bench.gpu.together", *(["--tiny"] if given.tiny else [])]
    processes: list[subprocess.Popen[str]] = []
    try:
        for _ in range(count):
            pipe = subprocess.PIPE
            processes.append(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, encoding="utf-8"))
        if any(_line(process) != READY for process in processes):
            raise StudyError(f"one of {count} processes could not start to train; see above")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [float(_line(process)) for process in processes]
    except (ValueError, BrokenPipeError):
        raise StudyError(f"one of {count} processes failed while it trained; see above") from None
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def measure(given: Setting) -> dict[str, Any]:
    """The sum over the processes, for each number of them."""
    rows = []
    for count in (1, 2) if given.tiny else (1, 2, 4):
        found = together(given, count)
        rows.append({"processes": count, "images_per_second": sum(found), "of_each": found})
        print(f"{count} at a time: {sum(found):8.0f} images/s together", flush=True)
    return {"rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    given = Setting(device.choose(), params.read(), parser.parse_args().tiny)
    training = training_of(given)
    steps = endless_steps(training)
    warm_up(training, steps, given)
    print(READY, flush=True)
    sys.stdin.readline()
    with repeatable(given.on, training.recipe.deterministic):
        print(speed.speed_of(steps, 3 * given.seconds, given.on), flush=True)


if __name__ == "__main__":
    run(main)
