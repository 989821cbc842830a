"""Tools that visitors bring: known trades in many namings, and tools nobody ever heard of.

Wordings are under `[tool.<family>.ask]`, descriptions under `[tool.<family>.about]`. Names and keys
vary freely, so that the model has to read the schema instead of remembering it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from infra.embedded.chat import text_tasks, words
from infra.embedded.chat.phrasing import Speaker

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument: the slot of the wording it is taken from, and how schemas may name it."""

    slot: str
    keys: tuple[str, ...]
    type: str
    about: tuple[str, ...]
    make: Callable[[Speaker], Value]
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    names: tuple[str, ...]
    parameters: tuple[Parameter, ...]


def _real(kind: str) -> Callable[[Speaker], str]:
    return lambda speaker: words.real(speaker, kind)


def _either(kind: str, invented: float) -> Callable[[Speaker], str]:
    def make(speaker: Speaker) -> str:
        return words.invented(speaker) if speaker.chance(invented) else words.real(speaker, kind)

    return make


def between(low: int, high: int) -> Callable[[Speaker], int]:
    return lambda speaker: speaker.rng.randint(low, high)


def amount(speaker: Speaker) -> Value:
    whole = speaker.rng.choice((9, 99, 999, 9999))
    if speaker.chance(0.25):
        return speaker.rng.randint(1, 99 * 10) / 10
    return speaker.rng.randint(1, whole)


def _clock(speaker: Speaker) -> str:
    rng = speaker.rng
    if speaker.chance(0.5):
        return f"{rng.randint(1, 12)} {rng.choice(('am', 'pm'))}"
    return f"{rng.randint(0, 23)}:{rng.randrange(0, 60, 5):02d}"


def _text(speaker: Speaker) -> str:
    return text_tasks.text(speaker, 6)


def code(speaker: Speaker) -> str:
    rng = speaker.rng
    letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.randint(0, 3)))
    return f"{letters}{rng.choice(('', '-')) if letters else ''}{rng.randint(10, 99999)}"


def _symbol(speaker: Speaker) -> str:
    if speaker.chance(0.5):
        return "".join(
            speaker.rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
            for _ in range(speaker.rng.randint(2, 5))
        )
    return words.invented(speaker).capitalize()


def _expression(speaker: Speaker) -> str:
    rng = speaker.rng
    signs = rng.choice((" + ", " - ", " * ", " / ", "+", "*", "-", "/"))
    numbers = [str(rng.randint(1, 999)) for _ in range(rng.choice((2, 2, 2, 3)))]
    return signs.join(numbers)


def _path(speaker: Speaker) -> str:
    rng = speaker.rng
    folder = rng.choice(
        ("", "", f"{words.list_word(speaker, 0)}/", "/tmp/", f"/home/{words.invented(speaker)}/")
    )
    return f"{folder}{words.list_word(speaker, 0).lower()}.{rng.choice(('txt', 'md', 'csv', 'json', 'py', 'log'))}"


def _task(speaker: Speaker) -> str:
    verb = speaker.rng.choice(
        ("buy", "call", "feed", "clean", "get", "find", "water", "bring", "check")
    )
    thing = words.real(speaker, speaker.rng.choice(("food", "animal", "object", "noun", "name")))
    return f"{verb} {speaker.rng.choice(('the ', '', 'the '))}{thing}"


def title(speaker: Speaker) -> str:
    return " ".join(words.list_word(speaker) for _ in range(speaker.rng.choice((1, 1, 2))))


CURRENCIES = ("euros", "dollars", "pounds", "yen", "USD", "EUR", "GBP", "CHF", "JPY", "francs")
UNITS = ("km", "miles", "meters", "feet", "inches", "cm", "kg", "pounds", "grams", "celsius",
         "fahrenheit", "liters", "gallons", "hours", "minutes", "seconds")  # fmt: skip


def one_of(options: tuple[str, ...]) -> Callable[[Speaker], str]:
    return lambda speaker: speaker.rng.choice(options)


