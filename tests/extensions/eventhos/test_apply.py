"""Systems, events, actions and contracts made and changed by a file: ``extension-kit eventhos apply``."""

import json
import os
import pty
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from extension_kit.deliveries.tables import subscriptions
from extensions.eventhos.tables import actions, contracts, events, systems
from tests.extensions.eventhos.api import ADMIN
from tests.extensions.eventhos.applying import CRM_KEY, MADE, SAME, SYSTEMS, changed, url_of
from tests.extensions.eventhos.making import encryption
from tests.extensions.eventhos.managing import new_action, new_client, new_contract, new_event, new_system, row
from tests.extensions.eventhos.served import EVENTHOS, Client, serving
from tests.support.paths import KIT
from tests.support.receivers import reply
from tests.support.waiting import wait_until


def test_the_whole_story(apply, database, receiver, tmp_path):
    crm = receiver(answer=lambda request: reply(200, b"{}"))
    content = SYSTEMS.replace("http://crm.test/contacts", crm.url("/contacts", "127.0.0.1"))
    content = content.replace("type: ERP", "type: ERP, client: hr")
    with serving(url_of(database), tmp_path / "log") as server:
        client = Client(server)
        client.token = client.make("/auth/login", ADMIN, "jwt_token")
        key = client.make("/auth/client?longLive=true", {"identifier": "hr", "name": "HR", "roles": []}, "access_token")

        def send(employee):
            before = len(crm.requests)
            headers = {"access-key": key}
            answer = server.post("/event/send?event-identifier=new-employee", employee, headers).json
            assert answer == {"code": 200000, "message": "success"}
            wait_until(lambda: len(crm.requests) > before)
            return crm.requests[-1]

        apply.write(content)
        before = apply.tables()
        planned = apply.process("--plan", apply.file)
        assert (planned.returncode, planned.stdout.splitlines()[-1]) == (3, "5 to make, 0 to change.")
        assert apply.tables() == before
        assert (made := apply.process("--yes", apply.file)).stdout == MADE, made.stderr
        before = apply.tables()
        assert apply(content) == SAME
        assert apply(content, "--plan") == SAME
        assert apply.tables() == before
        first = send({"id": 7, "name": "Ada"})
        assert (first.path, json.loads(first.body)) == ("/contacts", {"name": "Ada", "source": "HR"})
        assert (first.headers["x-key"], first.headers["x-id"]) == (CRM_KEY, "7")

        apply.write(content.replace("source: HR", "source: people").replace("name: HR,", "name: People,"))
        changed = apply.process("--yes", apply.file)
        assert changed.returncode == 0, changed.stderr
        assert changed.stdout.splitlines() == [
            "~ system hr",
            '    name: "HR" -> "People"',
            "= system crm",
            "= event new-employee",
            "~ action add-contact",
            '    rawBody: {"name": "${.body.name}", "source": "HR"} -> {"name": "${.body.name}", "source": "people"}',
            "= contract employee-to-crm",
            "0 made, 2 changed, 3 as before.",
        ]
        assert json.loads(send({"id": 8, "name": "Grace"}).body) == {"name": "Grace", "source": "people"}

        before = apply.tables()
        refused = apply(content.replace("${.body.id}", "${.body[}").replace("name: HR", "name: People"), code=1)
        place = "Error: FILE: actions, add-contact: headers.X-Id: "
        assert refused == f"{place}'.body[' is no JSONPath: unbalanced brackets\n"
        assert apply.tables() == before
        assert CRM_KEY not in server.log
        assert not any(CRM_KEY in done.stdout + done.stderr for done in (planned, made, changed))


def test_stdin_is_read(apply):
    made = apply.process("--yes", "-", input=SYSTEMS)
    assert (made.returncode, made.stdout) == (0, MADE)
    refused = apply.process("--yes", "-", input="systems: 5")
    assert (refused.returncode, refused.stderr) == (1, "Error: <stdin>: systems: expected a list\n")


