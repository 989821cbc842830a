"""The API's document: OpenAPI 3.1, made from the Structs that routes decode and encode.

`operations` is the table of what there is, `chat_rules` says in JSON Schema what is checked beyond
the Structs, `document` puts both together, `page` shows the document to people.
"""
