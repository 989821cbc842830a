"""Sums, differences, products and divisions, worked out step by step in the answer.

A small network cannot add in its head, but each written step is one lookup. The operands come first,
so that every wording ends in the same calculation.
"""

from infra.embedded.chat import words
from infra.embedded.chat.conversation import Answer, Turn
from infra.embedded.chat.phrasing import Speaker, held_out

ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SMALL, MENTAL_SUM = 10, 99
PAIR_OUT_OF = 8


def in_words(number: int) -> str:
    """`number` below one hundred as English words."""
    if number < len(ONES):
        return ONES[number]
    tens, ones = divmod(number, 10)
    return TENS[tens] + (f"-{ONES[ones]}" if ones else "")


def added(a: int, b: int) -> str:
    """The columns of a sum from the right; a last `+1` is the carry."""
    width = max(len(str(a)), len(str(b)))
    steps, carry = [], 0
    for x, y in zip(f"{a:0{width}d}"[::-1], f"{b:0{width}d}"[::-1], strict=True):
        total = int(x) + int(y) + carry
        steps.append(f"{x}+{y}{'+1' if carry else ''}={total}")
        carry = total // 10
    return ", ".join(steps)


def subtracted(a: int, b: int) -> str:
    """The columns of a difference with a >= b; a leading 1 is the borrowed ten."""
    width = len(str(a))
    steps, borrow = [], 0
    for x, y in zip(str(a)[::-1], f"{b:0{width}d}"[::-1], strict=True):
        rest = int(x) - int(y) - borrow
        lent = rest < 0
        shown = f"1{x}" if lent else x
        steps.append(f"{shown}-{y}{'-1' if borrow else ''}={rest + 10 * lent}")
        borrow = int(lent)
    return ", ".join(steps)


def multiplied(a: int, digit: int) -> str:
    """A number times one digit from the right; each carry is added in a step of its own."""
    steps, carry = [], 0
    for position, x in enumerate(str(a)[::-1]):
        product = int(x) * digit
        steps.append(f"{x}*{digit}={product}")
        if position:
            steps.append(f"{product}+{carry}={product + carry}")
        carry = (product + carry) // 10
    return ", ".join(steps)


def divided(a: int, b: int) -> str:
    """Long division from the left."""
    digits, steps, rest = str(a), [], 0
    started = False
    for position, x in enumerate(digits):
        rest = rest * 10 + int(x)
        if not started and rest < b and position + 1 < len(digits):
            continue
        started = True
        steps.append(f"{rest}/{b}={rest // b} rest {rest % b}")
        rest %= b
    return ", ".join(steps)


def answer_add(a: int, b: int) -> Answer:
    return _answer(f"{a}+{b}: {added(a, b)}. ", a + b, a, b)


def answer_subtract(a: int, b: int) -> Answer:
    if a < b:
        return _answer(f"{a}-{b} = -({b}-{a}): {subtracted(b, a)}. ", a - b, a, b)
    return _answer(f"{a}-{b}: {subtracted(a, b)}. ", a - b, a, b)


def answer_multiply(a: int, b: int) -> Answer:
    head = f"{a}*{b}"
    if len(str(a)) < len(str(b)):
        a, b = b, a
        head = f"{head} = {a}*{b}"
    if b < 10:
        return _answer(f"{head}: {multiplied(a, b)}. ", a * b, a, b)
    parts, value = [], 0
    for position, digit in enumerate(str(b)[::-1]):
        part = a * int(digit) * 10**position
        parts.append(f"{a}*{digit}: {multiplied(a, int(digit))} -> {part}")
        if position:
            parts.append(f"{value}+{part}: {added(value, part)}")
        value += part
        if position and position + 1 < len(str(b)):
            parts[-1] += f" -> {value}"
    return _answer(f"{head}: {'; '.join(parts)}. ", a * b, a, b)


