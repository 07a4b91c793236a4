"""The report of a study, or of one model's evaluation."""

from training.report.write import write_report

__all__ = ["write_report"]
