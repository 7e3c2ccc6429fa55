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
    return _text(root, of_repository(root), f"{places}, {threads} threads each")


def on_workers(root: Path, site: Site) -> str:
    """What would run on the workers of a site."""
    data = f"the remote {site.remote}" if site.remote else "the shared cache"
    places = f"{site.workers} at a time on {site.nodes} × {site.provider}, {site.threads_per_worker} threads each"
    gpus = ", one GPU each" if site.accelerators else ""
    return _text(root, of_repository(root), f"{places}{gpus}, in {site.scratch}, data through {data}")


def _text(root: Path, planned: Plan, places: str) -> str:
    todo = not_up_to_date(root, planned)
    ready = len(planned.models) - len(todo)
    lines = [f"first, here: {listed(planned.before) or 'nothing'}", f"then, {places}: {len(todo)} models"]
    lines += [f"  {key}: {', '.join(name.partition('@')[0] for name in planned.models[key])}" for key in todo]
    if before := stages_to_run(root, planned.before):
        lines.append(f"  maybe more: {listed(before)} will run first, and what they change is not known yet")
    return "\n".join([*lines, f"up to date: {ready} models", "last, here: what compares the models"])
