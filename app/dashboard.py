"""The entry of the dashboard: `streamlit run app/dashboard.py -- --runs reports` serves the pages, behind a guard."""

from pathlib import Path

from arguments import arguments
from guard import Guard
from starlette.middleware import Middleware
from streamlit.starlette import App

PAGES = Path(__file__).with_name("pages.py")

app = App(PAGES, middleware=[Middleware(Guard, host_names=arguments().host_names)])
