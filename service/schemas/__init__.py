"""OpenAI's JSON shapes as msgspec Structs: requests are strict, unknown fields are refused."""
