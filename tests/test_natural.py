"""Natural sets: CIFAR-10.1 from a server or a folder, good and broken files, and its way into the results."""

from __future__ import annotations

import hashlib
import importlib
import io
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from attacked import study_of

from bench.faults.server import Server, serving
from robustness_study import datasets, natural
from robustness_study.classifier import device
from robustness_study.core.array_text import from_text
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_npz, read_record, write_record
from robustness_study.core.imports import ROOT
from robustness_study.natural import cifar10_1
from robustness_study.natural.base import VARIABLE
from robustness_study.results.metrics import BY_NAME
from stages import evaluate
from stages import natural as stage

COUNT = 2000
IMAGES, LABELS = cifar10_1.IMAGES, cifar10_1.LABELS  # as they are, before a test changes them
OFF: dict[str, Any] = {"sets": {}}


def made(**changes: np.ndarray) -> dict[str, np.ndarray]:
    """Images and labels of the form of CIFAR-10.1."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
    return {"images": images, "labels": rng.permutation(np.repeat(np.arange(10, dtype=np.int32), 200)), **changes}


def as_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def publish(monkeypatch: pytest.MonkeyPatch, images: bytes, labels: bytes, *servers: Server) -> None:
    """Makes these bytes the published files, with the right lengths and checksums."""
    urls = [server.url for server in servers] or ["http://127.0.0.1:9/none"] * 2
    for name, source, content, url in zip(("IMAGES", "LABELS"), (IMAGES, LABELS), (images, labels), urls, strict=True):
        changed = replace(source, url=url, bytes=len(content), checksum=sha256(content))
        monkeypatch.setattr(cifar10_1, name, changed)


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a study of CIFAR-10 with CIFAR-10.1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "params.yaml").write_text('{"natural": ["cifar10_1"]}', encoding="utf-8")
    write_record("data/raw/source.json", {"name": "cifar10", "classes": list(cifar10_1.CLASSES)})
    return tmp_path


@pytest.fixture
def servers(top: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Server]]:
    """Servers of the images and of the labels."""
    images, labels = (as_npy(array) for array in made().values())
    with serving(images) as one, serving(labels) as other:
        one.kind = other.kind = "application/octet-stream"
        publish(monkeypatch, images, labels, one, other)
        yield one, other


def in_folder(top: Path, images: bytes, labels: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with these files, which the environment variable names."""
    folder = top / "mine"
    folder.mkdir(exist_ok=True)
    (folder / IMAGES.name).write_bytes(images)
    (folder / LABELS.name).write_bytes(labels)
    monkeypatch.setenv(VARIABLE, str(folder))
    return folder


def written(top: Path) -> list[str]:
    return sorted(path.relative_to(top).as_posix() for path in (top / "data/natural").rglob("*"))


# --- getting the files -------------------------------------------------------------------------------------


