"""Every entry of the catalogue of attacks: its file, its block in params.yaml, its titles, what its attack writes."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from typing import Any

import pytest
from attacked import SECTION, Tried, some_images, some_labels, subject_of, tiny_model

from robustness_study.attacks import alarms, catalogue, one_model
from robustness_study.attacks.catalogue import ALARMS, ATTACKS, EVERY, Entry
from robustness_study.attacks.scoring import features_of
from robustness_study.attacks.subject import Neighbours
from robustness_study.classifier.inference import to_float
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.core.imports import ROOT
from robustness_study.schema.attack import Attack

PARAMS: dict[str, Any] = params.read(ROOT / "params.yaml")["attack"]
BLOCKS: dict[str, Any] = PARAMS["attacks"]


@pytest.fixture(scope="module")
def tried() -> Tried:
    """A model after every attack."""
    model = tiny_model()
    real = Neighbours(model, features_of(model, to_float(some_images()), 5), some_labels().numpy(), 3)
    found = subject_of(model, neighbours=real)
    one_model.attack(found, found.blocks, ALARMS)
    return found


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.name)
def test_entry_is_complete(entry: Entry) -> None:
    module = importlib.import_module(f"robustness_study.attacks.{entry.name}")
    assert list(inspect.signature(module.run).parameters) == ["subject", "settings"]
    assert inspect.get_annotations(module.run)["settings"] == entry.settings.__name__
    for text in (module.__doc__, module.run.__doc__, entry.about, *entry.titles, *entry.titles.values()):
        assert text and text.strip()
    earlier = EVERY[: EVERY.index(entry) + 1]
    results = {name for each in earlier for name in each.titles}
    for comparison in entry.comparisons:
        assert {comparison.weak, comparison.strong} <= results
        assert {comparison.weak, comparison.strong} & set(entry.titles)
        assert "*" not in comparison.strong and all(comparison.called)
    for alarm in (*entry.alarms, *(each.alarm for each in entry.comparisons)):
        assert alarm in ALARMS and alarm in alarms.NAMES


def test_names_and_titles_are_unique() -> None:
    names = [entry.name for entry in EVERY]
    results = [name for entry in EVERY for name in entry.titles]
    titles = [title for entry in EVERY for title in entry.titles.values()]
    for each in (names, results, titles):
        assert len(set(each)) == len(each)


@pytest.mark.parametrize("entry", EVERY, ids=lambda entry: entry.name)
def test_an_attack_writes_what_its_entry_says(entry: Entry, tried: Tried) -> None:
    """Every result has exactly one title, every title a result; the settings to compare are those written."""
    found = {name: found for name, found in tried.found.items() if catalogue.entry_of(name) == entry}
    for pattern, title in entry.titles.items():
        assert [name for name in found if catalogue.filled_in(pattern, title, name)], pattern
    for name, written in found.items():
        of_name = [catalogue.filled_in(*each, name) for other in EVERY for each in other.titles.items()]
        assert [text for text in of_name if text] == [catalogue.title(name)]
        assert tuple(written.settings) == entry.must_be_equal
        assert catalogue.must_be_equal(name) == (*entry.must_be_equal, "positions")
        clean = tried.clean == tried.labels
        if entry.only_right_images:
            for predicted in written.predictions.values():
                wrong = ~clean[written.positions]
                assert wrong.any() and (predicted[wrong] == tried.clean[written.positions][wrong]).all()


def test_attacks_run_in_the_catalogues_order(tried: Tried) -> None:
    order = list(dict.fromkeys(catalogue.entry_of(name).name for name in tried.found))
    assert order == [entry.name for entry in EVERY]
    shuffled = SECTION | {"attacks": dict(reversed(SECTION["attacks"].items()))}
    assert list(catalogue.settings_of(Attack.model_validate(shuffled))) == [entry.name for entry in ATTACKS]


@pytest.mark.parametrize("entry", ATTACKS, ids=lambda entry: entry.name)
def test_params_have_a_block_for_the_attack(entry: Entry) -> None:
    section = Attack.model_validate(PARAMS | {"attacks": {entry.name: BLOCKS[entry.name]}})
    assert isinstance(catalogue.settings_of(section)[entry.name], entry.settings)


def test_params_have_no_other_block() -> None:
    assert list(BLOCKS) == [entry.name for entry in ATTACKS]


@pytest.mark.parametrize("name", ["", "fgsm_of_logits_x", "pgd_16_bit", "fgs", "*"])
def test_result_that_no_attack_writes_is_refused(name: str) -> None:
    for function in (catalogue.entry_of, catalogue.title, catalogue.must_be_equal):
        with pytest.raises(StudyError, match=r"^attack\.json has .*, which no attack in .*catalogue\.py writes"):
            function(name)


@pytest.mark.parametrize(
    "module", ["attacks", "attacks.catalogue", "attacks.alarms", "schema.attack", "results.overstated"]
)
def test_what_check_and_the_report_read_imports_no_torch(module: str) -> None:
    code = f"import sys, robustness_study.{module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
