"""What is asked: the sessions that the command line's words stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from observability.bench.errors import WrongOption
from observability.bench.workload.arrival import arrival_of
from observability.bench.workload.counter import TokenizerCounter
from observability.bench.workload.named_workload import NAMED_WORKLOADS, named_workload
from observability.bench.workload.prompt_maker import PromptMaker
from observability.bench.workload.select import workload_of
from observability.bench.workload.workload import Order
from tests.observability.bench.tokenizers_of_tests import bytes_alone, embedded

if TYPE_CHECKING:
    from observability.bench.plan import EndpointName
    from observability.bench.turn import Session, Turn

MOONCAKE = Path(__file__).parents[2] / "data" / "mooncake_conversation_400.jsonl"


@pytest.fixture(scope="module", params=[embedded, bytes_alone], ids=lambda make: make.__name__)
def word_counter(request: pytest.FixtureRequest) -> TokenizerCounter:
    return TokenizerCounter(request.param())


@pytest.fixture(scope="module")
def word_maker(word_counter: TokenizerCounter) -> PromptMaker:
    return PromptMaker(word_counter)


def turns_of(sessions: list[Session]) -> list[Turn]:
    assert [session.index for session in sessions] == list(range(len(sessions)))
    return [turn for session in sessions for turn in session.turns]


def texts_of(sessions: list[Session]) -> list[str]:
    return [turn.text or "" for turn in turns_of(sessions)]


def test_random_requests_have_the_lengths_that_were_asked_for(
    word_maker: PromptMaker, word_counter: TokenizerCounter
) -> None:
    workload = workload_of("random:64,16")
    sessions = workload.sessions(Order(num_sessions=20), word_maker)
    assert word_counter.counts(texts_of(sessions)) == [64] * 20
    assert {(t.num_prompt_tokens, t.num_output_tokens) for t in turns_of(sessions)} == {(64, 16)}
    assert len(set(texts_of(sessions))) == 20
    assert workload.num_available is None
    assert workload.usual_arrival == "closed"


def test_lengths_spread_as_far_as_was_asked_for(
    word_maker: PromptMaker, word_counter: TokenizerCounter
) -> None:
    sessions = workload_of("random:50~0.3,20~0.5").sessions(Order(num_sessions=300), word_maker)
    prompts = [turn.num_prompt_tokens for turn in turns_of(sessions)]
    outputs = [turn.num_output_tokens for turn in turns_of(sessions)]
    assert word_counter.counts(texts_of(sessions)) == prompts
    assert set(prompts) == set(range(35, 66))
    assert set(outputs) == set(range(10, 31))


@pytest.mark.parametrize(
    "words", ["random:40~0.5,8", "shared:30+9,8,2", "turns:3x20,8", f"trace:{MOONCAKE},scale=128"]
)
def test_a_seed_always_gives_the_same_and_another_nothing_of_it(
    words: str, word_maker: PromptMaker
) -> None:
    workload = workload_of(words)
    first, again, other = (
        workload.sessions(Order(num_sessions=9, seed=seed), word_maker) for seed in (3, 3, 4)
    )
    assert first == again
    beginnings = [
        {((turn.system or "") + (turn.text or ""))[:30] for turn in turns_of(sessions)}
        for sessions in (first, other)
    ]
    assert not beginnings[0] & beginnings[1]


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_groups_share_their_prefix_and_nothing_else(
    endpoint: EndpointName, word_maker: PromptMaker, word_counter: TokenizerCounter
) -> None:
    order = Order(num_sessions=8, endpoint=endpoint)
    turns = turns_of(workload_of("shared:100+20,5,2").sessions(order, word_maker))
    if endpoint == "chat":
        heads = [turn.system or "" for turn in turns]
        assert word_counter.counts(heads) == [100] * 8
        assert word_counter.counts([turn.text or "" for turn in turns]) == [20] * 8
    else:
        assert all(turn.system is None for turn in turns)
        assert word_counter.counts([turn.text or "" for turn in turns]) == [120] * 8
        heads = [(turn.text or "")[:100] for turn in turns]
    assert [turn.num_prompt_tokens for turn in turns] == [120] * 8
    assert len(set(heads)) == 2
    assert heads[0] == heads[2] == heads[4] == heads[6]
    assert len({turn.text for turn in turns}) == 8


def test_conversations_have_a_new_text_in_each_turn(
    word_maker: PromptMaker, word_counter: TokenizerCounter
) -> None:
    sessions = workload_of("turns:3x20,5").sessions(Order(num_sessions=4), word_maker)
    assert [len(session.turns) for session in sessions] == [3] * 4
    assert word_counter.counts(texts_of(sessions)) == [20] * 12
    assert len(set(texts_of(sessions))) == 12


def test_a_trace_is_asked_with_its_lengths_and_times_and_with_what_was_the_same(
    word_maker: PromptMaker, word_counter: TokenizerCounter
) -> None:
    workload = workload_of(f"trace:{MOONCAKE},scale=32")
    assert workload.num_available == 400
    assert workload.usual_arrival == "trace"
    sessions = workload.sessions(Order(num_sessions=100), word_maker)
    rows = [json.loads(line) for line in MOONCAKE.read_text().splitlines()][:100]
    texts = texts_of(sessions)
    lengths = [-(-row["input_length"] // 32) for row in rows]
    assert word_counter.counts(texts) == lengths
    assert [turn.num_prompt_tokens for turn in turns_of(sessions)] == lengths
    assert [t.num_output_tokens for t in turns_of(sessions)] == [
        -(-row["output_length"] // 32) for row in rows
    ]
    assert [session.due_s for session in sessions] == [row["timestamp"] / 1000 for row in rows]
    for num, row in enumerate(rows):
        for other, before in enumerate(rows[:num]):
            num_equal = common(row["hash_ids"], before["hash_ids"])
            # A token is a byte at least; what differs may begin alike by chance.
            assert common(texts[num], texts[other]) >= 16 * num_equal - 16
            if num_equal == 0:
                assert common(texts[num], texts[other]) < 40


def common(one: str | list[int], other: str | list[int]) -> int:
    """How much two begin alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def test_equal_blocks_are_equal_text_up_to_their_last_token(
    tmp_path: Path, word_maker: PromptMaker, word_counter: TokenizerCounter
) -> None:
    file = tmp_path / "small.jsonl"
    rows = [(1024, [1, 2]), (1536, [1, 2, 3]), (1100, [1, 2, 9])]
    file.write_text(
        "\n".join(
            json.dumps(
                {"timestamp": 5, "input_length": num, "output_length": 0, "hash_ids": hash_ids}
            )
            for num, hash_ids in rows
        )
    )
    sessions = workload_of(f"trace:{file}").sessions(Order(num_sessions=3), word_maker)
    short, long, other = texts_of(sessions)
    assert long.startswith(short)
    assert other.startswith(short)
    assert word_counter.counts([short, long, other]) == [1024, 1536, 1100]
    assert [session.due_s for session in sessions] == [0.0] * 3
    assert {turn.num_output_tokens for turn in turns_of(sessions)} == {1}


