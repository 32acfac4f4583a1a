"""Alembic revisions of the run store's schema, and the one call that applies them."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from dataflow_storage.errors import StoreUnavailable

__all__ = ["config", "upgrade"]


def config() -> Config:
    """Alembic's configuration for the revisions in this folder.

    Examples
    --------
    >>> from alembic.script import ScriptDirectory
    >>> ScriptDirectory.from_config(config()).get_current_head()
    '0003'
    """
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    found.set_main_option("path_separator", "os")
    return found


def upgrade(connection: Connection, name: str) -> None:
    """Bring a database to the newest revision, inside the caller's transaction.

    Parameters
    ----------
    connection : Connection
        In a transaction that may write.
    name : str
        How a person calls the database.

    Raises
    ------
    StoreUnavailable
        When the database carries a revision that is not among ours.
    """
    settings = config()
    settings.attributes["connection"] = connection
    try:
        command.upgrade(settings, "head")
    except CommandError as error:
        reason = f"a newer version of dataflow made or changed it ({error}); upgrade dataflow, or name another database"
        raise StoreUnavailable(name, reason) from error
