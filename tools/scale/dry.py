"""`--dry`: says what would run, and where."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tools.scale.head import not_up_to_date, stages_to_run
from tools.scale.plan import Plan, listed, of_repository, place
from tools.scale.site import Site


def on_this_machine(root: Path, environments: list[dict[str, str]]) -> str:
    """What would run on this machine."""
    threads = environments[0]["OMP_NUM_THREADS"]
    places = ", ".join(f"{count} at a time on {name}" for name, count in Counter(map(place, environments)).items())
    planned = of_repository(root)
    return _text(root, planned, planned.models, f"{places}, {threads} threads each")


def on_workers(root: Path, site: Site) -> str:
    """What would run on the workers of a site."""
    data = f"the remote {site.remote}" if site.remote else "the shared cache"
    places = f"{site.workers} at a time on {site.nodes} × {site.provider}, {site.threads_per_worker} threads each"
    gpus = ", one GPU each" if site.accelerators else ""
    planned = of_repository(root)
    theirs = {key: planned.on_workers(key) for key in planned.models}
    return _text(root, planned, theirs, f"{places}{gpus}, in {site.scratch}, data through {data}")


def _text(root: Path, planned: Plan, stages: dict[str, list[str]], places: str) -> str:
    """What would run; `stages` are those of each model that run at `places`."""
    todo = not_up_to_date(root, stages)
    ready = len(planned.models) - len(todo)
    lines = [f"first, here: {listed(planned.before) or 'nothing'}", f"then, {places}: {len(todo)} models"]
    lines += [f"  {key}: {', '.join(name.partition('@')[0] for name in stages[key])}" for key in todo]
    if before := stages_to_run(root, planned.before):
        lines.append(f"  maybe more: {listed(before)} will run first, and what they change is not known yet")
    return "\n".join([*lines, f"up to date: {ready} models", "last, here: what compares the models"])