@pytest.mark.parametrize(("answer", "code", "is_made"), [("y", 0, True), ("n", 1, False)])
def test_it_asks_on_a_terminal(apply, answer, code, is_made):
    apply.write(SYSTEMS)
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        done = apply.process(apply.file, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == code, done.stderr
    assert "Make these changes?" in done.stderr
    assert "5 to make, 0 to change." in done.stdout
    assert ("Done." in done.stdout) == is_made
    assert bool(apply.tables()) == is_made


def test_without_a_terminal_it_wants_to_be_told(apply):
    apply.write(SYSTEMS)
    done = apply.process(apply.file, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert done.stderr == "Error: no terminal to confirm on: --yes makes the changes\n"
    assert apply.tables() == []
    assert "either --plan or --yes" in apply(SYSTEMS, "--plan", "--yes", code=2)


def test_what_was_changed_while_it_asked_is_not_overwritten(apply):
    apply(SYSTEMS)
    apply.write(SYSTEMS.replace("name: HR,", "name: People,"))
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [KIT, EVENTHOS, "apply", apply.file],
            env=apply.environment(),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.set_blocking(process.stderr.fileno(), False)
        asked = bytearray()
        wait_until(lambda: asked.extend(process.stderr.read() or b"") or b"Make these changes?" in asked)
        said = apply(SYSTEMS.replace("name: HR,", "name: Humans,"))
        assert '"HR" -> "Humans"' in said
        os.write(ours, b"y\n")
        process.wait(60)
        rest = process.stderr.read()
    finally:
        process.kill()
        process.communicate()
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 1
    assert b"the database has changed meanwhile; nothing was done: try again" in rest
    with apply.database.read() as connection:
        assert connection.execute(select(systems.c.name).where(systems.c.identifier == "hr")).scalar_one() == "Humans"


def test_two_at_the_same_time_make_everything_once(apply):
    apply.write(SYSTEMS)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: apply.process("--yes", apply.file), range(3)))
    assert [each.returncode for each in done] == [0, 0, 0], [each.stderr for each in done]
    assert sorted(each.stdout for each in done) == [MADE, SAME, SAME]
    assert len(apply.tables()) == 6


def test_secrets_are_compared_and_never_shown(apply, api):
    oauth2 = """\
    securityType: oauth2_client
    securityUrl: http://crm.test/token
    clientId: me
    clientSecret: "${OAUTH_SECRET}"
"""
    content = SYSTEMS.replace("    rawBody:", f"{oauth2}    rawBody:")

    def said(*options, code=0, secret="hush-hush", **more):
        found = apply(content, *options, code=code, OAUTH_SECRET=secret, **more)
        assert secret not in found
        return found

    assert said() == MADE
    before = apply.tables()
    assert said() == SAME
    assert apply.tables() == before
    assert "headers.X-Key: **** -> ****\n" in said("--plan", code=3, crm_key="another-key")
    assert "clientSecret: **** -> ****\n" in said(secret="another secret")
    assert apply.tables() != before
    with api.database.read() as connection:
        kept = connection.execute(select(actions)).one()
    assert encryption(api).decrypt(kept.security)["clientSecret"] == "another secret"
    assert encryption(api).decrypt(kept.request)["headers"]["X-Key"] == CRM_KEY
    assert "Nothing to change." in apply(content.replace(oauth2, ""), "--plan")
    without = content.replace(oauth2, "    securityType: custom\n")
    assert "clientSecret: **** -> nothing\n" in apply(without, "--plan", code=3)
    open_now = content.replace("secret: true", "secret: false").replace("${CRM_KEY}", "in the open")
    told = apply(open_now, OAUTH_SECRET="another secret")
    assert "headers.X-Key.secret: true -> nothing" in told
    assert "headers.X-Key: **** -> ****" in told


def test_a_secret_may_stay_as_it_is(apply, api):
    apply(SYSTEMS)
    assert apply(SYSTEMS.replace("${CRM_KEY}", "****")) == SAME
    moved = SYSTEMS.replace("${CRM_KEY}", "****").replace("crm.test", "other.test")
    assert "send the secret again, because another host would get it" in apply(moved, code=1)
    new = SYSTEMS.replace("${CRM_KEY}", "****").replace("add-contact", "another")
    assert "actions, another: headers.X-Key: **** stands for a secret that is kept, and there is none" in apply(
        new, code=1
    )


def test_variables_stand_in_secrets_only(apply):
    said = apply(SYSTEMS.replace("name: CRM}", "name: '${CRM_KEY}'}"))
    assert said == MADE
    with apply.database.read() as connection:
        name = connection.execute(select(systems.c.name).where(systems.c.identifier == "crm")).scalar_one()
    assert name == "${CRM_KEY}"
    assert "is no JSONPath" in apply(SYSTEMS.replace(", secret: true", ""), code=1)


def test_only_the_keys_of_the_file_change(apply, api):
    apply(SYSTEMS)
    with api.database.read() as connection:
        contract = connection.execute(select(contracts.c.id)).scalar_one()
        system = connection.execute(select(systems.c.id).where(systems.c.identifier == "crm")).scalar_one()
    api.ask("PUT", f"/contract/{contract}", {"active": False, "retrySchedule": [5, 60.5]}, status=201)
    api.ask("PUT", f"/system/{system}", {"description": "Ours"}, status=201)
    assert apply(SYSTEMS) == SAME
    said = apply(SYSTEMS.replace("order: 1", "order: 1, active: true, retrySchedule: [5, 60.5], inOrder: true"))
    assert "    active: false -> true\n    inOrder: false -> true\n" in said
    assert "retrySchedule" not in said


def test_values_of_one_type_do_not_stand_for_another(apply):
    apply(SYSTEMS.replace("source: HR", "source: 1"))
    said = apply(SYSTEMS.replace("source: HR", "source: true"))
    assert '"source": 1} -> {"name": "${.body.name}", "source": true}' in said


