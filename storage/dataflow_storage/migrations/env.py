"""What Alembic runs around our revisions: on the connection, and in the transaction, that it is given."""

from __future__ import annotations

from alembic import context

from dataflow_storage.tables import METADATA


def _migrate() -> None:
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


if __name__ == "env_py":  # the name under which Alembic loads this file; others, such as a doctest collector, only look
    _migrate()
