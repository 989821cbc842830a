"""HTTP on the wire: our layer over Hypercorn's. Knows ASGI, sockets and frames; nothing of OpenAI
but the envelope in which a request is refused that no application sees.

Reading order: `limits` (every bound) → `serve` (listen, stop) → `connection` (one socket) →
`h2_protocol` (the streams of an HTTP/2 connection) → `h2_request`, `h2_stream` (one request and its
answer) → `h2_sender`, `send_queue` (what goes out, and who is next: pure) → `h2_uploads` (what comes
in) → `frame_budget` (floods: pure) → `h2_connection` (what we ask of the h2 library) →
`h2_websocket`. `h1_protocol` mends Hypercorn's HTTP/1.1. Why there is a layer of ours at all:
docs/decisions/0006-http2-layer.md.
"""