def answer_divide(a: int, b: int) -> Answer:
    if b == 0:
        return Answer("I don't know that.", short="Unknown")
    rest = f" remainder {a % b}" if a % b else ""
    small = max(a // b, b) <= SMALL and not rest
    short = str(a // b) if small else None
    return Answer(f"Answer: {a // b}{rest}.", short, f"{a}/{b}: {divided(a, b)}. ")


def answer_chain(numbers: list[int]) -> Answer:
    parts, value = [], numbers[0]
    for number in numbers[1:]:
        parts.append(f"{value}+{number}: {added(value, number)}")
        value += number
        if len(parts) + 1 < len(numbers):
            parts[-1] += f" -> {value}"
    head = "+".join(map(str, numbers))
    return Answer(f"Answer: {value}.", steps=f"{head}: {'; '.join(parts)}. ")


def _answer(steps: str, value: int, a: int, b: int) -> Answer:
    sum_like = "*" not in steps
    short = str(value) if max(a, b) <= (MENTAL_SUM if sum_like else SMALL) else None
    return Answer(f"Answer: {value}.", short, steps)


class Numbers:
    """Draws operands; pairs of larger numbers are split between training and test."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker

    def number(self, digits: int) -> int:
        low = 10 ** (digits - 1) if digits > 1 else 0
        return self.speaker.rng.randint(low, 10**digits - 1)

    def pair(self, sign: str, digits_a: int, digits_b: int) -> tuple[int, int]:
        while True:
            a, b = self.number(digits_a), self.number(digits_b)
            if max(a, b) < 10 or held_out(f"{a}{sign}{b}", PAIR_OUT_OF) == self.speaker.test:
                return a, b

    def sizes(self) -> tuple[int, int]:
        """Digits of both operands of a sum or difference."""
        return self.speaker.rng.choices(
            ((1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (3, 2), (2, 3), (3, 3), (4, 3), (4, 4)),
            weights=(16, 12, 8, 30, 5, 8, 6, 14, 1, 1),
        )[0]


def _shown(speaker: Speaker, *numbers: int) -> list[str]:
    if max(numbers) < 100 and speaker.chance(0.07):
        return [in_words(number) for number in numbers]
    return [str(number) for number in numbers]


def _story(speaker: Speaker) -> dict[str, str]:
    name, other = words.distinct(speaker, words.name, 2)
    kind = speaker.rng.choice(("food", "food", "animal", "object", "noun"))
    thing = words.real(speaker, kind)
    if speaker.chance(0.15):
        thing = words.invented(speaker)
    things = thing + ("es" if thing.endswith(("s", "x", "ch", "sh")) else "s")
    return {"name": name, "other": other, "thing": thing, "things": things}


def _told(speaker: Speaker, intent: str, a: int, b: int, story: float) -> str:
    shown_a, shown_b = _shown(speaker, a, b)
    if speaker.chance(story):
        return speaker.say(f"{intent}_story", a=shown_a, b=shown_b, **_story(speaker))
    return speaker.say(intent, a=shown_a, b=shown_b)


def add(speaker: Speaker) -> Turn:
    numbers = Numbers(speaker)
    a, b = numbers.pair("+", *numbers.sizes())
    return Turn(_told(speaker, "add", a, b, 0.22), answer_add(a, b), "add")


def subtract(speaker: Speaker) -> Turn:
    numbers = Numbers(speaker)
    a, b = numbers.pair("-", *numbers.sizes())
    story = 0.25
    if a < b:
        story = 0.0
        if speaker.chance(0.7):
            return subtract(speaker)
    return Turn(_told(speaker, "subtract", a, b, story), answer_subtract(a, b), "subtract")


def multiply(speaker: Speaker) -> Turn:
    numbers = Numbers(speaker)
    sizes = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (1, 3), (3, 2))
    digits = speaker.rng.choices(sizes, weights=(30, 16, 9, 30, 8, 4, 1))[0]
    a, b = numbers.pair("*", *digits)
    if speaker.chance(0.1):
        b = speaker.rng.choice((10, 11, 12, 20, 25, 50, 100))
    return Turn(_told(speaker, "multiply", a, b, 0.2), answer_multiply(a, b), "multiply")


def divide(speaker: Speaker) -> Turn:
    rng = speaker.rng
    b = rng.choice((2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12, 20))
    quotient = rng.randint(1, 12) if speaker.chance(0.5) else rng.randint(1, 150 // min(b, 10))
    exact = speaker.chance(0.88)
    a = b * quotient + (0 if exact else rng.randrange(b))
    return Turn(
        _told(speaker, "divide", a, b, 0.2 if exact else 0.0), answer_divide(a, b), "divide"
    )


def one_operand(speaker: Speaker) -> Turn:
    intent = speaker.rng.choice(("double", "square", "half"))
    a = Numbers(speaker).number(
        speaker.rng.choice((1, 2, 2, 3) if intent == "double" else (1, 2, 2))
    )
    if intent == "half":
        a -= a % 2
        answer = answer_divide(a, 2)
    else:
        answer = answer_multiply(a, 2 if intent == "double" else a)
    return Turn(speaker.say(intent, a=_shown(speaker, a)[0]), answer, intent)


def chain(speaker: Speaker) -> Turn:
    count = speaker.rng.choice((3, 3, 3, 4))
    numbers = [Numbers(speaker).number(speaker.rng.choice((1, 1, 2))) for _ in range(count)]
    plus = speaker.rng.choice(("+", " + ", " plus "))
    shown = _shown(speaker, *numbers)
    comma = ", ".join(shown)
    listed = speaker.rng.choice(
        (comma, " ".join(shown), f"{', '.join(shown[:-1])} and {shown[-1]}")
    )
    return Turn(
        speaker.say("chain", sum=plus.join(shown), list=listed), answer_chain(numbers), "chain"
    )


def compare(speaker: Speaker) -> Turn:
    numbers = Numbers(speaker)
    a, b = numbers.pair("?", *numbers.sizes())
    b += a == b
    large = speaker.chance(0.6)
    value = max(a, b) if large else min(a, b)
    text = speaker.say("compare_large" if large else "compare_small", a=a, b=b)
    word = "larger" if large else "smaller"
    return Turn(text, Answer(f"{value} is {word}.", short=str(value)), "compare")


def parity(speaker: Speaker) -> Turn:
    a = Numbers(speaker).number(speaker.rng.choice((1, 2, 2, 3)))
    word = "odd" if a % 2 else "even"
    return Turn(speaker.say("parity", a=a), Answer(f"{a} is {word}.", short=word), "parity")


def neighbor(speaker: Speaker) -> Turn:
    a = Numbers(speaker).number(speaker.rng.choice((1, 2, 2, 3))) + 1
    after = speaker.chance(0.6)
    answer = answer_add(a, 1) if after else answer_subtract(a, 1)
    return Turn(speaker.say("next" if after else "previous", a=a), answer, "next_previous")


def count_to(speaker: Speaker) -> Turn:
    last = speaker.rng.randint(2, 12 if speaker.chance(0.8) else 25)
    shown = _shown(speaker, last)[0]
    return Turn(
        speaker.say("count_to", a=shown),
        Answer(", ".join(str(number) for number in range(1, last + 1))),
        "count_to",
    )


def arithmetic(speaker: Speaker) -> Turn:
    return speaker.rng.choices(tuple(KINDS), weights=tuple(KINDS.values()))[0](speaker)


KINDS = {
    add: 28, subtract: 24, multiply: 26, divide: 10, one_operand: 4, chain: 4, compare: 4,
    parity: 2, neighbor: 3, count_to: 1.5,
}  # fmt: skip
