"""The stage `download`: valid and invalid datasets. A failure prints one line and writes no file."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import inspect
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_cifar10 import RECORDS, binary_files, md5, pack, published

from bench.faults.server import Server, serving
from robustness_study import datasets
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_record
from robustness_study.datasets import cifar10, digits
from robustness_study.datasets.base import Dataset, array_checksum, class_counts, validate
from robustness_study.datasets.fetch import CHUNK, Limits, fetch
from robustness_study.schema.download import Download
from stages import download

REPOSITORY = Path(__file__).resolve().parents[1]
DIGITS_CHECKSUM = "sha256:528f0e7f310d48d84e18459108cd4e1f0f6b3fb8d02992ca7510d8dd9d757a90"
KEPT = download.FETCHED / cifar10.ARCHIVE
OUTPUTS = ["data/raw/files.json", "data/raw/source.json", "data/raw/test.npz", "data/raw/train.npz"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(tmp_path_factory.mktemp("cifar") / "small.tar.gz", binary_files())


# --- CIFAR-10: fetching ------------------------------------------------------------------------------------


LIMITS = Limits(CHUNK * 50, connection_s=2.0, silence_s=2.0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(np.random.default_rng(5).bytes(CHUNK * 7 + 123)) as server:
        yield server


@pytest.fixture
def closed_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def closed_url(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return f"http://127.0.0.1:{closed_port}/file"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "external" / "file.tar.gz"


def part_of(target: Path, content: bytes) -> Path:
    """Writes `content` as the partial file of an earlier run."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.write_bytes(content)
    return part


def only_target(target: Path, server: Server) -> bool:
    return target.read_bytes() == server.payload and list(target.parent.iterdir()) == [target]


