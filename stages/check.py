"""Stage `check`: the whole params.yaml, validated → a marker that every stage depends on.

Out: `data/checked.txt`, always the same, so that a good params.yaml re-runs nothing and a bad one is named before any
work; `data/network.json`, the recipe's network and a digest of its code, which stages that build it depend on.
"""

from __future__ import annotations

from robustness_study.check import check, chosen_network
from robustness_study.core import params
from robustness_study.core.errors import run
from robustness_study.core.files import write_json, write_text

MARKER = "data/checked.txt"
NETWORK = "data/network.json"


def main() -> None:
    values = params.read()
    check(values)
    write_text(MARKER, "params.yaml is valid\n")
    write_json(NETWORK, chosen_network(values))


if __name__ == "__main__":
    run(main)
