"""Tools nobody ever heard of: the schema alone says what they are for.

Three kinds: do something with a thing (`fetch_lantern`), look up a property (`get_population`), and a
bare verb with its object (`water(plant)`).
"""

from dataclasses import dataclass, field

from infra.embedded.chat import words
from infra.embedded.chat.phrasing import Speaker
from infra.embedded.chat.tool_catalog import Parameter, Value, amount, between, code, one_of, title

ACTIONS = (
    ("get", "fetch", "show", "find", "load", "retrieve", "look up", "read"),
    ("delete", "remove", "erase", "destroy"),
    ("create", "make", "add", "build", "new"),
    ("send", "deliver", "forward", "submit"),
    ("open", "start", "launch", "run", "begin"),
    ("close", "stop", "end", "shut"),
    ("update", "change", "set", "modify", "edit"),
    ("count", "measure"),
    ("check", "test", "verify", "validate"),
    ("save", "store", "keep"),
    ("move", "shift", "transfer"),
    ("print", "display", "list"),
    ("lock", "block", "protect"),
    ("clean", "wash", "wipe"),
    ("buy", "order", "purchase"),
    ("rent", "reserve", "book"),
)
VERBS = (
    "lock", "unlock", "open", "start", "stop", "feed", "water", "paint", "clean", "repair", "scan",
    "print", "check", "block", "follow", "mute", "ban", "archive", "deploy", "restart", "ping",
    "charge", "heat", "cool", "boil", "park", "launch", "upload", "download", "install", "approve",
    "reject", "confirm", "activate", "pause", "skip", "record", "wash", "pack", "mark", "load",
)  # fmt: skip
ATTRIBUTES = (
    "population", "capital", "price", "age", "height", "distance", "size", "status", "balance",
    "score", "rating", "owner", "level", "temperature", "phone", "address", "schedule", "menu",
    "color", "weight", "speed", "currency", "language", "length", "salary", "grade", "position",
    "location", "birthday", "stock", "timezone", "version", "humidity", "author", "director",
    "altitude", "area", "email", "horoscope", "definition", "symbol", "winner", "leader", "flag",
)  # fmt: skip
FREE_KEYS = (
    "name", "id", "title", "level", "color", "size", "count", "label", "owner", "date", "format",
    "mode", "limit", "speed", "weight", "amount", "user", "key", "value", "page", "width", "height",
    "target", "source", "category", "status", "priority", "age", "email", "topic", "comment", "unit",
)  # fmt: skip
KINDS = (
    "country", "city", "person", "product", "company", "item", "player", "book", "movie", "user",
    "employee", "planet", "animal", "room", "device", "server", "team", "car", "door", "plant",
)  # fmt: skip


@dataclass(slots=True)
class FreeTool:
    """What is needed to describe such a tool and to ask for it."""

    intent: str
    name: str
    about: str
    keys: dict[str, Parameter]
    purpose: str
    slots: dict[str, object] = field(default_factory=dict)
    verbs: tuple[str, ...] = ()

    def request(self, speaker: Speaker, values: dict[str, Value]) -> str:
        slots = dict(self.slots)
        if self.intent == "tool.free.ask":
            slots |= {"does2": speaker.rng.choice(self.verbs), "with": _with(speaker, values)}
        else:
            first, *others = values
            slots |= {"value": values[first], "extra": ""}
            if others:
                rest = {key: values[key] for key in others}
                return f"{slots['verb']} {values[first]}{_with(speaker, rest, named=True)}"
        return speaker.say(self.intent, **slots)


def draw_free_tool(speaker: Speaker) -> FreeTool:
    kinds = (_thing_tool, _attribute_tool, _action_tool)
    return speaker.rng.choices(kinds, weights=(45, 32, 23))[0](speaker)


def _thing_tool(speaker: Speaker) -> FreeTool:
    rng = speaker.rng
    verbs = rng.choice(ACTIONS)
    noun = words.invented(speaker) if speaker.chance(0.5) else words.real(speaker, "noun")
    keys: dict[str, Parameter] = {}
    for _ in range(rng.choices((0, 1, 2, 3), weights=(5, 45, 33, 17))[0]):
        parameter = free_parameter(speaker)
        keys[parameter.slot] = parameter
    verb = rng.choice(verbs).replace(" ", "_")
    name = _named(speaker, verb, noun)
    does = rng.choice(verbs)
    about = speaker.line("tool.free.about", does=does, does2=does, a="a", noun=noun)
    return FreeTool("tool.free.ask", name, about, keys, noun, {"noun": noun, "tool": name}, verbs)


