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
    "jobs": ("Jobs", "jobs", ":material/hourglass:"),
}


def main() -> None:
    """Draw the page the URL asks for; a user's error is one plain line, never a traceback."""
    st.set_page_config(page_title="inspector", page_icon=":material/frame_inspect:", layout="wide")
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
