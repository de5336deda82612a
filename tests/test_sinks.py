"""What comes from files, models and links never reaches a place where Markdown or HTML is read."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).resolve().parents[1] / "inspector" / "pages").glob("*.py"))
NEVER = {"html", "exception", "write_stream", "iframe"}  # not for any text
MARKDOWN = {
    "markdown", "write", "caption", "title", "header", "subheader", "error", "warning", "info",
    "success", "toast", "progress", "status", "metric", "latex", "table", "badge",
    "button", "download_button", "form_submit_button", "link_button", "page_link", "toggle",
    "checkbox", "radio", "pills", "segmented_control", "selectbox", "multiselect", "text_input",
    "text_area", "number_input", "slider", "expander", "tabs", "popover", "dialog",
}  # fmt: skip
PLAIN_OPTIONS = {
    *("selectbox", "multiselect", "text_input", "text_area", "number_input", "slider"),
}
"""Of these the label is Markdown; options and values are plain."""
READ_AS_MARKDOWN = {"text", "label", "help", "placeholder", "value", "delta", "body"}
SAFE_CALLS = {
    "md_code": "made for this",
    "short": "a number",
    "number": "a number",
    "len": "a number",
    "nunique": "a number",
    "health_line": "numbers and words of our own",
    "_threshold": "a number and a source from the table RULES",
    "share": "a number",
    "coverage_line": "numbers and words of our own",
    "why_no_profile": "our own words and a dtype that could be read, so one of the known",
}
SAFE_EXPRESSIONS = {
    "label": "a loop over labels written out in the page",
    "value": "a loop over numbers formatted in the page",
    "share": "a number",
    "seconds": "a number",
    "when": "a number in words of our own",
    "facts.layers": "a number",
    "result.source.when": "the time, written by us",
    "doing": "what a job does, from waiting.DOING",
    "title": "of a rule, from the table WORDS",
    "about": "what a rule, or a demo, is about: a text that comes with the package",
    "remedy": "of a rule, from the table PROBLEMS",
    "rule.id": "from the table RULES",
    "rule.checks": "from the table RULES",
    "MARKS[severity]": "written out in the page",
    "ORDER": "severities, written out in the page",
    "summary['verdict']": "from drift.verdict: words of our own and numbers",
    "CLASS_TITLES[summary['class']]": "written out in compare_words",
    "measure.about": "from the table MEASURES of charts_heads",
    "verdict.title": "from the table VERDICTS of attribution_words",
    "verdict.advice": "from the table VERDICTS of attribution_words",
    "words.COMPLETENESS['missed']": "written out in attribution_words",
    "words.about": "from the tables of prompt_words",
    "said.title": "from the table VERDICTS of bias_words",
    "said.meaning": "from the table VERDICTS of bias_words",
    "words.VERDICTS[name].title": "from the table VERDICTS of bias_words",
    "words.CHANGE_TITLES[verdict]": "from the table CHANGE_TITLES of bias_words",
    "words.PATCHING": "written out in bias_words",
    "seen": "written out in the page",
    "DIFFERS": "a mark written out in the page",
    "charts_lens.AGREES": "a mark written out there",
    "own_kinds": "keys of the table COMPONENT_WORDS",
    "own_ways": "keys of the table MAP_WORDS",
    "ANSWERS[lens.summary['kind']]": "written out in the page",
    "own_words": "a table of numbers and of words that come with the package",
    "form.upper()": "a format's name written out in the page",
    "chart.alt": "only after it was found to hold nothing that Markdown reads (frame.draw)",
}


def unsafe(node: ast.expr) -> Iterator[str]:
    """The parts of an expression that may carry text from outside."""
    match node:
        case ast.Constant():
            pass
        case ast.JoinedStr(values=parts):
            for part in parts:
                if isinstance(part, ast.FormattedValue) and not numeric(part):
                    yield from unsafe(part.value)
        case ast.BinOp(left=left, right=right):
            yield from unsafe(left)
            yield from unsafe(right)
        case ast.IfExp(body=body, orelse=otherwise):
            yield from unsafe(body)
            yield from unsafe(otherwise)
        case ast.BoolOp(values=values) | ast.List(elts=values) | ast.Tuple(elts=values):
            for value in values:
                yield from unsafe(value)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in SAFE_CALLS:
            pass
        case _ if ast.unparse(node) in SAFE_EXPRESSIONS:
            pass
        case _:
            yield ast.unparse(node)


def numeric(part: ast.FormattedValue) -> bool:
    """Whether the format accepts numbers only: text would be an error, not a sink."""
    form = ast.unparse(part.format_spec)[2:-1] if part.format_spec else ""
    return form != "" and form[-1] in ",%fged"


def sinks(tree: ast.AST) -> Iterator[tuple[int, str, ast.expr]]:
    """Every expression that is read as Markdown: line, what reads it, the expression."""
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            continue
        name = call.func.attr
        if name in MARKDOWN:
            plain_options = name in PLAIN_OPTIONS
            arguments = call.args[:1] if plain_options else call.args[name == "page_link" :]
            named = READ_AS_MARKDOWN - ({"value", "placeholder"} if plain_options else set())
            words = [k.value for k in call.keywords if k.arg in named]
            for argument in (*arguments, *words):
                yield call.lineno, name, argument


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_only_our_own_words_are_read_as_markdown(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [
        f"line {line}: {name}({part})" for line, name, node in sinks(tree) for part in unsafe(node)
    ]
    assert not found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_what_runs_or_repeats_foreign_text_is_not_used(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert not (isinstance(node.func, ast.Attribute) and node.func.attr in NEVER)
            assert not {k.arg for k in node.keywords} & {
                "unsafe_allow_html",
                "unsafe_allow_javascript",
            }


@pytest.mark.parametrize(
    "code",
    [
        "st.markdown(name)",
        "st.write(f'{entry.name}')",
        "left.caption('a' + name)",
        "st.error(str(error))",
        "st.metric('a', entry.dtype)",
        "st.button(f'{name:>10}')",
        "st.text_input(label=name)",
        "st.progress(0.5, text=job.title)",
        "st.selectbox('a', [], help=name)",
        "st.tabs([name])",
        "st.info('a' if x else name)",
    ],
)
def test_the_search_finds(code):
    assert [part for *_, node in sinks(ast.parse(code)) for part in unsafe(node)]


@pytest.mark.parametrize(
    "code",
    [
        "st.markdown('**a**')",
        "st.write(f'{count:,} of {share:.1%}')",
        "st.caption(f'of {md_code(name)}')",
        "st.code(name)",
        "st.selectbox('Name', names)",
        "st.text_input('Path', value=name)",
    ],
)
def test_the_search_leaves_alone(code):
    assert not [part for *_, node in sinks(ast.parse(code)) for part in unsafe(node)]
