"""Reasoning out of generated text, as it streams.

- ``base``    the seams: ReasoningFormat, ReasoningParser, and the deltas it gives
- ``think``   `<think>...</think>`, and other formats of one opening and one closing tag
- ``select``  which format a model uses, by its chat template
"""
