"""The h2 library's connection, with what is changed that a server of many needs.

Some of it reaches below its public interface: tests/service/http has a case for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame, RstStreamFrame

if TYPE_CHECKING:
    from service.http.limits import HttpLimits

_MAX_TABLE_BYTES = 4096  # RFC 9113 6.5.2: what both sides begin with
_DEFAULT_WINDOW_BYTES = 65_535
_SWEEP_MARGIN = 64


class ServerConnection(H2Connection):
    """Speaks to one client. Streams over the limit are counted and refused by its owner."""

    # Remembered only to tell a late frame from a wrong one. 65 536, as shipped, are 5 MB.
    MAX_CLOSED_STREAMS = 4096

    def __init__(self, limits: HttpLimits) -> None:
        super().__init__(H2Configuration(client_side=False, header_encoding=None))
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_header_bytes,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
            },
        )
        self.decoder.max_header_list_size = limits.max_header_block_bytes
        self._sweep_at = _SWEEP_MARGIN
        self._upload_window_bytes = limits.upload_window_bytes

    def initiate(self, settings: bytes | None = None) -> None:
        """Begin; with the settings of an upgraded HTTP/1.1 request, stream 1 is that request.

        Raises:
            h2.exceptions.ProtocolError, ValueError: the settings are none.
        """
        if settings is None:
            self.initiate_connection()
        else:
            self.initiate_upgrade_connection(settings)
        self.increment_flow_control_window(self._upload_window_bytes - _DEFAULT_WINDOW_BYTES)

    def is_open(self, stream_id: int) -> bool:
        """Of what was read h2 knows the end when we handle the beginning: a stream may be reset
        by a frame that has not been told yet."""
        stream = self.streams.get(stream_id)
        return stream is not None and stream.open

    def bound_header_table(self) -> None:
        """Call when the client's settings changed. h2 takes the table size the client offers, up
        to 4 GiB, and searches all of it for each header it sends; a smaller one is always right."""
        if self.encoder.header_table_size > _MAX_TABLE_BYTES:
            self.encoder.header_table_size = _MAX_TABLE_BYTES

    def goaway(self, last_stream_id: int | None = None) -> bytes:
        """The frame that takes no more streams; unlike `close_connection` those that run go on."""
        frame = GoAwayFrame(0)
        frame.last_stream_id = (
            self.highest_inbound_stream_id if last_stream_id is None else last_stream_id
        )
        frame.error_code = ErrorCodes.NO_ERROR
        return frame.serialize()

    @property
    def open_inbound_streams(self) -> int:
        """None, as far as h2 may know: over the limit it would end the connection before it has
        read the headers. It also forgets closed streams when asked, by a walk over all of them;
        ours is taken when their number has doubled."""
        if len(self.streams) >= self._sweep_at:
            super().open_inbound_streams  # noqa: B018
            self._sweep_at = 2 * len(self.streams) + _SWEEP_MARGIN
        return 0

    def _receive_rst_stream_frame(self, frame: RstStreamFrame) -> Any:
        """A stream that never was cannot be reset (RFC 9113 6.4); h2 lets it pass."""
        if frame.stream_id > self.highest_inbound_stream_id:
            raise ProtocolError(f"stream {frame.stream_id} is idle")
        return super()._receive_rst_stream_frame(frame)

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> Any:
        """A client that wants no more streams still waits for those that run (RFC 9113 6.8);
        h2 closes the connection and drops what it was about to send."""
        state, unsent = self.state_machine.state, self.data_to_send()
        answer = super()._receive_goaway_frame(frame)
        self.state_machine.state = state
        self._data_to_send += unsent
        return answer
