"""JSON that a Struct keeps as it was written, and what the API's document says of it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw

JsonSchema = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "null"]})]
JsonSchemaOrText = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "string", "null"]})]


def null() -> Raw:
    """For `default_factory`: what is absent is as good as null. As a plain default it could not be
    told in a JSON schema."""
    return Raw(b"null")
