"""One page for a clinician about what a model does on the images of another hospital."""

from training.summary.write import write_summary

__all__ = ["write_summary"]
