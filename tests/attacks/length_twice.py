"""Two lengths of external data in one pair."""

from pathlib import Path

from forgery import external_pair, field

MESSAGE = r"has the field 2 in a pair twice"


def attack(bundle: Path) -> None:
    external_pair(bundle, field(1, b"length") + field(2, b"4") + field(2, b"4000000"))
