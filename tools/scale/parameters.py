"""Values of params.yaml from the command line, as `dvc exp run -S` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_text


def set_values(root: Path, overrides: Sequence[str]) -> None:
    """Change values in `root/params.yaml`, each given as KEY=VALUE, such as `seeds=[0,1]`; comments stay.

    Raises StudyError, and changes nothing, if one of them has another form or names no key of the file.
    """
    if not overrides:
        return
    from dvc.exceptions import InvalidArgumentError
    from dvc.utils.hydra import apply_overrides
    from ruamel.yaml.error import YAMLError

    path = root / "params.yaml"
    with TemporaryDirectory() as folder:
        changed = Path(folder) / path.name
        changed.write_bytes(path.read_bytes())
        try:
            apply_overrides(changed, list(overrides))
        except InvalidArgumentError as error:
            reason = str(error.__cause__).splitlines()[0].rstrip(".")
            raise StudyError(f"-S: {reason}; give KEY=VALUE, where KEY is in params.yaml") from None
        except YAMLError:  # hydra's sweeps, such as range(0,3), are no values
            raise StudyError(f"-S: {' '.join(overrides)}: a value is a sweep; write its values as a list") from None
        write_text(path, changed.read_text(encoding="utf-8"))
