"""Templates to measure on. Training never sees them, nor the glosses and words that fill them."""

SENTENCES = """
Our next get-together takes place {date}, doors open {time}.
Could you reschedule to {date}? I am busy until {time}.
The contract was signed on {date} and ends {date}.
Sunrise was at {time}, sunset will be at {time}.
Between {time} and {time} nobody answered the door.
I moved here on {date}.
{name} was last seen on {date} around {time} near the {word}.
The lecture ({date}, {time}) has been cancelled.
Since {date}, {gloss}
A deposit of {money} is required; the balance of {money} follows on {date}.
Shares fell from {money} to {money} after the news.
She bought a {word} for {money} and sold it for {money}.
Tickets: adults {money}, children {money}.
Your card ending {n} was charged {money} on {date}.
At {money} per {unit} this is cheap.
Slow down to {quantity} when the load is more than {quantity}.
Rotate the {word} by {quantity}, wait for {quantity}, and lower it {quantity}.
The robot carries {quantity} over a distance of {quantity}.
With {quantity} left in the battery we can go another {quantity}.
The pipe has a diameter of {quantity} and a wall of {quantity}.
Stir in {quantity} sugar after {quantity}.
Sensors sample at {quantity} with a delay of {quantity}.
The {word} heats up from {quantity} to {quantity} within {quantity}.
Results are reported in {unit}; older ones are in {unit}.
Which is larger, {unit} or {unit}?
Please use {unit} instead of {unit} in {words}.
If anything breaks, drop a line to {email} or ring {phone}.
My new address: {email} (the old one, {email}, still works).
Forward this to {email} before {time}.
Dial {phone}, ask for {name}.
In an emergency ring {phone} or {phone} day and night.
The clinic can be reached under {phone} from {time}.
Documentation lives under {url}, examples under {url}.
According to {url} (read on {date}), {gloss}
Sign up via {url} until {date}.
Have you seen {url}? {gloss}
We tested {n} {word} in {negative}, {negative}.
{name} opened {negative} and found {n} {word}.
The {word} of {negative} is {words}, says {name}.
{gloss} {gloss}
Leaving {date} {time}, back {date} {time}; in urgent cases {phone}.
Thanks {name}! I sent you {money}, see {url}. {name}
"""

FORMS = """
when: {date}, {time}\\nwhere: {words}\\nhow much: {money}
{name};{date};{phone};{email}
| {word} | {quantity} | {money} |
{timestamp} [{word}] DEBUG {word} took {quantity}
level={word} ts={timestamp} url={url} took={quantity}
{"when": "{timestamp}", "speed": "{quantity}", "contact": "{email}"}
{word}_limit: {quantity}    # was {quantity}
{name} / {phone} / {email}
{n}) {word} - {quantity} - {money}
Pickup {date} {time}; drop-off {date} {time}
{word} ({unit}): {n}, {word} ({unit}): {n}
// {name}, {date}: {words}, see {url}
"""

OTHER_LANGUAGES = """
Der Zug fährt am {date} um {time} ab und kostet {money}.
Ihr Paket wiegt {quantity}; Fragen an {email} oder {phone}.
La réunion du {date} commence à {time} ; le billet coûte {money}.
Veuillez consulter {url} ou téléphoner au {phone}.
El tren sale el {date} a las {time} y pesa {quantity}.
Il biglietto costa {money}; informazioni: {email}, {phone}.
"""

HELD_OUT = tuple(line.replace("\\n", "\n") for text in (SENTENCES, FORMS, OTHER_LANGUAGES) for line in text.strip().split("\n"))
