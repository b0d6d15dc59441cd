"""`summary.json` from the store: rows, comparisons, judges, the frontier."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from .. import stats
from ..agreement import cohens_kappa
from ..results import Json
from .cost import cost
from .judging import estimate, human_gold, human_human, judge_quality, row_ratings
from .measures import Floats, generator, metric, quantiles, scores, win_rate
from .store import SCHEMA, CellRecord, SeedRecord, Store

ALPHA = 0.05
UNITS = {
    "kl": "nats per completion",
    "k1": "nats per completion",
    "reward": "benchmark reward",
    "proxy_reward": "reward-model score",
    "length": "tokens",
    "unfinished": "share",
}


def build_summary(store: Store) -> Json:
    """Everything the tables and plots show, as `summary.json` holds it.

    A metric is `{"value", "low", "high", "n", "per_seed", "unit", "method", "bootstrap"}` or None where it was not
    measured; `per_seed` follows `seeds`.
    """
    run = store.run
    judges = judge_quality(store)
    taken = ("benchmark", "name", "command", "question", "headline", "agreement_judge", "data", "versions", "hardware")
    return {
        "schema": SCHEMA,
        **{key: run.get(key) for key in taken},
        "models": run.get("models"),
        "stages": run.get("stages", []),
        "warnings": run.get("warnings", []),
        "seeds": store.seeds,
        "rows": [_row(store, cell, judges) for cell in store.cells],
        "comparisons": _comparisons(store, judges),
        "judges": judges,
        "human_human": human_human(store),
        "human_gold": human_gold(store),
        "reference": _reference(store),
        "frontier": {cell.spec: _curve(store, cell) for cell in store.cells if cell.evaluated},
        "conditional_on": _condition(store.seeds) + _trained(store.run.get("config", {})),
    }


def _row(store: Store, cell: CellRecord, judges: Json) -> Json:
    headline = store.run["headline"]
    length = _metric(store, cell, "length")
    return {
        "spec": cell.spec,
        "objective": cell.objective,
        "params": cell.params,
        "training": next((record.train.get("training") for record in cell.seeds if record.train), None),
        "status": cell.status,
        "reason": cell.reason,
        "win_rate": judges.get(headline, {}).get("win_rate", {}).get(cell.spec),
        "win_rate_chosen": win_rate(cell, store.seeds, headline, "against_chosen"),
        **{name: _metric(store, cell, name) for name in ("kl", "k1", "reward", "proxy_reward")},
        "judge_agreement": _judge_agreement(store, cell, judges),
        "length": None if length is None else length | {"quantiles": quantiles(cell.matrix("length"))},
        "unfinished": _metric(store, cell, "unfinished"),
        "cost": cost(store, cell),
    }


def _metric(store: Store, cell: CellRecord, name: str) -> Json | None:
    values, bounds = cell.matrix(name), None
    if name == "unfinished":
        ended = cell.matrix("ended")
        values, bounds = None if ended is None else 1 - ended, (0.0, 1.0)
    return metric(values, cell.evaluated, store.seeds, UNITS[name], f"{cell.spec}/{name}", bounds)


def _judge_agreement(store: Store, cell: CellRecord, judges: Json) -> Json | None:
    """Raw agreement of the agreement judge with gold on this row's verdicts, else with the held-out labels."""
    judge = store.run.get("agreement_judge")
    if judge is None or not cell.evaluated:
        return None
    ratings = row_ratings(cell, judge, "gold")
    if ratings is not None:
        matches = (ratings.a == ratings.b).astype(np.float64).reshape(2, len(cell.evaluated), -1)
        both = matches.mean(axis=0)  # the two orders of a prompt count half each
        result = metric(both, cell.evaluated, store.seeds, "share", f"{cell.spec}/agreement", (0, 1))
        assert result is not None
        kappa = estimate(ratings, cohens_kappa, f"{cell.spec}/agreement/kappa")
        return result | {"judge": judge, "against": "gold on this row's verdicts", "kappa": kappa}
    labels = judges.get(judge, {}).get("held_out", {}).get("against_labels")
    if labels is None:
        return None
    known = any((store.held_out or {}).get("votes") or [])
    against = f"{'the annotators votes' if known else 'the labels'} of held-out pairs, the same for all rows"
    unit = {"unit": "share", "per_seed": [None] * len(store.seeds)}
    raw: Json = labels["raw"]
    return raw | unit | {"judge": judge, "against": against, "kappa": labels["kappa"]}


def _reference(store: Store) -> Json:
    """What the reference model's own completions of the evaluation prompts measure, by the first evaluated spec."""
    cell = next((cell for cell in store.cells if cell.evaluated), None)
    result: Json = {}
    for name in ("reward", "proxy_reward", "length"):
        values = None if cell is None else cell.matrix(f"reference_{name}")
        found = None
        if cell is not None:
            found = metric(values, cell.evaluated, store.seeds, UNITS[name], f"reference/{name}")
        result[name] = found if found is None or name != "length" else found | {"quantiles": quantiles(values)}
    return result