def test_long_values_are_cut_and_control_characters_are_not_printed(apply):
    apply(SYSTEMS)
    said = apply(SYSTEMS.replace("name: CRM}", f'name: "a\\x9b31m\\e[1m", description: {"x" * 500}}}'))
    assert "\x9b" not in said
    assert "\x1b" not in said
    assert "xxx…\n" in said


def test_keys_that_the_settings_mask_are_masked(apply):
    apply(SYSTEMS)
    content = SYSTEMS.replace("http://crm.test/contacts", "http://crm.test/contacts?token=abc")
    content = content.replace("source: HR", "source: HR, token: abc")
    content = content.replace('"${.body.id}"', "abc").replace("X-Id", "token")
    said = apply(content, EXTENSION_EVENTHOS_MASKED="Token")
    assert 'headers.token: nothing -> "****"' in said
    assert "contacts?token=****" in said
    assert "abc" not in said


def test_what_the_management_api_made_is_found_by_its_whole_identifier(apply, api):
    system = new_system(api, identifier="hr")
    found = [
        (systems, system),
        (events, event := new_event(api, system)),
        (actions, action := new_action(api, system, headers=[])),
        (contracts, new_contract(api, event, action)),
    ]
    identifiers = [row(api, table, id).identifier for table, id in found]
    assert identifiers[1] != "new-employee"
    content = f"""\
systems: [{{identifier: {identifiers[0]}, systemClass: hybrid, name: ERP}}]
events: [{{identifier: {identifiers[1]}, system: {identifiers[0]}, name: Changed}}]
actions:
  - identifier: {identifiers[2]}
    system: {identifiers[0]}
    name: A
    url: http://erp.test/employees
    method: post
contracts: [{{identifier: {identifiers[3]}, event: {identifiers[1]}, action: {identifiers[2]}, name: C}}]
"""
    said = apply(content)
    assert said.count("\n= ") == 2, said
    assert said.splitlines()[0] == f"= system {identifiers[0]}"
    assert 'name: "N" -> "Changed"' in said


def test_references_may_be_to_the_database_only(apply, api):
    apply(SYSTEMS)
    more = """\
events: [{identifier: left, system: hr, name: Left}]
contracts: [{identifier: left-to-crm, event: left, action: add-contact, name: Left}]
"""
    assert apply(more) == "+ event left\n+ contract left-to-crm\n2 made, 0 changed, 0 as before.\n"
    with api.database.read() as connection:
        assert len(connection.execute(select(contracts.c.id)).all()) == 2


def test_a_system_has_a_client_of_the_database(apply, api):
    first = new_client(api, identifier="hr")
    second = new_client(api, identifier="people")
    with_client = SYSTEMS.replace("type: ERP", "type: ERP, client: %s")
    apply(with_client % "hr")
    assert apply(with_client % "hr") == SAME
    with api.database.read() as connection:
        assert connection.execute(select(systems.c.client).where(systems.c.identifier == "hr")).scalar_one() == first
    client_id = api.ask("GET", f"/auth/client/{second}")["content"]["clientId"]
    said = apply(with_client % f"'{client_id}'")
    assert f'-> "{client_id}"' in said
    assert apply(SYSTEMS) == SAME
    assert "client: there is no client nobody; POST /auth/client makes one" in apply(with_client % "nobody", code=1)
    new_client(api, identifier=client_id)
    assert apply(with_client % f"'{client_id}'") == SAME
    new_client(api, identifier="people")
    assert "several clients have the identifier people" in apply(with_client % "people", code=1)
    taken = SYSTEMS.replace("name: CRM}", f"name: CRM, client: '{client_id}'}}")
    assert "systems, crm: The client with id" in apply(taken, code=1)
    assert f'client: "{client_id}" -> null' in apply(with_client % "null")


def test_events_of_this_server_are_subscribed_to(apply, api):
    content = """\
systems: [{identifier: this-server, systemClass: producer, name: This server}]
events: [{identifier: "%s", system: this-server, name: Failed}]
"""
    failed = "steadybit:experiment.execution.failed"
    assert "+ event steadybit:" in apply(content % failed)
    assert apply(content % failed).endswith("Nothing to change.\n")
    with api.database.read() as connection:
        subscription = connection.execute(select(subscriptions)).one()
    assert subscription.name == failed
    taken = f'{SYSTEMS}  - {{identifier: "{failed}", event: new-employee, action: add-contact, name: C}}\n'
    before = apply.tables()
    assert f"contracts, {failed}: identifier: " in apply(taken, code=1)
    assert apply.tables() == before
    assert "is no event of this server" in apply(content % "tapis:tapis.jobs.failed", code=1)
    assert "is no event of this server" in apply(content % "croneye:croneye.job", code=1)


def test_dates_and_other_words_of_yaml_are_texts(apply):
    content = changed("source: HR", "source: 2026-01-31, at: 2026-01-31T10:00:00Z, is: =")
    assert apply(content) == MADE
    assert apply(content) == SAME
