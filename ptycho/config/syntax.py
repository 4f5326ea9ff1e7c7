"""What every reader of a format shares: how it names a key, and what it raises for text that is not valid."""

Key = tuple[str, ...]
"""A key by its path of names: `("execution", "num_workers")`."""


class SyntaxFaultError(Exception):
    """The text is not valid.

    Args:
        line: The line, counted from 1.
        reason: What the parser says.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line, self.reason = line, reason
