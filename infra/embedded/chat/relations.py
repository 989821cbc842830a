"""What facts can be about: who or what they are of, what they say, and how they are answered.

The wordings of relation `lives` are under `[fact.lives]` (statements), `.ask` (forwards), `.who`
(backwards) and `.is` (yes or no).
"""

from collections.abc import Callable
from dataclasses import dataclass

from infra.embedded.chat import words
from infra.embedded.chat.phrasing import Speaker

Maker = Callable[[Speaker], str]


def _real(kind: str) -> Maker:
    return lambda speaker: words.real(speaker, kind)


def either(*kinds: str, invented: float = 0.2) -> Maker:
    def make(speaker: Speaker) -> str:
        if speaker.chance(invented):
            return words.invented(speaker)
        return words.real(speaker, speaker.rng.choice(kinds))

    return make


def thing(speaker: Speaker) -> str:
    found = either("object", "object", "noun", "animal")(speaker)
    if speaker.chance(0.35):
        kind = speaker.rng.choice(("color", "adjective"))
        return f"{words.real(speaker, kind)} {found}"
    return found


def _spot(speaker: Speaker) -> str:
    return either("spot", invented=0.1)(speaker)


def _number(low: int, high: int) -> Maker:
    return lambda speaker: str(speaker.rng.randint(low, high))


def article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _bought(speaker: Speaker) -> str:
    bought = thing(speaker)
    return f"{speaker.rng.choice((article(bought), article(bought), 'the'))} {bought}"


def _code(speaker: Speaker) -> str:
    rng = speaker.rng
    dice = rng.random()
    if dice < 0.35:
        return str(rng.randint(10, 99999))
    if dice < 0.5:
        letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.randint(1, 3)))
        return f"{letters}{rng.choice(('', '-'))}{rng.randint(1, 999)}"
    if dice < 0.75:
        return words.invented(speaker)
    return either("code_word", "noun", "color", invented=0.1)(speaker)


def _date(speaker: Speaker) -> str:
    rng = speaker.rng
    return rng.choice(
        (
            f"on {words.real(speaker, 'day')}",
            f"on {words.real(speaker, 'day')}",
            f"at {rng.randint(1, 12)} {rng.choice(('am', 'pm'))}",
            f"at {rng.randint(0, 23)}:{rng.randrange(0, 60, 5):02d}",
            f"on {words.real(speaker, 'month')} {rng.randint(1, 30)}",
            f"in {words.real(speaker, 'month')}",
        )
    )


def _colored_animal(speaker: Speaker) -> str:
    animal = words.real(speaker, "animal")
    return f"{words.real(speaker, 'color')} {animal}" if speaker.chance(0.25) else animal


def _clock(speaker: Speaker) -> str:
    rng = speaker.rng
    if speaker.chance(0.5):
        return f"{rng.randint(1, 12)} {rng.choice(('am', 'pm'))}"
    return f"{rng.randint(0, 23)}:{rng.randrange(0, 60, 5):02d}"


def _price(speaker: Speaker) -> str:
    return f"{speaker.rng.randint(2, 500)} {speaker.rng.choice(('euros', 'dollars', 'pounds'))}"


def _capital_name(speaker: Speaker) -> str:
    return words.invented(speaker).capitalize()


