"""Every bound of the HTTP layer, in one Struct. What it protects against is said beside it."""

from __future__ import annotations

import msgspec


class HttpLimits(msgspec.Struct, frozen=True):
    """Bounds of a connection and of each stream on it."""

    max_streams: int = 1024
    """Open streams a connection, announced; one more is refused and may be sent again."""
    max_header_bytes: int = 16 * 1024
    """A request's headers, counted as RFC 9113 6.5.2 does over HTTP/2; beyond it 431."""
    max_header_block_bytes: int = 64 * 1024
    """Decoded over HTTP/2 to keep the compression state right; beyond it the connection ends."""
    max_unsent_bytes: int = 2**20
    """What a stream holds that its client has not taken; beyond it the application waits."""
    max_unsent_total_bytes: int = 64 * 2**20
    """What all streams of a connection hold; beyond it each may hold `min_unsent_bytes`."""
    min_unsent_bytes: int = 64 * 1024
    max_late_bytes: int = 32 * 2**20
    """Request body that is thrown away after its stream was answered; beyond it a reset."""
    upload_window_bytes: int = 2**20
    """Request bodies under way on a connection. What has arrived does not count: the windows of
    the streams (64 KiB) bound what no application has read yet."""
    max_turn_bytes: int = 256 * 1024
    """Handed to a socket in one turn of the loop."""
    max_control_bytes: int = 64 * 1024
    """Answers to control frames that the client does not take; beyond it nothing is read."""
    max_stall_s: float = 30.0
    """Without progress for so long a stream is reset, and a socket closed."""
    linger_s: float = 2.0
    """A closed connection still reads for so long: unread data would destroy our last words."""
    idle_s: float = 5.0
    """A connection without requests is closed after this, as is one that does not begin."""
    max_requests: int = 100_000
    """A connection is retired after so many requests, once nothing runs on it; after twice as
    many in any case, and what runs then still finishes."""
    num_control_frames: int = 5_000
    control_frames_per_s: float = 500.0
    """Frames that carry no request and no answer: pings, settings, priorities, empty data."""
    num_resets: int = 2_048
    resets_per_s: float = 200.0
    """Streams that end by a reset before their answer began."""
