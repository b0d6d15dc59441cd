"""Capability: what lm-eval measured on the reference and on every policy, and the change (the alignment tax)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .. import stats
from ..results import Json, read_json
from ..stats.crossed import standard_error
from .measures import Floats, generator
from .store import CellRecord, Store

Z = 1.959963984540054  # the .975 quantile of the normal distribution


def read_capability(store: Store) -> Json:
    """`{"reference": tasks, spec: {seed: tasks}}` as lm-eval's files hold them; empty where it was not run.

    A file that is not there, of a failed cell say, leaves its seed out.
    """
    where = store.run.get("capability")
    if not where or not (store.folder / where["reference"]).exists():
        return {}
    found: Json = {"reference": read_json(store.folder / where["reference"])["tasks"], "specs": {}}
    for cell in store.cells:
        paths = {record.seed: record.folder / where["cell"] for record in cell.evaluated}
        found["specs"][cell.spec] = {s: read_json(path)["tasks"] for s, path in paths.items() if path.exists()}
    return found


def reference_capability(found: Json) -> Json | None:
    """`{task: {metric: {"value", "stderr", "n", "higher_is_better"}}}` of the reference."""
    return {task: each["metrics"] for task, each in found["reference"].items()} if found else None


def change(found: Json, cell: CellRecord) -> Json | None:
    """`{task: {metric: {"value", "change", "stderr", "low", "high", "n", "paired", "unit", ...}}}` of a row.

    `value` is the mean over its seeds and `change` how far that is above the reference's, with its standard error and
    95 % interval. Of a task's main metric the scores of the same documents are paired, `d[document, seed] = policy -
    reference`, and documents and seeds are both samples: the interval is that of `stats.interval`. Of other metrics
    only standard errors are known: `sqrt(mean of se_seed^2 + se_reference^2 + variance of the seeds / S)`, too wide as
    far as the two agree on documents.
    """
    seeds: Mapping[int, Json] = found.get("specs", {}).get(cell.spec, {}) if found else {}
    if not seeds:
        return None
    result: Json = {}
    for task, reference in found["reference"].items():
        theirs = {seed: tasks[task] for seed, tasks in seeds.items() if task in tasks}
        if not theirs:
            continue
        result[task] = {
            metric: _changed(reference, theirs, metric, f"{cell.spec}/{task}/{metric}")
            for metric in reference["metrics"]
            if all(metric in each["metrics"] for each in theirs.values())
        }
    return result


def _changed(reference: Json, theirs: Mapping[int, Json], metric: str, name: str) -> Json:
    base = reference["metrics"][metric]
    known = [each["metrics"][metric]["value"] for each in theirs.values()]
    shown: Json = {"seeds": list(theirs), "n": base["n"], "higher_is_better": base["higher_is_better"], "unit": "score"}
    if base["value"] is None or any(value is None for value in known):
        return {**shown, **dict.fromkeys(("value", "change", "stderr", "low", "high")), "paired": False}
    paired = metric == main_metric(reference) and all(_same_documents(reference, each) for each in theirs.values())
    shown |= {"value": float(np.mean(known)), "change": float(np.mean(known)) - base["value"], "paired": paired}
    if not paired:
        errors = [each["metrics"][metric]["stderr"] for each in theirs.values()]
        return shown | _unpaired(shown["change"], known, errors, base["stderr"])
    policy = np.array([each["samples"] for each in theirs.values()], dtype=np.float64).T
    own = np.array(reference["samples"], dtype=np.float64)[:, None]
    differences = policy - own
    share = min(policy.min(), own.min()) >= 0 and max(policy.max(), own.max()) <= 1
    constant = float(np.ptp(differences)) == 0
    # Where no document changed there is no variance to see, but a bound on what so few documents could hide.
    bounds = (-1.0, 1.0) if share and constant else None
    estimate = stats.interval(differences, generator(f"capability/{name}"), bounds=bounds)
    method = "paired by document" + (", averaged over seeds" if len(theirs) > 1 else "")
    return shown | {
        "stderr": _error(differences),
        "low": estimate.low,
        "high": estimate.high,
        "n": len(differences),
        "method": f"{method}; {estimate.method}",
    }


def main_metric(task: Json) -> str | None:
    """The metric whose scores of single documents are there."""
    return task.get("main") or next(iter(task["metrics"]), None) if task.get("samples") else None


def _same_documents(one: Json, other: Json) -> bool:
    return one.get("documents") == other.get("documents") and len(one["samples"]) == len(other.get("samples") or ()) > 1


def _unpaired(change: float, values: list[float], errors: list[float | None], base: float | None) -> Json:
    known = [error for error in errors if error is not None]
    if base is None or len(known) < len(errors):
        return {"stderr": None, "low": None, "high": None, "method": "mean over seeds; no standard error is known"}
    between = float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0
    error = math.sqrt(float(np.mean(np.square(known))) + base**2 + between)
    half = Z * error
    return {
        "stderr": error,
        "low": change - half,
        "high": change + half,
        "method": "mean over seeds; unpaired standard errors, normal interval",
    }


def _error(differences: Floats) -> float:
    """Standard error of the mean of `differences [documents, seeds]`; of one seed `sd / sqrt(documents)`."""
    documents, seeds = differences.shape
    if seeds == 1:
        return float(differences.std(ddof=1) / math.sqrt(documents))
    return float(standard_error(differences)[0])
