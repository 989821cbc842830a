"""Everything the model cannot do: it says so, however the request is worded."""

from infra.embedded.chat import words
from infra.embedded.chat.conversation import Turn
from infra.embedded.chat.facts import DONT_KNOW, filler, sentence_slots
from infra.embedded.chat.phrasing import Speaker
from infra.embedded.chat.tool_catalog import FAMILIES, Family
from infra.embedded.chat.tools import known_tool

CODE = (
    "python",
    "java",
    "rust",
    "c",
    "javascript",
    "go",
    "php",
    "ruby",
    "bash",
    "haskell",
    "swift",
)
INTENTS = ("unknown.what", "unknown.do", "unknown.long")
ANSWERABLE = {"calculate", "addition", "product", "music", "message", "note", "exam"}
ASKABLE = tuple(family for family in FAMILIES if family.name not in ANSWERABLE)


def _snippet(speaker: Speaker) -> str:
    a, b = words.list_word(speaker, 0).lower(), words.invented(speaker)
    return speaker.rng.choice(
        (
            f"def {a}({b}): return {b} + 1",
            f"for {a} in {b}: print({a})",
            f"SELECT * FROM {a} WHERE {b} = 1",
            f"import {a}\n\n{a}.{b}()",
            f"<div>{a}</div>",
            f"x = {b}[{a}]",
            f"int {a} = {b};",
            f"TypeError: {a} is not a {b}",
            f"git {a} -m {b}",
        )
    )


def _gibberish(speaker: Speaker) -> str:
    return " ".join(words.invented(speaker) for _ in range(speaker.rng.choice((1, 1, 2, 3))))


def _slots(speaker: Speaker) -> dict[str, object]:
    rng = speaker.rng
    slots: dict[str, object] = dict(sentence_slots(speaker))
    for key in ("topic", "topic2", "topic3"):
        dice = rng.random()
        kind = rng.choice(("noun", "food", "animal", "job", "place", "name", "sport", "object"))
        slots[key] = (
            words.real(speaker, "topic") if dice < 0.5
            else words.invented(speaker) if dice < 0.65
            else words.real(speaker, kind)
        )  # fmt: skip
    for key in ("text", "text2", "text3"):
        slots[key] = filler(speaker) if speaker.chance(0.7) else words.list_word(speaker)
    return slots | {
        "place": words.place(speaker), "name": words.name(speaker), "year": rng.randint(1900, 2026),
        "language": words.real(speaker, "language"), "job": words.real(speaker, "job"),
        "n": rng.randint(2, 500), "n2": rng.randint(2, 900), "code": rng.choice(CODE),
        "snippet": _snippet(speaker), "gibberish": _gibberish(speaker),
        "gibberish2": words.list_word(speaker),
    }  # fmt: skip


def unknown(speaker: Speaker) -> Turn:
    """A request for knowledge, creation, opinion or action, of a few words or a few lines."""
    if speaker.chance(0.12):
        text, _ = known_tool(speaker, speaker.rng.choice(ASKABLE)).request(speaker)
        return Turn(text, DONT_KNOW, "unknown")
    intent = speaker.rng.choices(INTENTS, weights=(45, 43, 12))[0]
    return Turn(speaker.say(intent, **_slots(speaker)), DONT_KNOW, "unknown")


def without_tool(speaker: Speaker, taken: set[str]) -> Turn:
    """A request for a tool that is not among those given."""
    left: list[Family] = [family for family in ASKABLE if family.name not in taken]
    text, _ = known_tool(speaker, speaker.rng.choice(left)).request(speaker)
    return Turn(text, DONT_KNOW, "no_fitting_tool")
