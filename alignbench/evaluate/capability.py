"""Capability by lm-eval: the reference and every policy on the same tasks, and the change with its standard error."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ..errors import InputError
from ..models import Policy
from ..plugins.settings import did_you_mean
from ..results import Json, canonical
from .harness import SEED, Report, index_of, own_index, undisturbed

SCHEMA = 1
RESAMPLES = 100  # for the standard error of a metric that is no mean: itself known to 7 %
_ANSWER_LENGTH = 256  # tokens of a generated answer where the task sets no limit: lm-eval's default


def check_tasks(names: Sequence[str], include: Sequence[Path] = (), context: int | None = None) -> None:
    """Find out before anything is trained whether each task can be run: its name, its data, what it asks of a model.

    `include` are folders with tasks of the benchmark's own, `context` is the model's, in tokens. Names that are in no
    such folder are looked up among lm-eval's own (10 s, once in a process), and loading a task gets its data, so that
    they are on this machine when the policies are.

    Raises:
        InputError: there is no such task, its data are not to be had, it runs code that a model has written or needs
            images or sound, its answers are longer than the context, or a task is named twice.
    """
    if not names or "" in names:
        raise InputError("--lm-eval names no task, or ends in a comma: give names such as hellaswag,arc_easy.")
    with undisturbed():
        for name in names:  # all names first: to get the data of one may take minutes
            _known(name, include)
        seen: dict[str, str] = {}
        for name in names:
            for task, loaded in _load(name, include)["tasks"].items():
                _check_task(name, loaded, context)
                if task in seen:
                    raise InputError(f"--lm-eval: the task {task} is named twice, by {seen[task]} and by {name}.")
                seen[task] = name


def evaluate_tasks(
    policy: Policy, names: Sequence[str], include: Sequence[Path] = (), report: Report | None = None
) -> Json:
    """Run the tasks on the policy. The model, its tokenizer and the global generators are left as they were.

    Returns `{"schema", "lm_eval": version, "tasks": {task: {...}}}`, plain JSON. A tag such as `ai2_arc` stands for its
    tasks, a group such as `mmlu` is one entry where lm-eval gives it a value of its own. Of a task:

    - "metrics": `{metric: {"value", "stderr", "n", "higher_is_better"}}`; a metric behind a filter is `METRIC,FILTER`.
      The standard error is that of a mean over documents where the metric is one, `sd / sqrt(n)`, else from 100
      resamples of documents; None where it is not known;
    - "main": the metric that the task lists first; "samples": its score of each document, in the order of the data,
      where the metric is their mean, else empty; "documents": a hash of these documents as they were asked;
    - "version", "n_shot", and "cut": the requests that were longer than the context and lost their beginning.

    `report(fraction, text)` hears how far it is. Prompts are plain text: no chat template is used.

    Raises:
        InputError: as `check_tasks` does, and where lm-eval fails on a task.
    """
    from importlib.metadata import version

    tasks: Json = {}
    with undisturbed(policy.device):
        for i, name in enumerate(names):

            def heard(fraction: float, text: str, i: int = i, name: str = name) -> None:
                if report is not None:
                    report((i + fraction) / len(names), f"{name}  {text}")

            tasks.update(_run(policy, name, _load(name, include), heard))
    return {"schema": SCHEMA, "lm_eval": version("lm_eval"), "tasks": canonical(tasks)}


def change(policy: Json, reference: Json, level: float = 0.95) -> Json:
    """How far the policy's metrics lie from the reference's: `{task: {metric: {"value", "stderr", "low", "high", "n",
    "paired", "higher_is_better"}}}` for the tasks and metrics of both results of `evaluate_tasks`.

    `value` is policy minus reference. Where the scores of the very same documents are known in both, the difference is
    *paired*: with d_i the difference on document i, `stderr = sd(d) / sqrt(n)` and the interval is Student's with n - 1
    degrees of freedom. Else `stderr = sqrt(se_policy^2 + se_reference^2)`, which is too wide as far as the two agree on
    documents, and the interval is normal. A standard error that is not known leaves the interval None.
    """
    found: Json = {}
    for task, ours in policy["tasks"].items():
        theirs = reference["tasks"].get(task)
        if theirs is None:
            continue
        same = ours["documents"] == theirs["documents"] and len(ours["samples"]) == len(theirs["samples"]) > 1
        found[task] = {}
        for metric, one in ours["metrics"].items():
            if (two := theirs["metrics"].get(metric)) is None:
                continue
            if same and metric == ours["main"] == theirs["main"]:
                differences = np.subtract(ours["samples"], theirs["samples"])
                entry = _interval(float(differences.mean()), _standard_error(differences), level, len(differences))
            else:
                entry = _interval(*_difference(one, two), level, None)
                entry["n"] = min(one["n"], two["n"])
            found[task][metric] = {**entry, "higher_is_better": one["higher_is_better"]}
    return found


def fingerprint(include: Sequence[Path]) -> str:
    """A hash of the tasks in these folders, the same wherever the folders are: what their results depend on."""
    hashed = hashlib.sha256()
    for folder in include:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and not any(part.startswith(".") for part in inside.parts):
                content = path.read_bytes().replace(str(folder.resolve()).encode(), b"")
                hashed.update(f"{inside.as_posix()} {len(content)}\n".encode() + content)
    return hashed.hexdigest()[:16]


def _known(name: str, include: Sequence[Path]) -> Any:
    """The index that has the task; InputError where none has."""
    index = index_of(name, include)
    if name not in index.all_tasks:
        own = own_index(include).all_tasks
        near = did_you_mean(name, own) or did_you_mean(name, index.all_tasks) or "."
        shipped = f"the benchmark's own ({', '.join(own)}) and " if own else ""
        raise InputError(
            f"--lm-eval: there is no task {name!r}{near} Names are {shipped}those of lm-eval, "
            "which `lm-eval ls tasks` lists."
        )
    return index


def _load(name: str, include: Sequence[Path]) -> Json:
    index = _known(name, include)
    try:
        loaded: Json = index.load([name])
    except Exception as error:  # lm-eval, its tasks' own code, the data set library and the hub raise what they like
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:160].rstrip(' .')}"
        if isinstance(error, OSError):
            raise InputError(
                f"--lm-eval {name}: its data cannot be had ({said}); they are downloaded once, so run this with a "
                f"network first, or leave the task out."
            ) from error
        raise InputError(f"--lm-eval {name}: lm-eval cannot load the task ({said}); leave it out.") from error
    return loaded


def _check_task(name: str, task: Any, context: int | None) -> None:
    if getattr(task, "UNSAFE_CODE", False):
        raise InputError(f"--lm-eval {name}: the task runs code that a model has written, which is not safe here.")
    if getattr(task, "MULTIMODAL", False):
        raise InputError(f"--lm-eval {name}: the task needs images or sound, and policies read text.")
    if task.OUTPUT_TYPE == "generate_until" and context is not None:
        limit = (task.config.generation_kwargs or {}).get("max_gen_toks", _ANSWER_LENGTH)
        if limit >= context:
            raise InputError(
                f"--lm-eval {name}: an answer may have {limit} tokens, which leaves nothing of the model's context of "
                f"{context} for the question; leave the task out."
            )


def _run(policy: Policy, name: str, loaded: Json, report: Report) -> Json:
    from lm_eval.evaluator import evaluate

    from .policy_lm import PolicyLM

    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=SEED)
        _check_task(name, task, policy.context)
    model = PolicyLM(policy, report)
    try:
        # No resamples of lm-eval's: it prints, and makes a process for each core.
        results: Json = evaluate(model, loaded, bootstrap_iters=0, log_samples=True, cache_requests=False)
    except (AssertionError, KeyError, ValueError, TypeError, OSError) as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:160].rstrip(' .')}"
        raise InputError(f"--lm-eval {name}: lm-eval fails on the task ({said}); leave it out.") from error
    group = loaded.get("groups", {}).get(name)
    if group is not None and name in results.get("groups", {}):
        members = [task.task_name for task in group.get_all_tasks()]
        return {name: _entry(name, members, {}, results, model.cut)}
    return {
        task: _entry(task, [task], loaded["tasks"][task].aggregation(), results, model.cut) for task in loaded["tasks"]
    }


def _entry(name: str, members: Sequence[str], aggregation: Mapping[str, Any], results: Json, cut: int) -> Json:
    """What is stored of a task, or of a group with these tasks."""
    rows = [row for member in members for row in results["samples"][member]]
    better = results["higher_is_better"].get(name, {})
    metrics: Json = {}
    main, samples = "", list[float]()
    listed = [*aggregation]  # in the order of the task, which lm-eval's results do not keep
    values = _values(results["results"][name])
    for metric, kind, value in sorted(
        values, key=lambda row: listed.index(row[0]) if row[0] in listed else len(listed)
    ):
        raw = [row[metric] for row in rows if row["filter"] == kind and metric in row]
        scores = _means_to(raw, value)
        error = _standard_error(scores) if scores is not None else _resampled(aggregation.get(metric), raw)
        label = metric if kind == "none" else f"{metric},{kind}"
        metrics[label] = {"value": value, "stderr": error, "n": len(raw), "higher_is_better": better.get(metric)}
        if not main:
            main, samples = label, [] if scores is None else scores.tolist()
    asked = "".join(f"{row['doc_hash']}{row['prompt_hash']}" for row in rows if row["filter"] == rows[0]["filter"])
    return {
        "metrics": metrics,
        "main": main,
        "samples": samples,
        "documents": hashlib.sha256(asked.encode()).hexdigest()[:16],
        "version": results["versions"].get(name),
        "n_shot": results["n-shot"].get(name),
        "cut": cut,
    }


def _values(row: Json) -> Iterator[tuple[str, str, float]]:
    """Metric, filter and value of each entry of lm-eval's such as `acc,none`."""
    for key, value in row.items():
        metric, comma, kind = key.partition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, int | float | np.number):
            yield metric, kind, float(value)


