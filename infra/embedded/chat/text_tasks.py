"""Work on words, letters and lists that the prompt brings along.

Whatever needs counting or ordering is written out first: numbered letters before a reversal, the
first letters before sorting words, the remaining numbers before each next smallest one.
"""

from infra.embedded.chat import words
from infra.embedded.chat.arithmetic import ONES
from infra.embedded.chat.conversation import Answer, Turn
from infra.embedded.chat.facts import filler
from infra.embedded.chat.phrasing import Speaker

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
SHORT_ORDINALS = ("1st", "2nd", "3rd", "4th", "5th", "6th")
QUOTES = (("", ""), ("", ""), ('"', '"'), ('"', '"'), ("'", "'"), ("“", "”"))


def quoted(speaker: Speaker, text: str) -> str:
    left, right = speaker.rng.choice(QUOTES)
    return f"{left}{text}{right}"


def listed(speaker: Speaker, items: list[str]) -> str:
    rng = speaker.rng
    dice = rng.random()
    if dice < 0.5:
        return ", ".join(items)
    if dice < 0.65:
        return " ".join(items)
    if dice < 0.85:
        comma = rng.choice((",", ""))
        return f"{', '.join(items[:-1])}{comma} {rng.choice(('and', 'and', '&'))} {items[-1]}"
    if dice < 0.9:
        return ",".join(items)
    if dice < 0.95:
        return "[" + ", ".join(items) + "]"
    return "; ".join(items)


def text(speaker: Speaker, longest: int = 8) -> str:
    """Free text of one to `longest` words."""
    rng = speaker.rng
    dice = rng.random()
    if dice < 0.3:
        return filler(speaker)
    if dice < 0.4:
        sentence = filler(speaker)
        return sentence[0].upper() + sentence[1:] + rng.choice(("", "", ".", "!"))
    count = rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 6, longest))
    return " ".join(_cased(speaker, words.list_word(speaker, 0.4)) for _ in range(count))


def _cased(speaker: Speaker, word: str) -> str:
    dice = speaker.rng.random()
    if dice < 0.75:
        return word
    if dice < 0.9:
        return word.capitalize()
    if dice < 0.95:
        return word.upper()
    return "".join(c.upper() if speaker.chance(0.5) else c for c in word)


def one_word(speaker: Speaker) -> str:
    word = words.list_word(speaker, 0.25)
    return word.capitalize() if speaker.chance(0.08) else word


def _items(speaker: Speaker, low: int = 2, high: int = 6) -> list[str]:
    return words.distinct(speaker, words.list_word, speaker.rng.randint(low, high))


def numbered_letters(word: str) -> str:
    return " ".join(f"{index}{letter}" for index, letter in enumerate(word, 1))


def numbered_words(items: list[str]) -> str:
    return ", ".join(f"{index} {item}" for index, item in enumerate(items, 1))


def repeat(speaker: Speaker) -> Turn:
    content = text(speaker, 12)
    if speaker.chance(0.25):
        count = speaker.rng.randint(2, 5)
        word = speaker.rng.choice((one_word(speaker), content if len(content) < 25 else "hello"))
        shown = ONES[count] if speaker.chance(0.5) else count
        ask = speaker.say("repeat_times", text=quoted(speaker, word), n=shown)
        return Turn(ask, Answer(" ".join([word] * count)), "repeat")
    return Turn(speaker.say("repeat", text=quoted(speaker, content)), Answer(content), "repeat")


def reverse_word(speaker: Speaker) -> Turn:
    word = one_word(speaker)
    answer = Answer(f"{word[::-1]}", steps=f"{numbered_letters(word)}: ")
    return Turn(speaker.say("reverse_word", word=quoted(speaker, word)), answer, "reverse_word")


def reverse_list(speaker: Speaker) -> Turn:
    items = _items(speaker)
    answer = Answer(" ".join(reversed(items)), steps=f"{numbered_words(items)}: ")
    plain = speaker.chance(0.3)
    shown = quoted(speaker, " ".join(items)) if plain else listed(speaker, items)
    return Turn(speaker.say("reverse_list", list=shown), answer, "reverse_list")


def spell(speaker: Speaker) -> Turn:
    word = one_word(speaker)
    return Turn(speaker.say("spell", word=quoted(speaker, word)), Answer("-".join(word)), "spell")


def count_letters(speaker: Speaker) -> Turn:
    word = one_word(speaker)
    answer = Answer(f"Count: {len(word)}.", steps=f"{numbered_letters(word)}. ")
    return Turn(speaker.say("count_letters", word=quoted(speaker, word)), answer, "count_letters")


def count_letter(speaker: Speaker) -> Turn:
    word = one_word(speaker)
    if speaker.chance(0.35):
        at = speaker.rng.randrange(len(word))
        word = word[:at] + word[at] + word[at:]
    letter = speaker.rng.choice(word.lower() if speaker.chance(0.88) else "aeiostnr")
    shown, count = [], 0
    for c in word:
        count += c.lower() == letter
        shown.append(f"{c}{count}" if c.lower() == letter else c)
    ask = speaker.say("count_letter", letter=quoted(speaker, letter), word=quoted(speaker, word))
    return Turn(ask, Answer(f"Count: {count}.", steps=f"{' '.join(shown)}. "), "count_letter")


def count_words(speaker: Speaker) -> Turn:
    if speaker.chance(0.4):
        items = _items(speaker, 1, 9)
        shown = listed(speaker, items) if len(items) > 1 else items[0]
        if " and " in shown or "&" in shown:
            shown = ", ".join(items)
    else:
        shown = text(speaker, 12)
        items = ["".join(c for c in word if c.isalnum()) for word in shown.split(" ")]
        shown = quoted(speaker, shown)
    answer = Answer(f"Count: {len(items)}.", steps=f"{numbered_words(items)}. ")
    return Turn(speaker.say("count_words", text=shown), answer, "count_words")


