"""The command ``extension-kit extensions/eventhos apply FILE``, and the file of its tests."""

import os
import subprocess
from pathlib import Path

from sqlalchemy import select

from extension_kit.deliveries.tables import subscriptions
from extensions.eventhos.tables import actions, contracts, events, systems
from tests.extensions.eventhos.api import CRYPTO_KEY
from tests.extensions.eventhos.served import EVENTHOS, VARIABLES
from tests.support.commands import extension_kit
from tests.support.paths import KIT

ROOT = Path(__file__).parents[3]
CRM_KEY = "a-key-of-the-crm"
SYSTEMS = """\
systems:
  - {identifier: hr, systemClass: producer, name: HR, type: ERP}
  - {identifier: crm, systemClass: consumer, name: CRM}
events:
  - {identifier: new-employee, system: hr, name: New employee, operation: new}
actions:
  - identifier: add-contact
    system: crm
    name: Add a contact
    method: post
    url: http://crm.test/contacts
    headers:
      - {key: X-Key, value: "${CRM_KEY}", secret: true}
      - {key: X-Id, value: "${.body.id}"}
    rawBody: {name: "${.body.name}", source: HR}
contracts:
  - {identifier: employee-to-crm, event: new-employee, action: add-contact, name: Employees, order: 1}
"""
MADE = """\
+ system hr
+ system crm
+ event new-employee
+ action add-contact
+ contract employee-to-crm
5 made, 0 changed, 0 as before.
"""
SAME = MADE.replace("+ ", "= ").replace("5 made, 0 changed, 0 as before.", "Nothing to change.")


def url_of(database) -> str:
    """The URL of a database, as users write it."""
    return database.url.render_as_string(hide_password=False).replace("+psycopg", "")


class Apply:
    """The command, with a file of its own."""

    def __init__(self, database, folder):
        self.database = database
        self.file = folder / "systems.yaml"
        self.variables = {"EXTENSION_DATABASE_URL": url_of(database), "EXTENSION_EVENTHOS_CRYPTO_KEY": CRYPTO_KEY}

    def write(self, content: str | bytes) -> None:
        self.file.write_bytes(content if isinstance(content, bytes) else content.encode())

    def __call__(self, content, *options, code=0, crm_key=CRM_KEY, **variables) -> str:
        """Run the command in this process, and return what it says without secrets."""
        self.write(content)
        given = {**self.variables, "CRM_KEY": crm_key, **variables}
        done = extension_kit("eventhos", "apply", *(options or ["--yes"]), self.file, cwd=ROOT, **given)
        assert done.returncode == code, done.stdout + done.stderr
        said = done.stdout + done.stderr
        assert crm_key not in said or not crm_key
        return said.replace(str(self.file), "FILE")

    def environment(self, **more):
        return {**os.environ, **VARIABLES, **self.variables, "CRM_KEY": CRM_KEY, "EXTENSION_STALLED_AFTER": "2", **more}

    def process(self, *options, **more) -> subprocess.CompletedProcess:
        command = [KIT, EVENTHOS, "apply", *options]
        return subprocess.run(
            command, env=self.environment(), text=True, capture_output=True, timeout=60, check=False, **more
        )

    def tables(self) -> list:
        """All rows that the command could change."""
        with self.database.read() as connection:
            return [
                tuple(row)
                for table in (systems, events, actions, contracts, subscriptions)
                for row in connection.execute(select(table).order_by(*table.primary_key))
            ]


def changed(old: str, new: str) -> str:
    """The file with one text in place of another one."""
    assert old in SYSTEMS
    return SYSTEMS.replace(old, new)
