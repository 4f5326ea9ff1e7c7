"""Words of messages."""


def counted(number: int, noun: str) -> str:
    """A number of things, as '1 epoch' and '2 epochs'; the noun is in the singular, and takes an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
