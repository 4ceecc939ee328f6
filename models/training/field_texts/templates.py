"""Templates to train on, one a line: texts with the names of fields in braces. None is in held_out.py."""

SENTENCES = """
Meet me at {time} on {date}.
The meeting is on {date} at {time}
Let's meet {date} at {time}, room {n}.
See you {date}!
We leave on {date} and come back on {date}.
From {date} to {date} the office is closed.
Open from {time} to {time}, closed on {date}.
Opening hours: {date} {time}-{time}
{date}, {time}: {gloss}
On {date}, {gloss}
It was {time} when {gloss}
By {time} {gloss}
{gloss} It happened on {date}.
Are you free on {date}?
Can we move the call from {time} to {time}?
Please be there before {time}, not after {time}.
The train leaves at {time} and arrives at {time}.
Deadline: {date}
Due {date}, {money}
Valid until {date}
born {date}
Born on {date} in {name}
Published {date} by {name}
Last updated: {date} {time}
{name} wrote on {date} at {time}:
Reminder: {words} {date} {time}
Wake me up at {time}
Set an alarm for {time} on {date}
Remind me in {quantity} to {words}
Wait {quantity}, then {words}
The shop closes at {time}, so come by {time} at the latest.
Every {date} at {time}
The backup runs daily at {time}.
It costs {money}.
The {word} costs {money}, the {word} {money}
I paid {money} for the {word} and {money} for the {word}.
Total: {money}
Total due {money} by {date}
Price {money} incl. VAT
{name} owes {name} {money}
{money} per {unit}
only {money}!
From {money} a {word}
They raised {money} in {n}.
A fine of up to {money}
The budget is {money}, of which {money} is spent
Please transfer {money} to account {n} before {date}.
Invoice {n}, {date}: {money}
Add {quantity} of {word} and {quantity} of {word}.
Drive {quantity} at {quantity}
Move {quantity} forward and turn {quantity} to the left
Go back {quantity}
go {quantity} then stop
lift the {word} by {quantity}
The {word} is {quantity} long and weighs {quantity}
It is {quantity} wide, {quantity} high and {quantity} deep.
weight {quantity}, length {quantity}
The battery gives {quantity} for {quantity}.
Keep it below {quantity} and above {quantity}.
At {quantity} the {word} {words}
a {quantity} {word}
Run it for {quantity} at {quantity}
It takes {quantity} from here.
The motor draws {quantity} at {quantity}
Speed: {quantity}
max. {quantity}
between {quantity} and {quantity}
about {quantity} of {word}
more than {quantity}
<{quantity}
~{quantity}
The temperature rose to {quantity} at {time}.
It is {quantity} outside
{quantity} later, {gloss}
The error is {quantity} of the range
Power {quantity} | voltage {quantity} | current {quantity}
The distance is given in {unit}.
measured in {unit}
Convert {unit} to {unit}
How many {unit} are there in {quantity}?
Speed [{unit}]
Length ({unit})
{word} / {unit}
The unit is {unit}, not {unit}
All values in {unit} unless stated otherwise.
{word} in {unit}; {word} in {unit}
set the unit to {unit}
{unit} or {unit}?
Write to {email}
Write to {email} or call {phone}.
Email: {email}
E-mail {email}, phone {phone}
mail me: {email}
Contact {name} <{email}>
{name} ({email})
Send it to {email} and {email}, please.
Questions? {email}
cc {email}; bcc {email}
From: {name} <{email}>
To: {email}
Reply-To: {email}
My address is {email}, not {email}.
mailto:{email}
Call {phone}
Call me at {phone} after {time}
Tel. {phone}
Tel.: {phone}, Fax: {phone}
tel:{phone}
Phone {phone} (office), {phone} (mobile)
You can reach me on {phone} until {time}.
Our number is {phone}
{name}, {phone}
Hotline {phone}, {date} to {date}
WhatsApp: {phone}
text {name} on {phone}
Fax {phone}
Visit {url}
See {url} for details.
More at {url}
More at {url}, or write to {email}.
{url}
<{url}>
({url})
[{word}]({url})
<a href="{url}">{words}</a>
The manual is at {url}.
Download {url} and {words}
Go to {url}, click on {word}
Source: {url}, {date}
git clone {url}
curl -s {url} | grep {word}
Read {url}; then {words}.
Is {url} down?
Follow us on {url}!
API: {url}
{gloss} ({url})
{gloss} {negative}
{negative} {gloss}
{negative}, {negative} and {negative}
The {word} has {negative}.
See {negative} of {negative}
{word} {negative} {word} {negative}
{gloss}
{gloss} {gloss}
{foreign} {gloss}
{gloss} {foreign}
{foreign} {date} {foreign} {time}
{foreign} {email}{foreign}
{foreign} {money} {foreign}{quantity}
I saw {n} {word} and {n} {word}.
{n} of the {n} {word} are {words}
{name} has {n} {word}
Room {n}, floor {n}
Version {n} of {words}, {date}
Order {n} arrives {date} between {time} and {time}.
Your parcel {n} will be delivered on {date}. Track it at {url}
Hi {name}, the {word} is {money}. Call {phone} or mail {email}. {name}
Dear {name}, {gloss} Yours, {name} {phone} {email}
Best regards, {name} | {email} | {phone} | {url}
{name}, {words} Inc., {phone}, {email}, {url}
Book a table for {n} on {date} at {time}
Ticket {n}: {date} {time}, {money}
Rent {money} a month, {quantity}, from {date}
The race on {date} is {quantity} long, starts at {time} and costs {money}.
Flight {n} on {date}, {time} - {time}
"""

