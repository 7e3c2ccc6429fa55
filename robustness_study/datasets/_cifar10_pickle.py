"""Reads a file of `cifar-10-batches-py` without Python's unpickler, because a pickle can run any command.

Python 2 wrote these files, with pickle protocol 2. They hold a dictionary of text, whole numbers, lists and one array
of bytes, so only the instructions for these are carried out here. No class is looked up and no function is called.
`pickle.Unpickler` would not be safe even if it could look up only the three names that an array needs: 9 bytes make it
ask for gigabytes of memory (the instruction LONG_BINPUT), and nested tuples as keys keep it busy endlessly.
Instructions: https://docs.python.org/3/library/pickletools.html
"""

from __future__ import annotations

import pickletools
import warnings
from enum import Enum
from typing import Any

import numpy as np

PIXELS = 3 * 32 * 32  # of an image: all red, all green and all blue values
LITERALS = ("BININT1", "BININT2", "BININT", "LONG1", "SHORT_BINSTRING", "BINSTRING")
CONSTANTS = {"NONE": None, "NEWFALSE": False, "NEWTRUE": True}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Name(Enum):
    """The names that an array needs, as in the file, and the type of its values. They stand for themselves only."""

    RECONSTRUCT = "numpy.core.multiarray _reconstruct"
    ARRAY = "numpy ndarray"
    TYPE = "numpy dtype"
    BYTE = "uint8"


# The arguments of the two calls that make an array of bytes.
EMPTY_ARRAY = (Name.ARRAY, (0,), "b")
BYTE = ("u1", 0, 1)


class Array:
    """An array that the file makes in two steps: empty, then with its values."""

    values: np.ndarray | None = None


def batch_records(content: bytes, records: int) -> np.ndarray:
    """The records of a batch file, uint8 N×3073, as in the binary release: the label, then the pixels.

    Raises ValueError, which says what is wrong, unless it is a pickle of `records` labels and images.
    """
    held = unpickled(content, 4 * records + 1000)  # an image needs three: its label, its file name, a number for that
    labels, data = held.get("labels"), held.get("data")
    if type(labels) is not list or len(labels) != records:
        raise ValueError(f"it has no list of {records:,} labels")
    if any(type(label) is not int or not 0 <= label <= 255 for label in labels):
        raise ValueError("one of its labels is not a number from 0 to 255")
    if not isinstance(data, Array) or data.values is None or data.values.shape != (records, PIXELS):
        raise ValueError(f"it has no array of {records:,} images")
    return np.concatenate([np.array(labels, np.uint8)[:, None], data.values], axis=1)


def class_names(content: bytes) -> list[str]:
    """The class names in `batches.meta`. Raises ValueError, which says what is wrong, if there is no list of text."""
    names = unpickled(content, 1000).get("label_names")
    if type(names) is not list or any(type(name) is not str for name in names):
        raise ValueError("it has no list of label_names")
    return names


def unpickled(content: bytes, most: int) -> dict[str, Any]:
    """The dictionary in a pickle of at most `most` instructions. Text has one character for each byte (Latin-1).

    Memory is at most a few times that of `content`. Raises ValueError for anything that CIFAR-10's files do not hold.
    """
    machine = Machine()
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in text, which would be a second line of an error
            for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
                if number == most:
                    raise ValueError(f"it has more than {most:,} instructions")
                machine.step(opcode.name, argument)
    except LookupError:
        raise ValueError("its instructions are not in order") from None
    if len(machine.stack) != 1 or type(machine.stack[0]) is not dict:
        raise ValueError("it is not one dictionary")
    return machine.stack[0]


class Machine:
    """Carries out the instructions of a pickle, one by one, on a stack. Raises ValueError or LookupError."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.has_array = False  # there can be one, or a small file could make thousands of large ones

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in LITERALS:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            self.stack.append([] if name == "EMPTY_LIST" else {})
        elif name in TUPLES:
            self.stack.append(self.taken(len(self.stack) - TUPLES[name]))
        elif name == "MARK":
            self.marks.append(len(self.stack))
        elif name == "TUPLE":
            self.stack.append(self.taken(self.marks.pop()))
        elif name in ("APPEND", "APPENDS"):
            self.extend(self.taken(self.marks.pop() if name == "APPENDS" else len(self.stack) - 1))
        elif name in ("SETITEM", "SETITEMS"):
            self.update(self.taken(self.marks.pop() if name == "SETITEMS" else len(self.stack) - 2))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "GLOBAL":
            self.stack.append(known(argument))
        elif name == "REDUCE":
            self.stack.append(self.made(*self.taken(len(self.stack) - 2)))
        elif name == "BUILD":
            self.fill(*self.taken(len(self.stack) - 1))
        elif name not in ("PROTO", "STOP"):
            raise ValueError(f"it has the instruction {name}")

    def taken(self, start: int) -> tuple[Any, ...]:
        """Remove and return the top of the stack, from position `start`."""
        if not 0 <= start <= len(self.stack):
            raise LookupError
        top = tuple(self.stack[start:])
        del self.stack[start:]
        return top

    def extend(self, items: tuple[Any, ...]) -> None:
        """Add items to the list on top of the stack."""
        if type(self.stack[-1]) is not list:
            raise ValueError("it adds items to something other than a list")
        self.stack[-1].extend(items)

    def update(self, items: tuple[Any, ...]) -> None:
        """Add items, a key and a value in turn, to the dictionary on top of the stack."""
        keys, values = items[::2], items[1::2]
        if type(self.stack[-1]) is not dict or len(keys) != len(values) or any(type(key) is not str for key in keys):
            raise ValueError("it has something other than a dictionary with text as keys")
        self.stack[-1].update(zip(keys, values, strict=True))

    def made(self, function: Any, arguments: Any) -> Array | Name:
        """What a call makes: an empty array, or the type of its values. There is no other."""
        if function is Name.RECONSTRUCT and arguments == EMPTY_ARRAY and not self.has_array:
            self.has_array = True
            return Array()
        if function is Name.TYPE and arguments == BYTE:
            return Name.BYTE
        raise ValueError("it makes something other than one array of bytes")

    def fill(self, state: Any) -> None:
        """Give the array on top of the stack its values: rows × columns of bytes."""
        match self.stack[-1], state:
            case Name.BYTE, (int(), "|", None, None, None, -1, -1, *_):
                return  # no fields; versions of numpy differ in the first and the last number
            case Array(values=None) as array, (1, (int(rows), int(columns)), Name.BYTE, bool(by_column), str(data)):
                values = np.frombuffer(data.encode("latin-1"), np.uint8)
                if rows < 1 or rows * columns != len(values):
                    raise ValueError("it has an array that does not have as many values as its shape says")
                array.values = values.reshape(rows, columns, order="F" if by_column else "C")
            case _:
                raise ValueError("it has an array of something other than bytes")


def known(name: str) -> Name:
    """One of the three names that an array needs. Raises ValueError for any other."""
    for each in (Name.RECONSTRUCT, Name.ARRAY, Name.TYPE):
        if each.value == name:
            return each
    raise ValueError(f"it asks for {name[:80]!r}")
