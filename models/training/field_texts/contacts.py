"""E-mail addresses, phone numbers, URLs; and what looks like a field and is none."""

from __future__ import annotations

import re

from field_texts.draw import Draw, Formats, Piece

ENDS, PHONES, LOOKALIKES, FOREIGN = (Formats.read(name) for name in ("host_ends", "phones", "lookalikes", "foreign"))
STARTS = Formats(
    ("https://", "https://", "https://", "http://", "http://", "ftp://", "www.", "www.", "https://www.", "", ""),
    ("rtsp://", "ws://", "sftp://", "s3://", "git+https://", "HTTPS://", "http://www."),
)
SUBDOMAINS = ("", "", "", "mail.", "shop.", "api.", "docs.")
NUMBERED = ("localhost", "192.168.#.^#", "10.0.0.^")
COUNTS = ("one", "two", "three", "four", "five", "ten", "twelve", "a hundred")
FILES = (".html", ".pdf", ".php", ".json", "_v2.zip", ".git")


def _plain(draw: Draw) -> str:
    word = re.sub(r"[^a-z]", "", draw.word())[:12] or "site"
    return word + (str(draw.random.randint(1, 99)) if draw.chance(0.08) else "")


def _host(draw: Draw) -> str:
    name = draw.random.choice(("", "-")).join(_plain(draw) for _ in range(draw.random.choice((1, 1, 1, 2))))
    return f"{draw.random.choice((*SUBDOMAINS, f'{_plain(draw)}.'))}{name}.{draw.format(ENDS)}"


def email(draw: Draw) -> list[Piece]:
    """An e-mail address."""
    random = draw.random
    local = random.choice((".", ".", "_", "-", "")).join(_plain(draw) for _ in range(random.choice((1, 1, 2, 2))))
    if draw.chance(0.2):
        local = f"{local[0]}.{_plain(draw)}"
    if draw.chance(0.1):
        local += f"+{_plain(draw)}"
    if draw.chance(0.15):
        local += str(random.randint(1, 2030))
    if draw.chance(0.08) or draw.kept:
        local = random.choice((local.title(), local.upper(), local.capitalize()))
    return [Piece(f"{local}@{_host(draw)}", "EMAIL")]


def phone(draw: Draw) -> list[Piece]:
    """A phone number, national or international."""
    return [Piece(draw.digits(draw.format(PHONES)), "PHONE")]


def url(draw: Draw) -> list[Piece]:
    """A URL, or a bare host with or without a path."""
    random, start, host = draw.random, draw.format(STARTS), _host(draw)
    if start.endswith("//") and draw.chance(0.12):
        host = draw.digits(random.choice((*NUMBERED, f"{_plain(draw)}.local")))
    if start.endswith("//") and draw.chance(0.12):
        host += draw.digits(":^###")
    return [Piece(start + host + _path(draw), "URL")]


def _path(draw: Draw) -> str:
    random = draw.random
    names = (random.choice((_plain(draw), f"{_plain(draw)}-{_plain(draw)}", draw.digits("^##"))) for _ in range(9))
    path = "".join(f"/{name}" for name, _ in zip(names, range(random.choice((0, 0, 1, 1, 2, 3)))))
    if not path:
        return "/" if draw.chance(0.25) else ""
    if draw.chance(0.2):
        path += random.choice(FILES)
    elif draw.chance(0.25):
        path += "/"
    if draw.chance(0.2):
        path += f"?{_plain(draw)}={random.choice((_plain(draw), draw.digits('##')))}"
        path += f"&{_plain(draw)}={draw.digits('#')}" if draw.chance(0.4) else ""
    return path + (f"#{_plain(draw)}" if draw.chance(0.08) else "")


def lookalike(draw: Draw) -> list[Piece]:
    """What looks like a field and is none."""
    if draw.chance(0.25):
        count = draw.random.choice((*COUNTS, draw.digits("^"), draw.digits("^#"), draw.digits("^##")))
        return [Piece(f"{count} {draw.word()}{draw.random.choice(('', 's'))}")]
    return [Piece(draw.digits(draw.random.choice(LOOKALIKES.trained)))]


def foreign(draw: Draw) -> list[Piece]:
    """A bit of another script or language, or a picture character."""
    return [Piece(draw.random.choice(FOREIGN.trained))]
