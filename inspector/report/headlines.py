"""What an answer of a model is worth, said before its numbers: the verdict and the receipt."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inspector.report.finetune_words import finetune_headlines, plan_headlines
from inspector.report.probe_words import calibrate_headlines, localize_headlines, probe_headlines
from inspector.results import Records, plain, show_plain


def headlines(result: Records[Any]) -> list[str]:
    """What a result is worth in a line or some, the verdict first; text from outside is plain."""
    summary = result.summary
    if result.command in TOLD and summary and "prompts" not in summary:
        return TOLD[result.command](plain(summary), result.records)
    return [summary["verdict"]] if summary.get("verdict") else []


Told = Callable[[Mapping[str, Any], Sequence[Any]], list[str]]


def _number(value: float | None) -> str:
    return "no number" if value is None else f"{value:.4g}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _asked(summary: Mapping[str, Any]) -> str:
    """F in words, with its value and that of the baseline."""
    logs = [f"log p({show_plain(one['text'], 40)})" for one in summary["answers"]]
    baseline = show_plain(summary["baseline"]["text"], 60)
    return (
        f"F = {' - '.join(logs)} is {_number(summary['f_input'])} nats on the text and "
        f"{_number(summary['f_baseline'])} on the baseline, {baseline}."
    )


def _attribute(summary: Mapping[str, Any], _records: Sequence[Any]) -> list[str]:
    gap = _number(summary["completeness_gap"])
    sums = {
        "met": f"the scores sum to the difference (missed by {gap})",
        "missed": f"the scores do NOT sum to the difference: they miss it by {gap}",
        "not promised": f"this method's scores need not sum to the difference (off by {gap})",
    }[summary["completeness"]]
    steps = f", {summary['samples']} steps or samples" if summary["samples"] else ""
    return [
        f"{summary['verdict']}: {summary['told']}",
        _asked(summary),
        f"{summary['method']}{steps}: {sums}.",
    ]


def _agreement(summary: Mapping[str, Any], _records: Sequence[Any]) -> list[str]:
    return [summary["told"], _asked(summary)]


def _layers(summary: Mapping[str, Any], _records: Sequence[Any]) -> list[str]:
    gaps = summary["completeness_gaps"].values()
    told = f"at worst one misses by {_number(max(gaps))}" if gaps else "no whole block was asked"
    return [
        f"The scores of each layer should sum to F(text) - F(baseline): {told}.",
        _asked(summary),
    ]


def _attention(summary: Mapping[str, Any], _records: Sequence[Any]) -> list[str]:
    labels = ", ".join(f"{count} {label}" for label, count in summary["labels"].items())
    return [
        f"Heads: {labels}; over {_count(summary['texts'], 'text')} of {summary['tokens']:,} "
        "tokens.",
        "A label stands where a head is clear of what uniform attention gives, with Holm's "
        f"correction over all heads at {summary['alpha']:g}; else unclear."
        + (" One text allows no label." if summary["texts"] == 1 else ""),
    ]


def _map(summary: Mapping[str, Any], _records: Sequence[Any]) -> list[str]:
    shares = ", ".join(f"{head}: {_number(mass)}" for head, mass in summary["sink_mass"].items())
    rest = "is shown" if summary["sink"] else "is taken out and rows are scaled to 1 again"
    return [
        "Attention says where a head looks, not what the answer rests on.",
        f"Mean share of the first token (the sink), which {rest}: {shares}.",
    ]


def _lens(summary: Mapping[str, Any], records: Sequence[Any]) -> list[str]:
    at = [r for r in records if r.position in (None, summary["answer_position"])]
    answer = show_plain(at[-1].answer, 40) if at else ""
    where = f" at position {at[-1].position}" if at and at[-1].position is not None else ""
    settled = summary["settled"]
    told = f"stays first from {settled} on" if settled else "is first after no layer"
    gap = _number(summary["last_layer_gap"])
    return [
        f"The answer{where}, {answer}, {told}.",
        "Each layer is read by the model's own head, which was made for the last: early layers may "
        f"be misread. After the last it differs from the model by {gap} of the largest logit.",
    ]


def _score(summary: Mapping[str, Any]) -> str:
    if summary["target"] is None:
        shown = [show_plain(one, 20) for one in summary["answers"][:5]]
        more = ", ..." if len(summary["answers"]) > 5 else ""
        return f"the likeliest answer of each text ({', '.join(shown)}{more})"
    against = f" against {show_plain(summary['versus'], 40)}" if summary["versus"] else ""
    return show_plain(summary["target"], 40) + against


def _texts(summary: Mapping[str, Any]) -> str:
    count = summary["texts"]
    return f"{_count(count, 'text')}{': no range can be given' if count == 1 else ''}"


def _ablate(summary: Mapping[str, Any], _records: Sequence[Any]) -> list[str]:
    lines = [
        f"The answer is {_score(summary)}, at {_number(summary['answer'])} nats, mean over "
        f"{_texts(summary)}.",
        "Zero ablation takes a model where it never was in training: read changes as what breaks, "
        "not as shares of the answer.",
    ]
    if (biases := summary["biases"]) is not None:
        lines.append(
            f"All biases ({biases['share']:.2%} of the parameters) change it by "
            f"{_number(biases['answer_change'])} nats."
        )
    return lines


def _heads(summary: Mapping[str, Any], records: Sequence[Any]) -> list[str]:
    agreed = summary["rank_correlation"]
    most = max(records, key=lambda one: abs(one.effect or 0.0), default=None)
    effect = None if most is None else most.effect
    return [
        f"The answer is {_score(summary)}, at {_number(summary['score'])} nats, mean over "
        f"{_texts(summary)}.",
        f"Of {summary['ablated']} heads taken out ({summary['ablation']} ablation) the slope has "
        f"the sign of the exact loss in {summary['signs_confirmed']}, the other in "
        f"{summary['signs_refuted']}; rank correlation {_number(agreed)}. Believe the exact loss.",
        *([f"Most is lost without {most.name}: {_number(effect)} nats."] if most else []),
    ]


def _activations(summary: Mapping[str, Any], _records: Sequence[Any]) -> list[str]:
    biases = [one for one in summary["biases"] if one["ratio"] is not None]
    most = sorted(biases, key=lambda one: -one["ratio"])[:3]
    told = ", ".join(f"{show_plain(one['name'])} {one['ratio']:.2g}" for one in most)
    return [
        f"{_count(summary['texts'], 'text')}, {summary['tokens']:,} tokens: a unit silent on all "
        f"may still speak on up to {summary['silent_at_most']:.2%} of tokens.",
        f"Largest biases beside what they are added to (rms over rms): {told}."
        if most
        else "The model has no biases that are added to something.",
    ]


TOLD: dict[str, Told] = {
    "probe": probe_headlines,
    "localize": localize_headlines,
    "calibrate": calibrate_headlines,
    "plan": plan_headlines,
    "finetune": finetune_headlines,
    "attention": _attention,
    "attention-map": _map,
    "attribute": _attribute,
    "agreement": _agreement,
    "layers": _layers,
    "lens": _lens,
    "ablate": _ablate,
    "heads": _heads,
    "activations": _activations,
}
