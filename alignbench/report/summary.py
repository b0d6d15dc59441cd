"""`summary.json` from the store: rows, comparisons, judges, baselines, the frontier, and the verdict in words."""

from __future__ import annotations

import numpy as np

from ..agreement import cohens_kappa
from ..results import Json
from .baselines import baselines, measured
from .capability import change, read_capability, reference_capability
from .comparisons import comparisons, interquartile_mean, over_reference
from .contests import Contests
from .cost import cost
from .data_words import summarised
from .exact import exact_figures
from .exact_words import words
from .frontiers import areas, curve, reward_at_kl
from .habits import judges_of, labels_longer_wins
from .head_to_head import head_to_head
from .judging import estimate, human_gold, human_human, row_ratings
from .length_control import length_controlled
from .measures import metric, of_cell, quantiles
from .probes import probe_figures
from .probes_words import words as probe_words
from .statements import seeds_said
from .store import REFERENCE, CellRecord, Store
from .temperatures import temperatures
from .verdict import verdict

SCHEMA = 1  # of `summary.json`
UNITS = {
    "kl": "nats per completion",
    "k1": "nats per completion",
    "reward": "benchmark reward",
    "proxy_reward": "reward-model score",
    "length": "tokens",
    "unfinished": "share",
}
TAKEN = (
    *("benchmark", "name", "command", "question", "headline", "agreement_judge", "data", "versions", "hardware"),
    *("identity", "tuning", "models"),
)


def build_summary(store: Store) -> Json:
    """Everything the tables and plots show, as `summary.json` holds it.

    A metric is `{"value", "low", "high", "n", "per_seed", "unit", "method", "bootstrap"}` or None where it was not
    measured; `per_seed` follows `seeds`, and some have no `bootstrap`.
    """
    run, contests = store.run, Contests(store)
    judges = judges_of(contests)
    for judge, found in length_controlled(contests).items():
        judges[judge] |= found
    lm_eval = read_capability(store)
    frontier = {cell.spec: curve(store, cell) for cell in store.cells if cell.evaluated}
    compared, over, reference = comparisons(store, judges), over_reference(store, judges), _reference(store)
    areas(store, frontier, compared)
    rows = [_row(contests, cell, judges) for cell in store.cells]
    for row, cell in zip(rows, store.cells, strict=True):
        row["capability"] = change(lm_eval, cell)
        row["significant_over"] = [b for a, b in _won(compared) if a == cell.spec]
        row["better_than_reference"] = over.get(cell.spec, {}).get("better", False)
        row["against_reference"] = over.get(cell.spec)
    summary = {
        "schema": SCHEMA,
        **{key: run.get(key) for key in TAKEN},
        "stages": run.get("stages", []),
        "warnings": [*run.get("warnings", []), *_curves_left_out(store)],
        "seeds": store.seeds,
        "rows": rows,
        "baselines": baselines(contests, reference),
        "comparisons": compared,
        "judges": judges,
        "human_human": human_human(store),
        "human_gold": human_gold(store),
        "labels_longer_wins": labels_longer_wins(store),
        "head_to_head": head_to_head(contests),
        "temperatures": temperatures(contests),
        "reference": reference,
        "capability": reference_capability(lm_eval),
        "frontier": frontier,
        "reward_at_kl": reward_at_kl(store, frontier),
        "conditional_on": _condition(store) + _trained(store.run.get("config", {})),
    }
    exact = exact_figures(store)
    if exact is not None:  # other runs have no such field
        summary["exact"] = exact | words(exact)
    probes = probe_figures(store)
    if probes is not None:
        summary["probes"] = probes | probe_words(probes)
    if store.doctor is not None:
        summary["doctor"] = summarised(store.doctor)
    return summary | {"verdict": verdict(summary, over)}


def _curves_left_out(store: Store) -> list[str]:
    """One sentence where cells were trained while the run evaluated on other prompts."""
    specs = [cell.spec for cell in store.cells if any(record.other_prompts for record in cell.seeds)]
    said = (
        f"{', '.join(specs)}: trained while the run evaluated on other prompts, so what was measured on those in the "
        "course of training is left out"
    )
    return [said] if specs else []


def _won(compared: list[Json]) -> list[tuple[str, str]]:
    """The pairs that differ, the better spec first."""
    differ = [each for each in compared if each["significant"]]
    return [(c["a"], c["b"]) if c["difference"]["value"] > 0 else (c["b"], c["a"]) for c in differ]


