"""What people ask of a run and answer it; numbered batches; a run's arguments; runs are found by their state."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.add_column("runs", sa.Column("written", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.create_index("ix_runs_state", "runs", ["state", "created"], unique=False)
    op.add_column("graphs", sa.Column("arguments", sa.LargeBinary(), nullable=True))
    op.create_table(
        "orders",
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.Text(), server_default="", nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("idx", sa.Integer(), server_default=sa.text("-1"), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("by", sa.Text(), server_default="", nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("done", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id", name="uq_orders_id"),
    )
    op.create_index("ix_orders_run", "orders", ["run_id", "done", "seq"], unique=False)
    op.create_table(
        "answers",
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("idx", sa.Integer(), server_default=sa.text("-1"), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("given", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("by", sa.Text(), server_default="", nullable=False),
        sa.Column("token", sa.Text(), server_default="", nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "path", "idx", "attempt"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("answers")
    op.drop_table("orders")
    op.drop_column("graphs", "arguments")
    op.drop_index("ix_runs_state", "runs")
    op.drop_column("runs", "written")
