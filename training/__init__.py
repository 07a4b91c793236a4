"""Train, compare and export the classifier. Research use only, never a diagnosis."""

from app.no_telemetry import forbid_telemetry

forbid_telemetry()  # Before any module of this package imports OpenVINO or NNCF.
