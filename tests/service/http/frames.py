"""An HTTP/2 client that sends any frame, right or wrong, and shows every frame that comes back."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.service.http.harness import WAIT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.service.http.harness import Site

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CREDIT = 2**30


class Answer:
    """What has come for one stream."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_whole = False
        self.reset: ErrorCodes | None = None


class Client:
    """Windows are the test's: it gives the server as much credit as it says."""

    def __init__(self, socket: anyio.abc.SocketStream) -> None:
        self.socket = socket
        self.seen: list[Frame] = []
        self.answers: dict[int, Answer] = {}
        self.goaway: GoAwayFrame | None = None
        self.is_closed = False
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._unread = b""
        self._next_id = 1

    async def begin(self, settings: dict[int, int] | None = None, credit: int = CREDIT) -> None:
        """Preface, settings, and `credit` for the connection."""
        frame = SettingsFrame(
            0, settings={SettingCodes.INITIAL_WINDOW_SIZE: CREDIT} | (settings or {})
        )
        await self.socket.send(PREFACE + frame.serialize())
        if credit:
            await self.send(WindowUpdateFrame(0, window_increment=credit))

    async def send(self, *frames: Frame) -> None:
        await self.socket.send(b"".join(frame.serialize() for frame in frames))

    def head(
        self,
        path: str,
        method: str = "GET",
        *,
        end: bool = True,
        extra: Any = (),
        stream_id: int = 0,
    ) -> HeadersFrame:
        """The frame of a new request."""
        if not stream_id:
            stream_id, self._next_id = self._next_id, self._next_id + 2
        fields = [(":method", method), (":scheme", "http"), (":authority", "kvorum.test")]
        fields.append((":path", path))
        frame = HeadersFrame(stream_id, data=self._encoder.encode([*fields, *extra]))
        frame.flags.add("END_HEADERS")
        if end:
            frame.flags.add("END_STREAM")
        return frame

    def connect_head(self, authority: str) -> HeadersFrame:
        """The frame of a CONNECT that is no WebSocket."""
        frame = self.head("/")
        fields = [(":method", "CONNECT"), (":authority", authority)]
        frame.data = self._encoder.encode(fields)
        return frame

    def skip_ids(self, num: int) -> None:
        """Of streams that are open already."""
        self._next_id += 2 * num

    def credit(self, stream_id: int) -> int:
        """What the server has added to a window of ours; 0 is the connection."""
        return sum(
            frame.window_increment
            for frame in self.seen
            if isinstance(frame, WindowUpdateFrame) and frame.stream_id == stream_id
        )

    async def send_credit(self, stream_id: int, num_bytes: int) -> None:
        await self.send(WindowUpdateFrame(stream_id, window_increment=num_bytes))

    def allow_table(self, num_bytes: int) -> None:
        """The largest table that answers may use."""
        self._decoder.max_allowed_table_size = num_bytes

    @property
    def table_size(self) -> int:
        """The table that answers do use."""
        return int(self._decoder.header_table_size)

    async def request_in_pieces(self, path: str, fields: list[tuple[str, str]]) -> int:
        """A request whose headers do not fit one frame."""
        head = self.head(path, extra=fields)
        pieces = [head.data[at : at + 16_384] for at in range(0, len(head.data), 16_384)]
        head.data = pieces[0]
        if len(pieces) > 1:
            head.flags.discard("END_HEADERS")
        rest = [ContinuationFrame(head.stream_id, data=piece) for piece in pieces[1:]]
        if rest:
            rest[-1].flags.add("END_HEADERS")
        await self.send(head, *rest)
        return head.stream_id

    async def request(self, path: str, method: str = "GET", **options: Any) -> int:
        """Send it; the number of its stream."""
        frame = self.head(path, method, **options)
        await self.send(frame)
        return frame.stream_id

    async def data(self, stream_id: int, data: bytes = b"", *, end: bool = False) -> None:
        frame = DataFrame(stream_id, data)
        if end:
            frame.flags.add("END_STREAM")
        await self.send(frame)

    async def until(self, what: Callable[[], Any]) -> None:
        """Read until `what()` is true."""
        with anyio.fail_after(WAIT_S):
            while not what():
                assert not self.is_closed, f"the connection is closed; goaway: {self.goaway}"
                await self._read()

    async def answer(self, stream_id: int) -> Answer:
        """The whole of an answer, or what there was of it when it was reset."""
        await self.until(
            lambda: self.of(stream_id).is_whole or self.of(stream_id).reset is not None
        )
        return self.of(stream_id)

    async def get(self, path: str = "/hello") -> Answer:
        return await self.answer(await self.request(path))

    async def settle(self) -> None:
        """Until the server has handled everything that was sent before."""
        mark = b"%08d" % len(self.seen)
        await self.send(PingFrame(0, opaque_data=mark))
        await self.until(
            lambda: any(
                isinstance(frame, PingFrame) and frame.opaque_data == mark for frame in self.seen
            )
        )

    async def until_closed(self) -> ErrorCodes | None:
        """Read to the end; the code of the GOAWAY, None if there was none."""
        with anyio.fail_after(WAIT_S):
            while not self.is_closed:
                await self._read()
        return None if self.goaway is None else ErrorCodes(self.goaway.error_code)

    def of(self, stream_id: int) -> Answer:
        return self.answers.setdefault(stream_id, Answer())

    async def _read(self) -> None:
        try:
            self._unread += await self.socket.receive(2**18)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            self.is_closed = True
        while len(self._unread) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._unread[:9]))
            if len(self._unread) < 9 + length:
                return
            frame.parse_body(memoryview(self._unread[9 : 9 + length]))
            self._unread = self._unread[9 + length :]
            self._note(frame)

    def _note(self, frame: Frame) -> None:
        self.seen.append(frame)
        match frame:
            case HeadersFrame():
                answer = self.of(frame.stream_id)
                answer.headers = dict(self._decoder.decode(frame.data))
                answer.status = int(answer.headers[":status"])
                answer.is_whole = "END_STREAM" in frame.flags
            case DataFrame():
                answer = self.of(frame.stream_id)
                answer.body += frame.data
                answer.is_whole = "END_STREAM" in frame.flags
            case RstStreamFrame():
                self.of(frame.stream_id).reset = ErrorCodes(frame.error_code)
            case GoAwayFrame():
                self.goaway = frame


@asynccontextmanager
async def connected(
    site: Site, settings: dict[int, int] | None = None, credit: int = CREDIT
) -> AsyncIterator[Client]:
    """A client by prior knowledge."""
    async with await anyio.connect_tcp("127.0.0.1", site.port) as socket:
        client = Client(socket)
        await client.begin(settings, credit)
        yield client