def _means_to(raw: Sequence[Any], value: float) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """The scores of the documents, if they are numbers and the metric is their mean."""
    try:
        scores = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    is_mean = scores.ndim == 1 and len(scores) > 0 and math.isclose(scores.mean(), value, rel_tol=1e-9, abs_tol=1e-12)
    return scores if is_mean else None


def _standard_error(scores: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    return float(scores.std(ddof=1) / math.sqrt(len(scores))) if len(scores) > 1 else None


def _resampled(metric: Any, raw: Sequence[Any]) -> float | None:
    """The standard deviation of a metric over resamples of its documents."""
    if metric is None or len(raw) < 2:
        return None
    rng = np.random.default_rng(SEED)
    drawn = [float(metric([raw[i] for i in rng.integers(len(raw), size=len(raw))])) for _ in range(RESAMPLES)]
    spread = float(np.std(drawn, ddof=1))
    return spread if math.isfinite(spread) else None


def _difference(one: Json, two: Json) -> tuple[float | None, float | None]:
    value = None if None in (one["value"], two["value"]) else one["value"] - two["value"]
    return value, None if None in (one["stderr"], two["stderr"]) else math.hypot(one["stderr"], two["stderr"])


def _interval(value: float | None, stderr: float | None, level: float, paired: int | None) -> Json:
    """`paired` is the number of pairs."""
    low = high = None
    if value is not None and stderr is not None:
        quantile = stats.norm.ppf(0.5 + level / 2) if paired is None else stats.t.ppf(0.5 + level / 2, paired - 1)
        low, high = value - float(quantile) * stderr, value + float(quantile) * stderr
    return {"value": value, "stderr": stderr, "low": low, "high": high, "n": paired, "paired": paired is not None}
