"""`python -m tools.scale`: does what `dvc repro` does, but with several models at once.

Without --site the jobs run on this machine, in the working tree. With --site they run where the file says, each model
in a clone of its own. First come the stages that all models need, then the models, and last the comparison.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from robustness_study.core import program
from robustness_study.core.locks import held
from tools.scale import local
from tools.scale.board import FOLDER, HEAD, status
from tools.scale.parameters import set_values
from tools.scale.plan import cores, slots
from tools.scale.processes import interruptible


def guarded(root: Path, work: Callable[[], list[str]], values: Sequence[str] = ()) -> int:
    """Call `work` as the only head of the repository, print one line if it did not succeed; return the exit status.

    Before that, change `values`, each KEY=VALUE, in params.yaml.
    """
    try:
        with held(HEAD, patience_s=0, top=root / FOLDER), interruptible():
            set_values(root, values)
            failed = work()
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to resume.", file=sys.stderr)
        return 130
    if failed:
        print(
            f"error: failed: {', '.join(failed)}; see above for the reason, correct it and run the same command again",
            file=sys.stderr,
        )
    return 1 if failed else 0


def reproduce(root: Path, jobs: int, gpus: Sequence[str] = (), values: Sequence[str] = ()) -> int:
    """Run the pipeline at `root` on this machine; return the exit status."""
    return guarded(root, lambda: local.run(root, slots(jobs, gpus, cores())), values)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.scale", description=__doc__)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--jobs", type=int, default=2, help="number of models at once; they share the processor's cores (default: 2)"
    )
    chosen.add_argument(
        "--gpus", nargs="+", default=[], metavar="N", help="run one model at a time on each of these GPUs"
    )
    chosen.add_argument("--site", type=Path, metavar="FILE", help="where to run instead: see tools/scale/sites/")
    chosen.add_argument("--status", action="store_true", help="print what each model is doing, and end")
    parser.add_argument(
        "-S",
        "--set-param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="first change a value in params.yaml, as `dvc exp run -S` does; may be repeated",
    )
    parser.add_argument("--dry", action="store_true", help="say what would run, and where; run nothing")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error(f"--jobs is {arguments.jobs}; at least 1 is needed")
    if arguments.set_param and (arguments.status or arguments.dry):
        parser.error("-S changes params.yaml, and --status and --dry change nothing; change the file by hand")
    root = Path()
    if arguments.status:
        print(status(root))
        return 0
    if arguments.site is None:
        if arguments.dry:
            from tools.scale.dry import on_this_machine

            print(on_this_machine(root, slots(arguments.jobs, arguments.gpus, cores())))
            return 0
        return reproduce(root, arguments.jobs, arguments.gpus, arguments.set_param)
    from tools.scale import dry, head, site

    described = site.load(arguments.site)
    if arguments.dry:
        print(dry.on_workers(root, described))
        return 0
    return guarded(root, lambda: head.run(root, described), arguments.set_param)


if __name__ == "__main__":
    program.run(main)
