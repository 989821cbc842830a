"""The tables that runs are kept in, the same in SQLite and PostgreSQL, and how they came to be.

Plain columns for what people ask in SQL or draw in Grafana, JSON for the rest. Statements write a
parameter as `?`; values are never part of a statement.
"""

from __future__ import annotations

import msgspec


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """Where the two databases differ."""

    parameter: str
    json: str
    blob: str

    def sql(self, text: str) -> str:
        """A statement as this database takes it. `text` is one of ours, without values."""
        return (
            text.replace("?", self.parameter)
            .replace("{json}", self.json)
            .replace("{blob}", self.blob)
        )


SQLITE = Dialect(parameter="?", json="TEXT", blob="BLOB")
POSTGRES = Dialect(parameter="%s", json="JSON", blob="BYTEA")
# JSON and not JSONB: that one changes the order of keys and takes no zero character.

_RUNS = """
CREATE TABLE runs (
  id TEXT PRIMARY KEY,
  label TEXT NOT NULL,
  begun_at TEXT NOT NULL,
  begun_s DOUBLE PRECISION NOT NULL,
  server TEXT NOT NULL,
  model TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  protocol TEXT NOT NULL,
  workload TEXT NOT NULL,
  arrival TEXT NOT NULL,
  num_requests INTEGER NOT NULL,
  num_results INTEGER NOT NULL,
  num_failed INTEGER NOT NULL,
  num_processes INTEGER NOT NULL,
  max_concurrency INTEGER,
  seed BIGINT,
  duration_s DOUBLE PRECISION NOT NULL,
  plan {json} NOT NULL,
  machine {json} NOT NULL,
  versions {json} NOT NULL,
  lateness {json} NOT NULL
)"""

_RUN_FIGURES = """
CREATE TABLE run_figures (
  run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  value DOUBLE PRECISION,
  PRIMARY KEY (run_id, name)
)"""

_REQUESTS = """
CREATE TABLE requests (
  run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  session INTEGER NOT NULL,
  turn INTEGER NOT NULL,
  due_s DOUBLE PRECISION NOT NULL,
  sent_s DOUBLE PRECISION NOT NULL,
  first_s DOUBLE PRECISION,
  first_answer_s DOUBLE PRECISION,
  end_s DOUBLE PRECISION NOT NULL,
  num_prompt_tokens BIGINT,
  num_output_tokens BIGINT,
  num_cached_tokens BIGINT,
  num_asked_tokens INTEGER NOT NULL,
  num_characters INTEGER NOT NULL,
  finish_reason TEXT NOT NULL,
  error TEXT NOT NULL,
  detail TEXT NOT NULL,
  arrivals_s {blob} NOT NULL,
  PRIMARY KEY (run_id, number)
)"""

_SAMPLES = """
CREATE TABLE samples (
  run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  at_s DOUBLE PRECISION NOT NULL,
  name TEXT NOT NULL,
  value DOUBLE PRECISION,
  PRIMARY KEY (run_id, number)
)"""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        _RUNS,
        _RUN_FIGURES,
        _REQUESTS,
        _SAMPLES,
        "CREATE INDEX runs_by_time ON runs (begun_s)",
        "CREATE INDEX runs_by_label ON runs (label, begun_s)",
    ),
)
"""The n-th makes version n of the one before. Those that were once released are never changed."""

VERSION = len(MIGRATIONS)

RUN_COLUMNS = (
    "id",
    "label",
    "begun_at",
    "begun_s",
    "server",
    "model",
    "endpoint",
    "protocol",
    "workload",
    "arrival",
    "num_requests",
    "num_results",
    "num_failed",
    "num_processes",
    "max_concurrency",
    "seed",
    "duration_s",
    "plan",
    "machine",
    "versions",
    "lateness",
)
HEADER_COLUMNS = (
    "id",
    "label",
    "begun_at",
    "server",
    "model",
    "workload",
    "arrival",
    "num_requests",
    "num_failed",
    "duration_s",
)
WHOLE_COLUMNS = (
    "id",
    "label",
    "begun_at",
    "duration_s",
    "plan",
    "machine",
    "versions",
    "lateness",
)
REQUEST_COLUMNS = (
    "session",
    "turn",
    "due_s",
    "sent_s",
    "first_answer_s",
    "end_s",
    "num_prompt_tokens",
    "num_output_tokens",
    "num_cached_tokens",
    "num_asked_tokens",
    "num_characters",
    "finish_reason",
    "error",
    "detail",
    "arrivals_s",
)
"""Without `run_id`, `number` and what is there for people only: `first_s`."""


def insert(table: str, columns: tuple[str, ...]) -> str:
    """Names are ours, never a user's."""
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"
