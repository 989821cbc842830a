"""The words that fill phrasings: real ones from lists, and invented ones.

Invented words cover all letters, all pairs of letters, doubled letters and vowels at either end:
a model that saw only tame names copies `Osk` as `osk` and `apple` as `aple`.
"""

import string
from collections.abc import Callable
from functools import cache
from random import Random

from infra.embedded.chat.phrasing import Speaker, held_out, intents, typo

VOWELS = "aeiou"
ONSETS = (
    *string.ascii_lowercase, "", "", "", "bl", "br", "ch", "cl", "cr", "dr", "fl", "fr", "gl",
    "gr", "kl", "kr", "ph", "pl", "pr", "qu", "sc", "sh", "sk", "sl", "sm", "sn", "sp", "st",
    "str", "sw", "th", "tr", "tw", "wh", "zw",
)  # fmt: skip
NUCLEI = (
    *VOWELS,
    *VOWELS,
    *VOWELS,
    "y",
    "ai",
    "au",
    "ea",
    "ee",
    "ei",
    "ie",
    "oa",
    "oo",
    "ou",
    "ue",
)
CODAS = (
    "", "", "", "", *string.ascii_lowercase, "ck", "ff", "ll", "mm", "nd", "ng", "nn", "nt", "pp",
    "rk", "rn", "rr", "sk", "ss", "st", "tt", "x", "zz",
)  # fmt: skip
WORD_OUT_OF = 8


@cache
def pool(kind: str, test: bool) -> tuple[str, ...]:
    """The words of a list that this split may use."""
    words = "|".join(intents()[kind]).split("|")
    if len(words) < 40:
        return tuple(words)
    return tuple(word for word in words if held_out(word.lower(), WORD_OUT_OF) == test)


def _syllables(rng: Random) -> str:
    count = rng.choice((1, 2, 2, 2, 3))
    return "".join(
        rng.choice(ONSETS) + rng.choice(NUCLEI) + rng.choice(CODAS) for _ in range(count)
    )


def _letters(rng: Random) -> str:
    return "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(3, 8)))


def invented(speaker: Speaker) -> str:
    """A lower-case word that is in no list."""
    rng = speaker.rng
    while True:
        dice = rng.random()
        if dice < 0.7:
            word = _syllables(rng)
        elif dice < 0.82:
            word = _letters(rng)
        else:
            kind = rng.choice(("noun", "food", "animal", "object", "name", "place"))
            word = typo(rng.choice(pool(kind, speaker.test)).lower(), rng)
        fits = 3 <= len(word) <= 10 and word.isalpha()
        if fits and held_out(word, WORD_OUT_OF) == speaker.test:
            return word


def real(speaker: Speaker, kind: str) -> str:
    return speaker.rng.choice(pool(kind, speaker.test))


def name(speaker: Speaker) -> str:
    """A person: a common given name, or an invented one."""
    first = real(speaker, "name") if speaker.chance(0.4) else invented(speaker).capitalize()
    if speaker.chance(0.06):
        return f"{first} {real(speaker, 'surname')}"
    return first


def place(speaker: Speaker) -> str:
    return real(speaker, "place") if speaker.chance(0.35) else invented(speaker).capitalize()


@cache
def spoken() -> tuple[str, ...]:
    """Lower-case words of the phrasings themselves: whole tokens, whose spelling must be learned."""
    fillers = {
        part for kind in FILLERS for entry in intents()[kind] for part in entry.lower().split("|")
    }
    found: dict[str, int] = {}
    for kind, lines in intents().items():
        if kind not in FILLERS:
            for line in lines:
                for word in "".join(c if c.isalpha() else " " for c in line.lower()).split():
                    found[word] = found.get(word, 0) + 1
    return tuple(word for word in found if len(word) > 1 and word not in fillers)


FILLERS = (
    "name", "surname", "place", "color", "object", "spot", "animal", "food", "job", "month", "day",
    "noun", "adjective", "verb_past", "color_noun", "code_word", "language", "subject", "sport",
    "instrument", "topic",
)  # fmt: skip


def list_word(speaker: Speaker, share: float = 0.12) -> str:
    """A word for lists and letter tasks; with probability `share` one that is a single token."""
    dice = speaker.rng.random()
    if dice < share:
        return speaker.rng.choice(spoken())
    if dice < 0.45:
        return invented(speaker)
    kind = speaker.rng.choice(("noun", "noun", "food", "animal", "object", "color", "name"))
    word = real(speaker, kind)
    return word.split(" ")[-1]


def distinct(speaker: Speaker, make: Callable[[Speaker], str], count: int) -> list[str]:
    """`count` different results of `make(speaker)`, compared without case."""
    found: dict[str, str] = {}
    while len(found) < count:
        word = make(speaker)
        found.setdefault(word.lower(), word)
    return list(found.values())
