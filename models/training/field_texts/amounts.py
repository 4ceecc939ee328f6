"""Money, quantities and units. A quantity is a number, which is an amount, and the name of its unit."""

from __future__ import annotations

from field_texts.draw import Draw, Formats, Piece

SYMBOLS = Formats(
    tuple(
        "m km cm mm µm μm nm kg g mg µg t lb lbs oz s ms µs min h d °C °F K V mV kV A mA Ah mAh W kW MW kWh Wh Hz kHz MHz GHz Ω kΩ MΩ N Nm N·m "
        "kN Pa hPa kPa MPa bar mbar psi l L ml mL dl cl m/s km/h kph mph m/s² m/s^2 rpm RPM rad/s deg/s °/s ° dB dBm lx lm cd B kB MB GB TB KiB MiB GiB Mbit/s "
        "Mbps Gbps kbit/s fps m² m2 m³ m3 cm² cm³ km² ha mol J kJ MJ kcal µF nF pF mH T mT px % % % ‰ ppm ft yd mi kt hr hrs sec mins "
        "l/min L/min g/cm³ kg/m³ W/m² kn".split()
    ),
    tuple("dm hm mΩ µV GW Gbit/s TiB cm/s mm/s rad N/m kg·m² fl_oz L/h m³/h MPixel µA Torr krpm kVA ft/s in²".split()),
)
NAMES = Formats(
    tuple(
        "metre metres meter meters kilometre kilometres kilometer kilometers centimetre centimetres centimeters millimetre millimetres millimeters "
        "micrometres kilogram kilograms kilo kilos gram grams milligrams tonne tonnes tons ounces second seconds millisecond milliseconds "
        "minute minutes hour hours day days week weeks month months year years degree degrees degrees_Celsius degrees_Fahrenheit kelvin volt volts "
        "millivolts kilovolts amp amps amperes milliamps watt watts kilowatt kilowatts megawatts kilowatt-hours kilowatt_hours hertz kilohertz "
        "megahertz gigahertz ohm ohms newton newtons newton_metres newton_meters pascal pascals kilopascals bars litre litres liter liters "
        "millilitres milliliters gallon gallons metres_per_second meters_per_second kilometres_per_hour kilometers_per_hour miles_per_hour "
        "revolutions_per_minute radians radians_per_second degrees_per_second decibels lux lumens bits byte bytes kilobytes megabytes "
        "gigabytes frames_per_second pixels square_metres square_meters cubic_metres square_feet hectares acres joules kilojoules calories "
        "farads percent per_cent feet foot inch inches miles mile yards knots turns Meter Kilometer Zentimeter Millimeter Kilogramm Gramm "
        "Sekunden Minuten Stunden Tage Grad Liter Prozent mètres kilomètres centimètres secondes heures jours degrés kilogrammes metros "
        "kilómetros segundos minutos horas días grados litros metri secondi gradi chilometri".split()
    ),
    tuple(
        "nautical_miles hectopascals microseconds microvolts millinewtons terabytes nanometres decimetres furlongs cubic_feet feet_per_second "
        "litres_per_minute kilonewtons milliseconds_per_frame Kilometer_pro_Stunde semaines années pulgadas".split()
    ),
)
CURRENCIES = "$ $ $ € € £ £ ¥ ₹ US$".split()
CODES = "USD EUR EUR GBP CHF JPY INR CAD AUD SEK NOK DKK PLN CZK CNY".split()
COINS = "dollars euros euro dollar cents pounds yen rupees francs kronor Euro pesos".split()
SPELLED = (
    "one two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty sixty eighty ninety half "
    "twenty-five forty-two sixty-four a_hundred one_hundred two_hundred three_hundred a_thousand five_thousand two_million"
)
MONEY = Formats(
    tuple(
        "{s}{n}|{s}{n}|{s}{n}.{c}|{s}{n}.{c}|{s}{g}.{c}|{s}{g}|{s} {n}|{s}{n}k|{s}{n}m|{s}{p}bn|{s}{p} million|{n} {s}|{n},{c} {s}|{n},{c}{s}|{n}{s}|"
        "{gd},{c} €|{gd} €|{code} {n}|{code} {n}.{c}|{code} {g}|{n} {code}|{n}.{c} {code}|{n},{c} {code}|{g} {code}|{n} {coin}|{n} {coin}|{g} {coin}|"
        "{p} million {coin}|{word} {coin}|{word} {coin}|-{s}{n}.{c}|{n} cents|CHF {n}.–|{gs} €"
        .split("|")
    ),
    tuple(
        "{code}{n}|{s}{n}/-|{gd},{c} {code}|{s}{p}M|{s}{p} billion|{n}.{c} {coin}|{word} thousand {coin}|A{s}{n}.{c}|({s}{n}.{c})"
        .split("|")
    ),
)
NUMBERS = Formats(
    tuple("{n}|{n}|{n}|{n}|{small}|{small}|{p}|{p}|{p}|{pc}|{g}|{g}.{d}|{gd}|0.{c}|0,{c}|-{n}|-{p}|±{p}|+{n}|{word}|{word}|1/{d}|{n}½|{d}e-{d}|{gs}".split("|")),
    tuple("{d} {d}/{d}|.{c}|{d}×10^{d}|{p}e{d}|−{n}|{n}'{c}0|¾".split("|")),
)  # fmt: skip


