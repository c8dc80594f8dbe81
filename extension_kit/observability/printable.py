"""Foreign texts as terminals may show them."""


def printable(text: str) -> str:
    """Return a foreign text as one line, without control characters, which could steer a terminal."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
