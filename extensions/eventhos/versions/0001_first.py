"""Create the tables of version 1."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MANAGED = ("eventhos_clients", "eventhos_keys", "eventhos_systems", "eventhos_events", "eventhos_contracts")
_CHANGED = "INSERT INTO eventhos_changes VALUES (1, {}) ON CONFLICT (id) DO UPDATE SET version = excluded.version"
_SQLITE_CHANGED = _CHANGED.format("lower(hex(randomblob(16)))")
_POSTGRESQL_CHANGED = _CHANGED.format("gen_random_uuid()::text")


def upgrade() -> None:
    op.create_table(
        "eventhos_clients",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("identifier", sa.String(length=100), nullable=False),
        sa.Column("client_id", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("permissions", sa.JSON(), nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_eventhos_clients"),
        sa.UniqueConstraint("client_id", name="uq_eventhos_clients_client_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "eventhos_failed_logins",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("times", _NUMBER, nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_eventhos_failed_logins"),
    )
    op.create_table(
        "eventhos_keys",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("client", _NUMBER, nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["client"], ["eventhos_clients.id"], name="fk_eventhos_keys_client"),
        sa.PrimaryKeyConstraint("id", name="pk_eventhos_keys"),
        sa.UniqueConstraint("hash", name="uq_eventhos_keys_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_eventhos_keys_client", "eventhos_keys", ["client"])
    op.create_table(
        "eventhos_systems",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("class", sa.String(length=16), nullable=False),
        sa.Column("identifier", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("type", sa.String(length=45), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("client", _NUMBER),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["client"], ["eventhos_clients.id"], name="fk_eventhos_systems_client"),
        sa.PrimaryKeyConstraint("id", name="pk_eventhos_systems"),
        sa.UniqueConstraint("client", name="uq_eventhos_systems_client"),
        sa.UniqueConstraint("identifier", name="uq_eventhos_systems_identifier"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "eventhos_actions",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("system", _NUMBER, nullable=False),
        sa.Column("identifier", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("operation", sa.String(length=25), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("security", sa.LargeBinary()),
        sa.Column("reply_to", sa.String(length=100)),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["system"], ["eventhos_systems.id"], name="fk_eventhos_actions_system"),
        sa.PrimaryKeyConstraint("id", name="pk_eventhos_actions"),
        sa.UniqueConstraint("identifier", name="uq_eventhos_actions_identifier"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_eventhos_actions_system", "eventhos_actions", ["system"])
    op.create_table(
        "eventhos_events",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("system", _NUMBER, nullable=False),
        sa.Column("identifier", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("operation", sa.String(length=25), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("subscription", _NUMBER),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["system"], ["eventhos_systems.id"], name="fk_eventhos_events_system"),
        sa.PrimaryKeyConstraint("id", name="pk_eventhos_events"),
        sa.UniqueConstraint("identifier", name="uq_eventhos_events_identifier"),
        sa.UniqueConstraint("subscription", name="uq_eventhos_events_subscription"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_eventhos_events_system", "eventhos_events", ["system"])
    op.create_table(
        "eventhos_contracts",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("event", _NUMBER, nullable=False),
        sa.Column("action", _NUMBER, nullable=False),
        sa.Column("identifier", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("order", _NUMBER, nullable=False),
        sa.Column("stop_on_error", sa.Boolean(), nullable=False),
        sa.Column("in_order", sa.Boolean(), nullable=False),
        sa.Column("subscription", _NUMBER),
        sa.Column("retry", sa.JSON()),
        sa.Column("mail_recipients", sa.String(length=200), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["action"], ["eventhos_actions.id"], name="fk_eventhos_contracts_action"),
        sa.ForeignKeyConstraint(["event"], ["eventhos_events.id"], name="fk_eventhos_contracts_event"),
        sa.PrimaryKeyConstraint("id", name="pk_eventhos_contracts"),
        sa.UniqueConstraint("identifier", name="uq_eventhos_contracts_identifier"),
        sa.UniqueConstraint("subscription", name="uq_eventhos_contracts_subscription"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_eventhos_contracts_action", "eventhos_contracts", ["action"])
    op.create_index("ix_eventhos_contracts_event", "eventhos_contracts", ["event"])
    op.create_table(
        "eventhos_received",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("event", _NUMBER, nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64)),
        sa.Column("cause", _NUMBER),
        sa.Column("depth", _NUMBER, nullable=False),
        sa.Column("root", _NUMBER),
        sa.Column("retry_of", _NUMBER),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_eventhos_received"),
        sqlite_autoincrement=True,
    )
    _index("eventhos_received", "event", "id")
    _index("eventhos_received", "id", "received_at")
    _index("eventhos_received", "received_at", "id")
    _index("eventhos_received", "idempotency_key", unique=True, where="idempotency_key IS NOT NULL")
    _index("eventhos_received", "root", where="root IS NOT NULL")
    op.create_table(
        "eventhos_error_mails",
        sa.Column("contract", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("left_out", _NUMBER, nullable=False),
        sa.ForeignKeyConstraint(["contract"], ["eventhos_contracts.id"], name="fk_eventhos_error_mails_contract"),
        sa.PrimaryKeyConstraint("contract", name="pk_eventhos_error_mails"),
    )
    op.create_table(
        "eventhos_executions",
        sa.Column("id", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("received", _NUMBER, nullable=False),
        sa.Column("contract", _NUMBER, nullable=False),
        sa.Column("order", _NUMBER, nullable=False),
        sa.Column("state", sa.String(length=16)),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("run", _NUMBER),
        sa.Column("attempts", _NUMBER, nullable=False),
        sa.Column("retried", sa.Boolean(), nullable=False),
        sa.Column("aborted", sa.Boolean(), nullable=False),
        sa.Column("request", sa.LargeBinary()),
        sa.Column("response", sa.LargeBinary()),
        sa.Column("seconds", sa.Float()),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_eventhos_executions"),
        sqlite_autoincrement=True,
    )
    _index("eventhos_executions", "received", "contract", unique=True)
    _index("eventhos_executions", "contract", "id", where="state IS NULL")
    _index("eventhos_executions", "state", "aborted", "retried", "received", "contract", where="state IS NOT NULL")
    op.create_table(
        "eventhos_changes",
        sa.Column("id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("version", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_eventhos_changes"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for table in _MANAGED:
            for change in ("INSERT", "UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_{change.lower()} AFTER {change} ON {table} BEGIN {_SQLITE_CHANGED}; END"
                )
        return
    op.execute(
        f"CREATE FUNCTION eventhos_note_change() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {_POSTGRESQL_CHANGED}; RETURN NULL; END $$"
    )
    for table in _MANAGED:
        # At the commit, so that no transaction waits for another's version while it holds rows that this one wants.
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {table}_changed AFTER INSERT OR UPDATE OR DELETE ON {table}"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION eventhos_note_change()"
        )


def _index(table: str, *columns: str, unique: bool = False, where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(
        "_".join(["ix", table, *columns]),
        table,
        list(columns),
        unique=unique,
        postgresql_where=condition,
        sqlite_where=condition,
    )
