"""A run as one HTML file and one JSON file: `collect` reads, `render_html` draws, `write_report` does both."""

from emoe_audit.report.collect import collect
from emoe_audit.report.data import ReportData
from emoe_audit.report.render import render_html, write_report

__all__ = ["ReportData", "collect", "render_html", "write_report"]
