"""Questions about facts that the prompt states, forwards, backwards, and about facts it does not.

The answer repeats the fact as a sentence: once the words of the question are restated, finding the
rest is copying. A question from the object back to the subject names the object first.
"""

import re
from dataclasses import dataclass

from infra.embedded.chat import words
from infra.embedded.chat.conversation import Answer
from infra.embedded.chat.phrasing import Speaker
from infra.embedded.chat.relations import (
    ATTRIBUTES,
    COMPANIONS,
    HABITS,
    RELATIONS,
    SIZES,
    THING_NAMES,
    TIES,
    VERBS,
    WEIGHTS,
    Relation,
    article,
    either,
    thing,
)

DONT_KNOW = Answer("I don't know that.", short="Unknown")


@dataclass(slots=True)
class Fact:
    relation: Relation
    slots: dict[str, str]

    def fill(self, text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda slot: self.slots[slot[1]], text)

    def forward(self) -> Answer:
        text = self.fill(self.relation.answer)
        short = self.slots["o"]
        return Answer(text[0].upper() + text[1:], short if " " not in short else None)

    def backward(self) -> Answer:
        text = self.fill(self.relation.inverse)
        short = self.slots["s"]
        return Answer(text[0].upper() + text[1:], short if " " not in short else None)


def draw(speaker: Speaker) -> Relation:
    return speaker.rng.choices(RELATIONS, weights=WEIGHTS)[0]


def distinct_facts(speaker: Speaker, relation: Relation, count: int) -> list[Fact]:
    """Up to `count` facts of one relation in which no subject and no object comes twice."""
    shared = _shared_slots(speaker, relation)
    if relation.name.startswith("me_"):
        count = 1
    facts: list[Fact] = []
    taken: set[str] = set()
    for _ in range(20 * count):
        slots = dict(shared)
        make = relation.object
        if relation.name in ("attribute", "mine"):
            kind = shared["t"] if relation.name == "attribute" else _own_attribute(speaker)
            slots["t"], make = kind, ATTRIBUTES[kind]
        elif relation.name == "does":
            make = HABITS[int(shared["habit"])][3]
        elif relation.name in ("thing", "gave"):
            given = relation.name == "gave"
            slots["t"] = thing(speaker) if given else speaker.rng.choice(THING_NAMES)
        elif relation.name in ("named", "my_named"):
            slots["t"] = speaker.rng.choice(COMPANIONS)
            slots["b"] = article(slots["t"])
        slots["s"], slots["o"] = relation.subject(speaker), make(speaker)
        if "noun" in shared:
            slots["s"] = f"{words.real(speaker, 'color')} {shared['noun']}"
        slots |= {
            "a": article(slots["o"]),
            "A": article(slots["s"]),
            "S": slots["s"].capitalize(),
        }
        subject = slots["t"] if relation.name in OWN else slots["s"]
        keys = {subject.lower(), slots["o"].lower()}
        if len(keys) > 1 and not keys & taken:
            taken |= keys
            facts.append(Fact(relation, slots))
        if len(facts) == count:
            break
    return facts


def _own_attribute(speaker: Speaker) -> str:
    return "name" if speaker.chance(0.25) else speaker.rng.choice(tuple(ATTRIBUTES))


def _shared_slots(speaker: Speaker, relation: Relation) -> dict[str, str]:
    rng = speaker.rng
    if relation.name in ("spot", "price") and speaker.chance(0.3):
        return {"noun": words.real(speaker, "object")}
    if relation.name in ("did", "me_did"):
        base, past = rng.choice(tuple(VERBS.items()))
        return {"base": base, "past": past}
    if relation.name == "count":
        return {"t": either("animal", "object", "food")(speaker) + "s"}
    if relation.name == "married":
        return {"t": rng.choice(TIES)}
    if relation.name == "does":
        index = rng.randrange(len(HABITS))
        base, verb, kind, _ = HABITS[index]
        return {"base": base, "verb": verb, "kind": kind, "habit": str(index)}
    if relation.name == "size":
        size = rng.choice(SIZES)
        return {"t": size, "how": size.split()[1]}
    if relation.name == "attribute":
        return {"t": rng.choice(tuple(ATTRIBUTES))}
    return {}


def stated(speaker: Speaker, facts: list[Fact], fillers: float = 0.12) -> str:
    """The facts as sentences, sometimes with sentences between them that do not matter."""
    sentences = []
    before = None
    for fact in facts:
        line = speaker.line(f"fact.{fact.relation.name}", **fact.slots)
        start = fact.slots["s"] + " "
        if before and before.slots["s"] + " " == start and line.startswith(start):
            _continue(speaker, sentences, line.removeprefix(start))
            continue
        while speaker.chance(fillers):
            sentences.append(filler(speaker))
        sentences.append(line)
        before = fact
    if speaker.chance(0.85):
        sentences = [sentence[0].upper() + sentence[1:] for sentence in sentences]
    dice = speaker.rng.random()
    if len(sentences) > 1 and dice < 0.08:
        return "\n".join(f"- {sentence}" for sentence in sentences)
    if len(sentences) > 1 and dice < 0.14:
        return ", ".join(sentences[:-1]) + f" and {sentences[-1]}."
    if dice < 0.2:
        return "\n".join(f"{sentence}." for sentence in sentences)
    if dice < 0.24:
        return ", ".join(sentences) + "."
    return " ".join(f"{sentence}." for sentence in sentences)


