"""Answers of models on a terminal: the telling columns, and of many rows the telling ones."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from inspector.report.tables import print_table
from inspector.results import Records, plain, show_plain

COLUMNS: dict[str, dict[str, str]] = {  # command -> heading -> field
    "attention": {
        "layer": "layer",
        "head": "head",
        "label": "label",
        "p": "label_p",
        "entropy": "entropy",
        "uniform": "entropy_null",
        "sink": "sink_mass",
        "uniform ": "sink_mass_null",
        "previous": "previous_token",
        " uniform": "previous_token_null",
        "induction": "induction",
        "neighbours": "induction_neighbours",
        "duplicate": "duplicate_token",
        "distance": "mean_distance",
    },
    "attribute": {
        "position": "position",
        "text": "text",
        "score": "score",
        "loss when replaced": "removal",
        "replaced by": "baseline",
        "token": "token",
    },
    "lens": {
        "after": "name",
        "position": "position",
        "token": "text",
        "prediction": "token",
        "probability": "probability",
        "final answer": "answer",
        "its probability": "answer_probability",
        "its rank": "answer_rank",
        "entropy": "entropy",
        "KL to the end": "divergence",
    },
    "ablate": {
        "component": "name",
        "parameters": "parameters",
        "answer change": "answer_change",
        "low": "answer_change_low",
        "high": "answer_change_high",
        "loss change": "loss_change",
        "KL": "divergence",
        "answer kept": "kept",
    },
    "heads": {
        "head": "name",
        "exact loss": "effect",
        "low": "effect_low",
        "high": "effect_high",
        "slope": "gate",
        "same sign": "confirmed",
        "low ": "gate_low",
        "high ": "gate_high",
        "importance": "importance",
        "direct": "direct",
    },
    "activations": {
        "block": "name",
        "stream rms": "stream_rms",
        "low": "stream_rms_low",
        "high": "stream_rms_high",
        "growth": "growth",
        "cosine": "cosine",
        "largest / rms": "largest",
        "attention adds": "attention_rms",
        "MLP adds": "mlp_rms",
        "units": "units",
        "dead": "dead_units",
        "saturated": "saturated_units",
        "linear": "linear_units",
    },
    "calibrate": {
        "model": "kind",
        "balanced": "balanced",
        "planted": "strength",
        "probe": "probe",
        "of": "attribute",
        "true": "true",
        "estimate": "estimate",
        "low": "low",
        "high": "high",
        "covered": "covered",
        "p": "p_value",
        "verdict": "verdict",
        "guard": "guard",
        "uncorrected": "raw",
        "seed": "seed",
    },
    "plan": {
        "tensor": "name",
        "parameters": "parameters",
        "moves": "moves",
        "rate": "rate",
        "from epoch": "begins",
        "new": "new",
        "also named": "ties",
    },
    "verify-resume": {
        "stopped": "stop",
        "after step": "step",
        "component": "component",
        "same": "same",
        "differs before step": "differs_at",
        "steps": "steps",
    },
    "finetune": {
        "rows": "split",
        "number": "metric",
        "value": "value",
        "low": "low",
        "high": "high",
        "before": "before",
        "n": "n",
        "unit": "unit",
        "ideal": "ideal",
    },
    "localize": {
        "part": "name",
        "of": "what",
        "what is changed": "quantity",
        "effect": "effect",
        "low": "low",
        "high": "high",
        "on controls": "null_effect",
        "share": "share",
        "slope": "slope",
        "p corrected": "p_adjusted",
        "verdict": "verdict",
        "items": "n_items",
        "clusters": "n_clusters",
    },
    "probe": {
        "number": "metric",
        "of": "category",
        "scorer": "scorer",
        "estimate": "estimate",
        "low": "low",
        "high": "high",
        "no bias": "null",
        "p corrected": "p_adjusted",
        "verdict": "verdict",
        "baseline": "baseline",
        "change": "change",
        "low ": "change_low",
        "high ": "change_high",
        "p of change": "change_p_adjusted",
        "change is": "change_verdict",
        "items": "n_items",
        "clusters": "n_clusters",
        "ties": "n_ties",
        "left out": "n_excluded",
        "detectable": "mde80",
        "unit": "unit",
    },
}
Rows = Sequence[Sequence[object]]
MOST_ROWS = 60  # of the lens and of what is switched off; the most telling are shown
STRONGEST = 3  # keys shown for a query
START = 60  # characters of a prompt in a table of many


def print_columns(console: Console, result: Records[Any]) -> None:
    """Print the telling columns of the records; of many prompts what came of each.

    Columns in which nothing stands are left out and named, and so are rows past MOST_ROWS.
    """
    headings, rows, told = _prompts(result) if "prompts" in result.summary else _table(result)
    filled = [i for i in range(len(headings)) if any(row[i] is not None for row in rows)]
    empty = [headings[i].strip() for i in range(len(headings)) if i not in filled]
    shown = [[row[i] for i in filled] for row in rows]
    print_table(console, "", [headings[i] for i in filled], shown)
    if empty and rows:
        told = f"Nothing stands in: {', '.join(empty)}. {told}"
    if told:
        console.print(Text(told.strip(), style="dim"))


Table = tuple[list[str], Rows, str]  # headings, rows, and what is not shown


def _table(result: Records[Any]) -> Table:
    """The table of a command: as OTHER has it, else the records by COLUMNS."""
    if result.command in OTHER:
        return OTHER[result.command](result)
    return _columns(result, result.records, "")


def _columns(result: Records[Any], records: Sequence[Any], told: str) -> Table:
    columns = COLUMNS[result.command]
    rows = [[getattr(one, field) for field in columns.values()] for one in records]
    return list(columns), rows, told


def _heads_by_loss(result: Records[Any]) -> Table:
    """Heads by how much is lost without them."""
    ranked = sorted(result.records, key=lambda r: (r.effect is None, -abs(r.effect or 0.0)))
    return _columns(result, *_first(ranked))


def _parts_by_change(result: Records[Any]) -> Table:
    """What is switched off, by how much the answer changes."""
    ranked = sorted(result.records, key=lambda r: -abs(r.answer_change or 0.0))
    return _columns(result, *_first(ranked))


def _first(ranked: Sequence[Any]) -> tuple[Sequence[Any], str]:
    left = len(ranked) - MOST_ROWS
    told = f"... and {left:,} more, which do less; --json has them." if left > 0 else ""
    return ranked[:MOST_ROWS], told


def _parts_by_gap(result: Records[Any]) -> Table:
    """Parts of each sort by how much of the gap they carry."""
    order = {what: i for i, what in enumerate(dict.fromkeys(one.what for one in result.records))}
    ranked = sorted(
        result.records, key=lambda r: (order[r.what], r.effect is None, -abs(r.effect or 0.0))
    )
    return _columns(result, *_first([one for one in ranked if one.effect is not None]))


def _trajectory(result: Records[Any]) -> Table:
    """Every position after every layer, or, where that is long, only where the answer stands."""
    if len(result.records) <= MOST_ROWS:
        return _columns(result, result.records, "")
    at = result.summary["answer_position"]
    there = [one for one in result.records if one.position in (None, at)]
    return _columns(result, there, f"Position {at} is shown; --json has all.")


def _conductance(result: Records[Any]) -> Table:
    """One row a unit and part of a layer; what is no unit of the text is named."""
    rows = [
        [
            *(one.layer, one.stack or None, one.part),
            one.position if one.position >= 0 else None,
            one.text if one.position >= 0 else "(special tokens, and the answer itself)",
            one.score,
        ]
        for one in result.records
    ]
    return ["layer", "stack", "part", "position", "text", "score"], rows, ""


def _ranking(result: Records[Any]) -> Table:
    """Methods and attention by how well the order of words holds."""
    ranked = plain(result.summary["ranking"])
    best = ranked[0]["name"] if ranked else ""
    with_best = {
        other: pair.spearman
        for pair in result.records
        for one, other in ((pair.one, pair.other), (pair.other, pair.one))
        if one == best
    }
    rows = [
        [
            *(line["name"], line["verdict"], line["area"]["value"], line["area"]["random"]),
            *(line["area"]["p"], line["tau"], with_best.get(line["name"])),
        ]
        for line in ranked
    ]
    columns = ["by", "verdict", "area", "of random orders", "p", "tau with leave-one-out"]
    told = "--json has the correlation of every pair."
    return [*columns, "Spearman with the first"], rows, told


def _prompts(result: Records[Any]) -> Table:
    """One row for each prompt: what was asked and what came of it."""
    shown = {"prompt": "prompt", "text": "text", "verdict": "verdict"} | BATCHES[result.command]
    rows = [
        [show_plain(v, START) if isinstance(v := one.get(f), str) else v for f in shown.values()]
        for one in result.summary["prompts"]
    ]
    return list(shown), rows, "--json has the records of each prompt."


BATCHES = {  # command -> heading -> key of a prompt's summary
    "attribute": {
        "F(text)": "f_input",
        "target": "target",
        "versus": "versus",
        "F(baseline)": "f_baseline",
        "gap": "completeness_gap",
    },
    "lens": {},
}


def _strongest(result: Records[Any]) -> Table:
    """For each head and query the keys that get most."""
    pairs: dict[tuple[int, int, int], list[Any]] = {}
    for one in result.records:
        pairs.setdefault((one.layer, one.head, one.query), []).append(one)
    rows = []
    for (layer, head, query), keys in pairs.items():
        most = sorted(keys, key=lambda one: -one.weight)[:STRONGEST]
        looked = ", ".join(
            f"{show_plain(one.key_text, 20)} ({one.key}) {one.weight:.2f}"
            for one in most
            if one.weight > 0
        )
        rows.append([f"{layer}.{head}", query, keys[0].query_text, looked])
    headings = ["head", "position", "from", "to (position) weight"]
    return headings, rows, "--json has every pair, weighted by values too, and rollout."


OTHER: dict[str, Callable[[Records[Any]], Table]] = {
    "attention-map": _strongest,
    "agreement": _ranking,
    "layers": _conductance,
    "lens": _trajectory,
    "localize": _parts_by_gap,
    "heads": _heads_by_loss,
    "ablate": _parts_by_change,
}
