"""Damages bytes at random."""

import random

PIECES = (b'"', b",", b"\n", b"\r", b"-1", b"nan", b"1e999", b"{", b"]", b"null", b"\xff", b"\0")
PIECES += (b"\xef\xbb\xbf", b"9" * 25, b"label", b"1_0", b"\xc3\xa9", b"\\u0000", b"true", b":")


def damage(content: bytes, choose: random.Random) -> bytes:
    """Returns bytes with one to three changes: put in, deleted, replaced or repeated."""
    result = bytearray(content)
    for _ in range(choose.randint(1, 3)):
        place = choose.randrange(len(result) + 1)
        match choose.randrange(4):
            case 0:
                result[place:place] = choose.choice(PIECES)
            case 1:
                del result[place : place + choose.randint(1, 20)]
            case 2:
                result[place : place + 1] = bytes([choose.randrange(256)])
            case 3:
                start = choose.randrange(len(result) + 1)
                result[place:place] = result[start : start + 20]
    return bytes(result)
