"""E-mail addresses, phone numbers, URLs; and what looks like a field and is none."""

from __future__ import annotations

import re

from field_texts.draw import Draw, Formats, Piece

ENDS = Formats(
    tuple("com com com org net io de co.uk fr es it eu edu gov ch at nl se dev ai info app jp".split()),
    tuple("robotics pl co.nz museum cz tech com.au fi pt gr xyz".split()),
)
PHONES = Formats(
    tuple(
        "+^^ ## #######|+^^ ### ######|+^^ ### ### ####|+^^ ## #### ####|+^^ #### ######|+^^ (0)## ########|+^^-###-#######|+^^##########|+1 ### ### ####|"
        "+1 (^##) ###-####|+1-^##-###-####|(^##) ###-####|(^##)###-####|^##-###-####|^##-###-####|^##.###.####|^## ### ####|^##-####|0## #######|"
        "0^## ########|0^##/#######|0^^^ #######|0^^#-#######|(0^^) #######|0^^ / ## ## ## ##|0^ ## ## ## ##|0^.##.##.##.##|+33 ^ ## ## ## ##|"
        "+44 20 #### ####|+44 7### ######|020 #### ####|07### ######|1-800-###-####|800 ######|+86 ### #### ####|0^#-####-####|+34 ^^^ ## ## ##|^^^ ## ## ##"
        .split("|")
    ),
    tuple(
        "00^^ ### ######|00^^-##-#######|(+^^) ## ######|+^^.###.######|+^^ (0) ## ### ## ##|+^^ (###) ###-##-##|0^##-## ## ##|(0^) #### ####|"
        "+1.^##.###.####|^## ## ## ##".split("|")
    ),
)  # fmt: skip
SCHEMES = Formats(
    ("https://", "https://", "https://", "http://", "http://", "ftp://", "www.", "www.", "https://www.", "", ""),
    ("rtsp://", "ws://", "sftp://", "s3://", "git+https://", "HTTPS://", "http://www."),
)
NEGATIVES = (
    "version #.#.#|v#.##|v#.#.#-rc#|firmware #.##.#|1##.1##.#.##|10.0.#.#|0x#A#F|port ####|room ##|Room ###|page ##|p. ##|chapter #|section #.#|"
    "fig. #|figure #.#|step #|line ##|row #|No. ##|#### people|### boxes|# robots|## items|ISO ####|IEC #####|DIN EN ###|RFC ####|EN ###-#|"
    "order ######|#####|invoice ######|ID ########|case ##-####|#:#|##-##|#-#|24/7|##x##|###x###|1920x1080|G20|R2-D#|COVID-19|B#|A#|C##|M#|"
    "AB-####-X|SN-########|KX###|model ##|gate B##|flight LH###|bus ##|platform #|bay #|item ##|in 19##|in 20##|since 20##|(19##-20##)|the 1980s|Q#|"
    "Q# 20##|WS 20##/##|ISBN 978-#-##-######-#|DE## #### #### #### #### ##|#st|##th|the second|the first|the third|one of them|two of them|"
    "a minute ago|the bar|may|might|ten people|three of us|five robots|no. #|#/#|#/10|##/100|#.#|##.####, ##.####|-##.##, ##.##|"
    "report.pdf|config.yaml|main.py|data_##.csv|/usr/bin/env|/dev/ttyUSB#|C:\\\\temp\\\\log##.txt|../src|@handle|#tag|$HOME|$PATH|a+b|x = #|i += #|"
    "f(x) = #x|100#|e.g.|i.e.|etc.|and/or|Dr. |Mr.|U.S.|Ph.D.|a.k.a.|vs.|###|##|#|####|# of ##|top ##|level #|grade #|size ##|class #|"
    "1-0|R###|S/N ######|MAC a#:b#:c#:0#:1#:f#|~/notes|user@|@home|http|www|mailto|https|#FF##AA|P##|IP##|Li-Po #S|USB #.#|Wi-Fi #|Python 3.##|"
    "Ubuntu 2#.04|ROS #|CUDA 12.#|Section ##|Article #|§ #|Art. #|apt. #|zip #####|D-#####|SW1A #AA|Track ##|lap #|#/## done"
).split("|")  # fmt: skip
FOREIGN = (
    "東京は晴れ、ロボットは動きます。|你好,世界|привет, мир!|Ça va très bien, merci à vous.|größer als Übermut|¿Qué pasa? ¡Nada!|«Bonjour»|„Gut so“|"
    "“Quoted”|‘single’|naïve café|🤖|🙂👍🏽|✅|⚠️|🔥🔥|→|•|—|…|Ελληνικά|안녕하세요|שלום|مرحبا|İstanbul|Łódź|smörgåsbord|piñata|½ done|™|©|№|ﬁ|👨‍👩‍👧|📅|📞|📧|✉|☎|💶"
).split("|")


def _host(draw: Draw) -> str:
    parts = [_plain(draw) for _ in range(draw.random.choice((1, 1, 1, 2)))]
    name = draw.random.choice(("", "-")).join(parts)
    sub = draw.random.choice(("", "", "", "mail.", "shop.", "api.", "docs.", f"{_plain(draw)}."))
    return f"{sub}{name}.{draw.format(ENDS)}"


def _plain(draw: Draw) -> str:
    word = re.sub(r"[^a-z]", "", draw.word())[:12] or "site"
    return word + (str(draw.random.randint(1, 99)) if draw.chance(0.08) else "")


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
    random, start = draw.random, draw.format(SCHEMES)
    host = _host(draw)
    if start.endswith("//") and draw.chance(0.12):
        host = random.choice(("localhost", draw.digits("192.168.#.^#"), draw.digits("10.0.0.^"), f"{_plain(draw)}.local"))
    if start.endswith("//") and draw.chance(0.12):
        host += draw.digits(":^###")
    path = "".join("/" + random.choice((_plain(draw), f"{_plain(draw)}-{_plain(draw)}", draw.digits("^##"))) for _ in range(random.choice((0, 0, 1, 1, 2, 3))))
    if path and draw.chance(0.2):
        path += random.choice((".html", ".pdf", ".php", ".json", "_v2.zip", ".git"))
    elif draw.chance(0.25):
        path += "/"
    if path and draw.chance(0.2):
        path += f"?{_plain(draw)}={random.choice((_plain(draw), draw.digits('##')))}" + (f"&{_plain(draw)}={draw.digits('#')}" if draw.chance(0.4) else "")
    if path and draw.chance(0.08):
        path += f"#{_plain(draw)}"
    return [Piece(start + host + path, "URL")]


def negative(draw: Draw) -> list[Piece]:
    """What looks like a field and is none."""
    return [Piece(draw.digits(draw.random.choice(NEGATIVES)))]


def foreign(draw: Draw) -> list[Piece]:
    """A bit of another script or language, or a picture character."""
    return [Piece(draw.random.choice(FOREIGN))]
