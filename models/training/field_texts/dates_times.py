"""Dates and times of day, as people and programs write them."""

from __future__ import annotations

from field_texts.draw import Draw, Formats, Piece

MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
}
DAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "es": "lunes martes miércoles jueves viernes sábado domingo",
    "it": "lunedì martedì mercoledì giovedì venerdì sabato domenica",
}
RELATIVE = "today tomorrow yesterday heute morgen gestern demain aujourd'hui hoy mañana oggi domani ieri"
HOURS = "one two three four five six seven eight nine ten eleven twelve"

DATES = Formats(
    tuple(
        "{y}-{mm}-{dd}|{y}-{mm}-{dd}|{y}/{mm}/{dd}|{dd}/{mm}/{y}|{m}/{d}/{y}|{d}/{m}/{yy}|{mm}/{dd}/{yy}|{dd}.{mm}.{y}|{d}.{m}.{y}|"
        "{d}.{m}.{yy}|{d}.{m}.|{dd}-{mm}-{y}|{dd}-{mon}-{y}|{d} {month} {y}|{d} {month} {y}|{d} {month}|{d} {mon} {y}|{d} {mon}|"
        "{month} {d}, {y}|{month} {d}, {y}|{month} {d}|{mon} {d}, {y}|{mon} {d}|{mon}. {d}, {y}|{d}{th} {month} {y}|{d}{th} {month}|"
        "{month} {d}{th}|{month} {d}{th}, {y}|{d}{th} of {month}|{d}{th} of {month} {y}|{month} {y}|{day}, {d} {month} {y}|"
        "{day}, {month} {d}|{day} {d} {month}|{day3} {d} {mon}|{day3}, {d} {mon} {y}|{day}, {month} {d}, {y}|{day}|{day}|{relative}|"
        "{d}. {de} {y}|{d}. {de}|{de_day}, {d}. {de} {y}|{de_day}, {dd}.{mm}.{y}|{de_day}|{de} {y}|{d} {fr} {y}|{d} {fr}|{fr_day} {d} {fr}|"
        "{fr_day}|{d} de {es} de {y}|{d} de {es}|{es_day} {d} de {es}|{es_day}|{d} {it} {y}|{it_day} {d} {it}|{y}年{m}月{d}日|{m}月{d}日"
        .split("|")
    ),
    tuple(
        "{y}.{mm}.{dd}|{d} {mon} '{yy}|{month} the {d}{th}|{month} the {d}{th}, {y}|{dd}{mon}{y}|{dd}/{mon}/{y}|{day}, the {d}{th} of {month}|"
        "{mon}-{dd}-{y}|{day3} {mm}/{dd}|{y} {month} {d}|{day3}. {d} {month} {y}|{dd} {mm} {y}|{fr_day} {dd}/{mm}|{it_day}, {d}/{m}/{y}"
        .split("|")
    ),
)
TIMES = Formats(
    tuple(
        "{hour}:{mi}|{hour}:{mi}|{hh}:{mi}|{hh}:{mi}:{ss}|{hh}:{mi}:{ss}Z|{hh}:{mi}:{ss}.{ms}|{h}:{mi} {ap}|{h}:{mi} {ap}|{h}:{mi}{ap}|{h} {ap}|{h}{ap}|"
        "{h}.{mi}{ap}|{hh}:{mi} {zone}|{h} {ap} {zone}|{hour}h{mi}|{hour}h|{hour} h {mi}|{hour}.{mi} Uhr|{hour}:{mi} Uhr|{hour} Uhr|{h} o'clock|"
        "{word} o'clock|noon|midnight|half past {word}|quarter past {word}|quarter to {word}|{few} past {word}|{few} to {word}|"
        "{hh}:{mi}:{ss}+0{h}:00|{hour}:{mi} hrs|{hour}時{mi}分"
        .split("|")
    ),
    tuple(
        "{h}:{mi}:{ss} {ap}|{h}:{mi} {ap} {zone}|{hh}:{mi} GMT+{h}|{hh}:{mi}:{ss},{ms}|{hh}h{mi}m|{word} {ap}|{hour}:{mi}h|{hour} heures {mi}|"
        "a quarter past {word}|halb {word}|{hh}:{mi}Z"
        .split("|")
    ),
)


def date(draw: Draw) -> list[Piece]:
    """A date, the name of a day or a day near today."""
    random = draw.random
    year, month, day, weekday = random.randint(1950, 2060), random.randint(1, 12), random.randint(1, 31), random.randint(0, 6)
    names = {code: months.split()[month - 1] for code, months in MONTHS.items()}
    days = {code: each.split()[weekday] for code, each in DAYS.items()}
    short = "Sept" if month == 9 and draw.chance(0.4) else names["en"][:3]
    suffix = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    text = draw.format(DATES).format(
        y=year, yy=f"{year % 100:02}", m=month, mm=f"{month:02}", d=day, dd=f"{day:02}", month=names["en"], mon=short, th=suffix,
        day=days["en"], day3=days["en"][:3], relative=random.choice(RELATIVE.split()), de=names["de"], fr=names["fr"], es=names["es"],
        it=names["it"], de_day=days["de"], fr_day=days["fr"], es_day=days["es"], it_day=days["it"],
    )  # fmt: skip
    return [Piece(text, "DATE")]


def time(draw: Draw) -> list[Piece]:
    """A time of day."""
    random = draw.random
    hour = random.randint(0, 23)
    text = draw.format(TIMES).format(
        hour=hour, hh=f"{hour:02}", h=random.randint(1, 12), mi=f"{random.choice((0, 15, 30, 45, random.randint(0, 59))):02}",
        ss=f"{random.randint(0, 59):02}", ms=f"{random.randint(0, 999):03}", ap=random.choice("am pm am pm AM PM a.m. p.m.".split()),
        zone=random.choice("UTC GMT CET CEST EST PST BST JST".split()), word=random.choice(HOURS.split()),
        few=random.choice("five ten twenty 5 10 20".split()),
    )  # fmt: skip
    return [Piece(text, "TIME")]


def timestamp(draw: Draw) -> list[Piece]:
    """A date and a time as programs write them together."""
    random = draw.random
    day = f"{random.randint(1990, 2040)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
    clock = f"{random.randint(0, 23):02}:{random.randint(0, 59):02}:{random.randint(0, 59):02}"
    end = random.choice(("", "Z", "+02:00", f".{random.randint(0, 999):03}", f",{random.randint(0, 999):03}"))
    return [Piece(day, "DATE"), Piece(random.choice("T T   ")), Piece(clock + end, "TIME")]
