"""Reasoning out of generated text, as it streams.

- ``base``     the seams: ReasoningFormat, ReasoningParser, and the deltas it gives
- ``select``   the table of formats: which one a model uses, and which has a name
- ``think``    `<think>...</think>`, and other formats of one opening and one closing tag
- ``harmony``  messages in channels: `<|channel|>analysis<|message|>...<|end|>`
"""
