"""Runs and comparisons as pages that need nothing from elsewhere."""
