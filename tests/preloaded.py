"""Runs stages of test pipelines without the seconds that each needs to import torch and its like.

A test pipeline runs dozens of stages, each in a process of its own. `command_folder` starts a server, which imports
every package that the library imports, and returns a folder with a command `python`. With that folder first on PATH,
DVC's `python -m stages.NAME …` asks the server to fork a process that runs the stage, with the same code, arguments,
folder, environment, streams and exit status. Any other use of `python` is passed on to the real one. The demo and the
tests of killed runs use the real one.
"""

from __future__ import annotations

import array
import ast
import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

TOP = Path(__file__).parents[1]
FILES = "TEST_FILES_OF_STAGES"  # a folder; see `record_files`
# A separate program with as few imports as possible, because it is started for every stage.
CLIENT = """
import os, sys
if sys.argv[1:2] != ["-m"] or not sys.argv[2].startswith("stages."):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
import array, json, socket
request = json.dumps({{"argv": sys.argv[2:], "cwd": os.getcwd(), "environ": dict(os.environ)}}).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
    server.sendmsg([len(request).to_bytes(8, "big")], [streams])
    server.sendall(request)
    status = server.recv(1)
sys.exit(status[0] if status else "error: the process of the stage was lost")
"""


@functools.cache
def command_folder() -> Path:
    """A folder that holds the command `python` described above. Its server ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="preloaded-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address, client, command = str(folder / "socket"), folder / "client.py", folder / "python"
    client.write_text(CLIENT.format(python=sys.executable, address=address), encoding="utf-8")
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -IS {client} "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    # The server ends when its stdin does: here, at the end of this process, or when the process is killed.
    server = subprocess.Popen(
        [sys.executable, __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    )
    atexit.register(server.communicate)
    assert server.stdout is not None
    if server.stdout.readline() != b"ready\n":
        raise RuntimeError("the server of preloaded stages did not start")
    return folder


def packages() -> list[str]:
    """Every module of another package that the library imports, sorted."""
    found = set[str]()
    for path in TOP.glob("robustness_study/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return sorted(name for name in found if not name.startswith("robustness_study"))


def serve(address: str) -> list[str]:
    """Answer requests until stdin ends. Returns only in a process that is to run a stage: its module and arguments."""
    for name in packages():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # garbage collection in a fork would copy memory
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process waits for the handlers
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        readable, _, _ = select.select([listener.fileno(), 0], [], [])
        if 0 in readable:
            os._exit(0)
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return handle(client)
        client.close()


def handle(client: socket.socket) -> list[str]:
    """Fork the process of the stage, in which this returns; wait for it here and tell the client how it ended."""
    descriptors = array.array("i")
    size, ancillary, _, _ = client.recvmsg(8, socket.CMSG_LEN(3 * descriptors.itemsize))
    descriptors.frombytes(ancillary[0][2])
    body, missing = b"", int.from_bytes(size, "big")
    while len(body) < missing:
        body += client.recv(1 << 16)
    request = json.loads(body)
    child = os.fork()
    if child == 0:
        for place, descriptor in enumerate(descriptors):
            os.dup2(descriptor, place)
            os.close(descriptor)
        client.close()
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environ"])
        sys.path[0] = request["cwd"]
        return request["argv"]
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            client.sendall(bytes([code if code >= 0 else 128 - code]))
            os._exit(0)
        if select.select([client], [], [], 0.01)[0]:  # the client sends nothing more, so it is gone
            os.kill(child, signal.SIGKILL)
            os._exit(1)


def record_files(module: str, arguments: list[str]) -> None:
    """At the end of this process, add a line of JSON to a file in the folder that the variable `FILES` names.

    It has the arguments and the project's files that the process used: the modules that it imported, and what it opened
    in the library beside Python's files.
    """
    top, opened = os.getcwd(), set[str]()

    def look(event: str, details: Any) -> None:
        if event == "open" and isinstance(details[0], str) and not details[0].endswith((".py", ".pyc")):
            opened.add(os.path.relpath(details[0], top))

    def write() -> None:
        modules = {
            os.path.relpath(file, top) for each in [*sys.modules.values()] if (file := vars(each).get("__file__"))
        }
        used = sorted(path for path in modules | opened if path.startswith(("stages/", "robustness_study/")))
        with open(f"{folder}/{module.rpartition('.')[2]}.jsonl", "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"arguments": arguments, "files": used}) + "\n")

    folder = os.environ[FILES]
    sys.addaudithook(look)
    atexit.register(write)


def run(module: str, arguments: list[str]) -> NoReturn:
    """Run a module as `python -m` does, and end without taking apart what the server imported: that takes seconds."""
    sys.argv = [module, *arguments]
    if FILES in os.environ:
        record_files(module, arguments)
    code: Any = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does at its end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    module, *arguments = serve(sys.argv[1])
    run(module, arguments)
