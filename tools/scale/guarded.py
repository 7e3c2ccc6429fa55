"""`python -m tools.scale.guarded MODULE …`: does what `python -m MODULE …` does, but ends when its parent ends.

Without it, DVC would go on with the next stage after its worker was killed, while another worker does the same model.
And Parsl's interchange would keep the workers of a killed head.
"""

from __future__ import annotations

import os
import runpy
import sys

from robustness_study.core.die_with_parent import die_with_parent
from robustness_study.core.program import run

INTERCHANGE = "parsl.executors.high_throughput.interchange"


def main() -> None:
    die_with_parent()
    del sys.argv[0]
    if sys.argv[0] == INTERCHANGE:
        os.setpgrp()  # Ctrl-C is for the head, which needs the interchange to stop the jobs
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run(main)