FORMS = """
{word}: {date}
{word}: {time}
{word}: {money}
{word}: {quantity}
{word}: {email}
{word}: {phone}
{word}: {url}
{word}={quantity}
{word} = {quantity}  # {words}
{word}={date}
{word} {word} {quantity}
Date: {date} Time: {time}
Date;Time;Amount
{date};{time};{money}
{date},{time},{quantity},{word}
{date} | {time} | {money} | {word}
{word},{email},{phone}
{word}\t{quantity}\t{money}
{n}. {word} {money}
{n}x {word} {money}
- {word}, {quantity}
- {words} ({date})
* {time} {words}
• {time}–{time} {words}
{"date": "{date}", "time": "{time}"}
{"email": "{email}", "phone": "{phone}"}
{"{word}": "{quantity}", "{word}": {n}}
{"url": "{url}", "id": {n}}
<{word}>{date}</{word}>
[{timestamp}] {gloss}
{timestamp} INFO {words}
{timestamp} WARN {word} {quantity} > {quantity}
[{time}] {word}: {words}
{timestamp} ERROR GET {url} {n}
{timestamp},{quantity},{quantity}
{date} {time} {name}: {gloss}
'{date}'
"{time}"
({quantity})
[{money}]
({email})
{date}/{time}
{quantity}; {quantity}; {quantity}
{quantity}, {quantity}, {quantity}
{email}, {email}, {email}
{time}, {time} and {time}
{date}, {date}, {date}
{phone} / {phone}
Name: {name}
Phone: {phone}
Price/{unit}: {money}
{word} [{unit}] | {word} [{unit}]
{word} ({unit}) | {quantity}
"""

OTHER_LANGUAGES = """
Treffen am {date} um {time}.
Wir sehen uns {date} um {time} in Raum {n}.
Bitte bis {date} an {email} senden.
Das kostet {money} pro {unit}, also {money}.
Rufen Sie uns an: {phone}, {date} bis {date} von {time} bis {time}.
Fahre {quantity} vor und drehe dich um {quantity}
Gewicht: {quantity}, Länge: {quantity}
Weitere Infos unter {url}.
Rendez-vous le {date} à {time}, salle {n}.
Le prix est de {money}, livraison le {date}.
Écrivez à {email} ou appelez le {phone}.
Avancez de {quantity} puis tournez de {quantity}.
Plus d'infos sur {url} !
Nos vemos el {date} a las {time}.
Cuesta {money}. ¿Llamas al {phone}?
Escríbeme a {email}, por favor.
Avanza {quantity} y gira {quantity}
Ci vediamo il {date} alle {time}
Costa {money}, spedizione {date}
Scrivi a {email} o chiama {phone}
Vergadering op {date} om {time}.
Bel {phone} of mail {email}
Reunião em {date} às {time}, custa {money}
Spotkanie {date} o {time}, tel. {phone}
日時：{date} {time}、場所：{foreign}
電話：{phone}、メール：{email}
价格：{money}，电话：{phone}
"""

TRAINED = tuple(line for text in (SENTENCES, FORMS, OTHER_LANGUAGES) for line in text.strip().split("\n"))