def test_fetch_prints_a_line_every_tenth(server: Server, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.payload = bytes(CHUNK * 40)
    fetch(server.url, target, md5(server.payload), LIMITS)
    assert only_target(target, server) and server.asked == [None]
    printed = capsys.readouterr()
    assert [line.split()[1] for line in printed.out.splitlines()] == [str(tenth * 10) for tenth in range(1, 11)]
    assert printed.err == ""


def test_fetch_draws_a_bar_on_a_terminal(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch(server.url, target, md5(server.payload), LIMITS)
    printed = capsys.readouterr()
    assert "100%" in printed.err and printed.out == ""


def test_fetch_without_a_length(server: Server, target: Path) -> None:
    server.sized = False
    fetch(server.url, target, md5(server.payload), LIMITS)
    assert only_target(target, server)


def test_broken_transfer_is_kept_and_continued(server: Server, target: Path) -> None:
    server.cut = CHUNK * 3 + 55
    with pytest.raises(StudyError, match="run the command again to continue"):
        fetch(server.url, target, md5(server.payload), LIMITS)
    kept = target.with_name(target.name + ".part").read_bytes()
    assert len(kept) >= CHUNK * 2 and server.payload.startswith(kept) and not target.exists()
    server.cut = None
    fetch(server.url, target, md5(server.payload), LIMITS)
    assert only_target(target, server)
    assert server.asked == [None, f"bytes={len(kept)}-"] and server.sent[1] == len(server.payload) - len(kept)


def test_server_that_ignores_range_restarts_cleanly(server: Server, target: Path) -> None:
    part_of(target, server.payload[:5000])
    server.ranges = False
    fetch(server.url, target, md5(server.payload), LIMITS)
    assert only_target(target, server) and server.asked == ["bytes=5000-"]


PAGE = b"<html>Please log in</html>"


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/gzip"])
@pytest.mark.parametrize("earlier", [0, 20, 5000])
def test_a_page_in_place_of_the_file_wipes_nothing(server: Server, target: Path, kind: str, earlier: int) -> None:
    """A captive portal answers every request with its page, and with status 200."""
    good, part = server.payload, part_of(target, server.payload[:earlier])
    server.payload, server.ranges, server.kind = PAGE, False, kind
    with pytest.raises(StudyError) as caught:
        fetch(server.url, target, md5(good), LIMITS)
    if kind.startswith("text/html"):
        assert "the server sent a web page" in str(caught.value) and f"({earlier:,} bytes are kept)" in str(
            caught.value
        )
    elif earlier:
        assert f"it was deleted, and {earlier:,} bytes from before are kept" in str(caught.value)
    else:
        assert "it was deleted; run the command again" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert part.read_bytes() if earlier else not part.exists() or not part.read_bytes()
    server.payload, server.ranges, server.kind = good, True, "application/gzip"
    fetch(server.url, target, md5(good), LIMITS)
    assert only_target(target, server) and server.sent[-1] == len(good) - earlier


@pytest.mark.parametrize(("kept", "cut", "then"), [(5000, 9000, 9000), (9000, 5000, 9000)])
def test_a_broken_answer_without_ranges_keeps_the_longer_part(
    server: Server, target: Path, kept: int, cut: int, then: int
) -> None:
    part = part_of(target, server.payload[:kept])
    server.ranges, server.cut = False, cut
    with pytest.raises(StudyError, match=rf"\({then:,} bytes are kept\)"):
        fetch(server.url, target, md5(server.payload), LIMITS)
    assert part.read_bytes() == server.payload[:then] and list(target.parent.iterdir()) == [part]


def test_a_longer_answer_with_another_beginning_is_not_kept(server: Server, target: Path) -> None:
    part = part_of(target, server.payload[:50])
    server.payload, server.ranges, server.cut = bytes(CHUNK), False, 9000
    with pytest.raises(StudyError, match=r"\(50 bytes are kept\)"):
        fetch(server.url, target, md5(server.payload), LIMITS)
    assert len(part.read_bytes()) == 50 and list(target.parent.iterdir()) == [part]


def test_a_drop_now_and_then_is_a_stall(server: Server, target: Path) -> None:
    """Each byte comes in time, so that no time-out of a socket ends it."""
    server.drip_s = 0.02
    with pytest.raises(
        StudyError, match=r"stalled at \d+ of 458,875 bytes, with \d\d bytes a second\); run .* to continue"
    ):
        fetch(server.url, target, md5(server.payload), replace(LIMITS, window_s=0.3))
    part = target.with_name(target.name + ".part")
    kept = len(part.read_bytes())
    assert kept >= 5 and server.payload.startswith(part.read_bytes())
    server.drip_s = None
    fetch(server.url, target, md5(server.payload), LIMITS)
    assert only_target(target, server) and server.sent[-1] == len(server.payload) - kept


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("earlier", [0, 5000])
def test_a_body_without_end_is_not_written_whole(server: Server, target: Path, sized: bool, earlier: int) -> None:
    part = part_of(target, server.payload[:earlier])
    server.sized = sized
    with pytest.raises(StudyError, match=r"cannot have more than 131,072\); run .*\([05],?0* bytes are kept\)"):
        fetch(server.url, target, md5(server.payload), replace(LIMITS, bytes=CHUNK * 2))
    assert len(part.read_bytes()) == earlier and list(target.parent.iterdir()) == [part]


def test_complete_part_is_checked_and_not_fetched(server: Server, target: Path) -> None:
    part_of(target, server.payload)
    fetch(server.url, target, md5(server.payload), LIMITS)
    assert only_target(target, server) and server.sent == [0]


@pytest.mark.parametrize(
    "earlier", [b"foreign", bytes(CHUNK * 9), bytes(CHUNK * 7 + 123)], ids=["short", "long", "equal"]
)
def test_a_part_of_another_file_is_replaced_by_the_whole_file(server: Server, target: Path, earlier: bytes) -> None:
    part_of(target, earlier)
    fetch(server.url, target, md5(server.payload), LIMITS)
    assert only_target(target, server) and server.asked[-1] is None


def test_a_file_of_another_checksum_is_deleted(server: Server, target: Path) -> None:
    with pytest.raises(StudyError, match=r"has MD5 .*, not .*; it was deleted; run the command again"):
        fetch(server.url, target, "0" * 32, LIMITS)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("kept", [5000, CHUNK * 2])
def test_a_good_part_outlives_a_server_that_continues_with_other_bytes(server: Server, target: Path, kept: int) -> None:
    good = server.payload
    part = part_of(target, good[:kept])
    server.payload = bytes(len(good))
    with pytest.raises(StudyError, match=rf"it was deleted, and {kept:,} bytes from before are kept"):
        fetch(server.url, target, md5(good), LIMITS)
    assert part.read_bytes() == good[:kept] and list(target.parent.iterdir()) == [part]
    server.payload = good
    fetch(server.url, target, md5(good), LIMITS)
    assert only_target(target, server) and server.sent[-1] == len(good) - kept


def test_a_good_part_outlives_a_server_that_has_nothing(server: Server, target: Path) -> None:
    """It answers every request with status 416."""
    good, part = server.payload, part_of(target, server.payload[:5000])
    server.payload = b""
    with pytest.raises(StudyError, match=r"\(HTTP status 416\); run .* \(5,000 bytes are kept\)"):
        fetch(server.url, target, md5(good), LIMITS)
    assert part.read_bytes() == good[:5000]


@contextmanager
def answering(*pieces: bytes, pause_s: float = 0.05) -> Iterator[str]:
    """The address of a server that answers its first request with these bytes, with a pause after each piece."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause_s)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


ENDLESS = {
    "headers": [b"HTTP/1.1 200 OK\r\n", *(b"x%d: y\r\n" % number for number in range(90))],
    "continue": [b"HTTP/1.1 100 Continue\r\n\r\n"] * 90,
    "a chunk's extension": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", *[b"x"] * 90],
    "a redirection's body": [b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 99\r\n\r\n", *[b"x"] * 90],
}


@pytest.mark.parametrize("pieces", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_that_never_ends_outside_the_body_is_a_stall(
    pieces: list[bytes], target: Path, closed_url: str
) -> None:
    """Each byte comes in time, so that no time-out of a socket ends it. The server would send for more than 4 s."""
    began = time.monotonic()
    with answering(*pieces) as url, pytest.raises(StudyError, match=r"\(stalled at 0 bytes, with 0 bytes a second\)"):
        fetch(url, target, "0" * 32, replace(LIMITS, window_s=0.3))
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "head",
    [b"200 OK\r\nContent-Length: " + b"9" * 5000, b"302 Found\r\nLocation: http://[::1"],
    ids=["length", "address"],
)
def test_a_header_that_python_cannot_read_is_one_line(head: bytes, target: Path, closed_url: str) -> None:
    with (
        answering(b"HTTP/1.1 " + head + b"\r\n\r\n") as url,
        pytest.raises(StudyError, match=r"^cannot download .* \(0 bytes are kept\)"),
    ):
        fetch(url, target, "0" * 32, LIMITS)


def test_another_range_than_asked_for_is_not_appended(server: Server, target: Path) -> None:
    part, server.shift = part_of(target, server.payload[:5000]), 10
    with pytest.raises(StudyError, match="a different range"):
        fetch(server.url, target, md5(server.payload), LIMITS)
    assert part.read_bytes() == server.payload[:5000]


def test_refusal_of_the_server_is_named(server: Server, target: Path) -> None:
    server.status = 404
    with pytest.raises(StudyError, match="HTTP status 404"):
        fetch(server.url, target, md5(server.payload), LIMITS)
    assert not target.exists()


def test_silent_server_times_out(server: Server, target: Path) -> None:
    server.stall = 0.4
    with pytest.raises(StudyError, match="ReadTimeout"):
        fetch(server.url, target, md5(server.payload), replace(LIMITS, silence_s=0.1))


def test_full_disk_is_named_and_the_part_is_kept(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def receive(response: object, part: Path, *_: object) -> None:
        part.write_bytes(server.payload[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("robustness_study.datasets.fetch.receive", receive)
        with pytest.raises(StudyError, match=r"\.part while downloading .* \(No space left on device\); correct this"):
            fetch(server.url, target, md5(server.payload), LIMITS)
    assert not target.exists()
    fetch(server.url, target, md5(server.payload), LIMITS)
    assert target.read_bytes() == server.payload


def test_error_without_network_is_one_line(closed_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    part = part_of(KEPT, b"so far")
    with pytest.raises(StudyError) as caught:
        cifar10.load_from(None, KEPT, replace(cifar10.OFFICIAL, url=closed_url))
    text = str(caught.value)
    assert "put the file at data/external/cifar-10-binary.tar.gz" in text
    assert "`make demo` needs no network" in text and "(6 bytes are kept)" in text
    assert "\n" not in text and part.read_bytes() == b"so far"


def test_fetched_archive_is_loaded(server: Server, archive: Path, target: Path) -> None:
    server.payload = archive.read_bytes()
    dataset = cifar10.load_from(None, target, published(server.url, server.payload))
    assert dataset.official and only_target(target, server)


# --- digits ------------------------------------------------------------------------------------------------


def test_digits_are_deterministic_and_stratified() -> None:
    dataset = digits.enlarged_digits(8)  # not enlarged, so this checksum depends only on the digits and their split
    assert dataset.checksum == DIGITS_CHECKSUM
    validate(dataset, 8)
    assert len(dataset.train_images) + len(dataset.test_images) == 1797
    train, test = (class_counts(labels, dataset.classes) for labels in (dataset.train_labels, dataset.test_labels))
    assert all(abs(tested - (tested + trained) / 6) <= 0.5 for trained, tested in zip(train, test, strict=True))
    assert dataset.classes == [str(number) for number in range(10)] and dataset.official
    assert dataset.jpeg_share == 0
    large = digits.enlarged_digits(32)
    validate(large, 32)
    assert large.checksum == digits.enlarged_digits(32).checksum != dataset.checksum
    np.testing.assert_array_equal(large.test_labels, dataset.test_labels)


def test_digits_are_scaled_and_enlarged_in_three_equal_channels() -> None:
    from sklearn.datasets import load_digits

    values = load_digits().images
    np.testing.assert_array_equal(digits.enlarge(values, 8)[..., 1], np.rint(values * 255 / 16))
    image = digits.enlarge(values[:1], 32)[0]
    assert (image == image[..., :1]).all() and image.shape == (32, 32, 3) and image.max() > 200
    coarse = image[..., 0].reshape(8, 4, 8, 4).mean(axis=(1, 3))
    assert np.corrcoef(coarse.ravel(), values[0].ravel())[0, 1] > 0.95
    assert len(np.unique(image)) > 17  # values between the original grey levels: pixels are not simply repeated


def test_digits_split_of_a_class_does_not_depend_on_other_classes() -> None:
    labels = np.array([0, 1] * 30)
    assert (digits.held_out(labels)[::2] == digits.held_out(np.array([0, 2] * 30))[::2]).all()
    assert digits.held_out(labels).sum() == 10 and not digits.held_out(labels)[:10].all()


# --- what holds for every dataset --------------------------------------------------------------------------


def dataset_with(**changes: object) -> Dataset:
    """A valid dataset of two classes at 8×8 pixels, with `changes`."""
    labels = np.array([0, 0, 1, 1], np.uint8)
    fields = {
        "classes": ["cat", "dog"],
        "train_images": np.zeros((4, 8, 8, 3), np.uint8),
        "train_labels": labels,
        "test_images": np.zeros((4, 8, 8, 3), np.uint8),
        "test_labels": labels,
    }
    return Dataset(name="made", origin="a test", checksum="", official=False, **(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": np.zeros((4, 8, 9, 3), np.uint8)}, "training images have shape"),
        ({"test_images": np.zeros((3, 8, 8, 3), np.uint8)}, "test images have shape"),
        ({"train_images": np.zeros((4, 8, 8, 3), np.float32)}, "training images are float32"),
        ({"test_labels": np.array([0, 0, 1, 1])}, "test labels are int64"),
        ({"train_labels": np.array([[0], [0], [1], [1]], np.uint8)}, "shape"),
        (
            {"train_labels": np.array([0, 0, 1, 2], np.uint8)},
            "training image 3 has label 2, but the largest label is 1",
        ),
        ({"train_labels": np.array([0, 0, 0, 1], np.uint8)}, "class 'dog' has 1 training image;"),
        ({"test_labels": np.array([1, 1, 1, 1], np.uint8)}, "class 'cat' has no test image"),
        ({"classes": ["cat"]}, "has 1 class;"),
        ({"classes": [str(number) for number in range(257)]}, "has 257 classes;"),
        ({"classes": ["cat", "cat"]}, "two classes with the name 'cat'"),
        ({"classes": ["cat", "a\nb"]}, r"'a\\nb', which has a line break"),
    ],
)
def test_validate_refuses(changes: dict[str, object], message: str) -> None:
    validate(dataset_with(), 8)
    with pytest.raises(StudyError, match=message):
        validate(dataset_with(**changes), 8)


def test_checksum_of_arrays_depends_on_values_shapes_and_order() -> None:
    one, two = np.arange(6, dtype=np.uint8), np.arange(6, 12, dtype=np.uint8)
    sums = {array_checksum(*arrays) for arrays in ((one, two), (two, one), (one.reshape(2, 3), two), (one + 1, two))}
    assert len(sums) == 4 and array_checksum(one, two) in sums


# --- the stage ---------------------------------------------------------------------------------------------


def write_params(top: Path, dataset: str, folder: str | None = None, size: int = 32) -> None:
    section = {"dataset": dataset, "folder": folder, "background": "white", "size": size}
    (top / "params.yaml").write_text(json.dumps({"download": section}))


def run_stage(top: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m stages.download` in `top`, without environment variables that could change its source."""
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    kept.pop("CIFAR10_ARCHIVE", None)
    return subprocess.run(
        [sys.executable, "-m", "stages.download"],
        cwd=top,
        env={**kept, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def outputs(top: Path) -> list[str]:
    """Every file, hidden ones too, under the folders that the stage writes to."""
    return sorted(str(path.relative_to(top)) for path in (top / "data/raw").rglob("*"))


@pytest.mark.parametrize("case", ["key", "size", "folder", "archive", "checksum", "network"])
def test_failing_stage_prints_one_line_and_writes_nothing(
    tmp_path: Path, archive: Path, closed_port: int, case: str
) -> None:
    environment = {}
    write_params(tmp_path, {"key": "mnist", "folder": "folder"}.get(case, "cifar10"), size=64 if case == "size" else 32)
    if case == "archive":
        environment["CIFAR10_ARCHIVE"] = str(archive)
    if case == "checksum":
        pack(tmp_path / KEPT, {"test_batch.bin": bytes(cifar10.OFFICIAL.records * 3073)})
    if case == "network":
        environment["HTTPS_PROXY"] = f"http://127.0.0.1:{closed_port}"
    message = {
        "key": "download.dataset is 'mnist', which does not exist; choose one of cifar10, ",
        "size": "download.size is 64, but cifar10 images are 32 pixels wide; set it to 32",
        "folder": "download.folder is None; set it to the folder of your images",
        "archive": "has 61,460 bytes, not 30,730,000",
        "checksum": "data/external/cifar-10-binary.tar.gz: it has no data_batch_1.bin; delete the file to",
        "network": "put the file at data/external/cifar-10-binary.tar.gz",
    }
    done = run_stage(tmp_path, **environment)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ") and message[case] in done.stderr
    assert outputs(tmp_path) == []


def stage_in_process(monkeypatch: pytest.MonkeyPatch, top: Path) -> dict[str, object]:
    """Runs the stage's `main` in `top`; returns the content of source.json."""
    monkeypatch.chdir(top)
    download.main()
    assert outputs(top) == OUTPUTS
    return read_record(top / "data/raw/source.json")


@pytest.mark.parametrize("official", [True, False])
def test_stage_records_whether_images_are_official(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, official: bool
) -> None:
    write_params(tmp_path, "cifar10")
    monkeypatch.setenv("CIFAR10_ARCHIVE", str(archive))
    made = published() if official else replace(cifar10.OFFICIAL, records=RECORDS)
    monkeypatch.setattr(cifar10, "load_from", functools.partial(cifar10.load_from, published=made))
    source = stage_in_process(monkeypatch, tmp_path)
    with np.load(tmp_path / "data/raw/train.npz") as raw, np.load(tmp_path / "data/raw/test.npz") as test:
        assert set(raw) == {"images", "labels"}
        assert (raw["images"].shape, raw["images"].dtype) == ((100, 32, 32, 3), np.uint8)
        assert (raw["labels"].shape, raw["labels"].dtype) == ((100,), np.uint8)
        assert test["images"].shape == (20, 32, 32, 3) and test["labels"].shape == (20,)
        checksum = array_checksum(raw["images"], raw["labels"], test["images"], test["labels"])
    assert source == {
        "name": "cifar10",
        "origin": "a page" if official else "a local copy",
        "checksum": checksum,
        "official": official,
        "classes": [f"class{number}" for number in range(10)],
        "counts": {"train": [10] * 10, "test": [2] * 10},
        "size": 32,
        "jpeg_share": 0.0 if official else None,
    }


def test_invalid_dataset_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_params(tmp_path, "digits", size=8)
    broken = dataset_with(test_labels=np.array([0, 0, 0, 0], np.uint8))
    monkeypatch.setattr(digits, "load", lambda choice, places: broken)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match="class 'dog' has no test image"):
        download.main()
    assert outputs(tmp_path) == []


# --- every dataset -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", datasets.names())
def test_contract_of_a_dataset(name: str) -> None:
    """The content of its file, and that matching params are accepted. Loading is tested above."""
    module = importlib.import_module(f"robustness_study.datasets.{name}")
    assert (module.__doc__ or "").strip()
    assert list(inspect.signature(module.check).parameters) == ["choice"]
    assert list(inspect.signature(module.load).parameters) == ["choice", "places"]
    datasets.check(Download(dataset=name, folder="pictures", background="white", size=32))


def test_names_and_checks_of_datasets_import_no_torch_and_no_image_library() -> None:
    code = (
        "import sys; from robustness_study import datasets; from robustness_study.schema.download import Download\n"
        "section = {'folder': 'pictures', 'background': 'white', 'size': 32}\n"
        "for name in datasets.names(): datasets.check(Download(dataset=name, **section))\n"
        "print(sorted({'torch', 'PIL', 'sklearn', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
