"""Command that asks for a password and prints an entry of ``EXTENSION_PULP_USERS``.

Run as ``python extensions/pulp/make_user.py NAME read+create``. The password comes from the terminal, or from the
standard input if that is none.
"""

import sys
from getpass import getpass
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])  # the checkout, instead of this folder

from extension_kit.protocol import hash_password
from extensions.pulp.settings import OPERATIONS, read_user

_USAGE = f"usage: python extensions/pulp/make_user.py NAME {'+'.join(OPERATIONS)}"


def main(arguments: list[str]) -> str | None:
    """Print the entry.

    Args:
        arguments: the name, and the permitted operations joined by ``+``.

    Returns:
        The reason why there is none; None for success.
    """
    if len(arguments) != 2:
        return _USAGE
    name, operations = arguments
    if ":" in name:
        return f"a name has no colon\n{_USAGE}"
    some_hash = f"scrypt:2:1:1$a${'0' * 128}"
    try:
        read_user(f"{name}:{some_hash}:{operations}")  # checked before the password is asked for
    except ValueError as error:
        return f"{error}\n{_USAGE}"
    try:
        password = _password()
    except ValueError as error:
        return str(error)
    if not password:
        return "The password is empty"
    print(f"{name}:{hash_password(password)}:{operations}")
    return None


def _password() -> str:
    """Ask for a password.

    Raises:
        ValueError: the second one is another, or the standard input is not UTF-8.
    """
    if not sys.stdin.isatty():
        try:
            return sys.stdin.buffer.readline().decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ValueError("The password is not UTF-8") from None
    password = getpass()
    if password and getpass("Again: ") != password:
        raise ValueError("The passwords differ")
    return password


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