VERBS = {
    "buy": "bought", "eat": "ate", "see": "saw", "lose": "lost", "find": "found", "sell": "sold",
    "make": "made", "paint": "painted", "break": "broke", "steal": "stole", "take": "took",
    "bring": "brought", "carry": "carried", "clean": "cleaned", "draw": "drew", "hide": "hid",
    "open": "opened", "repair": "repaired", "throw": "threw", "wash": "washed", "want": "wanted",
    "order": "ordered", "build": "built", "catch": "caught", "choose": "chose", "drop": "dropped",
}  # fmt: skip
HABITS: tuple[tuple[str, str, str, Maker], ...] = (
    ("play", "plays", "instrument", lambda s: f"the {words.real(s, 'instrument')}"),
    ("play", "plays", "sport", _real("sport")),
    ("speak", "speaks", "language", _real("language")),
    ("study", "studies", "subject", _real("subject")),
    ("teach", "teaches", "subject", _real("subject")),
    ("drive", "drives", "car", lambda s: f"a {words.real(s, 'color')} car"),
    ("wear", "wears", "thing", lambda s: f"a {words.real(s, 'color')} {words.real(s, 'object')}"),
    ("eat", "eats", "food", either("food")),
    ("drink", "drinks", "drink", either("food")),
    ("collect", "collects", "thing", lambda s: f"{words.real(s, 'object')}s"),
    ("have", "has", "pet", lambda s: f"a {_colored_animal(s)}"),
    ("own", "owns", "thing", lambda s: f"a {thing(s)}"),
    ("hate", "hates", "thing", either("food", "animal", "noun")),
    ("need", "needs", "thing", lambda s: f"a {thing(s)}"),
    ("use", "uses", "thing", lambda s: f"the {thing(s)}"),
    ("visit", "visits", "city", words.place),
    ("know", "knows", "person", words.name),
    ("love", "loves", "person", words.name),
)  # fmt: skip
SIZES = tuple(
    f"{unit} {how}"
    for unit, hows in (("meters", "tall long wide high deep"), ("km", "long away wide"),
                       ("kg", "heavy"), ("years", "old"), ("cm", "long tall wide thick"))
    for how in hows.split()
)  # fmt: skip
ATTRIBUTES: dict[str, Maker] = {
    "favorite color": _real("color"),
    "favorite food": either("food"),
    "favorite animal": either("animal"),
    "favorite number": _number(0, 999),
    "favorite sport": _real("sport"),
    "name": words.name,
    "surname": _real("surname"),
    "nickname": words.name,
    "hometown": words.place,
    "city": words.place,
    "country": words.place,
    "phone number": _number(1000, 999999),
    "room number": _number(1, 400),
    "birthday": lambda s: f"{words.real(s, 'month')} {s.rng.randint(1, 30)}",
    "best friend": words.name,
    "mother": words.name,
    "boss": words.name,
    "teacher": words.name,
    "brother's name": words.name,
    "dog": words.name,
    "cat's name": words.name,
    "job": _real("job"),
    "age": _number(5, 99),
    "password": _code,
    "code": _code,
    "lucky number": _number(0, 99),
    "car": _real("color"),
    "language": _real("language"),
    "instrument": _real("instrument"),
    "hobby": either("sport", "noun"),
    "company": _capital_name,
    "street": _capital_name,
    "subject": _real("subject"),
}
COMPANIONS = (
    "dog", "cat", "horse", "parrot", "rabbit", "sister", "brother", "boss", "teacher", "boat", "son",
    "daughter", "wife", "husband", "friend", "neighbor", "robot", "hamster", "company", "band", "car",
    "best friend", "cousin", "doctor", "team", "fish", "mother", "father", "school", "project",
)  # fmt: skip
THING_NAMES = (
    "code", "password", "secret word", "magic word", "key word", "pin", "answer", "winner", "number",
    "order number", "flight number", "room number", "gate", "address", "title", "topic", "theme",
    "price", "score", "name of the dog", "name of the project", "name of the ship", "color of the day",
    "word of the day", "meeting room", "team leader", "secret ingredient", "account number",
    "first prize", "date", "deadline", "username", "wifi password", "door code", "license plate",
)  # fmt: skip
EVENTS = (
    "meeting", "party", "concert", "exam", "lesson", "game", "wedding", "train", "flight", "show",
    "lunch", "dinner", "training", "interview", "trip", "festival", "deadline", "test", "race",
    "appointment", "class", "workshop", "dentist appointment", "soccer game", "math test",
)  # fmt: skip
TIES = (
    "married to", "engaged to", "a friend of", "the brother of", "the sister of", "the boss of",
    "the mother of", "the father of", "the teacher of", "a neighbor of", "taller than", "older than",
    "a cousin of", "the son of", "the daughter of", "angry with", "in love with", "younger than",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Relation:
    """How facts of one kind are made and answered; wordings are under `[fact.<name>]`."""

    name: str
    subject: Maker
    object: Maker
    answer: str
    inverse: str = ""
    weight: float = 1.0


RELATIONS = (
    Relation("lives", words.name, words.place, "{s} lives in {o}.",
             "The one who lives in {o} is {s}.", 2),
    Relation("job", words.name, either("job", invented=0.1), "{s} is {a} {o}.",
             "The {o} is {s}."),
    Relation("likes", words.name, either("food", "animal", "sport", "noun"), "{s} likes {o}.",
             "The one who likes {o} is {s}."),
    Relation("color", either("object", "color_noun", "noun"), _real("color"), "The {s} is {o}.",
             "The thing that is {o} is the {s}."),
    Relation("spot", thing, _spot, "The {s} is in the {o}.",
             "The thing in the {o} is the {s}.", 2),
    Relation("age", words.name, _number(3, 99), "{s} is {o} years old.",
             "The one who is {o} years old is {s}."),
    Relation("capital", words.place, words.place, "The capital of {s} is {o}.",
             "{o} is the capital of {s}.", 0.7),
    Relation("attribute", words.name, _code, "{s}'s {t} is {o}.", "{o} is the {t} of {s}.", 1.5),
    Relation("mine", words.name, _code, "Your {t} is {o}.", "", 2),
    Relation("thing", words.name, _code, "The {t} is {o}.", "", 1.7),
    Relation("did", words.name, _bought, "{s} {past} {o}.", "The one who {past} {o} is {s}.", 1.3),
    Relation("count", words.name, _number(2, 60), "{s} has {o} {t}.",
             "The one who has {o} {t} is {s}.", 0.7),
    Relation("when", lambda s: s.rng.choice(EVENTS), _date, "The {s} is {o}.",
             "The event {o} is the {s}.", 0.8),
    Relation("price", thing, _price, "The {s} costs {o}.", "The thing for {o} is the {s}.", 0.7),
    Relation("owner", words.name, thing, "{s} owns the {o}.", "The owner of the {o} is {s}."),
    Relation("married", words.name, words.name, "{s} is {t} {o}.",
             "The one who is {t} {o} is {s}."),
    Relation("does", words.name, words.name, "{s} {verb} {o}.",
             "The one who {verb} {o} is {s}.", 1.2),
    Relation("size", thing, lambda s: str(s.rng.randint(2, 900)), "The {s} is {o} {t}.",
             "The thing that is {o} {t} is the {s}.", 0.5),
    Relation("pet", words.name, _colored_animal, "{s} is {a} {o}.", "The {o} is {s}.", 0.8),
    Relation("gave", words.name, words.name, "{s} gave the {t} to {o}.",
             "{o} got the {t} from {s}.", 0.8),
    Relation("opens", either("spot", invented=0.15), _clock, "The {s} opens at {o}.",
             "The place that opens at {o} is the {s}.", 0.4),
    Relation("named", words.name, words.name, "{s}'s {t} is called {o}.",
             "{o} is the {t} of {s}."),
    Relation("my_named", words.name, words.name, "Your {t} is called {o}.", "{o} is your {t}.",
             1.1),
    Relation("me_lives", words.name, words.place, "You live in {o}.", weight=0.5),
    Relation("me_from", words.name, words.place, "You come from {o}.", weight=0.3),
    Relation("me_age", words.name, _number(3, 99), "You are {o} years old.", weight=0.4),
    Relation("me_job", words.name, either("job", invented=0.1), "You are {a} {o}.", weight=0.4),
    Relation("me_likes", words.name, either("food", "animal", "sport", "noun"),
             "You like {o}.", weight=0.4),
    Relation("me_did", words.name, _bought, "You {past} {o}.", weight=0.4),
    Relation("kind", words.invented, either("animal", "object", "food", "noun", invented=0.0),
             "{S} means {o}.", "The word for {o} is {s}.", 0.5),
)  # fmt: skip
WEIGHTS = tuple(relation.weight for relation in RELATIONS)
