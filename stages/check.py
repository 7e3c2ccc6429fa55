"""Stage `check`: validates the whole params.yaml before any other stage runs.

Reads params.yaml. Writes `data/checked.txt`, on which every stage depends, and `data/network.json` (the recipe's
network and a digest of its code), on which the stages that build the network depend. It also finds out whether numba
can cache what it compiles: `embed` needs this, hours later.
"""

from __future__ import annotations

from robustness_study.check import check, chosen_network
from robustness_study.core import params
from robustness_study.core.files import write_json, write_text
from robustness_study.core.program import run
from robustness_study.planes.numba_cache import ensure_folder

MARKER = "data/checked.txt"
NETWORK = "data/network.json"


def main() -> None:
    values = params.read()
    check(values)
    ensure_folder()
    # Always the same text: a changed but valid params.yaml re-runs no stage through this file.
    write_text(MARKER, "params.yaml is valid\n")
    write_json(NETWORK, chosen_network(values))


if __name__ == "__main__":
    run(main)
