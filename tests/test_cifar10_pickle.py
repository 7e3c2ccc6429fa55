"""Pickles of CIFAR-10: the good ones are read as Python reads them, and hostile ones are refused in one line."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_cifar10 import (
    RECORDS,
    Python2,
    batch_pickle,
    binary_files,
    dumped,
    md5,
    names_pickle,
    pack,
    python_files,
    unpack,
)

from robustness_study.core.errors import LONGEST, StudyError
from robustness_study.datasets._cifar10_files import PYTHON, read_batches, read_class_names
from robustness_study.datasets._cifar10_pickle import batch_records, class_names, unpickled
from robustness_study.datasets.cifar10 import CORRECT, OFFICIAL

PUBLISHED_NAMES = "5ff9c542aee3614f3951f8cda6e48888"  # MD5 of batches.meta; torchvision compares it too
GOOD = python_files()["data_batch_1"]


# --- good ones ---------------------------------------------------------------------------------------------


def test_these_tests_write_pickles_as_the_publisher_did() -> None:
    content = names_pickle(OFFICIAL.classes)
    assert md5(content) == PUBLISHED_NAMES
    assert class_names(content) == list(OFFICIAL.classes)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_batch_is_read_as_python_reads_it(order: Any) -> None:
    generator = np.random.default_rng(1)
    labels, rows = generator.integers(0, 10, 300), generator.integers(0, 256, (300, 3072), np.uint8)
    content = batch_pickle(labels, rows.copy(order=order))
    wanted = pickle.loads(content, encoding="latin1")  # this file is ours
    found = batch_records(content, 300)
    np.testing.assert_array_equal(found[:, 0], wanted["labels"])
    np.testing.assert_array_equal(found[:, 1:], wanted["data"])
    np.testing.assert_array_equal(found[:, 1:], rows)
    assert found.dtype == np.uint8 and found.shape == (300, 3073)


def test_records_are_those_of_the_binary_release() -> None:
    for name, content in binary_files().items():
        if name.endswith(".bin"):
            assert batch_records(python_files()[name.removesuffix(".bin")], RECORDS).tobytes() == content


def test_plain_values_are_read_as_python_reads_them() -> None:
    value: dict[str, Any] = {
        "": [],
        "a": [0, 255, 256, 65_535, 65_536, -1],
        "c": ((1,), (1, "x"), (1, 2, 3), (1, 2, 3, 4)),
    }
    value |= {"d": {"e": None, "f": [True, False]}, "long": "x" * 300, "many": list(range(2500))}
    assert unpickled(dumped(value), 10_000) == pickle.loads(dumped(value)) == value


# --- hostile ones ------------------------------------------------------------------------------------------

HEAD = b"\x80\x02"
COMMAND = "touch believed"
MANY = 50_000
IMAGES = np.zeros((RECORDS, 3072), np.uint8)
LABELS = [1] * RECORDS
NO_LABELS: list[Any] = [256, -1, True, None, "1", (), []]


class Runs:
    """Its pickle makes Python call a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.called


def call(module: str, name: str, *arguments: object) -> bytes:
    """Instructions to call a function, as Python 2 writes them."""
    return Python2().name(module, name) + Python2().value(arguments) + b"R"


def with_data(instructions: bytes) -> bytes:
    """A dictionary that holds labels, and under `data` what the instructions put there."""
    return HEAD + b"}(" + Python2().value("labels") + Python2().value(LABELS) + b"U\x04data" + instructions + b"u."


def array(state: bytes) -> bytes:
    """A dictionary with an array that has this state."""
    empty = Python2().array(IMAGES).split(b"(K\x01")[0]  # the array before it has a state
    return with_data(empty + state + b"b")


def put(place: int) -> bytes:
    """The instruction that remembers the value on top of the stack, under this number."""
    return b"r" + place.to_bytes(4, "little")


