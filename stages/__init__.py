"""One file per DVC stage, run as `python -m stages.NAME`.

Python imports this file first. So a stage begins here to watch its parent, before the imports that take seconds: a
killed `dvc repro` leaves no stage behind.
"""

import sys

from robustness_study.core.die_with_parent import die_with_parent

if sys.argv[0] == "-m":  # what Python sets until it has found the stage; not where a test imports a stage
    die_with_parent()