def _row(contests: Contests, cell: CellRecord, judges: Json) -> Json:
    store = contests.store
    headline: Json = judges.get(store.run["headline"], {})
    rates = {
        name: headline.get(name, {}).get(cell.spec)
        for name in ("win_rate", "win_rate_chosen", "win_rate_length_controlled")
    }
    length = _metric(store, cell, "length")
    return {
        "spec": cell.spec,
        "objective": cell.objective,
        "params": cell.params,
        "training": next((record.train.get("training") for record in cell.seeds if record.train), None),
        "status": cell.status,
        "reason": cell.reason,
        "evaluated": [record.seed for record in cell.evaluated],
        **rates,
        "interquartile_mean": interquartile_mean(rates["win_rate"], cell.spec),
        **{name: _metric(store, cell, name) for name in ("kl", "k1", "reward", "proxy_reward")},
        "judge_agreement": _judge_agreement(store, cell, judges),
        "length": None if length is None else length | {"quantiles": quantiles(cell.matrix("length"))},
        "unfinished": _metric(store, cell, "unfinished"),
        "cost": cost(contests, cell),
    }


def _metric(store: Store, cell: CellRecord, name: str) -> Json | None:
    if name != "unfinished":
        found = of_cell(cell, store.seeds, name, UNITS[name])
        return _not_below_zero(found) if name == "kl" else found
    ended, at = cell.matrix("ended"), [record.seed for record in cell.evaluated]
    values = None if ended is None else 1 - ended
    return metric(values, at, store.seeds, UNITS[name], f"{cell.spec}/{name}", (0.0, 1.0))


def _not_below_zero(kl: Json | None) -> Json | None:
    """The intervals cut at 0: no KL is below, but that of few seeds is wide, and symmetric about the mean."""
    for found in (kl, (kl or {}).get("bootstrap")):
        if found and found["low"] is not None and found["low"] < 0:
            found |= {"low": 0.0, "method": f"{found['method']}; cut at 0, which no KL is below"}
    return kl


def _judge_agreement(store: Store, cell: CellRecord, judges: Json) -> Json | None:
    """Raw agreement of the agreement judge with gold on this row's verdicts, else with the held-out labels."""
    judge = store.run.get("agreement_judge")
    if judge is None or not cell.evaluated:
        return None
    rated = row_ratings(cell, judge, "gold")
    if rated is not None:
        ratings, seeds = rated
        matches = (ratings.a == ratings.b).astype(np.float64).reshape(2, len(seeds), -1)
        both = matches.mean(axis=0)  # the two orders of a prompt count half each
        result = metric(both, seeds, store.seeds, "share", f"{cell.spec}/agreement", (0, 1))
        assert result is not None
        kappa = estimate(ratings, cohens_kappa, f"{cell.spec}/agreement/kappa")
        return result | {"judge": judge, "against": "gold on this row's verdicts", "kappa": kappa}
    labels = judges.get(judge, {}).get("held_out", {}).get("against_labels")
    if labels is None or "gold" in store.judges:  # other rows' figures are with gold: not one column of two kinds
        return None
    known = any((store.held_out or {}).get("votes") or [])
    against = f"{'the annotators votes' if known else 'the labels'} of held-out pairs, the same for all rows"
    unit = {"unit": "share", "per_seed": [None] * len(store.seeds)}
    raw: Json = labels["raw"]
    return raw | unit | {"judge": judge, "against": against, "kappa": labels["kappa"]}


def _reference(store: Store) -> Json:
    """What the reference's own completions of the evaluation prompts measure, whatever specs have failed."""
    found = measured(store, REFERENCE, bootstrap=True)
    result: Json = {name: found[name] for name in ("reward", "proxy_reward", "length")}
    if result["length"] is not None:
        lengths = [row["length"] for seed in store.seeds for row in store.rows(REFERENCE, seed)]
        result["length"] |= {"quantiles": quantiles(np.array(lengths, dtype=np.float64))}
    return result


def _condition(store: Store) -> str:
    """What the intervals are over, and which figures have others."""
    seeds, model = store.seeds, "on this SFT model and on this draw of the data"
    other = "kappas and some other figures of judges: over the prompts alone; held-out figures: over the pairs alone; "
    other += "tuning: with the one seed of its trials"
    if len(seeds) == 1:
        return (
            f"Intervals are 95 %, unless said otherwise over the evaluation prompts alone, and conditional on seed "
            f"{seeds[0]}, {model} ({other}; figures at equal KL have none)."
        )
    partly = {cell.spec: [record.seed for record in cell.evaluated] for cell in store.cells if cell.evaluated}
    gone = [f"of {spec} {seeds_said(found)}" for spec, found in partly.items() if len(found) < len(seeds)]
    over = "; ".join([", ".join(map(str, seeds)), *gone])
    return (
        f"Intervals are 95 %, unless said otherwise over the evaluation prompts and the training seeds ({over}), and "
        f"conditional {model} (figures at equal KL: over the seeds alone; {other}; a figure of one seed: over the "
        f"prompts, conditional on that seed)."
    )


def _trained(config: Json) -> str:
    """What was trained where it was not the whole model in float32."""
    adapter, dtype = config.get("lora"), config.get("dtype", "float32")
    said = f" Adapters ({adapter}) were trained, not whole models." if adapter else ""
    return said + (f" Passes computed in {dtype}." if dtype != "float32" else "")
