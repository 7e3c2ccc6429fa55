"""Stage `check`: validates the whole params.yaml before any other stage runs, and records the code of every stage.

Reads params.yaml and the source code. Writes `data/code/STAGE.txt` (the files that a stage runs, with their digests),
on which that stage depends, and `data/network.json` (the recipe's network and a digest of its code), on which the
stages that build the network depend. A changed but valid params.yaml leaves the former as they are. It also finds out
whether numba can cache what it compiles: `embed` needs this, hours later.
"""

from __future__ import annotations

from robustness_study import stage_code
from robustness_study.check import check, chosen_network
from robustness_study.core import params
from robustness_study.core.files import write_json, write_text
from robustness_study.core.imports import digest_lines
from robustness_study.core.program import run
from robustness_study.planes.numba_cache import ensure_folder

NETWORK = "data/network.json"


def main() -> None:
    values = params.read()
    check(values)
    ensure_folder()
    write_json(NETWORK, chosen_network(values))
    for stage in stage_code.names():
        if stage != "check":
            write_text(f"data/code/{stage}.txt", digest_lines(stage_code.files_of(stage)))


if __name__ == "__main__":
    run(main)
