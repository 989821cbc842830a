"""Requests made of the API's document by Schemathesis: see docs/api.md."""
