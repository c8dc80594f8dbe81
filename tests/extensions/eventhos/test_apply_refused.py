"""Files that ``extension-kit eventhos apply`` refuses: messages name the place, and nothing is changed."""

import pytest
from sqlalchemy import select

from extensions.eventhos.tables import contracts, events
from tests.extensions.eventhos.applying import CRM_KEY, ROOT, SYSTEMS, changed
from tests.support.commands import extension_kit


def test_a_variable_that_is_empty_or_not_set_is_refused(apply):
    place = "FILE: actions, add-contact: headers.X-Key"
    empty = apply(SYSTEMS, code=1, crm_key="")
    assert empty == f"Error: {place}: The environment variable CRM_KEY is not set, or empty.\n"
    unset = apply(changed("CRM_KEY", "NOT_SET_AT_ALL"), code=1)
    assert unset == f"Error: {place}: The environment variable NOT_SET_AT_ALL is not set, or empty.\n"
    assert apply.tables() == []


def test_a_variable_is_no_template(apply):
    said = apply(SYSTEMS, code=1, crm_key="${.body.name}")
    assert "The environment variable CRM_KEY holds ${: that is a placeholder." in said


REFUSED = {
    "an unknown key at the top": (
        f"{SYSTEMS}clients: []\n",
        "FILE: there is no key clients: expected the",
    ),
    "an unknown key": (changed("type: ERP", "tpye: ERP"), "FILE: systems, hr: tpye: Unknown field."),
    "an unknown key of a header": (
        changed("secret: true", "secrte: true"),
        "FILE: actions, add-contact: headers.0.secrte: Unknown field.",
    ),
    "a wrong type": (changed("name: HR,", "name: 5,"), "FILE: systems, hr: name: Not a valid string."),
    "a number for a list": ("systems: 5", "FILE: systems: expected a list"),
    "a text for an entry": ("systems: [hr]", "FILE: systems, entry 1: Invalid input type."),
    "a list for the file": ("[]", "FILE: expected the keys systems, events, actions, contracts, each with a list"),
    "an empty file": ("", "FILE: expected the keys systems, "),
    "only comments": ("# nothing\n", "FILE: expected the keys systems, "),
    "no identifier": (changed("identifier: hr, ", ""), "FILE: systems, entry 1: identifier: Missing data"),
    "a bad identifier": (changed("identifier: hr,", "identifier: 'h r',"), "systems, h r: identifier: It has to be"),
    "two of one identifier": (
        changed("identifier: crm,", "identifier: hr,"),
        "FILE: systems, hr: identifier: two entries have it",
    ),
    "an unknown system": (
        changed("system: hr,", "system: hr2,"),
        "FILE: events, new-employee: system: there is no system hr2, neither in the file nor in the database",
    ),
    "an unknown action": (
        changed("action: add-contact", "action: add"),
        "FILE: contracts, employee-to-crm: action: there is no action add, neither",
    ),
    "an event of a consumer": (changed("system: hr,", "system: crm,"), "FILE: events, new-employee: The system is a"),
    "a host from a template": (
        changed("http://crm.test", "http://${.body.host}"),
        "FILE: actions, add-contact: url: scheme and host have no placeholders",
    ),
    "JavaScript": (
        changed("rawBody:", "rawFunctionBody: return 1\n    rawBody:"),
        "rawFunctionBody: JavaScript is",
    ),
    "a bad JMESPath": (
        changed("rawBody:", "bodyExpression: 'a['\n    rawBody:"),
        "FILE: actions, add-contact: bodyExpression: no JMESPath",
    ),
    "a header twice": (changed("key: X-Id", "key: x-key"), "FILE: actions, add-contact: headers.x-key: it comes twice"),
    "a bad order": (changed("order: 1", "order: -1"), "FILE: contracts, employee-to-crm: order: Must be"),
    "a character that no database takes": (
        changed("name: HR,", 'name: "a\\0",'),
        "hr: name: It must not hold",
    ),
    "no YAML": ("systems:\n  - {", "FILE, line 2: expected the node content"),
    "a key twice": ("systems: []\nevents: []\nsystems: []\n", "FILE, line 3: the key systems comes twice"),
    "a key that is no text": ("1: []", "FILE, line 1: a key has to be a text"),
    "an alias": ("a: &a [1]\nb: *a", "FILE, line 2: aliases (*name) are not allowed"),
    "a value within itself": ("&a\nsystems: *a", "FILE, line 2: aliases"),
    "a tag": ("systems: !!python/object/apply:os.getpid []", "FILE, line 1: tags (!name) are not allowed"),
    "half of a character": ('systems: "\\ud800"', "FILE, line 1: it holds half of a character"),
    "a number beyond JSON": (f"systems: {'9' * 5000}", "FILE, line 1: JSON has no such number"),
    "no number": ("systems: .nan", "FILE, line 1: JSON has no such number"),
    "two documents": ("a: 1\n---\nb: 1", "FILE, line 2: but found another document"),
    "control characters": ("a: \x01", "FILE is no YAML: special characters are not allowed"),
    "no UTF-8": (b"systems:\n- \xff", "FILE, line 2: it is not UTF-8"),
    "a deep value": ("[" * 2_000, "FILE is nested too deep"),
    "a large file": (b"#" * (1024**2 + 1), "FILE has more than 1048576 bytes: split it"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_and_changes_nothing(apply, content, message):
    said = apply(content, code=1)
    assert said.startswith("Error: ")
    assert message in said
    assert apply.tables() == []


def test_all_bad_entries_are_told_at_once(apply):
    said = apply(changed("name: HR,", "name: 5,").replace("order: 1", "order: x"), code=1)
    assert said.count("FILE: ") == 2


def test_billion_laughs_are_refused_at_once(apply):
    lines = ["a0: &a0 lol", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
    assert "FILE, line 2: aliases" in apply("\n".join(lines), code=1)


def test_a_file_that_is_not_there_is_named(apply):
    done = extension_kit("eventhos", "apply", apply.file, cwd=ROOT, **apply.variables)
    assert done.returncode == 2
    assert f"'{apply.file}': No such file or directory" in done.stderr


def test_nothing_moves_to_another_system(apply):
    apply(SYSTEMS)
    before = apply.tables()
    moved = changed("system: hr,", "system: hr3,").replace(
        "events:", "  - {identifier: hr3, systemClass: hybrid, name: X}\nevents:"
    )
    said = apply(moved, code=1)
    assert "events, new-employee: system: it cannot be changed; choose another identifier for a new event" in said
    assert apply.tables() == before


def test_identifiers_of_what_was_deleted_are_refused(apply, api):
    apply(SYSTEMS)
    with api.database.read() as connection:
        contract = connection.execute(select(contracts.c.id)).scalar_one()
        event = connection.execute(select(events.c.id)).scalar_one()
    api.ask("DELETE", f"/contract/{contract}", status=201)
    said = apply(SYSTEMS, code=1)
    assert "employee-to-crm: identifier: the contract of this identifier was deleted, and is not made again" in said
    renamed = SYSTEMS.replace("employee-to-crm", "employee-to-crm-2")
    assert "1 made, 0 changed, 4 as before." in apply(renamed)
    with api.database.read() as connection:
        contract = connection.execute(select(contracts.c.id).where(~contracts.c.deleted)).scalar_one()
    api.ask("DELETE", f"/contract/{contract}", status=201)
    api.ask("DELETE", f"/event/{event}", status=201)
    left = "contracts: [{identifier: new, event: new-employee, action: add-contact, name: C}]"
    assert "event: there is no event new-employee" in apply(left, code=1)


def test_what_was_encrypted_with_another_secret_is_told(apply):
    apply(SYSTEMS)
    said = apply(SYSTEMS, code=1, EXTENSION_EVENTHOS_CRYPTO_KEY="another secret that encrypts the requests")
    assert "actions, add-contact: it was encrypted with another EXTENSION_EVENTHOS_CRYPTO_KEY" in said


def test_a_missing_database_is_not_made(tmp_path):
    (tmp_path / "systems.yaml").write_text(SYSTEMS)
    variables = {"EXTENSION_DATABASE_URL": f"sqlite:///{tmp_path}/extension.db", "CRM_KEY": CRM_KEY}
    arguments = ("eventhos", "apply", "--yes", tmp_path / "systems.yaml")
    done = extension_kit(*arguments, cwd=ROOT, **variables)
    assert done.returncode == 1
    assert "There is no database" in done.stderr
    extension_kit("db", "upgrade", cwd=ROOT, **variables)
    done = extension_kit(*arguments, cwd=ROOT, **variables)
    assert done.returncode == 1
    assert "has no tables of eventhos yet: run `extension-kit db upgrade " in done.stderr