def _filled(draw: Draw, formats: Formats) -> str:
    random = draw.random
    number = random.choice((random.randint(1, 9), random.randint(10, 99), random.randint(100, 999), random.choice((15, 20, 25, 50, 100, 250, 500))))
    large, thousands = random.randint(1, 999), random.randint(0, 999)
    return draw.format(formats).format(
        n=number, small=random.randint(0, 12), d=random.randint(1, 9), c=f"{random.randint(0, 99):02}", p=f"{number}.{random.randint(0, 9)}",
        pc=f"{number},{random.randint(0, 9)}", g=f"{large},{thousands:03}", gd=f"{large}.{thousands:03}", gs=f"{large} {thousands:03}",
        s=random.choice(CURRENCIES), code=random.choice(CODES), coin=random.choice(COINS),
        word=random.choice(SPELLED.split()).replace("_", " "),
    )  # fmt: skip


def money(draw: Draw) -> list[Piece]:
    """A sum with its currency."""
    text = _filled(draw, MONEY)
    bare = text.strip("()")
    return [Piece(text[: text.index(bare)]), Piece(bare, "AMOUNT"), Piece(text[text.index(bare) + len(bare) :])]


def number(draw: Draw) -> Piece:
    """The number of a quantity."""
    return Piece(_filled(draw, NUMBERS), "AMOUNT")


def unit(draw: Draw, names: float = 0.45) -> list[Piece]:
    """A unit: its name in this share of calls, else its symbol."""
    return [Piece(draw.format(NAMES if draw.chance(names) else SYMBOLS).replace("_", " "), "UNIT")]


def quantity(draw: Draw) -> list[Piece]:
    """A number and its unit, or a few: `2 h 30 min`, `30 x 40 cm`, `5-10 kg`, `25 ± 0.5 mm`."""
    first, kind = number(draw), draw.random.random()
    if first.text[-1].isalpha() or kind < 0.45:
        return [first, Piece(draw.random.choice((" ", " ", " ", " ", "-"))), *unit(draw, names=1)]
    space = Piece(draw.random.choice(("", " ", " ", "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}")))
    if kind < 0.85:
        return [first, space, *unit(draw, names=0)]
    second = Piece(str(draw.random.randint(1, 99)), "AMOUNT")
    if kind < 0.89:
        return [first, space, *unit(draw, names=0), Piece(draw.random.choice((" ", ""))), second, space, *unit(draw, names=0)]
    between = draw.random.choice((" x ", "x", " × ", "×", "-", "–", " to ", " ± ", "±", "/", " or ", " - "))
    third = [Piece(between), Piece(str(draw.random.randint(1, 99)), "AMOUNT")] if "x" in between and draw.chance(0.3) else []
    return [first, Piece(between), second, *third, space, *unit(draw, names=0)]