def sort_words(speaker: Speaker) -> Turn:
    while True:
        items = _items(speaker, 2, 6)
        if speaker.chance(0.25):
            items = words.distinct(speaker, words.name, len(items))
        items = [item for item in items if " " not in item]
        keys = [item.lower()[:2] for item in items]
        if len(set(keys)) == len(keys) > 1:
            break
    order = sorted(items, key=str.lower)
    steps = f"{' '.join(keys)} -> {' '.join(item.lower()[:2] for item in order)}: "
    ask = speaker.say("sort_words", list=listed(speaker, items))
    return Turn(ask, Answer(", ".join(order), steps=steps), "sort_words")


def sort_numbers(speaker: Speaker) -> Turn:
    numbers = _numbers(speaker)
    down = speaker.chance(0.35)
    left, steps = list(numbers), []
    while left:
        steps.append((max if down else min)(left))
        left.remove(steps[-1])
    rest, parts = list(numbers), []
    for value in steps:
        parts.append(f"{', '.join(map(str, rest))}: {value}")
        rest.remove(value)
    ask = speaker.say("sort_down" if down else "sort_up", list=listed(speaker, _text(numbers)))
    answer = Answer(f"Sorted: {', '.join(_text(steps))}.", steps="; ".join(parts) + ". ")
    return Turn(ask, answer, "sort_numbers")


def extreme(speaker: Speaker) -> Turn:
    numbers = _numbers(speaker)
    large = speaker.chance(0.6)
    value = max(numbers) if large else min(numbers)
    ask = speaker.say("largest" if large else "smallest", list=listed(speaker, _text(numbers)))
    answer = Answer(f"{', '.join(_text(numbers))}: {value}.", short=str(value))
    return Turn(ask, answer, "largest_smallest")


def _numbers(speaker: Speaker) -> list[int]:
    rng = speaker.rng
    size = rng.choice((9, 20, 99, 99, 99, 99, 999))
    return rng.sample(range(size + 1), rng.choice((3, 3, 4, 4, 5, 6)))


def _text(numbers: list[int]) -> list[str]:
    return [str(number) for number in numbers]


def case(speaker: Speaker) -> Turn:
    upper = speaker.chance(0.6)
    content = text(speaker)
    if not upper and speaker.chance(0.7):
        content = content.upper() if speaker.chance(0.6) else content.title()
    result = content.upper() if upper else content.lower()
    kind = "upper" if upper else "lower"
    return Turn(speaker.say(kind, text=quoted(speaker, content)), Answer(result), kind)


def which_word(speaker: Speaker) -> Turn:
    items = _items(speaker, 2, 6)
    if speaker.chance(0.5):
        items = ["".join(c for c in word if c.isalnum()) for word in text(speaker).split(" ")]
        shown = quoted(speaker, " ".join(items))
    else:
        shown = ", ".join(items) if speaker.chance(0.6) else " ".join(items)
    intent = speaker.rng.choice(("first_word", "last_word", "last_word", "nth_word"))
    if intent == "nth_word":
        n = speaker.rng.randrange(min(len(items), len(ORDINALS)))
        nth = (ORDINALS if speaker.chance(0.7) else SHORT_ORDINALS)[n]
        ask = speaker.say(intent, nth=nth, n=n + 1, text=shown)
        return Turn(ask, Answer(f"{numbered_words(items[: n + 1])}: {items[n]}."), intent)
    word = items[0 if intent == "first_word" else -1]
    return Turn(speaker.say(intent, text=shown), Answer(word, short=word), intent)


def which_letter(speaker: Speaker) -> Turn:
    word = one_word(speaker)
    first = speaker.chance(0.5)
    letter = word[0] if first else word[-1]
    ask = speaker.say("first_letter" if first else "last_letter", word=quoted(speaker, word))
    return Turn(ask, Answer(letter, short=letter), "which_letter")


def join(speaker: Speaker) -> Turn:
    one, two = one_word(speaker), one_word(speaker)
    ask = speaker.say("join", word=quoted(speaker, one), word2=quoted(speaker, two))
    return Turn(ask, Answer(one + two, short=one + two), "join")


def title(speaker: Speaker) -> Turn:
    words_given = [words.list_word(speaker, 0.3) for _ in range(speaker.rng.randint(1, 6))]
    answer = Answer(" ".join(word.capitalize() for word in words_given))
    return Turn(speaker.say("title", text=quoted(speaker, " ".join(words_given))), answer, "title")


def next_letter(speaker: Speaker) -> Turn:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    alphabet = alphabet.upper() if speaker.chance(0.5) else alphabet
    at = speaker.rng.randrange(25)
    ask = speaker.say("next_letter", letter=quoted(speaker, alphabet[at]))
    return Turn(ask, Answer(alphabet[at + 1], short=alphabet[at + 1]), "next_letter")


TASKS = {
    repeat: 12, reverse_word: 13, reverse_list: 8, spell: 4, count_letters: 9, count_letter: 9,
    count_words: 9, sort_words: 10, sort_numbers: 9, extreme: 4, case: 9, which_word: 8,
    which_letter: 3, join: 2, title: 2, next_letter: 1.5,
}  # fmt: skip


def text_task(speaker: Speaker) -> Turn:
    return speaker.rng.choices(tuple(TASKS), weights=tuple(TASKS.values()))[0](speaker)
