"""Photographs of the demo, kept out of all training; see ATTRIBUTION.md."""
