"""The list of pages and what every page stands in."""

from pathlib import Path

import streamlit as st

from inspector.errors import InspectorError

HERE = Path(__file__).parent
PAGES = {  # file -> (title, url, icon)
    "home": ("Home", "home", ":material/home:"),
    "summary": ("Summary", "summary", ":material/layers:"),
    "tensors": ("Tensors", "tensors", ":material/table_rows:"),
    "tensor": ("Tensor", "tensor", ":material/grid_on:"),
    "health": ("Health", "health", ":material/health_and_safety:"),
    "compare": ("Compare", "compare", ":material/difference:"),
    "prompt": ("Prompt", "prompt", ":material/chat:"),
    "attribution": ("Attribution", "attribution", ":material/target:"),
    "bias": ("Bias", "bias", ":material/balance:"),
    "groups": ("Groups", "groups", ":material/groups:"),
    "jobs": ("Jobs", "jobs", ":material/hourglass:"),
}
# Drawn here: the app's own icons for the browser's tab come from a server far away.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<circle cx="7" cy="7" r="4.5" fill="none" stroke="#0072b2" stroke-width="2"/>'
    '<path d="M10.5 10.5 15 15" stroke="#e69f00" stroke-width="2.5"/></svg>'
)


def main() -> None:
    """Draw the page the URL asks for; a user's error is one plain line, never a traceback."""
    st.set_page_config(page_title="inspector", page_icon=ICON, layout="wide")
    pages = [
        st.Page(HERE / f"{file}.py", title=title, url_path=url, icon=icon, default=file == "home")
        for file, (title, url, icon) in PAGES.items()
    ]
    page = st.navigation(pages)
    try:
        page.run()
    except InspectorError as error:
        st.error("This could not be done:")
        st.code(str(error), language=None, wrap_lines=True)


if __name__ == "__main__":
    main()
