"""`make demo`: runs the study on scikit-learn's digits in `.demo/`, then prints its table and the report's path.

It downloads nothing and changes no tracked file. It runs the current working tree, so you can try a change here first:
a loss, a training set, an attack, a metric or a picture, a network of your own that the recipe names, or a corruption
of your own that the suite names. The dataset, the epochs and most other settings are the demo's.
"""

from __future__ import annotations

import time
from typing import Any

from robustness_study.attacks.catalogue import ALARMS
from robustness_study.core import params
from robustness_study.core.program import run
from robustness_study.corruptions import CIFAR_10_C, HELD_OUT
from tools import workspace
from tools.scale.__main__ import reproduce
from tools.scale.plan import cores

TARGET = workspace.ROOT / ".demo"
CORRUPTIONS = ["gaussian_noise", "motion_blur", "fog", "jpeg_compression"]  # one of each family
STUDYS_CORRUPTIONS = {*CIFAR_10_C, *HELD_OUT, "mix_without_flip"}
STUDYS_NETWORKS = {"resnet18", "resnet18_narrow"}
OVERRIDES: dict[str, Any] = {
    "seeds": [0],
    "recipe": "cpu",
    "download.dataset": "digits",
    "download.size": 24,
    "split.train_share": 0.6,
    "suite.images": 200,
    "recipes.cpu.epochs": 6,
    "recipes.cpu.batch_size": 50,
    "recipes.cpu.flip": "off",
    "recipes.cpu.watched_images": 300,
    "attack.images": 100,
    "attack.control_images": 40,
    "attack.attacks.pgd.images": 40,
    "attack.attacks.pgd.steps": 10,
    "attack.attacks.pgd.restarts": 1,
    "attack.attacks.pgd.large_epsilon_255": 128,  # digits are black and white, so ε = 16/255 changes them little
    "attack.attacks.apgd.images": 40,
    "attack.attacks.apgd.steps": 10,
    "attack.attacks.apgd.targets": 2,
    "attack.attacks.square.images": 40,
    "attack.attacks.square.queries": 100,
    # With 40 digits, a single image can raise one of these, and the processor's rounding decides about it. The report
    # names those that were raised.
    "attack.accept": sorted({*ALARMS} - {"zero_gradients", "not_clean_at_zero"}),
    "transfer.accept": ["transfer_stronger"],
    "transfer.images": 100,
    "embed.images": 300,
    "stability.seeds": [0, 1],
}


def overrides(values: dict[str, Any]) -> dict[str, Any]:
    """The demo's values by dotted keys; an own network or corruption that params name stays."""
    try:
        network = values["recipes"][values["recipe"]]["network"]
        own = [name for name in values["suite"]["corruptions"] if name not in STUDYS_CORRUPTIONS]
    except (KeyError, TypeError):  # the stage `check` will say what is wrong with params.yaml
        network, own = "resnet18", []
    return OVERRIDES | {
        "recipes.cpu.network": "resnet18_narrow" if network in STUDYS_NETWORKS else network,
        "suite.corruptions": CORRUPTIONS + own,
    }


def main() -> int:
    started = time.monotonic()
    workspace.create(TARGET, overrides(params.read()))
    print("Running the pipeline on scikit-learn's digits, in .demo/ (no tracked file changes)", flush=True)
    status = reproduce(TARGET, jobs=min(cores(), 4))
    if status:
        return status
    report = (TARGET / "reports/report.md").read_text(encoding="utf-8")
    print("\n" + "\n".join(line for line in report.splitlines() if line.startswith("> **Accepted alarm**")))
    print("\n" + report.split("## Test accuracy")[1].split("![")[0].strip())
    print(f"\nDone in {time.monotonic() - started:.0f} s. The report, to open in a browser: .demo/reports/report.html")
    return 0


if __name__ == "__main__":
    run(main)
