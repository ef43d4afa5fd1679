"""Predictions over one long request: many lines in and out, or one row in and its answer piece by piece."""
