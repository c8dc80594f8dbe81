"""Name the group of the kit's subscriptions after its subscription, instead of listing their refs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_UUID, _MARK = 36, 16


def upgrade() -> None:
    # They were called uuid/mark/name, and the group is called uuid/name.
    name = f"substr(name, 1, {_UUID + 1}) || substr(name, {_UUID + _MARK + 3})"
    op.execute(sa.text(f"UPDATE subscriptions SET \"group\" = {name} WHERE protocol = 'tapis'"))  # noqa: S608
    op.drop_column("tapis_subscriptions", "targets")
