"""Numbers and times in words, as messages and pages have them."""


def counted(n: int, word: str) -> str:
    """A number with its noun: 1 epoch, 2 epochs."""
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def short(value: object) -> str:
    """A value for a table: of a number that is not whole four digits, nothing of None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Word a time: 3.2 s, 4 min 10 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
