"""A PostgreSQL of its own for tests, where its programs are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "secret-word"


@dataclass(frozen=True)
class PostgresServer:
    """Running; its user is "bench" with `PASSWORD`."""

    port: int
    pg_ctl: list[str]

    def url(self, database: str = "postgres", password: str = PASSWORD) -> str:
        return f"postgresql://bench:{password}@127.0.0.1:{self.port}/{database}"

    def restart(self) -> None:
        run([*self.pg_ctl, "-m", "immediate", "restart"])


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, if there is one."""
    folders = [Path(found).parent for found in [shutil.which("initdb")] if found]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


@contextmanager
def postgres_server(folder: Path) -> Iterator[PostgresServer]:
    """Listens on 127.0.0.1 as long as the block lasts. Its data is not made safe against a crash."""
    # Not pytest's folder: the user that the server runs as may not enter that one.
    home = Path(tempfile.mkdtemp(prefix="kvorum-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(home, "postgres")
        data, word = home / "data", home / "word"
        word.write_text(PASSWORD)
        word.chmod(0o644)
        initdb = [folder / "initdb", "-D", data, "-U", "bench", "--pwfile", word, "--no-sync"]
        run([*map(str, initdb), "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"])
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = (
            f"-p {port} -c listen_addresses=127.0.0.1 -k {home} -c fsync=off -c shared_buffers=8MB"
        )
        log = str(home / "log")
        pg_ctl = [str(folder / "pg_ctl"), "-w", "-D", str(data), "-l", log, "-o", options]
        run([*pg_ctl, "start"])
        try:
            yield PostgresServer(port, pg_ctl)
        finally:
            run([*pg_ctl, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(home)


def run(command: list[str]) -> None:
    """As the user postgres if we are root: as that one the server refuses to run."""
    done = subprocess.run(
        command,
        cwd="/",
        user="postgres" if os.geteuid() == 0 else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} has failed: {done.stderr.decode()}")
