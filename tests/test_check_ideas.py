"""The check of an idea's file: a mistake is one line before any work, and torch is not imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
from changed_params import REPOSITORY, changed

from robustness_study.attacks import catalogue
from robustness_study.attacks.entry import Entry
from robustness_study.attacks.settings import Settings
from robustness_study.check import check
from robustness_study.core.errors import StudyError

CONFIG = "from robustness_study.core.section import Section\nclass Config(Section): pass\n"
LOSS = CONFIG + "BATCHES = 'shuffled'\ndef make_head(config, features, classes): pass\n"
TRAIN_SET = CONFIG + "CHANGES = ()\ndef make(clean, corrupted, config): return clean\n"
NETWORK = "import torch\ndef make(network): pass\ndef start_as_identity(module): pass\n"
FADE = "from robustness_study.corruptions import corruption\n@corruption(0.1, 0.2, 0.3, 0.4)\ndef fade(x, c, d): pass\n"
KINDS: dict[str, list[tuple[str, Any]]] = {  # the change that makes params choose the idea `mine`
    "losses": [("loss", "mine"), ("losses", ["mine"]), ("loss_config.mine", {})],
    "training_sets": [("train_sets", ["clean", "mine"]), ("train_set_config.mine", {})],
    "networks": [("recipes.cpu.network", "mine")],
    "datasets": [("download.dataset", "mine")],
    "corruptions": [],
}
NOT_PYTHON = "line 2, is not valid Python ('(' was never closed); correct it"
MISTAKES: dict[str, tuple[str, str, str]] = {  # kind, source, the message after the file's name
    "loss: syntax": ("losses", "\ndef broken(", f", {NOT_PYTHON}"),
    "loss: import": (
        "losses",
        f"{CONFIG}import absent_library\n",
        ", line 3: the import fails (ModuleNotFoundError: No module named 'absent_library'); correct the file",
    ),
    "loss: fault": ("losses", "\n\n1 / 0", ", line 3: the import fails (ZeroDivisionError: division by zero)"),
    "loss: StudyError": (
        "losses",
        "from robustness_study.core.errors import StudyError\nraise StudyError('no')",
        ", line 2: no",
    ),
    "loss: no Config": (
        "losses",
        "BATCHES = 'shuffled'\ndef make_head(c, f, k): pass",
        " does not define Config; add it, as in the other files of its folder",
    ),
    "loss: no BATCHES": ("losses", f"{CONFIG}def make_head(c, f, k): pass", " does not define BATCHES; add it"),
    "loss: nothing but a Config": ("losses", CONFIG, " does not define BATCHES and make_head; add it"),
    "loss: other batches": (
        "losses",
        LOSS.replace("shuffled", "balanced"),
        ": BATCHES is 'balanced'; it must be 'shuffled' or 'class_balanced'",
    ),
    "loss: other Config": (
        "losses",
        LOSS.replace("class Config(Section)", "class Config"),
        ": Config must be a subclass of Section (core/section.py); correct it",
    ),
    "training set: syntax": ("training_sets", "\ndef broken(", f", {NOT_PYTHON}"),
    "training set: no make": ("training_sets", f"{CONFIG}CHANGES = ()", " does not define make; add it"),
    "training set: no CHANGES": (
        "training_sets",
        TRAIN_SET.replace("CHANGES", "OTHER"),
        " does not define CHANGES; add it",
    ),
    "training set: a text for CHANGES": (
        "training_sets",
        TRAIN_SET.replace("()\n", "('blur')\n"),
        ": CHANGES is 'blur'; it must be a tuple such as () or ('blur',), with names from noise, brightness,",
    ),
    "training set: unknown kind": (
        "training_sets",
        TRAIN_SET.replace("()\n", "('blur', 'smoke')\n"),
        ": CHANGES is ('blur', 'smoke'); it must be a tuple",
    ),
    "dataset: syntax": ("datasets", "\ndef broken(", f", {NOT_PYTHON}"),
    "dataset: no functions": ("datasets", "", " does not define check and load; add it"),
    "network: syntax": ("networks", "\ndef broken(", f", {NOT_PYTHON}"),
    "network: relative import": (
        "networks",
        f"{NETWORK}from . import resnet18\n",
        ", line 4: relative imports are not allowed; write the full name of the module, for example `from rob",
    ),
    "network: relative import of a module": (
        "networks",
        f"{NETWORK}from .resnet18 import make\n",
        ", line 4: relative imports are not allowed",
    ),
    "network: no make": ("networks", NETWORK.replace("make", "build"), " does not define make; add it"),
    "network: no start": ("networks", "def make(network): pass", " does not define start_as_identity; add it"),
    "corruption: four constants": (
        "corruptions",
        FADE,
        ", line 2: @corruption of fade has constants for 4 severities; it must have 5",
    ),
    "corruption: syntax": ("corruptions", "\ndef broken(", f", {NOT_PYTHON}"),
}
GOOD = {  # no message
    "losses": LOSS,
    "training_sets": TRAIN_SET.replace("()\n", "('blur',)\n"),
    "networks": NETWORK,
    "datasets": "from math import floor as load\nif True:\n    check = lambda choice: None\n",
    "corruptions": FADE.replace("0.4", "0.4, 0.5"),
}
ANSWERS = """
import importlib, json, sys
from pathlib import Path
from robustness_study.check import check
from robustness_study.core.errors import StudyError
from robustness_study.corruptions import registry
told = {}
for name, (file, source, values) in json.load(sys.stdin).items():
    Path(file).write_text(source, encoding="utf-8")
    importlib.invalidate_caches()
    registry.families.cache_clear()
    sys.modules.pop(file.removesuffix(".py").replace("/", "."), None)
    try:
        told[name] = check(values)
    except StudyError as error:
        told[name] = str(error)
    Path(file).unlink()
