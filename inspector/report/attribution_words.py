"""An attribution in plain words: the question, whether it holds, and its receipt line by line."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from inspector.model.methods import METHODS
from inspector.results import Records, show_plain

LONG = 300  # characters of a text in a line
MOST_IDS = 40  # ids of a baseline that are listed
Line = tuple[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """A verdict as a heading, whether the order of scores may be read, and what to do with it."""

    title: str
    holds: bool
    advice: str


VERDICTS = {
    "better than random on this prompt": Verdict(
        title="Better than random on this prompt",
        holds=True,
        advice="The order of these words means something here; that each score is right, it does "
        "not say. Another prompt or another baseline may give another answer.",
    ),
    "no better than random on this prompt": Verdict(
        title="No better than random on this prompt",
        holds=False,
        advice="Words in random order do as well: do not explain anything with the picture below. "
        "Try another method or another baseline.",
    ),
    "worse than random on this prompt": Verdict(
        title="Worse than random on this prompt",
        holds=False,
        advice="The reversed order would hold: do not explain anything with the picture below. "
        "Try another method or another baseline.",
    ),
    "nothing to explain": Verdict(
        title="Nothing to explain",
        holds=False,
        advice="There is no preference here that words could account for. Scores are computed all "
        "the same, and say nothing.",
    ),
    "too few words to tell": Verdict(
        title="Too few words to tell",
        holds=False,
        advice="With so few words chance cannot be excluded. Give a longer text, or take tokens "
        "instead of words.",
    ),
    "not tested": Verdict(
        title="Not tested",
        holds=False,
        advice="No random orders were asked for, so nothing is known of whether this holds.",
    ),
}
COMPLETENESS = {  # do the scores sum to F(x) - F(x')
    "met": "The scores sum to what they should.",
    "missed": "The scores do not sum to what they should: they are wrong for numerical reasons.",
    "not promised": "This method does not promise that its scores sum to F(x) - F(x').",
}
MEASURES = {  # measure -> what it is
    "area": "Area between insertion and deletion: what the verdict rests on.",
    "deletion": "F on average while words go, the highest score first.",
    "insertion": "F on average while words come back, the highest score first.",
    "comprehensiveness": "What F loses on average when the highest scores are gone.",
    "sufficiency": "What F lacks on average when only the highest scores are there.",
    "infidelity": "Squared error of summed scores against the drop of F (in nats squared).",
    "sensitivity": "How far the scores move, relative to their size, under small noise.",
}


def question(summary: Mapping[str, Any]) -> str:
    """What F is, with the answers as they were given."""
    named = [f'log p("{show_plain(one["text"], 60)}")' for one in summary["answers"]]
    return f"F = {' - '.join(named)}"


def meaning(summary: Mapping[str, Any]) -> str:
    """What F says of the two answers, or of the one."""
    answers, value = summary["answers"], summary["f_input"]
    one = show_plain(answers[0]["text"], 60)
    if len(answers) == 1:
        return f'"{one}" has a probability of {math.exp(min(value, 0.0)):.4g}.'
    other = show_plain(answers[1]["text"], 60)
    if value < 0:
        one, other = other, one
    odds = math.exp(min(abs(value), 700.0))
    told = f'"{one}" is {odds:.4g} times as likely as "{other}".'
    if len(answers[0]["ids"]) != len(answers[1]["ids"]):
        told += f" Per token F is {summary['per_token']:.4g}: the answers differ in length."
    return told


def completeness(summary: Mapping[str, Any]) -> str:
    """Whether the scores sum to F(x) - F(x'), the gap and what was allowed."""
    difference = summary["f_input"] - summary["f_baseline"]
    relative = summary["completeness_relative"]
    share = f", {relative:.2%} of it" if relative is not None and relative >= 5e-5 else ""
    told = (
        f"They sum to {summary['sum']:.4g}, F(x) - F(x') is {difference:.4g}: a gap of "
        f"{summary['completeness_gap']:.2g} nats{share}"
    )
    if summary["completeness"] != "not promised":
        told += f" (allowed: {summary['tolerance'] * max(1.0, abs(difference)):.2g})"
    return f"{COMPLETENESS[summary['completeness']]} {told}."


def steps(summary: Mapping[str, Any]) -> str:
    """How many steps or samples there were, and whether they had to be doubled."""
    about, used = METHODS[summary["method"]], summary["samples"]
    if not about.samples:
        return "none"
    what = "steps" if summary["method"] == "integrated-gradients" else "samples"
    return f"{used:,} {what}"


def receipt(summary: Mapping[str, Any]) -> list[Line]:
    """All that was asked and what it cost, line by line."""
    about, baseline = METHODS[summary["method"]], summary["baseline"]
    units = summary["units"]
    return [
        ("method", f"{summary['method']}: {about.about}"),
        ("works by", {"gradient": "gradients", "replacing": "replacing words"}[about.by]),
        ("text", show_plain(summary["text"], LONG)),
        *(
            (
                "answer" if i == 0 else "instead of",
                f'"{show_plain(one["text"], 60)}", ids {_ids(one["ids"])}, log-probability '
                f"{one['log_probability']:.4g} ({one['per_token']:.4g} a token)",
            )
            for i, one in enumerate(summary["answers"])
        ),
        ("units", units if isinstance(units, str) else show_plain(", ".join(units), LONG)),
        ("baseline", f"{show_plain(baseline['name'])}: {show_plain(baseline['text'], LONG)}"),
        ("ids of the baseline", _ids(baseline["ids"])),
        ("tokens that stay", show_plain(" ".join(summary["kept"]), LONG) or "none"),
        ("F(x), the text", f"{summary['f_input']:.6g} nats"),
        ("F(x'), the baseline", f"{summary['f_baseline']:.6g} nats"),
        ("sum of the scores", f"{summary['sum']:.6g} nats"),
        ("completeness", f"{summary['completeness']}. {completeness(summary)}"),
        ("steps or samples", steps(summary)),
        ("forwards", f"{summary['forwards']:,}, of {summary['tokens']:,} tokens together"),
        ("seconds", f"{summary['seconds']:.3g}"),
        ("seed", str(summary["seed"])),
        ("computed in", f"{summary['dtype']} on {show_plain(str(summary['device']))}"),
        ("attention implementation", show_plain(str(summary["attention"]))),
        ("versions", ", ".join(f"{k} {v}" for k, v in summary["versions"].items())),
        ("verdict", summary["verdict"]),
        ("in numbers", str(summary["told"])),
    ]


def _ids(ids: Sequence[int]) -> str:
    more = f" and {len(ids) - MOST_IDS:,} more" if len(ids) > MOST_IDS else ""
    return ", ".join(map(str, ids[:MOST_IDS])) + more


def measures(summary: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Each measure of faithfulness: name, value, mean, low and high of random orders, p, in words.

    Nothing where nothing was tested.
    """
    held = summary["faithfulness"] or {}
    rows = []
    for name, says in MEASURES.items():
        if (found := held.get(name)) is not None:
            mean, low, high = (found[field] for field in ("random", "low", "high"))
            mean = 0.0 if abs(mean) < 1e-9 * (high - low) else mean  # rounding
            told = f"{says} {found['better'].capitalize()} is better."
            rows.append((name, found["value"], mean, low, high, found["p"], told))
    return rows


def orders(summary: Mapping[str, Any]) -> str:
    """With what the measures are compared, in one sentence of numbers."""
    held = summary["faithfulness"] or {}
    if "orders" not in held:
        return "Not compared with random orders."
    which = "all" if held["exhaustive"] else "random"
    tau = held["tau"]
    told = "" if tau is None else f" Kendall's tau with leaving out one word at a time: {tau:.2f}."
    return (
        f"Compared with {held['orders']:,} {which} orders of the same words, of which the central "
        f"95 % lie between low and high; p is the share that does at least as well.{told}"
    )


def document_parts(summary: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Receipt and faithfulness as titled tables of text."""
    head = ("measure", "value", "mean of random orders", "low", "high", "p", "what it is")
    rows = [tuple(_cell(cell) for cell in row) for row in measures(summary)]
    held = [("Faithfulness", [head, *rows])] if rows else []
    return [("Receipt", [*receipt(summary)]), *held]


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """One unit of the text in a document: its text, its signed score, and its colour."""

    text: str
    score: str
    colour: str


def signed(score: float) -> str:
    """A score with its sign, in at most four digits."""
    return f"{score:+.3g}" if score else "0"


def side_by_side(score: float, largest: float) -> str:
    """A score with its sign, to the place in which the largest beside it has its third digit."""
    places = 2 - math.floor(math.log10(largest)) if largest > 0 else 0
    places = min(max(places, 0), 12)
    return f"{score:+.{places}f}" if round(score, places) else "0"


def visible(text: str, limit: int = 24) -> str:
    """A unit's text in one line: no space at its ends, line ends and blanks as signs."""
    inner = text.strip(" ") or "␣" * min(len(text), 4)
    return show_plain(inner.replace("\n", "↵"), limit)


def signed_units(result: Records[Any]) -> list[Shown]:
    """The units of an attribution with their scores: orange speaks for the answer, blue against."""
    largest = max((abs(record.score) for record in result), default=0.0) or 1.0
    return [
        Shown(
            text=visible(record.text, 60) or show_plain(record.token, 60),
            score=side_by_side(record.score, largest),
            colour=_mixed(record.score / largest),
        )
        for record in result
    ]


def _mixed(share: float) -> str:
    """Blue below zero, orange above, the clearer the larger, on white: black can be read on it."""
    full = (224, 130, 20) if share > 0 else (67, 147, 195)
    red, green, blue = (round(255 - abs(share) * (255 - part)) for part in full)
    return f"rgb({red}, {green}, {blue})"


def doubt(summary: Mapping[str, Any]) -> str | None:
    """Why the scores are not to be read, None where they may be."""
    if not VERDICTS[summary["verdict"]].holds:
        return f"{summary['verdict'].capitalize()}: do not read this order"
    missed = summary["completeness"] == "missed"
    return "The scores miss their sum: do not read them" if missed else None


def headline(summary: Mapping[str, Any]) -> str:
    """What methods and attention side by side come to, in one sentence."""
    verdicts = {line["verdict"] for line in summary["ranking"]}
    told = str(summary["told"])
    if "nothing to explain" in verdicts or any(VERDICTS[one].holds for one in verdicts):
        return told
    return f"Nothing here is better than random on this prompt. {told}"
