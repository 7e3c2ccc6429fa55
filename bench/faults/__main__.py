"""`python -m bench.faults`: injects faults of every kind into a tiny study, and counts what is answered right.

The faults follow from a seed. It prints the table of docs/honesty.md.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import report
from bench.faults import files, outside, processes
from bench.faults.answers import RIGHT, Fault
from bench.faults.study import make
from robustness_study.core.files import write_json
from robustness_study.core.program import run

Kind = Callable[[random.Random], Iterator[Fault]]
KINDS: tuple[Kind, ...] = (
    files.rotten,
    files.checkpoints,
    files.irregular,
    files.edited,
    files.contradicting,
    processes.killed,
    processes.twice,
    processes.orphans,
    processes.full_disk,
    outside.servers,
    outside.params,
    outside.images,
    outside.terminals,
)


def main() -> int:
    """Print the table and write bench/results/faults.json: how often each kind was answered in each way.

    Prints each wrong answer. Returns 1 if there is one.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="KIND", help="kinds of the table, for example 'full disk'")
    parser.add_argument("--some", type=int, help="at most this many faults of each kind")
    chosen = parser.parse_args()
    sys.argv = sys.argv[:1]
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        base = Path(folder) / "base"
        make(base)
        for inject in KINDS:
            faults = list(inject(random.Random(f"{chosen.seed} {inject.__name__}")))
            if chosen.only and faults[0].kind not in chosen.only:
                continue
            for fault in faults[: chosen.some]:
                top = Path(folder) / "study"
                shutil.rmtree(top, ignore_errors=True)
                shutil.copytree(base, top, symlinks=True)
                said = fault.answer(top)
                counts.setdefault(fault.kind, Counter())[said] += 1
                if said not in RIGHT:
                    print(f"{fault.kind}: {fault.name}: {said}", flush=True)
    print("| kind | tried | answered right |\n|---|---|---|")
    for kind, answers in {**counts, "all": sum(counts.values(), Counter())}.items():
        print(f"| {kind} | {answers.total()} | {sum(answers[each] for each in RIGHT)} |")
    if chosen.only is None and chosen.some is None:
        write_json(report.RESULTS / "faults.json", {"seed": chosen.seed, "answers": counts})
    return int(any(set(answers) - set(RIGHT) for answers in counts.values()))


if __name__ == "__main__":
    run(main)
