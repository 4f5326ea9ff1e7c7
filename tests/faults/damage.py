"""Damage to the bytes of a file, drawn from a seed."""

import random
from collections.abc import Callable


def _flip_a_bit(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _change_a_byte(content: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(content))
    content[place] = (content[place] + chance.randrange(1, 256)) % 256


def _change_bytes(content: bytearray, chance: random.Random) -> None:
    for _ in range(20):
        _change_a_byte(content, chance)


def _change_near_the_end(content: bytearray, chance: random.Random) -> None:
    place = len(content) - 1 - chance.randrange(min(len(content), 1000))
    content[place] ^= chance.randrange(1, 256)


def _change_near_the_beginning(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(min(len(content), 400))] ^= chance.randrange(1, 256)


def _cut_off(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def _cut_a_little_off(content: bytearray, chance: random.Random) -> None:
    del content[-chance.randrange(1, min(len(content), 100)) :]


def _block(content: bytearray, chance: random.Random) -> slice:
    size = min(len(content), chance.choice((16, 512, 4096)))
    start = chance.randrange(len(content) - size + 1)
    return slice(start, start + size)


def _zero_a_block(content: bytearray, chance: random.Random) -> None:
    block = _block(content, chance)
    content[block] = bytes(block.stop - block.start)


def _fill_a_block(content: bytearray, chance: random.Random) -> None:
    block = _block(content, chance)
    content[block] = chance.randbytes(block.stop - block.start)


def _lose_a_block(content: bytearray, chance: random.Random) -> None:
    del content[_block(content, chance)]


def _repeat_a_block(content: bytearray, chance: random.Random) -> None:
    block = _block(content, chance)
    content[block.start : block.start] = content[block]


def _swap_blocks(content: bytearray, chance: random.Random) -> None:
    size = min(64, len(content) // 2)
    one, other = (chance.randrange(len(content) - size + 1) for _ in range(2))
    kept = content[one : one + size]
    content[one : one + size] = content[other : other + size]
    content[other : other + size] = kept


WAYS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip_a_bit, _change_a_byte, _change_bytes, _change_near_the_end, _change_near_the_beginning),
    *(
        _cut_off,
        _cut_a_little_off,
        _zero_a_block,
        _fill_a_block,
        _lose_a_block,
        _repeat_a_block,
        _swap_blocks,
    ),
)


def damaged(content: bytes, seed: int) -> tuple[bytes, str]:
    """Other bytes, and how they were damaged."""
    chance, way = random.Random(seed), WAYS[seed % len(WAYS)]
    while True:
        changed = bytearray(content)
        way(changed, chance)
        if changed != content:
            return bytes(changed), f"{way.__name__.strip('_').replace('_', ' ')}, seed {seed}"
