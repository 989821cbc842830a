"""Whole conversations: several skills in a row, with or without instructions, facts and tools."""

from dataclasses import dataclass

from infra.embedded.chat import facts, small_talk
from infra.embedded.chat.arithmetic import arithmetic
from infra.embedded.chat.conversation import Answer, Conversation, Turn
from infra.embedded.chat.phrasing import Speaker
from infra.embedded.chat.relations import RELATIONS
from infra.embedded.chat.style import (
    Style,
    draw_persona,
    draw_style,
    in_turn,
    neutral,
    sentences,
    system_wording,
)
from infra.embedded.chat.text_tasks import text_task
from infra.embedded.chat.tools import ALIKE, Tool, add_call, draw_tools
from infra.embedded.chat.unknown import unknown, without_tool

SKILLS = {"small_talk": 8, "arithmetic": 30, "text": 24, "facts": 25, "unknown": 9}
STYLED_SKILLS = {"small_talk": 22, "arithmetic": 18, "text": 10, "facts": 38, "unknown": 12}
OWN_FORM = {
    "upper",
    "lower",
    "title",
    "join",
    "next_letter",
    "repeat",
    "spell",
    "reverse_word",
    "which_letter",
    "count_letter",
}
CASES = {"upper", "lower"}


@dataclass(slots=True)
class Scene:
    """What holds for all turns of one conversation."""

    conversation: Conversation
    style: Style | None = None
    persona: str | None = None
    known: list[facts.Fact] | None = None
    tools: list[Tool] | None = None


def draw_conversation(speaker: Speaker, skill: str | None = None) -> Conversation:
    """A conversation of one to four turns; `skill` fixes what the turns are about."""
    rng = speaker.rng
    if skill == "tools" or (skill is None and speaker.chance(0.17)):
        return _tool_conversation(speaker)
    scene = Scene(Conversation())
    _set_system(speaker, scene, skill)
    for _ in range(rng.choices((1, 2, 3, 4), weights=(54, 26, 13, 7))[0]):
        _add_turn(speaker, scene, skill)
    return scene.conversation


def _set_system(speaker: Speaker, scene: Scene, skill: str | None) -> None:
    styled = skill in ("style", "persona")
    dice = speaker.rng.random() * (0.24 if styled else 1.0)
    parts: list[str] = []
    if styled and speaker.chance(0.35):
        return
    if skill != "style" and (skill == "persona" or dice < 0.05):
        persona = draw_persona(speaker)
        parts, scene.persona = [persona.wording], persona.detail
        dice = 0.0 if speaker.chance(0.2) else 1.0
    if dice < 0.24 and skill != "persona":
        scene.style = draw_style(speaker)
        parts.append(system_wording(speaker, scene.style))
        speaker.rng.shuffle(parts)
        if speaker.chance(0.25):
            parts.insert(0, neutral(speaker).rstrip("."))
    elif dice < 0.36 and not parts:
        parts = [neutral(speaker).rstrip(".")]
    text = sentences(speaker, parts) if parts else ""
    wants_facts = skill in (None, "facts") and speaker.chance(0.09)
    if wants_facts:
        scene.known = _draw_facts(speaker)
        told = speaker.line("fact_system", facts=facts.stated(speaker, scene.known))
        text = speaker.rng.choice((f"{text}\n{told}", f"{told}\n{text}", f"{text} {told}")).strip()
    if text:
        scene.conversation.messages.append({"role": "system", "content": text})


def _draw_facts(speaker: Speaker) -> list[facts.Fact]:
    if speaker.chance(0.14):
        return facts.portraits(speaker)
    relation = facts.draw(speaker)
    found = facts.distinct_facts(speaker, relation, speaker.rng.choice((1, 1, 2, 2, 3, 3, 4, 5)))
    if speaker.chance(0.2):
        other = facts.draw(speaker)
        if other.name != relation.name:
            found += facts.distinct_facts(speaker, other, speaker.rng.choice((1, 2)))
    return found


def _add_turn(speaker: Speaker, scene: Scene, skill: str | None) -> None:
    if scene.style is None and scene.persona is None and speaker.chance(0.03):
        return _add_told_style(speaker, scene)
    style = scene.style
    if style is None and speaker.chance(1.0 if skill == "style" else 0.1):
        style = draw_style(speaker)
    while True:
        turn = _draw_turn(speaker, scene, skill, styled=style is not None)
        if turn is None:
            return
        answer = _styled(style, turn)
        if answer is not None:
            break
    user = turn.user
    if style is not None and style is not scene.style:
        user = in_turn(speaker, style, user)
    name = f"style_{style.kind}" if style else turn.skill
    if scene.persona and turn.user and turn.answer.text == f"I am {scene.persona}.":
        name = "persona"
    scene.conversation.add_turn(user, answer, name)


def _add_told_style(speaker: Speaker, scene: Scene) -> None:
    """The visitor names the model, or asks for a style that holds from now on."""
    if speaker.chance(0.5):
        persona = draw_persona(speaker)
        scene.persona = persona.detail
        user = in_turn(speaker, persona, speaker.say("who"))
        scene.conversation.add_turn(user, f"I am {persona.detail}.", "persona")
        return
    scene.style = draw_style(speaker)
    lead = speaker.rng.choice(LASTING)
    answer = scene.style.apply(Answer("All right.", short="OK"))
    user = sentences(speaker, [f"{lead} {scene.style.wording}"])
    scene.conversation.add_turn(user, str(answer), f"style_{scene.style.kind}")


