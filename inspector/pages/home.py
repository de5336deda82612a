"""Open a model, and three questions about it."""

import os
from collections import Counter

import streamlit as st

from inspector.demo import MODELS
from inspector.errors import InspectorError
from inspector.model.kinds import kind_of
from inspector.model.samples import class_of, sample
from inspector.pages import asking, bias_form, frame, waiting
from inspector.report.bias_words import VERDICTS, sentence
from inspector.results import SEVERITIES, show_plain
from inspector.weights.checkpoint import DEMO, Checkpoint
from inspector.weights.makeup import makeup

st.title("inspector")
st.write("What is inside a transformer? Every number says how far it can be trusted.")


def open_and_go(model: str) -> None:
    """Open the model and show its summary, or say in plain words why not."""
    try:
        frame.open_model(model)
    except InspectorError as error:
        st.error("This model could not be opened:")
        st.code(str(error), language=None, wrap_lines=True)
        findings = getattr(error, "findings", ())
        if findings:
            frame.findings_table(findings, "open_findings")
        return
    frame.go("summary")


def health_line(checkpoint: Checkpoint) -> str:
    """What is known of the model's health, in one sentence; nothing is measured for it."""
    kept = waiting.judged_before(checkpoint, "health")
    if kept is None:
        return "Its health has not been checked yet."
    failed = {record.id: record.severity for record in kept if not record.passed}
    counts = Counter(failed.values())
    told = ", ".join(f"{counts[severity]} {severity}" for severity in reversed(SEVERITIES))
    return f"{kept.summary['passed']} of {kept.summary['rules']} rules of health pass ({told})."


def decision_line(checkpoint: Checkpoint) -> str:
    """What is known of an answer to a prompt, in one plain line; nothing is run for it."""
    asked = st.session_state.get("prompts", {}).get(checkpoint.model) or [sample(checkpoint)]
    kept = waiting.answered_before(checkpoint, "lens", text=asked[0].text)
    if kept is None or "refused" in kept.summary:
        return "Ask it: where it looks, what it would answer layer by layer, and what matters."
    at, settled = kept.summary["answer_position"], kept.summary["settled"]
    last = [point for point in kept if point.position in (None, at)][-1]
    when = f" from {settled} on" if settled else ""
    text, answer = show_plain(asked[0].text, 80), show_plain(last.answer, 40)
    return f"{text}: {answer} ({last.answer_probability:.1%}){when}."


def fairness(checkpoint: Checkpoint) -> None:
    """What is known of the model's bias, and the way deeper; a probe runs on a click alone."""
    chosen = bias_form.usual(checkpoint)
    question = bias_form.Question()
    query = {"model": checkpoint.model}
    if chosen is not None:
        query["probe"] = chosen.probe
        kept = waiting.probed_before(checkpoint, chosen.probe, chosen.sha256, **question.asked())
        if kept is not None:
            st.text(f"{VERDICTS[kept[0].verdict].title}. {sentence(kept[0])}")
        else:
            st.write("It was not probed yet: does it find likelier what a stereotype says?")
            if st.button("Probe it", key="probe_now"):
                asking.remember(checkpoint, chosen.probe, chosen.sha256, question)
                st.switch_page(frame.page("bias"), query_params=query)
    links = [("bias", {"bias_view": "Probes"}, "Which stereotypes, how sure?")]
    if bias_form.speaks(checkpoint):
        links.append(("bias", {"bias_view": "Localise"}, "Where does it sit?"))
    if kind_of(class_of(checkpoint)) == "classifier":
        links.append(("groups", {}, "Are groups treated alike?"))
    for page, more, label in links:
        st.page_link(
            frame.page(page),
            label=label,
            icon=":material/arrow_forward:",
            query_params={**query, **more},
        )


given = os.environ.get("INSPECTOR_MODEL", "")  # by whoever started the app, who may be trusted
if given and "model" not in st.session_state and "model" not in st.query_params:
    open_and_go(given)
linked = st.query_params.get("model") or given
with st.form("open", border=True):
    typed = st.text_input(
        "Path or Hub id",
        value=show_plain(linked, 500),
        placeholder="/models/my-model, model.safetensors, owner/name or owner/name@revision",
        key="model_path",
    )
    submitted = st.form_submit_button("Open", type="primary", key="open_model")
if submitted and typed.strip():
    open_and_go(typed.strip())
elif submitted:
    st.info("Type a directory, a .safetensors file, an index file or a Hub id first.")

st.header("Or a demo")
demos = list(MODELS.items())
for first in range(0, len(demos), 2):
    for column, (name, about) in zip(st.columns(2), demos[first : first + 2], strict=False):
        with column.container(border=True, height="stretch"):
            st.code(f"{DEMO}{name}", language=None)
            st.write(about)
            if st.button("Try it", key=f"demo_{name}"):
                open_and_go(f"{DEMO}{name}")

recent = st.session_state.get("recent", [])
if recent:
    st.header("Recent")
    for i, model in enumerate(recent):
        left, right = st.columns([6, 1], vertical_alignment="center")
        left.code(show_plain(model, 200), language=None)
        if right.button("Open", key=f"recent_{i}"):
            open_and_go(model)

st.header("Three questions")
one, two, three = st.columns(3)
with one.container(border=True, height="stretch"):
    st.markdown("**What is in it?**")
    if "model" in st.session_state:
        checkpoint = frame.open_model(st.session_state["model"])
        facts = makeup(checkpoint)
        st.metric("parameters", frame.short(facts.parameters), border=False)
        st.write(
            f"{facts.share('weight') + facts.share('embedding'):.1%} of them are weights "
            f"({facts.share('embedding'):.1%} embeddings), {facts.share('bias'):.2%} biases, "
            f"{facts.share('norm'):.2%} norm gains, in {facts.layers} layers."
        )
        query = {"model": st.session_state["model"]}
        st.page_link(
            frame.page("summary"),
            label="Layer by layer",
            icon=":material/arrow_forward:",
            query_params=query,
        )
        st.write(health_line(checkpoint))
        st.page_link(
            frame.page("health"),
            label="Is it healthy?",
            icon=":material/arrow_forward:",
            query_params=query,
        )
        st.page_link(
            frame.page("compare"),
            label="What changed since a baseline?",
            icon=":material/arrow_forward:",
            query_params=query,
        )
    else:
        st.write("Open a model to see its layers, weights and biases.")
with two.container(border=True, height="stretch"):
    st.markdown("**How does it decide?**")
    if "model" in st.session_state:
        checkpoint = frame.open_model(st.session_state["model"])
        st.text(decision_line(checkpoint))
        st.page_link(
            frame.page("prompt"),
            label="One prompt, layer by layer",
            icon=":material/arrow_forward:",
            query_params={"model": st.session_state["model"]},
        )
        st.page_link(
            frame.page("attribution"),
            label="Which words does it hang on?",
            icon=":material/arrow_forward:",
            query_params={"model": st.session_state["model"]},
        )
    else:
        st.write("Open a model to see what it makes of a prompt.")
with three.container(border=True, height="stretch"):
    st.markdown("**Is it fair?**")
    if "model" in st.session_state:
        fairness(frame.open_model(st.session_state["model"]))
    else:
        st.write("Open a model to see which stereotypes it finds likely.")
