"""Who sends next on an HTTP/2 connection, without a connection."""

from __future__ import annotations

import struct

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.http.send_queue import SendQueue, Turn

MAX_FRAME = 10


class Window:
    def __init__(self, size: int) -> None:
        self.outbound_flow_control_window = size


def frames_of(turn: Turn) -> list[tuple[int, bytes]]:
    """Stream and payload of each DATA frame; the heads must be right."""
    wire = b"".join(turn.pieces)
    frames = []
    while wire:
        high, low, kind, flags, stream_id = struct.unpack(">HBBBL", wire[:9])
        length = high << 8 | low
        assert (kind, flags) == (0, 0)
        assert 0 < length <= MAX_FRAME
        frames.append((stream_id, wire[9 : 9 + length]))
        wire = wire[9 + length :]
    return frames


def take(queue: SendQueue, max_bytes: int = 10**6, now_s: float = 0.0) -> Turn:
    return queue.take(max_bytes, MAX_FRAME, now_s)


def test_streams_take_turns_frame_by_frame() -> None:
    queue = SendQueue(Window(1000))
    for stream_id, size in ((1, 35), (3, 5), (5, 15)):
        queue.open(stream_id, Window(1000))
        queue.push(stream_id, b"x" * size, 0.0)
    order = [(stream_id, len(data)) for stream_id, data in frames_of(take(queue))]
    assert order == [(1, 10), (3, 5), (5, 10), (1, 10), (5, 5), (1, 10), (1, 5)]


def test_what_is_pushed_in_one_turn_goes_out_in_one_frame() -> None:
    queue = SendQueue(Window(1000))
    queue.open(1, Window(1000))
    for data in (b"a", b"b", b"c"):
        queue.push(1, data, 0.0)
    assert frames_of(take(queue)) == [(1, b"abc")]


def test_a_stream_without_a_window_costs_nothing_until_it_has_one() -> None:
    queue = SendQueue(Window(1000))
    window = Window(0)
    queue.open(1, window)
    queue.push(1, b"abc", 0.0)
    assert not queue.can_send
    assert queue.num_unsent(1) == 3
    window.outbound_flow_control_window = 2
    queue.window_opened(1)
    assert frames_of(take(queue)) == [(1, b"ab")]
    assert window.outbound_flow_control_window == 0


def test_a_window_that_has_shrunk_below_zero_must_first_be_paid_back() -> None:
    queue = SendQueue(Window(1000))
    window = Window(5)
    queue.open(1, window)
    queue.push(1, b"abc", 0.0)
    window.outbound_flow_control_window = -4
    assert frames_of(take(queue)) == []
    window.outbound_flow_control_window += 5
    queue.window_opened(None)
    assert frames_of(take(queue)) == [(1, b"a")]


def test_an_empty_answer_ends_without_any_window() -> None:
    queue = SendQueue(Window(0))
    queue.open(1, Window(0))
    queue.finish(1)
    assert queue.can_send
    assert take(queue).done == [1]
    assert not queue.is_open(1)


def test_a_stream_is_stalled_by_its_own_last_progress() -> None:
    queue = SendQueue(Window(1000))
    for stream_id, size in ((1, 0), (3, 100), (5, 100)):
        queue.open(stream_id, Window(size))
        queue.push(stream_id, b"x" * 20, 0.0)
    take(queue, now_s=7.0)
    queue.push(3, b"more", 9.0)  # it had nothing left: waiting begins anew
    queue.push(1, b"more", 9.0)
    assert queue.stalled(6.9) == [1]


class Model(RuleBasedStateMachine):
    """Any order of events against what each stream must have received."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = Window(20)
        self.queue = SendQueue(self.connection)
        self.windows: dict[int, Window] = {}
        self.pushed: dict[int, bytes] = {}
        self.sent: dict[int, bytes] = {}
        self.finished: set[int] = set()
        self.next_id = 1

    streams = st.integers(0, 5)

    def pick(self, index: int) -> int:
        return sorted(self.windows)[index % len(self.windows)]

    @rule(size=st.integers(-5, 30))
    def open(self, size: int) -> None:
        self.windows[self.next_id] = Window(size)
        self.queue.open(self.next_id, self.windows[self.next_id])
        self.pushed[self.next_id] = self.sent[self.next_id] = b""
        self.next_id += 2

    @precondition(lambda self: self.windows)
    @rule(index=streams, data=st.binary(min_size=1, max_size=25))
    def push(self, index: int, data: bytes) -> None:
        stream_id = self.pick(index)
        if stream_id not in self.finished:
            self.queue.push(stream_id, data, 0.0)
            self.pushed[stream_id] += data

    @precondition(lambda self: self.windows)
    @rule(index=streams)
    def finish(self, index: int) -> None:
        stream_id = self.pick(index)
        if stream_id not in self.finished:
            self.queue.finish(stream_id)
            self.finished.add(stream_id)

    @precondition(lambda self: self.windows)
    @rule(index=streams)
    def drop(self, index: int) -> None:
        stream_id = self.pick(index)
        self.queue.drop(stream_id)
        del self.windows[stream_id]

    @precondition(lambda self: self.windows)
    @rule(index=streams, more=st.integers(1, 20))
    def update(self, index: int, more: int) -> None:
        stream_id = self.pick(index)
        self.windows[stream_id].outbound_flow_control_window += more
        self.queue.window_opened(stream_id)

    @rule(more=st.integers(1, 40))
    def update_connection(self, more: int) -> None:
        self.connection.outbound_flow_control_window += more

    @rule(delta=st.integers(-30, 30))
    def change_initial_window(self, delta: int) -> None:
        for window in self.windows.values():
            window.outbound_flow_control_window += delta
        self.queue.window_opened(None)

    @rule(max_bytes=st.integers(1, 60))
    def take(self, max_bytes: int) -> None:
        before = {
            stream_id: window.outbound_flow_control_window
            for stream_id, window in self.windows.items()
        }
        room = self.connection.outbound_flow_control_window
        turn = take(self.queue, max_bytes)
        num_sent = 0
        for stream_id, data in frames_of(turn):
            self.sent[stream_id] += data
            before[stream_id] -= len(data)
            assert before[stream_id] >= 0, "more than the stream's window"
            num_sent += len(data)
        assert num_sent <= max(0, room), "more than the connection's window"
        assert num_sent < max_bytes + MAX_FRAME
        for stream_id in turn.done:
            assert stream_id in self.finished
            assert self.sent[stream_id] == self.pushed[stream_id]
            del self.windows[stream_id]

    @invariant()
    def is_sound(self) -> None:
        self.queue.check()
        for stream_id in self.windows:
            sent, pushed = self.sent[stream_id], self.pushed[stream_id]
            assert pushed.startswith(sent)
            assert self.queue.num_unsent(stream_id) == len(pushed) - len(sent)

    def teardown(self) -> None:
        """With windows wide open everything that was pushed arrives."""
        self.connection.outbound_flow_control_window = 10**6
        for window in self.windows.values():
            window.outbound_flow_control_window = 10**6
        self.queue.window_opened(None)
        for stream_id, data in frames_of(take(self.queue)):
            self.sent[stream_id] += data
        for stream_id in self.windows:
            assert self.sent[stream_id] == self.pushed[stream_id]
        assert self.queue.num_bytes == 0


TestModel = Model.TestCase