LEVELS = ("low", "medium", "high", "urgent")
SIZES = ("small", "medium", "large")
DIRECTIONS = (
    "left",
    "right",
    "up",
    "down",
    "forward",
    "backward",
    "north",
    "south",
    "east",
    "west",
)
CITY_KEYS = ("city", "location", "place", "town", "city_name", "where")
CITY = Parameter(
    "place", CITY_KEYS, "string", ("the city", "name of the city", "the place"), words.place
)
FROM = Parameter(
    "place",
    ("from", "origin", "start", "departure", "from_city"),
    "string",
    ("where it starts", "the city to start from"),
    words.place,
)
TO = Parameter(
    "place2",
    ("to", "destination", "target", "arrival", "to_city"),
    "string",
    ("where it ends", "the city to go to"),
    words.place,
)
PERSON = Parameter(
    "person",
    ("to", "recipient", "person", "name", "receiver", "contact"),
    "string",
    ("the person", "name of the person", "who gets it"),
    words.name,
)
TEXT = Parameter("text", ("text", "message", "content", "body"), "string", ("the text",), _text)
SPOT = Parameter(
    "spot", ("room", "location", "place", "area"), "string", ("the room",), _either("spot", 0.1)
)
CLOCK = Parameter("clock", ("time", "at", "when", "clock_time"), "string", ("the time",), _clock)
AMOUNT = Parameter(
    "amount", ("amount", "value", "sum", "quantity"), "number", ("the amount",), amount
)
CODE = Parameter(
    "code",
    ("order_id", "id", "number", "order_number", "code", "reference"),
    "string",
    ("the number of the order", "the id"),
    code,
)
PATH = Parameter(
    "path",
    ("path", "file", "filename", "file_path", "name"),
    "string",
    ("path of the file",),
    _path,
)
TOPIC = Parameter(
    "topic",
    ("query", "q", "topic", "search_term", "keywords", "term"),
    "string",
    ("what to look for", "the search words"),
    _either("topic", 0.25),
)
FOOD = Parameter(
    "food",
    ("item", "product", "name", "entry", "dish"),
    "string",
    ("the item",),
    _either("food", 0.2),
)
X = Parameter(
    "x", ("a", "x", "first", "num1", "number1", "left"), "number", ("first number",), amount
)
Y = Parameter(
    "y", ("b", "y", "second", "num2", "number2", "right"), "number", ("second number",), amount
)


def _count(slot: str, *keys: str, low: int = 1, high: int = 60) -> Parameter:
    return Parameter(slot, keys, "integer", ("how many", f"number of {slot}"), between(low, high))


