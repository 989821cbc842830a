"""The document and its page: complete, open, cheap to ask for again, and of our own making."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from service.middleware.auth import OPEN_PATHS
from service.openapi import document as document_module
from service.openapi.operations import OPERATIONS, TAGS
from tests.requirements import requirement
from tests.service.api_document import document
from tests.service.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator

ASSETS = Path(document_module.__file__).parent / "assets"
KEY = "sk-canary-0123456789"


@pytest.fixture
def anyio_backend() -> str:
    """What Hypercorn runs on here."""
    return "asyncio"


@requirement("openapi.document")
async def test_every_route_has_an_operation_and_every_operation_a_route() -> None:
    async with running() as run:
        found = (await run.client.get("/openapi.json")).json()
        routes = {
            (method, route.path_format)
            for route in run.app.routes
            if isinstance(route, Route)
            for method in (route.methods or set()) - {"HEAD"}
        }
    told = {
        (method.upper(), path)
        for path, operations in found["paths"].items()
        for method in operations
    }
    assert routes - told == set(), "add an entry to service.openapi.operations"
    assert told - routes == set(), "there is no such route"


def test_an_operation_is_told_once_and_under_a_tag_that_is_explained() -> None:
    assert len({(o.method, o.path) for o in OPERATIONS}) == len(OPERATIONS)
    assert len({o.name for o in OPERATIONS}) == len(OPERATIONS)
    assert {o.tag for o in OPERATIONS} == set(TAGS)


def test_all_schemas_are_json_schema_and_every_reference_leads_somewhere() -> None:
    found = document(needs_key=True)
    for schema in found["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for reference in references_in(found):
        here = found
        for step in reference.removeprefix("#/").split("/"):
            here = here[step]


def references_in(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from references_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == "$ref":
                yield str(item)
            else:
                yield from references_in(item)


def test_every_field_of_a_request_is_described() -> None:
    found = document()
    for name in ("ChatCompletionRequest", "CompletionRequest", "TokenizeRequest"):
        fields = found["components"]["schemas"][name]["properties"]
        assert [field for field, schema in fields.items() if "description" not in schema] == []


def test_patterns_are_those_of_javascript() -> None:
    patterns = re.findall(r'"pattern": "(.*?)"', json.dumps(document()))
    assert patterns
    assert not [pattern for pattern in patterns if r"\Z" in pattern or "(?P" in pattern]


def test_examples_are_what_their_routes_take() -> None:
    found = document()
    for operations in found["paths"].values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                if "example" in content:
                    schema = {**content["schema"], "components": found["components"]}
                    Draft202012Validator(schema).validate(content["example"])


def test_with_a_key_all_but_the_open_paths_need_it_and_may_say_401() -> None:
    found = document(needs_key=True)
    assert found["security"] == [{"key": []}]
    for path, operations in found["paths"].items():
        for operation in operations.values():
            assert (operation.get("security") == []) == (path in OPEN_PATHS)
            assert ("401" in operation["responses"]) == (path not in OPEN_PATHS)
    assert "security" not in document()


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_both_are_open_and_cost_nothing_when_they_are_known(path: str) -> None:
    async with running("--api-key", KEY) as run:
        first = await run.client.get(path)
        assert first.status_code == 200
        assert first.headers["cache-control"] == "no-cache"
        etag = first.headers["etag"]
        for known in (etag, f"W/{etag}", f'"x", {etag}'):
            again = await run.client.get(path, headers={"if-none-match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == etag
        other = await run.client.get(path, headers={"if-none-match": '"x"'})
        assert other.content == first.content
    assert KEY not in first.text


async def test_the_document_tells_the_settings_of_its_server() -> None:
    flags = ("--max-messages", "7", "--input-validation", "lenient", "--max-body-bytes", "5000")
    async with running(*flags, name="mine") as run:
        found = (await run.client.get("/openapi.json")).json()
    request = found["components"]["schemas"]["ChatCompletionRequest"]
    assert request["properties"]["messages"]["maxItems"] == 7
    assert "additionalProperties" not in request
    assert "5000 bytes" in found["info"]["description"]
    body = found["paths"]["/v1/chat/completions"]["post"]["requestBody"]
    assert body["content"]["application/json"]["example"]["model"] == "mine"


async def test_the_document_is_made_at_the_first_request_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    original = document_module.document_of

    def spy(*args: object) -> object:
        made.append(args)
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("service.app.document_of", spy)
    async with running() as run:
        assert not made
        for _ in range(3):
            await run.client.get("/openapi.json")
    assert len(made) == 1


async def test_the_page_runs_its_own_script_and_loads_nothing_from_elsewhere() -> None:
    async with running() as run:
        response = await run.client.get("/docs")
    policy = dict(
        part.strip().split(" ", 1)
        for part in response.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for tag, source in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[source] == f"'sha256-{digest}'"
    addresses = set(re.findall(r"https?://[^\s'\"`)]+", response.text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a language, in the icon
    assert not re.search(r"\beval\(|new Function|innerHTML|\sstyle=|\son\w+=\"", response.text)


def test_the_page_says_how_it_can_be_read_without_script_and_in_which_language() -> None:
    page = (ASSETS / "page.html").read_text()
    for part in ('lang="en"', "<noscript>", 'name="viewport"', 'class="skip"', "<main", "<nav"):
        assert part in page


async def test_head_is_answered_as_get_is() -> None:
    async with running() as run:
        for path in ("/openapi.json", "/docs"):
            response = await run.client.head(path)
            assert response.status_code == 200
            assert response.headers["etag"]
