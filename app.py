"""The Streamlit app; an installed package starts the same one with `inspector app`."""

from inspector.pages.router import main

main()
