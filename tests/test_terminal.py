"""Printing: no encoding and no closed stream ends a program, or changes its exit status or its results."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_cells import LOSSES, outputs, write_study

from robustness_study.core.imports import ROOT

SHOWN = "a → ε 中"
PROGRAM = f"""
import contextlib, os, sys, warnings
from robustness_study.core.errors import StudyError
from robustness_study.core.program import run

def main():
    for _ in range(3):
        print({SHOWN!r}, flush=True)
    print({SHOWN!r}, file=sys.stderr)
    warnings.warn({SHOWN!r})
    assert not sys.stderr.isatty()
    with open("result", "w", encoding="utf-8") as result:
        for descriptor in [1, 2] if "as C prints" in sys.argv else []:
            with contextlib.suppress(OSError):
                os.write(descriptor, b"from a library in C")
        result.write("done")
    if "fails" in sys.argv:
        raise StudyError({SHOWN!r})
    return 7

run(main)
"""
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "utf-16": {"PYTHONIOENCODING": "utf-16"},
    "strict": {"PYTHONIOENCODING": "ascii:strict"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "POSIX, unbuffered": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONUNBUFFERED": "1"},
}


def environment(**more: str) -> dict[str, str]:
    plain = {
        name: value for name, value in os.environ.items() if name != "LANG" and not name.startswith(("LC_", "PYTHON"))
    }
    return plain | {"PYTHONPATH": str(ROOT)} | more


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("program.py").write_text(PROGRAM, encoding="utf-8")
    return "program.py"


@pytest.mark.parametrize("arguments", [[], ["fails"]], ids=["succeeds", "fails"])
@pytest.mark.parametrize("settings", ENCODINGS.values(), ids=list(ENCODINGS))
def test_text_is_printed_in_every_encoding(settings: dict[str, str], arguments: list[str], program: str) -> None:
    encoding = settings.get("PYTHONIOENCODING", "ascii").partition(":")[0]
    command = [sys.executable, program, *arguments]
    done = subprocess.run(command, env=environment(**settings), capture_output=True, check=False)
    shown = SHOWN.encode(encoding, "backslashreplace").decode(encoding)
    errors = done.stderr.decode(encoding)
    assert done.stdout.decode(encoding).splitlines() == [shown] * 3
    assert errors.splitlines()[0] == shown and "Traceback" not in errors
    assert done.returncode == (1 if arguments else 7)
    assert (errors.splitlines()[-1] == f"error: {shown}") == bool(arguments)
    assert Path("result").read_text(encoding="utf-8") == "done"


STREAMS = [
    "| head -c 3", "| true", ">/dev/full", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full",
    ">/dev/full 2>&1", "2>&1 | true",
]  # fmt: skip


@pytest.mark.parametrize("arguments", ["", "fails"])
@pytest.mark.parametrize("streams", STREAMS)
def test_a_stream_that_nobody_reads_ends_nothing(streams: str, arguments: str, program: str) -> None:
    line = f"{sys.executable} {program} 'as C prints' {arguments} {streams}; echo ${{PIPESTATUS[0]}} > status"
    plain = environment(PYTHONIOENCODING="utf-8")
    done = subprocess.run(["bash", "-c", line], env=plain, capture_output=True, check=False)
    assert Path("status").read_text(encoding="utf-8") == ("1\n" if arguments else "7\n")
    assert Path("result").read_text(encoding="utf-8") == "done"
    for noise in (b"Traceback", b"Exception ignored", b"BrokenPipe", b"No space left"):
        assert noise not in done.stdout + done.stderr


def test_a_slow_reader_gets_everything(tmp_path: Path) -> None:
    """A pipe that does not block refuses bytes while it is full."""
    program = (
        "import os\nfrom robustness_study.core.program import run\nos.set_blocking(1, False)\n"
        "run(lambda: print('x' * 1_000_000))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        read = process.stdout.read(10)
        assert process.poll() is None
        assert read + process.stdout.read() == b"x" * 1_000_000 + b"\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(["headline", "--loss", LOSSES[0]], id="headline"),
        pytest.param(["compare"], id="compare", marks=pytest.mark.slow),
    ],
)
def test_results_do_not_depend_on_the_encoding(
    stage: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for name, settings in (("wide", {"PYTHONIOENCODING": "utf-8"}), ("narrow", ENCODINGS["C"])):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        write_study()
        command = [sys.executable, "-m", f"stages.{stage[0]}", *stage[1:]]
        done = subprocess.run(command, env=environment(**settings), capture_output=True, check=False)
        assert done.returncode == 0 and "Traceback" not in done.stderr.decode()
        written.append(outputs(Path()))
    assert written[0] == written[1] and written[0]


PROGRAMS = [path for name in ("stages", "tools", "bench") for path in sorted((ROOT / name).rglob("*.py"))]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_every_program_is_run_in_this_way(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    mains = [node for node in tree.body if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)]
    if mains:
        assert ast.unparse(mains[-1].body[-1]) in ("run(main)", "program.run(main)")


def test_files_are_opened_with_an_encoding() -> None:
    """Without one, Python uses that of the terminal."""
    found = []
    for path in [*PROGRAMS, *(ROOT / "robustness_study").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name, options = ast.unparse(node.func).rpartition(".")[2], {option.arg for option in node.keywords}
                of_text = name in ("read_text", "write_text") and isinstance(node.func, ast.Attribute)
                if (of_text or "text" in options) and "encoding" not in options:
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []
