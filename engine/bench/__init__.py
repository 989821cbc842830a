"""Measures the engine itself, in this process and without HTTP; makes models to measure with.

What measures servers from outside is `observability.bench`.
"""
