"""A stream of completions adds up to the whole answer, whatever was asked for."""

from __future__ import annotations

from typing import Any

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FakeEngine
from tests.requirements import requirement
from tests.service.chat_client import ids_of
from tests.service.completions_client import completions_app, joined, post, says

PROMPTS = ("Hi", "Once upon a", "wörld 🌍", "<|im_start|>user\nHi", "a")

requests = st.fixed_dictionaries(
    {
        "prompt": st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=4, unique=True),
        "n": st.integers(1, 3),
        "max_tokens": st.integers(0, 12),
    },
    optional={
        "echo": st.booleans(),
        "logprobs": st.integers(0, 5),
        "stop": st.lists(st.sampled_from(["a", "o w", "🌍", "Hi", " "]), min_size=1, max_size=2),
        "skip_special_tokens": st.booleans(),
    },
)
said = st.text(st.sampled_from("ab o wHiö🌍\n"), max_size=12)


@requirement("completions.text", "completions.sampling")
@settings(deadline=None, max_examples=60)
@given(requests, st.lists(said, min_size=len(PROMPTS), max_size=len(PROMPTS)), st.booleans())
def test_the_pieces_of_a_stream_are_the_whole_answer(
    fields: dict[str, Any], texts: list[str], as_ids: bool
) -> None:
    if as_ids:
        fields = fields | {"prompt": [ids_of(prompt) for prompt in fields["prompt"]]}

    async def ask() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        engine = FakeEngine(says(dict(zip(PROMPTS, texts, strict=True))))
        async with completions_app(engine) as app:
            whole = await post(app, **fields)
            stream = await post(app, **fields, stream=True)
        assert whole.status == 200, whole.body
        return whole.json["choices"], joined(stream)

    whole, streamed = anyio.run(ask)
    assert without_empty_scores(streamed) == without_empty_scores(whole)


def without_empty_scores(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A stream has no chunk for the scores of no tokens."""
    for choice in choices:
        if choice["logprobs"] is not None and not choice["logprobs"]["tokens"]:
            choice["logprobs"] = None
    return choices
