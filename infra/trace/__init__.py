"""`make trace`: receives OTLP and draws each finished trace in the terminal or as a picture.

A tool for the desk, not a trace store: it keeps a trace only until it is drawn.
Reading order: `receiver` (the wire) → `span` (what arrived) → `trace_book` (when is a trace
complete) → `layout` (rows) → `tree` (terminal) and `picture` (SVG).
"""