LASTING = (
    "from now on,", "from now on", "in this chat,", "until i say stop,", "for the rest of this chat",
    "in all your answers,", "i want you to do this:", "new rule:", "always do this:", "henceforth,",
)  # fmt: skip


def _styled(style: Style | None, turn: Turn) -> str | None:
    if style is None:
        return turn.answer.full
    if style.kind in CASES and (turn.skill in OWN_FORM or turn.skill == "reverse_list"):
        return None
    return style.apply(turn.answer)


def _draw_turn(speaker: Speaker, scene: Scene, skill: str | None, styled: bool) -> Turn | None:
    """The next exchange, or None where it was added with a turn of its own."""
    if scene.known and speaker.chance(0.75):
        return Turn(*facts.question(speaker, scene.known))
    weights = STYLED_SKILLS if styled or skill == "style" else SKILLS
    kind = (
        skill
        if skill in SKILLS
        else speaker.rng.choices(tuple(weights), tuple(weights.values()))[0]
    )
    if scene.persona and speaker.chance(0.6):
        kind = "small_talk"
    match kind:
        case "small_talk":
            return _small_talk(speaker, scene)
        case "arithmetic":
            return arithmetic(speaker)
        case "text":
            return text_task(speaker)
        case "unknown":
            return unknown(speaker)
    return _facts(speaker, scene)


def _small_talk(speaker: Speaker, scene: Scene) -> Turn:
    if speaker.chance(0.08) and not scene.known:
        turn, person = small_talk.meeting(speaker)
        mine = next(r for r in RELATIONS if r.name == "mine")
        scene.known = [facts.Fact(mine, {"s": person, "t": "name", "o": person})]
        return turn
    return small_talk.small_talk(speaker, scene.persona)


def _facts(speaker: Speaker, scene: Scene) -> Turn:
    """Facts with the question beside them, or facts told first and asked about in later turns."""
    found = _draw_facts(speaker)
    told = facts.stated(speaker, found)
    if speaker.chance(0.22) and not scene.known:
        scene.known = found
        text = speaker.line("fact_tell", facts=told)
        return Turn(text, Answer("OK, I will remember that.", short="OK"), "fact_told")
    asked, answer, kind = facts.question(speaker, found)
    return Turn(speaker.line("fact_same", facts=told, question=asked), answer, kind)


def _tool_conversation(speaker: Speaker) -> Conversation:
    scene = Scene(Conversation(), tools=draw_tools(speaker))
    assert scene.tools is not None
    tools = scene.tools
    scene.conversation.tools = [tool.schema for tool in tools]
    dice = speaker.rng.random()
    if dice < 0.15:
        scene.style = draw_style(speaker, speaker.rng.choice(("upper", "lower", "prefix", "json")))
        text = sentences(speaker, [system_wording(speaker, scene.style)])
        scene.conversation.messages.append({"role": "system", "content": text})
    elif dice < 0.45:
        scene.conversation.messages.append({"role": "system", "content": neutral(speaker)})
    for _ in range(speaker.rng.choices((1, 2, 3), weights=(62, 28, 10))[0]):
        dice = speaker.rng.random()
        if dice < 0.72:
            add_call(speaker, scene.conversation, speaker.rng.choice(tools), tools, scene.style)
        else:
            _add_tool_free_turn(speaker, scene)
    return scene.conversation


def _add_tool_free_turn(speaker: Speaker, scene: Scene) -> None:
    """A turn for which the tools at hand are of no use."""
    assert scene.tools is not None
    names = {tool.purpose for tool in scene.tools}
    taken = names | {ALIKE.get(name, name) for name in names}
    taken |= {name for name, alike in ALIKE.items() if alike in taken}
    math = {"calculate", "addition", "product", "units"} & taken
    kind = speaker.rng.choice(("small_talk", "facts", "text", "arithmetic", "without", "unknown"))
    if (kind == "arithmetic" and math) or (kind == "unknown" and names):
        kind = "small_talk"
    if kind == "without":
        turn: Turn | None = without_tool(speaker, taken)
    else:
        turn = _draw_turn(speaker, scene, kind, styled=False)
    assert turn is not None
    answer = _styled(scene.style, turn)
    if answer is None:
        return _add_tool_free_turn(speaker, scene)
    scene.conversation.add_turn(turn.user, answer, "tool_not_needed")


def long_conversation(speaker: Speaker) -> Conversation:
    """Up to a thousand tokens: many facts between other sentences, or many turns."""
    scene, rng = Scene(Conversation()), speaker.rng
    if speaker.chance(0.6):
        relation = rng.choice([r for r in RELATIONS if r.name in OPEN_ENDED])
        found = facts.distinct_facts(speaker, relation, rng.randint(6, 30))
        told = facts.stated(speaker, found, fillers=rng.choice((0.0, 0.1, 0.5)))
        in_system = speaker.chance(0.4)
        if in_system:
            content = speaker.line("fact_system", facts=told)
            scene.conversation.messages.append({"role": "system", "content": content})
        for turn in range(rng.randint(1, 5)):
            asked, answer, _ = facts.question(speaker, found)
            if turn == 0 and not in_system:
                asked = speaker.line("fact_same", facts=told, question=asked)
            scene.conversation.add_turn(asked, answer.full, "long")
        return scene.conversation
    _set_system(speaker, scene, None)
    for _ in range(rng.randint(5, 14)):
        _add_turn(speaker, scene, None)
    scene.conversation.skills = ["long"] * len(scene.conversation.skills)
    return scene.conversation


OPEN_ENDED = ("lives", "attribute", "age", "did", "owner", "married", "capital")
