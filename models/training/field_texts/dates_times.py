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
HOURS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MINUTES = ("five", "ten", "twenty", "5", "10", "20")
HALVES = ("am", "pm", "am", "pm", "AM", "PM", "a.m.", "p.m.")
ZONES = ("UTC", "GMT", "CET", "CEST", "EST", "PST", "BST", "JST")
DATES, TIMES = Formats.read("dates"), Formats.read("times")


def date(draw: Draw) -> list[Piece]:
    """A date, the name of a day or a day near today."""
    random = draw.random
    year, month, day, weekday = random.randint(1950, 2060), random.randint(1, 12), random.randint(1, 31), random.randint(0, 6)
    names = {code: months.split()[month - 1] for code, months in MONTHS.items()}
    days = {code: each.split()[weekday] for code, each in DAYS.items()}
    text = draw.format(DATES).format(
        **names,
        **{f"{code}_day": name for code, name in days.items()},
        y=year,
        yy=f"{year % 100:02}",
        m=month,
        mm=f"{month:02}",
        d=day,
        dd=f"{day:02}",
        month=names["en"],
        mon="Sept" if month == 9 and draw.chance(0.4) else names["en"][:3],
        th="th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th"),
        day=days["en"],
        day3=days["en"][:3],
        relative=random.choice(RELATIVE.split()),
    )
    return [Piece(text, "DATE")]


def time(draw: Draw) -> list[Piece]:
    """A time of day."""
    random = draw.random
    hour = random.randint(0, 23)
    text = draw.format(TIMES).format(
        hour=hour,
        hh=f"{hour:02}",
        h=random.randint(1, 12),
        mi=f"{random.choice((0, 15, 30, 45, random.randint(0, 59))):02}",
        ss=f"{random.randint(0, 59):02}",
        ms=f"{random.randint(0, 999):03}",
        ap=random.choice(HALVES),
        zone=random.choice(ZONES),
        word=random.choice(HOURS),
        few=random.choice(MINUTES),
    )
    return [Piece(text, "TIME")]


def timestamp(draw: Draw) -> list[Piece]:
    """A date and a time as programs write them together."""
    random = draw.random
    day = f"{random.randint(1990, 2040)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
    clock = f"{random.randint(0, 23):02}:{random.randint(0, 59):02}:{random.randint(0, 59):02}"
    end = random.choice(("", "Z", "+02:00", f".{random.randint(0, 999):03}", f",{random.randint(0, 999):03}"))
    return [Piece(day, "DATE"), Piece(random.choice("T T   ")), Piece(clock + end, "TIME")]