TWICE = b"q\x01h\x01\x86"  # a tuple that has the value on top of the stack twice
BYTE = call("numpy", "dtype", "u1", 0, 1)
HOSTILE: dict[str, bytes] = {
    # What runs a command.
    **{f"os.system, protocol {each}": pickle.dumps(Runs(os.system, COMMAND), each) for each in range(6)},
    "os.system in a dictionary": pickle.dumps({"labels": Runs(os.system, COMMAND)}, 2),
    "os.system beside good values": with_data(call("os", "system", COMMAND)),
    "eval": pickle.dumps(Runs(eval, f"__import__('os').system('{COMMAND}')"), 2),
    "eval of Python 2": HEAD + call("__builtin__", "eval", f"__import__('os').system('{COMMAND}')") + b".",
    "getattr": pickle.dumps(Runs(getattr, "", "format"), 2),
    "a class": pickle.dumps(Path("believed"), 2),
    "subprocess": HEAD + call("subprocess", "getoutput", COMMAND) + b".",
    "numpy.load": HEAD + call("numpy", "load", "believed") + b".",
    "numpy of Python 3": pickle.dumps({"labels": LABELS, "data": IMAGES}),
    "a dotted name": HEAD + call("numpy", "ndarray.tofile", "believed") + b".",
    "a long name": HEAD + call("a" * 5000, "b" * 5000) + b".",
    "a name with an escape": HEAD + call("\x1b[31mos", "sys\x00tem", COMMAND) + b".",
    "a name with a wrong escape": HEAD + call("o\\ys", "system", COMMAND) + b".",
    "a name with a line end": b"\x80\x04\x8c\x04os\n.\x8c\x06system\x93.",
    "INST": b"(S'touch believed'\nios\nsystem\n.",
    "OBJ": HEAD + b"(cos\nsystem\nU\x0etouch believedo.",
    "NEWOBJ": HEAD + b"cnumpy\nndarray\n)\x81.",
    "an extension": HEAD + b"\x82\x01.",
    "a persistent id": b"Pbelieved\n.",
    "a binary persistent id": HEAD + b"K\x01Q.",
    "a buffer from outside": b"\x80\x05\x97.",
    # Other arrays.
    "an array of objects": pickle.dumps({"labels": LABELS, "data": np.array([Runs(os.system, COMMAND)])}, 2),
    "an array of objects by its type": with_data(call("numpy", "dtype", "O8", 0, 1)),
    "an array whose type is text": array(Python2().value((1, (1, 2), "u1", False, "xx"))),
    "an array whose type is numpy's": array(b"(K\x01K\x01K\x02\x86cnumpy\ndtype\n\x89U\x02xxt"),
    "an array with a dictionary": array(Python2().value({"values": 1})),
    "a larger array": array(b"(K\x01J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86" + BYTE + b"\x89U\x02xxt"),
    "a smaller array": array(b"(K\x01K\x01K\x01\x86" + BYTE + b"\x89U\x02xxt"),
    "an array of -1 rows": array(
        b"(K\x01J\xff\xff\xff\xffM\x00\x0c\x86" + BYTE + b"\x89" + Python2().value(IMAGES.tobytes()) + b"t"
    ),
    "an array of no rows": array(b"(K\x01K\x00M\x00\x0c\x86" + BYTE + b"\x89U\x00t"),
    "an array of negative size": array(b"(K\x01J\xff\xff\xff\xffJ\xfe\xff\xff\xff\x86" + BYTE + b"\x89U\x02xxt"),
    "an array without values": with_data(Python2().array(IMAGES).split(b"(K\x01")[0]),
    "a second array": dumped({"data": IMAGES[:2], "more": IMAGES[:2]}),
    "values for an array a second time": array(b"(K\x01K\x01K\x02\x86" + BYTE + b"\x89U\x02xxtq\x01bh\x01"),
    "a type in another state": with_data(BYTE + Python2().value((3, "|", None, ("a",), None, -1, -1, 0)) + b"b"),
    "a state for a name": HEAD + b"cnumpy\ndtype\n" + Python2().value({"value": 1}) + b"b.",
    # What asks for much memory or time.
    "text of 2 GB": HEAD + b"T\xff\xff\xff\x7f.",
    "text of -1 bytes": HEAD + b"T\xff\xff\xff\xff.",
    "text of 2^63 bytes": b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f.",
    "a frame of 2^63 bytes": b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f.",
    "bytes of 2^63 bytes": b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f.",
    "a long number": HEAD + b"\x8b\xff\xff\xff\x7f.",
    "a number of many digits": b"I" + b"9" * MANY + b"\n.",
    "the last place of the memo": HEAD + b"}" + put(0xFFFFFFFF) + b".",
    "many places of the memo": HEAD + b"}" + b"".join(put(each << 16) for each in range(10_000)) + b".",
    "many lists": HEAD + b"]" * MANY + b".",
    "many marks": HEAD + b"(" * MANY + b".",
    "many tuples in tuples": HEAD + b"K\x01" + b"\x85" * MANY + b".",
    "lists in lists": HEAD + b"]" * 500 + b"a" * 499 + b".",
    "a list of one long text, many times": HEAD
    + b"](T\x00\x80\x00\x00"
    + b"x" * 32_768
    + b"q\x01"
    + b"h\x01" * MANY
    + b"e.",
    "a key that doubles": HEAD + b"}K\x01" + TWICE * 60 + b"K\x01s.",
    "arguments that double": HEAD + b"cnumpy\ndtype\nK\x01" + TWICE * 60 + b"R.",
    "a state that doubles": with_data(BYTE + b"K\x01" + TWICE * 60 + b"b"),
    "a state that doubles inside": with_data(BYTE + b"(K\x03U\x01|K\x01" + TWICE * 60 + b"NNtb"),
    "labels that double": HEAD + b"}U\x06labelsK\x01" + TWICE * 60 + b"s.",
    "a list in itself": HEAD + b"}U\x06labels]q\x01h\x01as.",
    "a dictionary in itself": HEAD + b"}q\x01U\x06labelsh\x01s.",
    # What is in no order.
    "nothing": b"",
    "no end": HEAD + b"}",
    "only an end": b".",
    "an empty stack": HEAD + b"\x85.",
    "a mark that is not there": HEAD + b"t.",
    "a mark behind the end of the stack": HEAD + b"}](\x86t.",
    "an unknown place of the memo": HEAD + b"h\x07.",
    "an unknown instruction": HEAD + b"\xff.",
    "an odd number of items": HEAD + b"}(U\x01au.",
    "an item for a number": HEAD + b"K\x01K\x02a.",
    "a key for a list": HEAD + b"]U\x01aK\x02s.",
    "a state for a list": HEAD + b"]K\x02b.",
    "a list as a key": HEAD + b"}]K\x02s.",
    "two values": HEAD + b"}}.",
    # What is in order, and still no batch.
    "a list": dumped([1, 2]),
    "no labels": dumped({"data": IMAGES}),
    "no images": dumped({"labels": LABELS}),
    "images as text": dumped({"labels": LABELS, "data": IMAGES.tobytes()}),
    "too few labels": dumped({"labels": LABELS[1:], "data": IMAGES}),
    "too few images": dumped({"labels": LABELS, "data": IMAGES[1:]}),
    "images of another size": dumped({"labels": LABELS, "data": IMAGES.reshape(-1, 1024)}),
    **{f"a label that is {label!r}": dumped({"labels": [*LABELS[1:], label], "data": IMAGES}) for label in NO_LABELS},
    "CIFAR-100": dumped({"fine_labels": LABELS, "data": IMAGES}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickle_is_refused_in_one_line(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder and in an archive, as a batch and as class names. It uses little memory, and runs nothing."""
    monkeypatch.chdir(tmp_path)
    content = HOSTILE[case]
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"\w"):
            batch_records(content, RECORDS)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    for name in ("data_batch_2", PYTHON.names):
        files = python_files() | {name: content}
        sources = unpack(tmp_path / name / "folder", files), pack(tmp_path / name / "a.tar.gz", files, PYTHON.folder)
        for source in sources:
            with pytest.raises(StudyError) as caught:
                if name == PYTHON.names:
                    read_class_names(source, PYTHON, CORRECT)
                else:
                    read_batches(source, RECORDS, CORRECT)
            said = str(caught.value)
            assert said.startswith(f"{source}: {name} ") and said.endswith(f"; {CORRECT}")
            assert said.isprintable() and len(said) - len(str(source)) <= LONGEST
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["data_batch_2", PYTHON.names])


def test_the_hostile_pickles_would_run_in_python() -> None:
    """Python's own unpickler calls what the first of them name, so the test above can fail."""

    class Noting(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            looked_up.append(f"{module} {name}")
            return lambda *arguments: arguments

    looked_up: list[str] = []
    for case, content in HOSTILE.items():
        if case.startswith(("os.system", "eval", "getattr", "subprocess", "numpy.load", "a dotted name")):
            before = len(looked_up)
            Noting(io.BytesIO(content), encoding="latin1").load()
            assert len(looked_up) > before, case


def test_what_limits_instructions_lets_good_files_pass() -> None:
    with pytest.raises(ValueError, match="it has more than 50 instructions"):
        unpickled(GOOD, 50)
    records = 1500  # more than one part of 1000 items, and numbers of the memo beyond 255
    content = batch_pickle(np.ones(records, int), np.zeros((records, 3072), np.uint8))
    assert batch_records(content, records).shape == (records, 3073)


def test_a_reason_is_not_made_of_what_the_file_says(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "images", python_files() | {"data_batch_1": HOSTILE["a name with an escape"]})
    with pytest.raises(StudyError) as caught:
        read_batches(folder, RECORDS, CORRECT)
    assert str(caught.value) == (
        f"{folder}: data_batch_1 is not a file of CIFAR-10 (it asks for '\\x1b[31mos sys\\x00tem'); {CORRECT}"
    )


def test_a_damaged_pickle_is_refused_or_read_but_nothing_else_happens() -> None:
    """Random changes at the beginning and the end, where the instructions are; pixels are in the middle."""
    generator = np.random.default_rng(0)
    start = GOOD.index(bytes(batch_records(GOOD, RECORDS)[0, 1:20]))
    places = [*range(start), *range(start + RECORDS * 3072, len(GOOD))]
    refused = 0
    for _ in range(3000):
        content = bytearray(GOOD)
        for at in generator.choice(places, generator.integers(1, 4)):
            kind = generator.integers(3)
            content[at : at + int(kind != 2)] = b"" if kind == 0 else bytes([generator.integers(256)])
        try:
            records = batch_records(bytes(content), RECORDS)
        except ValueError:
            refused += 1
        else:
            assert records.shape == (RECORDS, 3073)
    assert 1000 < refused < 3000  # a changed label or file name is not refused here
