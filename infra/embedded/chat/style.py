"""Instructions about the form of an answer, given by the system or by the visitor."""

import json
from dataclasses import dataclass

from infra.embedded.chat import words
from infra.embedded.chat.conversation import Answer
from infra.embedded.chat.phrasing import Speaker

KINDS = {
    "upper": 20, "lower": 12, "one_word": 16, "json": 16, "json_key": 5, "prefix": 14, "suffix": 6,
    "yes_no": 2,
}  # fmt: skip
KEYS = ("answer", "result", "response", "value", "output", "reply", "text", "data", "content")
OPENINGS = (
    "OK:", "OK,", "Sure!", "Sure,", "Yes sir,", "Ahoy,", "Answer:", "Hello,", "Well,", "Dear user,",
    "[bot]", "Bot:", "AI:", "Result:", "Hm,", "Listen:", "My friend,", ">>", "Beep!", "Arr,", "Okay",
)  # fmt: skip
ENDINGS = (
    "Over.",
    "Bye!",
    "sir",
    "my friend.",
    "Amen.",
    "Done.",
    "!!!",
    "The end.",
    "Beep.",
    "OK?",
    "#",
)
FRAMES = (
    "{I}. {q}", "{I}. {q}", "{I}: {q}", "{q} {I}.", "{q} {I}", "{q} ({i})", "{q}\n{I}.", "{I}.\n{q}",
    "{I}! {q}", "{q} - {i}", "{i}: {q}", "{q}, {i}",
)  # fmt: skip


@dataclass(slots=True)
class Style:
    """One instruction: its wording without a full stop, and what it asks for."""

    kind: str
    wording: str
    detail: str = ""

    def apply(self, answer: Answer) -> str | None:
        """The styled answer, or None where this style has no good one."""
        match self.kind:
            case "upper":
                return answer.full.upper()
            case "lower":
                return answer.full.lower()
            case "one_word":
                return answer.short
            case "yes_no":
                return answer.short if answer.short in ("Yes", "No") else None
            case "json" | "json_key":
                return _json(answer, self.detail)
            case "prefix":
                return f"{self.detail} {answer.full}"
            case "suffix":
                return f"{answer.full} {self.detail}"
        return answer.full


def _json(answer: Answer, key: str) -> str:
    """The working comes first, so that the model can still write it down."""
    value: dict[str, str] = {}
    text = answer.text
    if answer.steps:
        value["steps"] = answer.steps.rstrip(" .:")
        text = text.removeprefix("Answer: ").removeprefix("Count: ").rstrip(".")
    value[key] = text
    return json.dumps(value, ensure_ascii=False)


def _mark(speaker: Speaker, fixed: tuple[str, ...]) -> str:
    if speaker.chance(0.45):
        return speaker.rng.choice(fixed)
    word = words.list_word(speaker, 0.05)
    word = (
        word.capitalize() if speaker.chance(0.5) else word.upper() if speaker.chance(0.2) else word
    )
    return word + speaker.rng.choice(("", ":", "!", ",", "."))


def draw_style(speaker: Speaker, kind: str | None = None) -> Style:
    kind = kind or speaker.rng.choices(tuple(KINDS), weights=tuple(KINDS.values()))[0]
    rng = speaker.rng
    if kind == "json":
        blank = rng.choice(("...", "…", "your answer", "text", "<answer>", "<text>"))
        key = "answer" if speaker.chance(0.8) else rng.choice(KEYS)
        wording = speaker.line("style.json", example=json.dumps({key: blank}, ensure_ascii=False))
        return Style(kind, wording, key if "{" in wording else "answer")
    if kind == "json_key":
        key = rng.choice(KEYS) if speaker.chance(0.6) else words.invented(speaker)
        shown = rng.choice((key, f'"{key}"', f"'{key}'"))
        return Style(kind, speaker.line("style.json_key", key=shown), key)
    if kind in ("prefix", "suffix"):
        mark = _mark(speaker, OPENINGS if kind == "prefix" else ENDINGS)
        left, right = rng.choice((('"', '"'), ('"', '"'), ("'", "'"), ("", ""), ("“", "”")))
        return Style(kind, speaker.line(f"style.{kind}", p=f"{left}{mark}{right}"), mark)
    return Style(kind, speaker.line(f"style.{kind}"))


def draw_persona(speaker: Speaker) -> Style:
    """A name, or a trade, under which the model must answer."""
    job = words.real(speaker, "job")
    if speaker.chance(0.25):
        article = "an" if job[0] in "aeiou" else "a"
        return Style(
            "persona", f"{speaker.rng.choice(ROLE_LINES)} {article} {job}", f"{article} {job}"
        )
    name = words.name(speaker)
    if speaker.chance(0.2):
        name = f"{speaker.rng.choice(TITLES)} {name.split(' ')[0]}"
    wording = speaker.line(
        "style.persona", p=name, job=job, adjective=words.real(speaker, "adjective"),
        place=words.place(speaker),
    )  # fmt: skip
    return Style("persona", wording, name)


TITLES = ("Captain", "Dr.", "Professor", "Mr.", "Mrs.", "King", "Queen", "Lady", "Sir", "Agent")
ROLE_LINES = ("you are", "you are", "act as", "pretend to be", "you play", "your role is")


def neutral(speaker: Speaker) -> str:
    """A system prompt that asks for nothing in particular."""
    count = speaker.rng.choice((1, 1, 1, 2, 3))
    day = words.real(speaker, "day")
    return sentences(speaker, [speaker.line("style.neutral", day=day) for _ in range(count)])


def sentences(speaker: Speaker, parts: list[str]) -> str:
    """Instructions as the text of a system prompt."""
    if speaker.chance(0.12):
        parts = [part.lower() for part in parts] if speaker.chance(0.5) else parts
        return ". ".join(parts)
    capital = [part[0].upper() + part[1:] for part in parts]
    joined = "".join(part + ("" if part[-1] in ".!?" else ".") + " " for part in capital).strip()
    return joined


def system_wording(speaker: Speaker, style: Style) -> str:
    """One instruction as a system prompt says it."""
    starts = (
        "answer",
        "reply",
        "respond",
        "write",
        "use",
        "start",
        "begin",
        "end",
        "give",
        "speak",
    )
    if style.wording.startswith(starts) and speaker.chance(0.3):
        lead = speaker.rng.choice(("always", "please", "you must", "please always", "you should"))
        return f"{lead} {style.wording}"
    return style.wording


def in_turn(speaker: Speaker, style: Style, user: str) -> str:
    """The same instruction inside the visitor's own message."""
    wording = style.wording
    if speaker.chance(0.15):
        wording = speaker.rng.choice(("please ", "but ", "and ")) + wording
    capital = wording[0].upper() + wording[1:]
    if speaker.chance(0.25):
        capital = wording
    frame = speaker.rng.choice(FRAMES)
    return frame.replace("{I}", capital).replace("{i}", wording).replace("{q}", user)
