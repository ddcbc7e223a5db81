"""The council report."""

from probesteer.report.build import build_report

__all__ = ["build_report"]
