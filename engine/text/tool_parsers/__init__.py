"""Tool calls out of generated text, as it streams.

- ``base``          the seam: ToolParser, and the deltas it gives
- ``json_scanner``  where a JSON value ends, and whether it is one
- ``hermes``        `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`
- ``select``        which parser fits a model, by its chat template
"""
