"""What every model is doing: one line at each change, a table, and a file that `--status` reads from elsewhere."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from robustness_study.core.errors import StudyError, one_line, shortened
from robustness_study.core.files import read_json, write_json

FOLDER = Path(".scale")  # in the repository; git and DVC ignore it
STATE = "state.json"
HEAD = "tools.scale"  # the name of the lock that keeps a second head out
WAITING, SENT, RUNNING, DONE, FAILED, UP_TO_DATE = "waiting", "sent", "running", "done", "failed", "up to date"
ENDED = (DONE, FAILED, UP_TO_DATE)
ERROR = "error:"  # how the line begins with which a stage of the study says what is wrong


def duration(seconds: float) -> str:
    """Seconds as text, such as `3 h 05 min`, `12 min` or `40 s`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Board:
    """The state of every model. Threads may call `change` at the same time."""

    def __init__(self, root: Path, keys: Iterable[str], at_once: int) -> None:
        self.path, self.lock = root / FOLDER / STATE, threading.Lock()
        self.state: dict[str, Any] = {"at_once": at_once, "models": {key: {"state": WAITING} for key in keys}}
        self.write()

    def write(self) -> None:
        """Write the file that `--status` reads."""
        write_json(self.path, self.state)

    def of(self, key: str) -> str:
        """The state of a model."""
        return str(self.state["models"][key]["state"])

    def note(self, key: str, line: str) -> None:
        """Keep a line that a model's stages printed. If the model fails, the table shows the last one, or its error."""
        row, text = self.state["models"][key], line.strip()
        if text and (text.startswith(ERROR) or not row.get("last_line", "").startswith(ERROR)):
            row["last_line"] = shortened(one_line(text))

    def change(self, key: str, state: str, where: str = "", last_line: str = "") -> None:
        """Set a model's state, print one line about it, and write the file that `--status` reads."""
        with self.lock:
            row = self.state["models"][key]
            if row["state"] == state and row.get("where", "") == where:
                return
            now = time.time()
            if state in (DONE, FAILED) and row["state"] == RUNNING:  # otherwise it may have waited for a worker
                row["seconds"] = round(now - row["since"], 1)
            row |= {"state": state, "since": round(now, 1), "where": where or row.get("where", "")}
            self.note(key, last_line)
            self.write()
            after = f" [{total(self.state)}]" if state in (DONE, FAILED) else ""
            print(f"{key}: {' '.join(told(row))}{after}", flush=True)

    def counts(self) -> Counter[str]:
        """How many models are in each state."""
        return Counter(row["state"] for row in self.state["models"].values())


def told(row: dict[str, Any]) -> list[str]:
    """A model's state in words: the state, where it is, how long it took, and a failed one's last line."""
    words = [row["state"]]
    if row["state"] in (SENT, RUNNING) and row.get("where"):
        words.append(f"on {row['where']}")
    if "seconds" in row and row["state"] in (DONE, FAILED):
        words.append(f"after {duration(row['seconds'])}")
    if row["state"] == FAILED and row.get("last_line"):
        words.append(f"({row['last_line']})")
    return words


def total(state: dict[str, Any]) -> str:
    """How many models are in each state, and about how long the rest takes."""
    rows = state["models"].values()
    counts = Counter(row["state"] for row in rows)
    text = ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no models"
    took = [row["seconds"] for row in rows if row["state"] == DONE and "seconds" in row]
    left = sum(row["state"] not in ENDED for row in rows)
    if took and left:
        text += f"; about {duration(sum(took) / len(took) * left / min(state['at_once'], left))} left"
    return text


def table(state: dict[str, Any]) -> str:
    """One line for each model, and the total."""
    width = max(map(len, state["models"]), default=0)
    rows = [f"{key:<{width}}  {' '.join(told(row))}" for key, row in state["models"].items()]
    return "\n".join([*rows, total(state)])


def is_running(root: Path) -> bool:
    """Whether a head works in this repository."""
    holder = root / FOLDER / f"{HEAD}.lock"
    if not holder.exists():
        return False
    try:
        with FileLock(holder).acquire(timeout=0):
            return False
    except Timeout:
        return True


def status(root: Path) -> str:
    """The table of the run in progress, or of the last one. Raises StudyError if there was none."""
    path = root / FOLDER / STATE
    if not path.exists():
        raise StudyError(f"{path} does not exist, so nothing ran here yet; start with `python -m tools.scale`")
    head = "" if is_running(root) else "\nNo run is in progress; this is how the last one ended."
    return table(read_json(path, "models", "at_once")) + head
