"""Which words become tokens: those that wordings use often, never those that fill their slots."""

from collections import Counter
from random import Random

from tokenizers import Regex, pre_tokenizers

from infra.embedded.chat.conversation import segments
from infra.embedded.chat.mixture import draw_conversation
from infra.embedded.chat.phrasing import Speaker, intents
from infra.embedded.chat.tokenizer import PRE_TOKEN
from infra.embedded.chat.words import FILLERS, spoken


def slot_fillers() -> set[str]:
    """Single words that must stay spelled out, with their plurals."""
    entries = {e.lower() for kind in FILLERS for line in intents()[kind] for e in line.split("|")}
    entries = {entry for entry in entries if " " not in entry}
    return entries | {entry + "s" for entry in entries} | {entry + "es" for entry in entries}


def choose_words(conversations: int = 24_000, fewest: int = 18) -> list[str]:
    """Words, with their leading space, that occur at least `fewest` times.

    What no wording contains (slips, invented words, the letter pairs of sorting) must be four times as
    frequent: only words of tool schemas and of the model's own answers are.
    """
    speaker = Speaker(Random(0))
    split = pre_tokenizers.Split(Regex(PRE_TOKEN), behavior="isolated")
    counts: Counter[str] = Counter()
    for _ in range(conversations):
        for text, _ in segments(draw_conversation(speaker)):
            counts.update(piece for piece, _ in split.pre_tokenize_str(text))
    fillers, worded = slot_fillers(), set(spoken())
    return [
        word
        for word, count in counts.items()
        if len(bare := word.strip()) > 1 and bare.isalpha()
        if count >= (fewest if bare.lower() in worded else 4 * fewest)
        if len(bare) > 3 or bare.lower() in worded
        if bare.lower() not in fillers and not (bare.isupper() and bare != "JSON")
    ]
