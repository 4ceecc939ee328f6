"""Money, quantities and units. A quantity is a number, which is an amount, and its unit."""

from __future__ import annotations

from field_texts.draw import Draw, Formats, Piece

SYMBOLS, NAMES = Formats.read("unit_symbols"), Formats.read("unit_names")
MONEY, NUMBERS = Formats.read("money"), Formats.read("numbers")
CURRENCIES = ("$", "$", "$", "€", "€", "€", "£", "£", "¥", "₹", "US$")
CODES = ("USD", "EUR", "EUR", "GBP", "CHF", "JPY", "INR", "CAD", "AUD", "SEK", "NOK", "DKK", "PLN", "CZK", "CNY")
COINS = ("dollars", "euros", "euro", "dollar", "cents", "pounds", "yen", "rupees", "francs", "kronor", "Euro", "pesos")
SPELLED = (
    "one two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty sixty eighty ninety half "
    "twenty-five forty-two sixty-four a_hundred one_hundred two_hundred three_hundred a_thousand five_thousand two_million"
)


def _filled(draw: Draw, formats: Formats) -> str:
    random = draw.random
    sizes = random.randint(1, 9), random.randint(10, 99), random.randint(100, 999), random.choice((15, 20, 25, 50, 100, 500))
    number, large, thousands = random.choice(sizes), random.randint(1, 999), f"{random.randint(0, 999):03}"
    return draw.format(formats).format(
        n=number,
        small=random.randint(0, 12),
        d=random.randint(1, 9),
        c=f"{random.randint(0, 99):02}",
        p=f"{number}.{random.randint(0, 9)}",
        pc=f"{number},{random.randint(0, 9)}",
        g=f"{large},{thousands}",
        gd=f"{large}.{thousands}",
        gs=f"{large} {thousands}",
        s=random.choice(CURRENCIES),
        code=random.choice(CODES),
        coin=random.choice(COINS),
        word=random.choice(SPELLED.split()).replace("_", " "),
    )


def money(draw: Draw) -> list[Piece]:
    """A sum with its currency."""
    text = _filled(draw, MONEY)
    bare = text.strip("()")
    start = text.index(bare)
    return [Piece(text[:start]), Piece(bare, "AMOUNT"), Piece(text[start + len(bare) :])]


def unit(draw: Draw, names: float = 0.45) -> list[Piece]:
    """A unit: its name in this share of calls, else its symbol."""
    return [Piece(draw.format(NAMES if draw.chance(names) else SYMBOLS), "UNIT")]


def quantity(draw: Draw) -> list[Piece]:
    """A number and its unit, or a few: `2 h 30 min`, `30 x 40 cm`, `5-10 kg`, `25 ± 0.5 mm`."""
    first, kind = Piece(_filled(draw, NUMBERS), "AMOUNT"), draw.random.random()
    if first.text[-1].isalpha() or kind < 0.45:
        return [first, Piece(draw.random.choice((" ", " ", " ", " ", "-"))), *unit(draw, names=1)]
    space = Piece(draw.random.choice(("", " ", " ", "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}")))
    if kind < 0.85:
        return [first, space, *unit(draw, names=0)]
    second = Piece(str(draw.random.randint(1, 99)), "AMOUNT")
    if kind < 0.89:
        after = Piece(draw.random.choice((" ", "")))
        return [first, space, *unit(draw, names=0), after, second, space, *unit(draw, names=0)]
    between = draw.random.choice((" x ", "x", " × ", "×", "-", "–", " to ", " ± ", "±", "/", " or ", " - "))
    third = [Piece(between), Piece(str(draw.random.randint(1, 99)), "AMOUNT")] if "x" in between and draw.chance(0.3) else []
    return [first, Piece(between), second, *third, space, *unit(draw, names=0)]
