"""The HTTP side: OpenAI's shapes, users, settings. Knows nothing of torch.

Reading order: `app` (the wiring) → `middleware/*` (outermost first) → `api/chat` (the door) →
`generation` (from text to tokens and back). Around it: `settings` and `knobs` (what can be set),
`cli` (the command), `server` (sockets, signals, exit code), `lifespan` (start, drain, stop), `http`
(what is on the wire: connections, streams, frames).
"""
