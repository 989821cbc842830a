"""The making of `kvorum-mini`: data, tokenizer, training, export, evaluation.

Reading order: `words`, `phrasing` (what can be said), the skills (`small_talk`, `arithmetic`,
`text_tasks`, `facts`, `tools`, `unknown`), `style`, `mixture` (whole conversations),
`conversation` and `tokenizer` (their token form), `model`, `train`, `export`, `evaluate`.
"""