def _named(speaker: Speaker, verb: str, noun: str) -> str:
    snake = f"{verb}_{noun}"
    camel = f"{verb}{noun.capitalize()}"
    return speaker.rng.choice((snake, snake, f"{noun}_{verb}", camel))


def _attribute_tool(speaker: Speaker) -> FreeTool:
    rng = speaker.rng
    attribute = rng.choice(ATTRIBUTES) if speaker.chance(0.75) else words.invented(speaker)
    kind = rng.choice(KINDS)
    verb = rng.choice(("get", "get", "find", "lookup", "fetch", "check", "show"))
    name = _named(speaker, verb, attribute)
    if speaker.chance(0.3):
        name = rng.choice((attribute, f"{kind}_{attribute}", f"get_{kind}_{attribute}"))
    about = speaker.line("tool.attribute.about", attribute=attribute, kind=kind)
    key = rng.choice((kind, kind, "name", f"{kind}_name", "query", "target"))
    make = rng.choice((words.place, words.name, words.list_word, _phrase))
    parameter = Parameter(key, (key,), "string", (f"the {kind}", f"name of the {kind}"), make)
    slots: dict[str, object] = {"attribute": attribute, "kind": kind}
    return FreeTool("tool.attribute.ask", name, about, {key: parameter}, attribute, slots)


def _phrase(speaker: Speaker) -> str:
    return f"{words.list_word(speaker, 0)} {words.list_word(speaker, 0)}"


def _action_tool(speaker: Speaker) -> FreeTool:
    rng = speaker.rng
    verb = rng.choice(VERBS)
    kind = rng.choice(KINDS) if speaker.chance(0.7) else words.invented(speaker)
    name = rng.choice((verb, f"{verb}_{kind}", f"{verb}_{kind}", f"{kind}_{verb}"))
    key = rng.choice((kind, kind, "name", "item", "target", "id", "object"))
    make = rng.choice((words.name, words.list_word, words.list_word, code, _phrase))
    keys = {key: Parameter(key, (key,), "string", (f"the {kind}", f"which {kind}"), make)}
    if speaker.chance(0.25):
        extra = free_parameter(speaker)
        keys.setdefault(extra.slot, extra)
    about = speaker.line("tool.action.about", verb=verb, kind=kind)
    slots: dict[str, object] = {"verb": verb, "kind": kind}
    return FreeTool("tool.action.ask", name, about, keys, verb, slots)


def _with(speaker: Speaker, given: dict[str, Value], named: bool = False) -> str:
    """How a wording lists arguments that no trade has words for."""
    if not given:
        return ""
    rng = speaker.rng
    shown = {key: key if speaker.chance(0.6) else key.replace("_", " ") for key in given}
    link = rng.choice((" ", " ", "=", ": ", " is ", " set to "))
    parts = [f"{shown[key]}{link}{_said(value)}" for key, value in given.items()]
    lead = rng.choice((" with ", " with ", " for ", ", ", ": ", " using "))
    joined = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    if len(parts) == 1 and not named and speaker.chance(0.4):
        lead = rng.choice((" for ", " ", " of ", " with ", " named "))
        joined = _said(next(iter(given.values())))
    return lead + joined


def _said(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def free_parameter(speaker: Speaker) -> Parameter:
    """A parameter that only the schema explains."""
    rng = speaker.rng
    key = rng.choice(FREE_KEYS) if speaker.chance(0.7) else words.invented(speaker)
    if speaker.chance(0.15):
        key = f"{words.invented(speaker)}_{key}"
    kind = rng.choices(("string", "integer", "number", "boolean"), weights=(58, 27, 11, 4))[0]
    about = (f"the {key.replace('_', ' ')}", f"{key.replace('_', ' ')} of the item")
    match kind:
        case "integer":
            return Parameter(key, (key,), kind, about, between(0, 2000))
        case "number":
            return Parameter(key, (key,), kind, about, amount)
        case "boolean":
            return Parameter(key, (key,), kind, about, lambda s: s.chance(0.5))
    if speaker.chance(0.2):
        options = tuple(words.distinct(speaker, words.list_word, rng.randint(2, 4)))
        return Parameter(key, (key,), kind, about, one_of(options), options)
    make = rng.choice((words.name, words.place, words.list_word, words.list_word, code, title))
    return Parameter(key, (key,), kind, about, make)
