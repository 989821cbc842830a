"""Text on both sides of the engine: from messages to token ids, and from token ids to text.

Read it in this order:

- ``templates``        messages -> one rendered text, by the model's own template in a sandbox
- ``tokenizer``        text <-> token ids, by the ``tokenizers`` library
- ``prompt_encoder``   messages -> prompt ids; text typed by users never becomes a control token
- ``control_tokens``, ``disguise``, ``barrier_encoder``   how the line above is kept
- ``detokenizer``      token ids -> text, piece by piece, equal to one decode of all
- ``stop_matcher``     text -> the text before the first stop string
- ``reasoning_parsers``  text -> reasoning and content
- ``tool_parsers``     text -> content and tool calls
- ``tag_finder``, ``mark_finder``   what both look for one tag with, and for the next of several
- ``harmony``          what both know of GPT-OSS's format: marks and headers
- ``errors``           what can go wrong

All of it is pure and synchronous and imports neither torch nor transformers: the HTTP side uses
it. A template is stopped after its time; see `templates.limited_sandbox` for how exactly.
"""
