"""Names of classes in the dataset `folder`: those that are shown as they are, and those that are refused."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from pictures import load, save_image, two_classes

from robustness_study.core.errors import StudyError
from robustness_study.datasets.base import check_classes


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "pictures")


REFUSED = {
    "caf\udce9": "is not UTF-8",
    "a\nb": "has a line break",
    "a\tb": "has a line break or another character that cannot be seen",
    "a\x1b[31m": "has a line break or another",
    "a\u2028b": "has a line break",
    "a\u202eb": "has a line break or another",  # the rest would be shown from right to left
    "zero\u200bwidth": "has a line break or another",
    " a": "is empty, or begins or ends with a space",
    "a\u00a0": "is empty, or begins or ends with a space",
    " ": "is empty",
    "": "has characters that cannot be seen, where they are not needed",
    "a\u200d": "has characters that cannot be seen",
    "\u3164": "has characters that cannot be seen",
    "\ufe0f": "has characters that cannot be seen",
    "＝1+1": "begins with ＝",
    "=1+1": "begins with =, so that a spreadsheet would run it as a formula",
    "@SUM(1)": "begins with @",
    "+cmd|' /C calc'!A0": "begins with +",
    "-1+2": "begins with -",
}
SHOWN_AS_THEY_ARE = [
    *(
        "$",
        "$$",
        "$x",
        "a|b",
        "a,b",
        '"q"',
        "'",
        "`x`",
        "*x*",
        "_x",
        "<b>",
        "&amp;",
        "[x](y)",
        "a\\nb",
        "#1",
        "~",
        "%s",
        "{}",
    ),
    *(
        "007",
        "1e3",
        "-1",
        "+1",
        "-0.5",
        "NA",
        "nan",
        "None",
        "true",
        "null",
        "a=b",
        "a@b",
        "a b",
        "é",
        "猫",
        "🐈",
        "قطة",
    ),
    *("👩\u200d🔬", "می\u200cخواهم"),
]


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_cannot_be_shown_everywhere_are_refused(name: str) -> None:
    with pytest.raises(StudyError) as caught:
        check_classes(["other", name])
    assert f"a class with the name {name!r}, which {REFUSED[name]}" in str(caught.value) and "\n" not in str(
        caught.value
    )
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("other", ["a\u200db", "ab\ufe0f", "a\u034fb"])
def test_two_names_that_look_the_same_are_refused(other: str) -> None:
    with pytest.raises(StudyError, match="two classes with the name 'ab', or that look so; rename one"):
        check_classes(["ab", other])


def test_other_names_are_taken_as_they_are(tmp_path: Path) -> None:
    check_classes(SHOWN_AS_THEY_ARE)
    for name in (*SHOWN_AS_THEY_ARE, "x" * 255):
        for file in ("train/{}/a.png", "train/{}/b.png", "test/{}/a.png"):
            save_image(tmp_path / file.format(name))
    assert load(tmp_path).classes == sorted([*SHOWN_AS_THEY_ARE, "x" * 255])


def test_a_folder_whose_name_is_not_utf_8_is_refused_by_name(pictures: Path) -> None:
    for part in ("train", "test"):
        os.rename(pictures / part / "dog", os.fsencode(pictures / part) + b"/caf\xe9")
    with pytest.raises(StudyError, match=r"with the name 'caf\\udce9', which is not UTF-8; rename it$"):
        load(pictures)


def test_names_do_not_depend_on_the_locale(tmp_path: Path) -> None:
    top = two_classes(tmp_path / "pictures", "Größe", "猫")
    code = (
        "import sys; from pathlib import Path; from robustness_study.datasets.folder import load_folder\n"
        "dataset = load_folder(Path(sys.argv[1]), 8, 'white'); print(ascii([dataset.classes, dataset.test_files]))"
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, top], env={**os.environ, **plain}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ascii([["Größe", "猫"], ["test/Größe/x.JPG", "test/猫/x.JPG"]])


def test_an_accent_written_in_two_ways_is_one_class(tmp_path: Path) -> None:
    top = two_classes(tmp_path / "pictures", "cat", unicodedata.normalize("NFC", "café"))
    (top / "test" / unicodedata.normalize("NFC", "café")).rename(top / "test" / unicodedata.normalize("NFD", "café"))
    dataset = load(top)
    assert dataset.classes == [unicodedata.normalize("NFC", "café"), "cat"] and dataset.test_labels.tolist() == [0, 1]


def test_a_file_whose_name_is_not_utf_8_is_used(pictures: Path) -> None:
    os.rename(pictures / "train/dog/a.png", os.fsencode(pictures / "train/dog") + b"/caf\xe9.png")
    assert "train/dog/caf\udce9.png" in (load(pictures).train_files or [])