def test_set_is_downloaded_once_and_written(
    top: Path, servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.main()
    assert written(top) == ["data/natural/cifar10_1.npz", "data/natural/sets.json"]
    images, labels = read_npz("data/natural/cifar10_1.npz", "images", "labels")
    np.testing.assert_array_equal(images, made()["images"])
    np.testing.assert_array_equal(labels, made()["labels"])
    checksums = {
        IMAGES.name: f"sha256:{sha256(servers[0].payload)}",
        LABELS.name: f"sha256:{sha256(servers[1].payload)}",
    }
    assert read_record("data/natural/sets.json") == {"sets": {"cifar10_1": checksums}}
    first = {name: Path(name).read_bytes() for name in written(top)}
    stage.main()
    assert {name: Path(name).read_bytes() for name in written(top)} == first
    assert [len(server.asked) for server in servers] == [1, 1]


def test_stopped_download_continues(top: Path, servers: tuple[Server, Server]) -> None:
    servers[0].cut = 3_000_000
    with pytest.raises(StudyError, match="run the command again to continue"):
        stage.main()
    assert written(top) == []
    servers[0].cut = None
    stage.main()
    again = servers[0].asked[1]
    assert again is not None and again.startswith("bytes=") and servers[0].sent[1] < len(servers[0].payload)
    assert "data/natural/cifar10_1.npz" in written(top)


def test_longer_file_than_published_is_not_downloaded(top: Path, servers: tuple[Server, Server]) -> None:
    servers[0].payload += b"more"
    with pytest.raises(StudyError, match=r"sends 6,144,132 bytes, and the file cannot have more than 6,144,128"):
        stage.main()


def test_folder_is_used_without_a_network(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [as_npy(array) for array in made().values()]
    publish(monkeypatch, files[0], files[1])
    folder = in_folder(top, files[0], files[1], monkeypatch)
    stage.main()
    assert "data/natural/cifar10_1.npz" in written(top) and not (top / "data/external").exists()
    (folder / LABELS.name).unlink()
    with pytest.raises(StudyError, match=rf"NATURAL_FOLDER is \S+mine, which has no file {LABELS.name}; put it there"):
        stage.main()


def test_sets_that_are_not_chosen_are_not_fetched(top: Path) -> None:
    (top / "params.yaml").write_text('{"natural": []}', encoding="utf-8")
    stage.main()
    assert written(top) == ["data/natural/sets.json"] and read_record("data/natural/sets.json") == OFF


# --- wrong files -------------------------------------------------------------------------------------------

GOOD = made()
BROKEN: dict[str, tuple[dict[str, bytes], str]] = {
    "objects": (
        {"labels": as_npy(np.array([{"a": 1}] * COUNT, dtype=object))},
        r"v6_labels\.npy is not an \.npy file of numbers \(.*[Oo]bject arrays .*\); delete it and get it again",
    ),
    "archive": ({"labels": b""}, "is an archive of arrays, not an .npy file"),
    "no numpy file": ({"images": b"<html>not found</html>"}, r"v6_data\.npy is not an \.npy file of numbers"),
    "truncated": ({"images": as_npy(GOOD["images"])[:-1]}, r"v6_data\.npy is not an \.npy file of numbers"),
    "fewer images": ({"images": as_npy(GOOD["images"][1:])}, r"the images are uint8 \(1999, 32, 32, 3\), not uint8"),
    "other order of axes": ({"images": as_npy(GOOD["images"].transpose(0, 3, 1, 2))}, "the images are uint8"),
    "float images": ({"images": as_npy(GOOD["images"].astype(np.float32))}, "the images are float32"),
    "fewer labels": ({"labels": as_npy(GOOD["labels"][1:])}, r"the labels are int32 \(1999,\), not whole numbers"),
    "float labels": ({"labels": as_npy(GOOD["labels"].astype(float))}, "the labels are float64"),
    "label 10": ({"labels": as_npy(GOOD["labels"] + 1)}, "the labels are not 200 of each of 0 to 9"),
    "negative label": ({"labels": as_npy(GOOD["labels"] - 1)}, "the labels are not 200 of each of 0 to 9"),
    "unequal classes": (
        {"labels": as_npy(np.where(np.arange(COUNT) == 7, (GOOD["labels"] + 1) % 10, GOOD["labels"]))},
        "the labels are not 200 of each of 0 to 9",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_file_of_another_form_is_refused(top: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Its checksum is right here, so that its form is looked at."""
    changes, message = BROKEN[case]
    files = {name: as_npy(array) for name, array in GOOD.items()} | changes
    if case == "archive":
        np.savez(top / "archive.npz", labels=GOOD["labels"])
        files["labels"] = (top / "archive.npz").read_bytes()
    publish(monkeypatch, files["images"], files["labels"])
    in_folder(top, files["images"], files["labels"], monkeypatch)
    with pytest.raises(StudyError, match=message) as caught:
        stage.main()
    assert "\n" not in str(caught.value) and written(top) == []


def test_file_of_another_checksum_is_refused(
    top: Path, servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One label differs: on the server, in the folder of downloads, and in the user's folder."""
    good, other = servers[1].payload, as_npy(np.roll(made()["labels"], 1))
    servers[1].payload = other
    with pytest.raises(StudyError, match=rf"has SHA-256 {sha256(other)}, not {sha256(good)}; it was deleted"):
        stage.main()
    assert written(top) == [] and not (top / "data/external" / LABELS.name).exists()
    kept = top / "data/external" / LABELS.name
    kept.write_bytes(other)
    with pytest.raises(StudyError, match=rf"v6_labels\.npy has SHA-256 {sha256(other)}, not \w+; delete it and get it"):
        stage.main()
    assert kept.exists()
    in_folder(top, servers[0].payload, other, monkeypatch)
    with pytest.raises(StudyError, match=rf"mine/\S+v6_labels\.npy has SHA-256 {sha256(other)}, not \w+; delete it"):
        stage.main()
    assert written(top) == []


def test_dataset_with_other_classes_is_refused(top: Path, servers: tuple[Server, Server]) -> None:
    """The labels mean nothing if the archive of the study has its classes in another order."""
    turned = [*cifar10_1.CLASSES[1:], cifar10_1.CLASSES[0]]
    write_record("data/raw/source.json", {"name": "cifar10", "classes": turned})
    with pytest.raises(StudyError, match=r"the classes are automobile, .* but those of cifar10_1 are airplane, "):
        stage.main()
    assert servers[0].asked == [] and written(top) == []


# --- params ------------------------------------------------------------------------------------------------


def test_check_refuses_a_set_of_another_dataset_in_one_line() -> None:
    natural.check(["cifar10_1"], "cifar10")
    natural.check([], "digits")
    with pytest.raises(StudyError, match=r"needs the classes of cifar10, but download\.dataset is 'digits'"):
        natural.check(["cifar10_1"], "digits")
    with pytest.raises(StudyError, match="natural has 'cifar10_2', which does not exist; choose one of cifar10_1"):
        natural.check(["cifar10_2"], "cifar10")


@pytest.mark.parametrize("name", natural.names())
def test_contract_of_a_natural_set(name: str) -> None:
    module: ModuleType = importlib.import_module(f"robustness_study.natural.{name}")
    assert (module.__doc__ or "").strip() and len(set(module.CLASSES)) == len(module.CLASSES)
    assert module.DATASET in datasets.names()
    assert {f"natural_{name}", f"natural_{name}_drop"} <= set(BY_NAME)  # what is scored is shown


def test_published_files_have_the_form_that_their_lengths_say() -> None:
    """Without a network: 128 bytes of header, then the values, one byte each for images and four for labels."""
    assert IMAGES.bytes == 128 + COUNT * 32 * 32 * 3 == len(as_npy(GOOD["images"]))
    assert LABELS.bytes == 128 + COUNT * 4 == len(as_npy(GOOD["labels"]))


def test_names_and_checks_import_no_heavy_package() -> None:
    code = (
        "import sys; from robustness_study import natural\nnatural.check(['cifar10_1'], 'cifar10')\n"
        "print(sorted({'torch', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- evaluate ----------------------------------------------------------------------------------------------


def evaluated(monkeypatch: pytest.MonkeyPatch, cell: Cell) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["", "--loss", cell.loss, "--train-set", cell.train_set, "--seed", str(cell.seed)])
    evaluate.main()
    return read_record(cell.result("evaluate.json"))


def test_evaluate_scores_a_natural_set_and_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No attack runs again: what it reads has the same bytes."""
    cell = Cell("cross_entropy", "clean", 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(device.VARIABLE, "cpu")
    study_of(tmp_path, [cell])
    without = evaluated(monkeypatch, cell)
    read_by_others = [cell.evaluated, cell.result("temperature.json")]
    before = [path.read_bytes() for path in read_by_others]
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (COUNT, 16, 16, 3), dtype=np.uint8), (np.arange(COUNT) % 3).astype(np.uint8)
    np.savez(tmp_path / "data/natural/cifar10_1.npz", images=images, labels=labels)
    write_record("data/natural/sets.json", {"sets": {"cifar10_1": {}}})
    found = evaluated(monkeypatch, cell)
    assert [path.read_bytes() for path in read_by_others] == before
    *others, row = found["sets"]
    assert others == without["sets"] and row["set"] == "natural_cifar10_1" and row["images"] == COUNT
    predicted = from_text(found["details"]["natural_cifar10_1"]["predictions"])
    assert from_text(found["labels"]["natural_cifar10_1"]).tolist() == labels.tolist()
    assert row["accuracy"] == (predicted == labels).mean() and row["knn_accuracy"] is not None
    assert list(found["natural"]) == ["natural_cifar10_1"] and without["natural"] == {}


def test_natural_images_of_another_size_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("cross_entropy", "clean", 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(device.VARIABLE, "cpu")
    study_of(tmp_path, [cell])
    np.savez(
        tmp_path / "data/natural/cifar10_1.npz", images=np.zeros((4, 32, 32, 3), np.uint8), labels=np.zeros(4, np.uint8)
    )
    write_record("data/natural/sets.json", {"sets": {"cifar10_1": {}}})
    with pytest.raises(StudyError, match=r"data/natural/cifar10_1.npz: images is 4×32×32×3, but other files ask for"):
        evaluated(monkeypatch, cell)
