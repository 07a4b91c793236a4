"""Serve a chest X-ray COVID-19 classifier over HTTP. Research use only, never a diagnosis."""
