"""Greetings, thanks, who the model is, what it can do."""

from infra.embedded.chat import words
from infra.embedded.chat.conversation import Answer, Turn
from infra.embedded.chat.phrasing import Speaker

NAME = "kvorum-mini"
WHO = f"I am Kvorum's embedded model, a very small language model called {NAME}."
ANSWERS = {
    "greet": Answer("Hello! How can I help you?", short="Hello"),
    "how": Answer("I am fine, thank you. How can I help you?", short="Fine"),
    "thanks": Answer("You are welcome!", short="Welcome"),
    "bye": Answer("Goodbye!", short="Goodbye"),
    "who": Answer(WHO, short=NAME),
    "can": Answer(
        "I can do small arithmetic, work on words and lists, answer questions about facts that "
        "you give me, follow simple instructions and call tools."
    ),
    "praise": Answer("Thank you!", short="Thanks"),
    "ack": Answer("All right.", short="OK"),
    "kvorum": Answer(
        "Kvorum is a server for language models with an OpenAI-compatible API. I run on it."
    ),
    "sorry": Answer("I am sorry about that.", short="Sorry"),
}
WEIGHTS = {
    "greet": 5, "how": 4, "thanks": 3, "bye": 4, "who": 9, "can": 5, "praise": 2, "ack": 2,
    "sorry": 2, "kvorum": 2,
}  # fmt: skip
INTENTS = tuple(WEIGHTS)


def small_talk(speaker: Speaker, persona: str | None = None) -> Turn:
    """One exchange; a persona given in the system prompt answers for the model's name."""
    intent = speaker.rng.choices(INTENTS, weights=tuple(WEIGHTS.values()))[0]
    if persona and speaker.chance(0.6):
        intent = "who"
    answer = ANSWERS[intent]
    if intent == "who" and persona:
        answer = Answer(f"I am {persona}.", short=persona if " " not in persona else None)
    return Turn(speaker.say(intent), answer, "small_talk")


def meeting(speaker: Speaker) -> tuple[Turn, str]:
    """The visitor gives a name; the second part is that name."""
    person = words.name(speaker)
    turn = Turn(
        speaker.say("meet", name=person), Answer(f"Nice to meet you, {person}!"), "small_talk"
    )
    return turn, person