def test_azures_lengths_and_times_are_asked(
    tmp_path: Path, word_maker: PromptMaker, word_counter: TokenizerCounter
) -> None:
    file = tmp_path / "azure.csv"
    file.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:50.9305900,600,9\n"
    )
    sessions = workload_of(f"trace:{file},scale=2").sessions(Order(num_sessions=2), word_maker)
    assert word_counter.counts(texts_of(sessions)) == [187, 300]
    assert [turn.num_output_tokens for turn in turns_of(sessions)] == [22, 5]
    assert [session.due_s for session in sessions] == [0.0, 4.25]


def test_own_requests_are_sent_as_they_are(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    lines = [
        {"prompt": "one", "output_tokens": 7},
        {"messages": messages, "model": "any", "max_tokens": 9, "temperature": 1},
        {"messages": messages, "max_completion_tokens": 11},
        {"prompt": "two"},
    ]
    file = tmp_path / "own.jsonl"
    file.write_text("\n\n".join(json.dumps(line) for line in lines) + "\n")
    workload = workload_of(f"jsonl:{file}")
    assert not workload.needs_maker
    assert workload.num_available == 4
    turns = turns_of(workload.sessions(Order(num_sessions=4), None))
    assert [turn.text for turn in turns] == ["one", None, None, "two"]
    assert [turn.messages for turn in turns] == [None, messages, messages, None]
    assert [turn.num_output_tokens for turn in turns] == [7, 9, 11, 128]
    with pytest.raises(WrongOption, match="line 3 has messages"):
        workload.sessions(Order(num_sessions=4, endpoint="completions"), None)
    with pytest.raises(WrongOption, match="--requests 4"):
        workload.sessions(Order(num_sessions=5), None)


def test_token_ids_are_for_completions(tmp_path: Path) -> None:
    file = tmp_path / "ids.jsonl"
    file.write_text('{"prompt": [1, 2, 3], "max_tokens": 2}')
    workload = workload_of(f"JSONL:{file}")
    (turn,) = turns_of(workload.sessions(Order(num_sessions=1, endpoint="completions"), None))
    assert (turn.token_ids, turn.num_prompt_tokens) == ([1, 2, 3], 3)
    with pytest.raises(WrongOption, match="line 1 has token ids"):
        workload.sessions(Order(num_sessions=1), None)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "7",
        "{}",
        '{"prompt": ""}',
        '{"prompt": 3}',
        '{"messages": []}',
        '{"messages": ["hello"]}',
        '{"prompt": "a", "messages": [{}]}',
        '{"prompt": "a", "max_tokens": 0}',
        '{"prompt": "a", "output_tokens": "many"}',
    ],
)
def test_a_wrong_line_is_told_with_its_file_and_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text('{"prompt": "good"}\n' + line + "\n")
    with pytest.raises(WrongOption, match=r"own\.jsonl, line 2: .* a line is"):
        workload_of(f"jsonl:{file}")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.jsonl", None, "cannot be read"),
        ("none.csv", None, "cannot be read"),
        ("empty.jsonl", "", "holds no requests"),
        ("empty.csv", "", "holds no requests"),
        ("trace.txt", "", "neither"),
        ("bad.jsonl", "\n{}\n", "line 2"),
        (
            "short.jsonl",
            '{"timestamp": 0, "input_length": 513, "output_length": 1, "hash_ids": [4]}',
            "line 1: 513 tokens need more hash_ids",
        ),
        ("bad.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n", "line 2"),
        ("other.csv", "a,b\n1,2\n", "line 2"),
        ("torn.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46\n", "line 2"),
    ],
)
def test_a_wrong_trace_is_told(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(WrongOption, match=said):
        workload_of(f"trace:{tmp_path / name}")


@pytest.mark.parametrize(
    "words",
    [
        "",
        "random",
        "random:",
        "randon:1,2",
        "random:1",
        "random:0,5",
        "random:5,0",
        "random:5~1,5",
        "random:5~x,5",
        "random:5,5,5",
        "shared:5,5",
        "shared:0+5,5",
        "shared:5+5",
        "shared:5+5,5,0",
        "shared:5+5,5,x",
        "turns:5,5",
        "turns:0x5,5",
        "turns:2x5",
        f"trace:{MOONCAKE},scale=3",
        f"trace:{MOONCAKE},scale=0",
        f"trace:{MOONCAKE},scale=two",
    ],
)
def test_words_that_are_no_workload_are_told(words: str) -> None:
    with pytest.raises(WrongOption):
        workload_of(words)


@pytest.mark.parametrize("name", ["w1", "W2", " w3 ", "W4"])
def test_a_named_workload_is_words_that_are_known(
    name: str, word_maker: PromptMaker, word_counter: TokenizerCounter
) -> None:
    named = named_workload(name)
    assert named is not None
    arrival_of(named.arrival)
    turns = turns_of(workload_of(named.workload).sessions(Order(num_sessions=2), word_maker))
    assert {turn.num_prompt_tokens for turn in turns} == {
        {"W1": 512, "W2": 256, "W3": 1088, "W4": 128}[named.name]
    }


def test_what_is_no_name_is_none() -> None:
    assert named_workload("random:512,128") is None
    assert [one.name for one in NAMED_WORKLOADS] == ["W1", "W2", "W3", "W4"]
