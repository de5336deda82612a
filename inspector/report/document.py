"""Records as documents: JSON, CSV, Parquet, Markdown, HTML and SARIF."""

import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inspector.report.attribution_words import document_parts, doubt, signed_units
from inspector.report.headlines import headlines
from inspector.results import Finding, Records, plain, show_plain

SARIF_LEVEL = {"info": "note", "warning": "warning", "error": "error"}
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of a formula

Document = Records[Any]


def render(result: Document, form: str) -> bytes:
    """The result in one of FORMATS."""
    return FORMATS[form](result)


def _json(result: Document) -> bytes:
    return result.to_json().encode() + b"\n"


def _csv(result: Document) -> bytes:
    frame = result.to_frame()
    for column in frame.columns:
        if frame[column].dtype == object or str(frame[column].dtype) in ("str", "string"):
            frame[column] = [csv_cell(value) for value in frame[column]]
    text: str = frame.to_csv(index=False)
    return text.encode()


def csv_cell(value: object) -> object:
    """A cell no spreadsheet runs as a formula; numbers and missing values stay as they are."""
    if isinstance(value, tuple | list):
        return list_cell(value)
    if isinstance(value, Mapping):
        return json.dumps(_flat(value))
    if not isinstance(value, str):
        return value
    shown = show_plain(value, 1000)
    return f"'{shown}" if shown.startswith(FORMULA) else shown


def list_cell(values: Sequence[object]) -> str:
    """A shape as people write it; other lists as JSON, their texts made plain."""
    if all(isinstance(value, int) for value in values):
        return "x".join(map(str, values)) or "scalar"
    shown = [show_plain(value) if isinstance(value, str) else value for value in values]
    return json.dumps(shown, ensure_ascii=False)


def _parquet(result: Document) -> bytes:
    buffer = io.BytesIO()
    frame = result.to_frame()
    for column in frame.columns:  # a column of mappings has no one type: it becomes JSON text
        if any(isinstance(value, Mapping) for value in frame[column]):
            frame[column] = [json.dumps(_flat(value)) for value in frame[column]]
        elif any(_is_too_large(value) for value in frame[column]):
            frame[column] = [None if value is None else csv_cell(value) for value in frame[column]]
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _is_too_large(value: object) -> bool:
    """Whether a shape has a dimension that Parquet's integers cannot hold."""
    return isinstance(value, tuple | list) and any(
        isinstance(item, int) and abs(item) >= 2**63 for item in value
    )


def _flat(value: Mapping[str, object]) -> dict[str, str | int | float | None]:
    """A mapping as JSON can hold it: other values than numbers become plain text."""
    return {
        show_plain(str(key)): item
        if item is None or isinstance(item, int | float)
        else show_plain(str(item), 1000)
        for key, item in value.items()
    }


def _markdown(result: Document) -> bytes:
    lines = [f"# inspector {result.command}: {md_code(result.source.model)}", ""]
    lines += [f"Measured {result.source.when}; {coverage_line(result)}", ""]
    for number, line in enumerate(headlines(result)):
        lines += [md_code(line) if number else f"**Verdict:** {md_code(line)}", ""]
    if result.findings:
        lines += [
            "## Findings",
            "",
            "| severity | id | where | statement | remedy |",
            "|---|---|---|---|---|",
        ]
        for f in result.findings:
            told = (f.severity, f.id, md_code(f.where), md_code(f.statement), f.remedy)
            lines.append(f"| {' | '.join(told)} |")
        lines.append("")
    fields = [field.name for field in dataclasses.fields(result.record_type)]
    lines += ["## Records", "", f"| {' | '.join(fields)} |", "|" + "---|" * len(fields)]
    for record in result.records:
        cells = tuple(_md_cell(getattr(record, field)) for field in fields)
        lines.append(f"| {' | '.join(cells)} |")
    return ("\n".join(lines) + "\n").encode()


def _md_cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return ""
    return md_code(value) if isinstance(value, str) else md_code(str(csv_cell(value)))


def md_code(text: str) -> str:
    """Untrusted text as a Markdown code span: no link, image, formula or table cell comes of it."""
    plain = show_plain(text, 1000).replace("|", "¦")  # a bar ends a table cell even inside code
    if not plain.strip():
        return "(empty)"
    longest = run = 0
    for character in plain:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * (longest + 1)
    return f"{fence} {plain} {fence}" if "`" in plain else f"{fence}{plain}{fence}"


HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>inspector {{ command }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto; }
th, td { border: 1px solid #8888; padding: .25rem .5rem; text-align: left; white-space: nowrap; }
.units span { display: inline-block; margin: 1px; padding: 0 .35em; border: 1px solid #8888;
  color: #111; }
.units small { display: block; text-align: center; font-variant-numeric: tabular-nums; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd; } }
</style></head><body>
<h1>inspector {{ command }}</h1>
<p>Model <code>{{ model }}</code>, measured {{ when }}; {{ coverage }}</p>
{% for line in told %}<p>{% if loop.first %}<strong>Verdict:</strong> {% endif %}{{ line }}</p>
{% endfor %}
{% if findings %}<h2>Findings</h2><table><tr><th>severity<th>id<th>where<th>statement<th>remedy</tr>
{% for f in findings %}<tr><td>{{ f.severity }}<td>{{ f.id }}<td>{{ f.where }}
<td>{{ f.statement }}<td>{{ f.remedy }}</tr>
{% endfor %}</table>{% endif %}
{% if units %}<h2>Scores on the text</h2>
{% if doubt %}<p><strong>{{ doubt }}.</strong></p>{% endif %}
<p>Plus and orange speak for the answer, minus and blue against it; in nats.</p>
<p class="units">{% for unit in units %}<span style="background: {{ unit.colour }}">
{{ unit.text }}<small>{{ unit.score }}</small></span>
{% endfor %}</p>{% endif %}
{% for title, lines in parts %}<h2>{{ title }}</h2><table>
{% for line in lines %}<tr>{% for cell in line %}<td>{{ cell }}{% endfor %}</tr>
{% endfor %}</table>{% endfor %}
<h2>Records</h2><table><tr>{% for c in columns %}<th>{{ c }}{% endfor %}</tr>
{% for row in rows %}<tr>
{% for number, cell in row %}<td{% if number %} class="number"{% endif %}>{{ cell }}{% endfor %}
</tr>
{% endfor %}</table></body></html>
"""


def _html(result: Document) -> bytes:
    import jinja2

    columns = [field.name for field in dataclasses.fields(result.record_type)]
    rows = [[_html_cell(getattr(record, c)) for c in columns] for record in result.records]
    explained = result.command == "attribute" and "f_input" in result.summary  # one prompt
    template = jinja2.Environment(autoescape=True).from_string(HTML)
    return template.render(
        command=result.command,
        model=show_plain(result.source.model),
        when=result.source.when,
        coverage=coverage_line(result),
        told=headlines(result),
        findings=result.findings,
        doubt=doubt(plain(result.summary)) if explained else None,
        units=signed_units(result) if explained else (),
        parts=document_parts(plain(result.summary)) if explained else (),
        columns=columns,
        rows=rows,
    ).encode()


def _html_cell(value: object) -> tuple[bool, str]:
    if isinstance(value, bool | str):
        return False, show_plain(str(value), 1000)
    if isinstance(value, float):
        return True, f"{value:.6g}"
    return isinstance(value, int), "" if value is None else str(csv_cell(value))


def coverage_line(result: Document) -> str:
    """What part of the checkpoint the records rest on, in one sentence."""
    c = result.coverage
    share = c.parameters_measured / c.parameters_total if c.parameters_total else 1.0
    text = (
        f"{c.tensors_measured:,} of {c.tensors_total:,} tensors and {c.parameters_measured:,} of "
        f"{c.parameters_total:,} parameters ({share:.2%}) measured"
    )
    if not c.skipped:
        return f"{text}."
    return f"{text}; {len(c.skipped):,} left out, each named with its reason in the coverage."


def _sarif(result: Document) -> bytes:
    """Findings as SARIF 2.1.0 (OASIS); a finding's `where` is a logical location."""
    rules: dict[str, Finding] = {}
    for finding in result.findings:
        rules.setdefault(finding.id, finding)
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "inspector",
                        "version": result.source.versions.get("inspector", "0"),
                        "rules": [
                            {"id": id, "help": {"text": rule.remedy or rule.statement}}
                            for id, rule in rules.items()
                        ],
                    }
                },
                "results": [_sarif_result(f) for f in result.to_dict()["findings"]],
            }
        ],
    }
    return json.dumps(log, indent=2).encode() + b"\n"


def _sarif_result(finding: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ruleId": finding["id"],
        "level": SARIF_LEVEL[finding["severity"]],
        "message": {"text": finding["statement"]},
        "locations": [{"logicalLocations": [{"fullyQualifiedName": finding["where"]}]}],
        "properties": {"evidence": finding["evidence"], "remedy": finding["remedy"]},
    }


FORMATS: dict[str, Callable[[Document], bytes]] = {
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
    "md": _markdown,
    "html": _html,
    "sarif": _sarif,
}