print(json.dumps(told | {"torch": "torch" in sys.modules}))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The message of `check` for each mistake and each valid file, in a copy of the library."""
    top = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "robustness_study", top / "robustness_study", ignore=ignored)
    cases = MISTAKES | {f"good: {kind}": (kind, source, "") for kind, source in GOOD.items()}
    given = {
        name: (f"robustness_study/{kind}/mine.py", source, changed(*KINDS[kind]))
        for name, (kind, source, _) in cases.items()
    }
    values = changed(("recipes.cpu.network", "mine"), ("recipes.cpu.zero_init_residual", True))
    given["no blocks"] = ("robustness_study/networks/mine.py", "start_as_identity = None\nmake = print\n", values)
    done = subprocess.run(
        [sys.executable, "-B", "-c", ANSWERS],
        input=json.dumps(given),
        cwd=top,
        env={**os.environ, "PYTHONPATH": str(top)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("case", MISTAKES)
def test_error_for_a_mistake_in_a_file_is_one_line(case: str, answers: dict[str, Any]) -> None:
    kind, _, message = MISTAKES[case]
    assert answers[case] is not None and "\n" not in answers[case]
    assert answers[case].startswith(f"robustness_study/{kind}/mine.py{message}")


def test_files_without_a_mistake_pass_and_nothing_imports_torch(answers: dict[str, Any]) -> None:
    assert {kind: answers[f"good: {kind}"] for kind in GOOD} == dict.fromkeys(GOOD)
    assert answers["torch"] is False


def test_blocks_that_a_network_does_not_have_cannot_start_as_the_identity(answers: dict[str, Any]) -> None:
    assert answers["no blocks"] == (
        "params.yaml: recipes.cpu.zero_init_residual is true, but network mine has no residual blocks; set "
        "zero_init_residual to false"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent", "robustness_study/attacks/absent.py does not exist; create it and define run in it"),
     ("ball", "robustness_study/attacks/ball.py does not define run; add it, as in the other files of its folder")],
)  # fmt: skip
def test_attack_without_its_file_is_named(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry(name=name, settings=Settings, titles={"mine": "mine"}, about="Mine.")
    monkeypatch.setattr(catalogue, "EVERY", (*catalogue.EVERY, entry))
    monkeypatch.setattr(catalogue, "RUN", (*catalogue.RUN, entry))
    with pytest.raises(StudyError) as caught:
        check(changed())
    assert str(caught.value) == message