FAMILIES = (
    Family("weather", ("get_weather", "weather", "current_weather", "weather_lookup", "getWeather", "check_weather", "fetch_weather", "climate_info"), (CITY,)),
    Family("forecast", ("get_forecast", "forecast", "weather_forecast", "predict_weather"), (CITY, _count("days", "days", "num_days", "n", high=14))),
    Family("time", ("get_time", "current_time", "world_clock", "time_in", "local_time", "getTime", "clock"), (CITY,)),
    Family("email", ("send_email", "email", "mail", "compose_email", "sendEmail"),
           (PERSON, Parameter("subject", ("subject", "title", "topic"), "string", ("the subject",), title))),
    Family("message", ("send_message", "send_text", "message", "sms", "notify", "post_message"), (PERSON, TEXT)),
    Family("reminder", ("create_reminder", "set_reminder", "remind", "add_reminder", "remind_me"),
           (Parameter("task", ("text", "task", "what", "title", "note"), "string", ("what to do",), _task), CLOCK)),
    Family("alarm", ("set_alarm", "alarm", "create_alarm", "wake_up", "alarm_clock"), (CLOCK,)),
    Family("timer", ("set_timer", "start_timer", "timer", "countdown"), (_count("minutes", "minutes", "duration", "length", "time"),)),
    Family("flight", ("book_flight", "find_flight", "flights", "search_flights", "reserve_flight", "fly"), (FROM, TO)),
    Family("table", ("book_table", "reserve_table", "restaurant_booking", "make_reservation"),
           (Parameter("company", ("restaurant", "name", "place"), "string", ("name of the restaurant",), lambda s: words.invented(s).capitalize()),
            _count("people", "people", "guests", "party_size", "seats", high=12))),
    Family("hotel", ("book_hotel", "find_hotel", "reserve_room", "hotel_booking"), (CITY, _count("nights", "nights", "duration", "num_nights", high=21))),
    Family("translate", ("translate", "translate_text", "translation", "translator"),
           (TEXT, Parameter("language", ("language", "target", "target_language", "to", "lang"), "string", ("the language",), _real("language"),
                            ("French", "German", "Spanish", "Italian", "Latin", "Greek", "Russian", "Chinese", "Japanese")))),
    Family("search", ("search", "web_search", "search_web", "google", "find_info", "lookup", "searchWeb", "internet_search"), (TOPIC,)),
    Family("shop", ("search_products", "find_product", "shop_search", "product_search"),
           (Parameter("object", ("query", "product", "item", "name"), "string", ("the product",), _either("object", 0.15)),
            Parameter("amount", ("max_price", "limit", "price", "budget"), "number", ("the highest price",), amount))),
    Family("stock", ("get_stock_price", "stock_price", "stock_quote", "share_price"),
           (Parameter("symbol", ("symbol", "ticker", "company", "stock"), "string", ("the stock symbol", "the company"), _symbol),)),
    Family("currency", ("convert_currency", "currency_converter", "exchange", "exchange_money"),
           (AMOUNT, Parameter("cur", ("from", "from_currency", "source", "base"), "string", ("currency to convert from",), one_of(CURRENCIES)),
            Parameter("cur2", ("to", "to_currency", "target", "quote"), "string", ("currency to convert to",), one_of(CURRENCIES)))),
    Family("units", ("convert_units", "unit_converter", "convert", "convert_unit"),
           (AMOUNT, Parameter("unit", ("from", "from_unit", "unit", "source"), "string", ("unit to convert from",), one_of(UNITS)),
            Parameter("unit2", ("to", "to_unit", "target", "target_unit"), "string", ("unit to convert to",), one_of(UNITS)))),
    Family("calculate", ("calculate", "calculator", "evaluate", "eval_expression", "math", "compute"),
           (Parameter("expression", ("expression", "formula", "input", "expr", "query"), "string", ("the expression", "what to calculate"), _expression),)),
    Family("addition", ("add", "add_numbers", "sum", "plus", "calculate_sum"), (X, Y)),
    Family("product", ("multiply", "multiply_numbers", "times", "product"), (X, Y)),
    Family("music", ("play_music", "play_song", "play", "music_player", "start_music"),
           (Parameter("song", ("song", "title", "track", "artist", "name", "query"), "string", ("the song", "what to play"), title),)),
    Family("light", ("set_light", "light_switch", "switch_light", "control_light", "toggle_light"),
           (SPOT, Parameter("onoff", ("state", "power", "status", "mode"), "string", ("on or off",), one_of(("on", "off")), ("on", "off")))),
    Family("heating", ("set_temperature", "thermostat", "set_heating", "heating"),
           (SPOT, Parameter("degrees", ("temperature", "degrees", "value", "target"), "number", ("degrees", "the temperature"), between(5, 35)))),
    Family("app", ("open_app", "launch_app", "start_program", "open"),
           (Parameter("app", ("app", "name", "program", "application", "app_name"), "string", ("name of the app",), _either("noun", 0.5)),)),
    Family("user", ("get_user", "find_user", "fetch_user", "user_info", "load_customer", "get_customer"),
           (Parameter("id", ("id", "user_id", "number", "customer_id"), "integer", ("the id", "number of the user"), between(1, 9999)),)),
    Family("order", ("get_order_status", "track_order", "order_status", "check_order", "track_package"), (CODE,)),
    Family("cancel", ("cancel_order", "cancel_booking", "cancel", "stop_order"), (CODE,)),
    Family("event", ("create_event", "add_event", "calendar_add", "schedule_meeting", "new_appointment"),
           (Parameter("title", ("title", "name", "event", "what"), "string", ("the title",), title),
            Parameter("day", ("date", "day", "when"), "string", ("the day", "the date"), _real("day")))),
    Family("list", ("add_to_list", "shopping_list_add", "add_item", "list_add", "add_todo"), (FOOD,)),
    Family("file", ("read_file", "open_file", "show_file", "file_read"), (PATH,)),
    Family("remove", ("delete_file", "remove_file", "erase_file", "unlink"), (PATH,)),
    Family("news", ("get_news", "news", "latest_news", "headlines", "news_search"), (TOPIC,)),
    Family("dice", ("roll_dice", "dice", "throw_die", "roll"), (_count("sides", "sides", "num_sides", "faces", low=2, high=100),)),
    Family("random", ("random_number", "get_random", "randint", "pick_number"),
           (Parameter("low", ("min", "low", "start", "minimum", "from"), "integer", ("lower bound",), between(0, 50)),
            Parameter("high", ("max", "high", "end", "maximum", "to"), "integer", ("upper bound",), between(51, 1000)))),
    Family("distance", ("get_distance", "distance", "calculate_distance", "route", "how_far"), (FROM, TO)),
    Family("contact", ("find_contact", "get_contact", "lookup_contact", "phone_book", "get_phone_number"), (PERSON,)),
    Family("dictionary", ("define_word", "dictionary", "lookup_word", "get_definition", "define"),
           (Parameter("word", ("word", "term", "text", "query"), "string", ("the word",), lambda s: words.list_word(s, 0)),)),
    Family("recipe", ("find_recipe", "get_recipe", "recipe_search", "cook"), (FOOD,)),
    Family("ticket", ("create_ticket", "open_ticket", "report_bug", "file_issue"),
           (Parameter("title", ("title", "subject", "summary", "problem"), "string", ("what is wrong",), title),
            Parameter("level", ("priority", "level", "severity"), "string", ("how urgent",), one_of(LEVELS), LEVELS))),
    Family("coffee", ("make_coffee", "order_drink", "brew", "coffee_machine"),
           (Parameter("size", ("size", "cup", "cup_size"), "string", ("size of the cup",), one_of(SIZES), SIZES),
            Parameter("drink", ("drink", "type", "kind", "beverage"), "string", ("which drink",), _either("food", 0.2)))),
    Family("move", ("move", "move_robot", "drive", "go", "steer"),
           (Parameter("direction", ("direction", "way", "where"), "string", ("direction",), one_of(DIRECTIONS), DIRECTIONS),
            _count("steps", "steps", "distance", "count", "n"))),
    Family("volume", ("set_volume", "volume", "change_volume"), (_count("percent", "volume", "level", "percent", "value", high=100),)),
    Family("note", ("save_note", "create_note", "write_note", "take_note", "memo"), (TEXT,)),
    Family("exam", ("add_points", "record_score", "set_grade", "save_score"), (PERSON, _count("points", "points", "score", "grade", high=200))),
    Family("ride", ("call_taxi", "order_ride", "book_ride", "get_cab"), (FROM, TO)),
    Family("holiday", ("get_holidays", "public_holidays", "list_holidays"),
           (Parameter("place", ("country", "region", "country_name"), "string", ("the country",), words.place),
            _count("year", "year", "in_year", low=1990, high=2050))),
    Family("password", ("generate_password", "new_password", "password"), (_count("length", "length", "size", "num_characters", low=4, high=64),)),
    Family("register", ("register_user", "add_user", "create_account", "sign_up", "new_member"),
           (Parameter("person", ("name", "full_name", "username", "user"), "string", ("name of the user",), words.name),
            _count("age", "age", "years", "user_age", high=99))),
    Family("pay", ("send_money", "pay", "transfer_money", "make_payment", "transfer"), (PERSON, AMOUNT)),
)  # fmt: skip