def _continue(speaker: Speaker, sentences: list[str], rest: str) -> None:
    """Say one more thing about the person of the last sentence."""
    if speaker.chance(0.6) and " and " not in sentences[-1]:
        sentences[-1] += f" and {rest}"
    else:
        sentences.append(f"{speaker.rng.choice(('he', 'she'))} {rest}")


def portraits(speaker: Speaker) -> list[Fact]:
    """One to three people or the visitor, each with two or three facts of different kinds."""
    if speaker.chance(0.3):
        told = speaker.rng.sample(OF_VISITOR, speaker.rng.choice((2, 2, 3)))
        return [distinct_facts(speaker, relation, 1)[0] for relation in told]
    relations = [r for r in RELATIONS if r.name in PERSONAL]
    facts: list[Fact] = []
    for person in words.distinct(speaker, words.name, speaker.rng.choice((1, 2, 2, 3))):
        for relation in speaker.rng.sample(relations, speaker.rng.choice((2, 2, 3))):
            slots = distinct_facts(speaker, relation, 1)[0].slots
            facts.append(Fact(relation, slots | {"s": person}))
    return facts


PERSONAL = ("lives", "job", "age", "likes", "does", "did")


def filler(speaker: Speaker) -> str:
    """A sentence that answers nothing."""
    return speaker.line("sentence", **sentence_slots(speaker))


def sentence_slots(speaker: Speaker) -> dict[str, str]:
    kinds = ("adjective", "noun", "food", "animal", "color", "verb_past")
    slots = {kind: words.real(speaker, kind) for kind in kinds}
    for kind in ("adjective", "noun", "food", "animal"):
        slots[f"{kind}2"] = words.real(speaker, kind)
    return slots


def question(speaker: Speaker, facts: list[Fact]) -> tuple[str, Answer, str]:
    """A question, its answer and its kind; the last of `facts` may be one that nobody stated."""
    fact = speaker.rng.choice(facts)
    name = fact.relation.name
    dice = speaker.rng.random()
    if dice < 0.1:
        name, slots = _unstated(speaker, fact, facts)
        return speaker.say(f"fact.{name}.ask", **slots), DONT_KNOW, "missing"
    if dice < 0.2:
        return _yes_or_no(speaker, fact, facts)
    if dice < 0.58 and fact.relation.inverse:
        return speaker.say(f"fact.{name}.who", **fact.slots), fact.backward(), "inverse"
    return speaker.say(f"fact.{name}.ask", **fact.slots), fact.forward(), "forward"


def _unstated(speaker: Speaker, like: Fact, facts: list[Fact]) -> tuple[str, dict[str, str]]:
    """Relation and slots of a question that sounds like the facts but has no answer in them."""
    relation = like.relation
    known = {fact.slots[key].lower() for fact in facts for key in ("s", "t") if key in fact.slots}
    if relation.subject is words.name and "t" not in like.slots and speaker.chance(0.3):
        told = {fact.relation.name for fact in facts}
        other = speaker.rng.choice([r for r in UNRELATED if r.name not in told] or [relation])
        if other is not relation:
            slots = distinct_facts(speaker, other, 1)[0].slots
            return other.name, slots | {"s": like.slots["s"]}
    if relation.name.startswith("me_"):
        told = {fact.relation.name for fact in facts}
        other = speaker.rng.choice([r for r in OF_VISITOR if r.name not in told] or [relation])
        return other.name, distinct_facts(speaker, other, 1)[0].slots
    own = relation.name in OWN
    while True:
        slots = distinct_facts(speaker, relation, 1)[0].slots
        if not own and relation.name not in ("gave", "named"):
            slots = like.slots | {"s": slots["s"]}
        if slots["t" if own else "s"].lower() not in known:
            return relation.name, slots


OWN = ("mine", "thing", "my_named")
OF_VISITOR = tuple(r for r in RELATIONS if r.name.startswith("me_"))
UNRELATED = tuple(r for r in RELATIONS if r.name in ("lives", "job", "age"))


def _yes_or_no(speaker: Speaker, fact: Fact, facts: list[Fact]) -> tuple[str, Answer, str]:
    slots = dict(fact.slots)
    others = [other.slots["o"] for other in facts if other is not fact]
    true = speaker.chance(0.5)
    if not true:
        make = ATTRIBUTES.get(slots.get("t", ""), fact.relation.object)
        if "habit" in slots:
            make = HABITS[int(slots["habit"])][3]
        wrong = slots["o"]
        while wrong.lower() == slots["o"].lower():
            wrong = speaker.rng.choice(others) if others and speaker.chance(0.5) else make(speaker)
        slots |= {"o": wrong, "a": article(wrong)}
    word = "Yes" if true else "No"
    text = speaker.say(f"fact.{fact.relation.name}.is", **slots)
    return text, Answer(f"{word}, {_inner(fact.forward().text)}", short=word), "yes_no"


def _inner(sentence: str) -> str:
    """A sentence as it reads after a comma."""
    first = sentence.split(" ", 1)[0]
    return sentence[0].lower() + sentence[1:] if first in ("The", "Your", "You") else sentence