def _comparisons(store: Store, judges: Json) -> list[Json]:
    """All pairs of specs on the headline win rate, on the seeds that both have, Holm-adjusted together."""
    headline = store.run["headline"]
    rates = judges.get(headline, {}).get("win_rate", {})
    usable = [cell for cell in store.cells if (rates.get(cell.spec) or {}).get("value") is not None]
    found = [result for a, b in combinations(usable, 2) if (result := _compare(a, b, headline)) is not None]
    for result, adjusted in zip(found, stats.holm([result["p"] for result in found]), strict=True):
        result["p_holm"] = float(adjusted)
        result["significant"] = bool(adjusted < ALPHA)
    return found


def _compare(a: CellRecord, b: CellRecord, judge: str) -> Json | None:
    shared = [r.seed for r in a.evaluated if r.seed in {other.seed for other in b.evaluated}]
    if not shared:
        return None
    first, second = _on_seeds(a, judge, shared), _on_seeds(b, judge, shared)
    rng = generator(f"{a.spec}/{b.spec}/{judge}")
    difference = stats.paired_difference(first.T, second.T, rng)
    shown = difference.as_dict()
    return {
        "a": a.spec,
        "b": b.spec,
        "metric": "win_rate",
        "judge": judge,
        "difference": {key: shown[key] for key in ("value", "low", "high", "n", "method")} | {"unit": "share"},
        "p": difference.p_headline,
        "p_sign_flip": difference.p_value,
        "p_t": difference.p_value_t,
        "prompts": first.shape[1],
        "seeds": shared,
    }


def _on_seeds(cell: CellRecord, judge: str, seeds: list[int]) -> Floats:
    verdicts = cell.verdicts(judge)
    assert verdicts is not None
    return scores([row for record, row in zip(cell.evaluated, verdicts, strict=True) if record.seed in seeds])


def _curve(store: Store, cell: CellRecord) -> list[Json]:
    """The way of a spec through training, checkpoint by checkpoint, then its full evaluation, marked `final`.

    A checkpoint is averaged over all evaluated seeds or left out: a mean over changing seeds would draw a move that
    no policy made.
    """
    by_seed = {record.seed: record.curve for record in cell.evaluated}
    length = min(len(rows) for rows in by_seed.values())
    points = [_point(store, {seed: rows[i] for seed, rows in by_seed.items()}) for i in range(length)]
    last = {record.seed: _full(record) for record in cell.evaluated}
    return [*points, _point(store, last) | {"final": True}]


def _full(record: SeedRecord) -> Json:
    """The full evaluation of a cell as a row of its curve."""
    values = {name: record.values(name) for name in ("kl", "reward", "proxy_reward", "length")}
    means = {name: None if row is None else float(np.mean(np.array(row, float))) for name, row in values.items()}
    cost = record.train["cost"]
    evaluation = means | {"n": len(record.values("kl") or [])}
    return {"step": cost["steps"], "completions": cost["completions"], "evaluation": evaluation}


def _point(store: Store, rows: dict[int, Json]) -> Json:
    """One point of a curve: the mean over seeds of each quantity, None where a seed lacks it."""
    point: Json = {name: float(np.mean([row[name] for row in rows.values()])) for name in ("step", "completions")}
    point |= {"n": min(row["evaluation"]["n"] for row in rows.values()), "final": False}
    for name in ("kl", "reward", "proxy_reward", "length"):
        found = {seed: row["evaluation"].get(name) for seed, row in rows.items()}
        whole = all(value is not None and np.isfinite(value) for value in found.values())
        mean = float(np.mean(list(found.values()))) if whole else None
        point[name] = {"value": mean, "per_seed": [found.get(seed) for seed in store.seeds], "unit": UNITS[name]}
    return point


def _condition(seeds: list[int]) -> str:
    if len(seeds) > 1:
        over = f"the evaluation prompts and the training seeds ({', '.join(map(str, seeds))})"
        return f"Intervals are 95 %, over {over}; they are conditional on this SFT model and this draw of the data."
    return (
        f"Intervals are 95 %, over the evaluation prompts alone; they are conditional on seed {seeds[0]}, "
        f"on this SFT model and on this draw of the data."
    )


def _trained(config: Json) -> str:
    """What was trained where it was not the whole model in float32."""
    adapter, dtype = config.get("lora"), config.get("dtype", "float32")
    said = f" Adapters ({adapter}) were trained, not whole models." if adapter else ""
    return said + (f" Passes computed in {dtype}." if dtype != "float32" else "")
