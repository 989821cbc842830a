"""Reports as a reader opens them, whatever a server has said."""

from __future__ import annotations

import math
import re
import shlex
from html.parser import HTMLParser
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.bench.figures.comparison import Comparison
from observability.bench.figures.interval import Interval
from observability.bench.measured import Measured
from observability.bench.plan import Target
from observability.bench.report.comparison_report import report_of_comparison
from observability.bench.report.plot import thinned
from observability.bench.report.plot_scale import (
    exact_scale,
    linear_scale,
    number_text,
    tail_scale,
    tail_shares,
)
from observability.bench.report.repeat_command import repeat_command
from observability.bench.report.report import report_of
from observability.bench.report.run_series import in_flight, itl_ms, tokens_over_time, ttft_ms
from observability.bench.run import Lateness, Run, Sample
from tests.observability.bench.a_run import a_run

FIGURES = {
    "output_tokens_per_s": 1234.5,
    "p50_ttft_ms": 80.0,
    "p99_ttft_ms": 301.26,
    "mean_itl_ms": 18.04,
}
INTERVALS = {
    "p50_ttft_ms": Interval(None, 91.0),
    "p99_ttft_ms": Interval(250.0, 377.0),
    "output_tokens_per_s": Interval(1111.0, None),
}
HOSTILE = "</title></style></svg><script>alert(1)</script><img src=x onerror='alert(2)' \" & \u202e"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.is_balanced = True
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        self.is_balanced &= bool(self.open) and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def read(page: str) -> Reader:
    """Every page must be whole, load nothing, and hold pictures that are SVG with words."""
    reader = Reader(page)
    assert reader.is_balanced
    assert reader.open == []
    assert not {"script", "img", "link", "iframe", "object", "a", "form"} & set(reader.tags)
    assert not {"href", "src", "style"} & reader.attributes
    assert not [name for name in reader.attributes if name.startswith("on")]
    assert "url(" not in page
    for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        root = ElementTree.fromstring(picture)
        assert root.get("aria-label") or root.get("aria-hidden")
        for name in ("nan", "inf"):
            assert not re.search(rf'[ "M,VHh]-?{name}[ ",VHhv]', picture)
    return reader


def test_a_report_says_its_figures_in_words_too() -> None:
    text = read(report_of(a_run(), FIGURES, INTERVALS.get)).text
    for words in (
        *("a label", "a/model", "random:128,24", "poisson:5", "2 failed", "20261201-014500-3fa9"),
        *(
            "301",
            "250 to 377",
            "up to 91.0",
            "1\u202f111 or more",
            "TTFT, ms",
            "18.0",
            "per s",
            "http 429",
            "timeout",
            "A Processor",
        ),
        *("0123456789ab", "Requests in the server", "GPU: power, W", "kvorum bench serve"),
    ):
        assert words in text, words


def test_what_a_server_or_a_user_says_stays_text() -> None:
    run = a_run(num=12)
    results = [
        msgspec.structs.replace(one, error=HOSTILE, detail=HOSTILE) for one in run.results[:3]
    ]
    target = Target(url=f"http://u:secret@h/{HOSTILE}", model=HOSTILE, body={HOSTILE: HOSTILE})
    run = msgspec.structs.replace(
        run,
        id=HOSTILE,
        label=HOSTILE,
        begun_at=HOSTILE,
        results=[*results, *run.results[3:]],
        samples=[Sample(0.5, f"kvorum_requests_running{{{HOSTILE}}}", 1.0), *run.samples],
        plan=msgspec.structs.replace(
            run.plan, target=target, workload=HOSTILE, arrival=HOSTILE, objective={HOSTILE: 1.0}
        ),
        machine=msgspec.structs.replace(run.machine, cpu=HOSTILE, gpus=[HOSTILE]),
        versions={"server": HOSTILE, HOSTILE: HOSTILE},
    )
    page = report_of(run, {HOSTILE: 1.0, "p50_<b>_ms": 2.0})
    assert HOSTILE in read(page).text
    assert "secret" not in page
    read(compared([run], [run]))


def test_a_large_run_makes_a_small_page() -> None:
    names = [f"kvorum_a{{b={number}}}" for number in range(300)]
    run = a_run(num=10_000)
    run.samples += [Sample(float(at), name, at * 1.0) for name in names for at in range(100)]
    page = report_of(run, FIGURES)
    read(page)
    assert len(page.encode()) < 500_000
    assert "the first 300 of 10000" in page


def compared(a: list[Run], b: list[Run]) -> str:
    return report_of_comparison(a, b, Comparison.of(a, b))


def whole_failed(num: int) -> list[Measured]:
    return [
        Measured(session=index, turn=0, due_s=0.0, sent_s=0.0, end_s=0.0, error="connection")
        for index in range(num)
    ]


@pytest.mark.parametrize(
    "run",
    [
        a_run(num=0, samples=[]),
        a_run(num=1),
        a_run(results=whole_failed(1), samples=[], duration_s=0.0),
        a_run(results=whole_failed(3), samples=[Sample(math.nan, "gpu0.power_w", math.nan)]),
        a_run(samples=[Sample(1.0, "gpu0.power_w", 1e300), Sample(2.0, "client.cpu", -1e-9)]),
        a_run(
            results=[Measured(session=0, turn=0, due_s=0, sent_s=0, end_s=2, num_output_tokens=9)]
        ),
    ],
    ids=["empty", "one", "all failed", "failed at once", "odd samples", "not streamed"],
)
def test_a_run_with_little_to_show_has_a_report_too(run: Run) -> None:
    read(report_of(run, {}))
    nothing = Comparison(num_a=1, num_b=1, method="requests", differences=[], warnings=[])
    read(report_of_comparison([run], [a_run()], nothing))


TIMES = st.floats(0, 1e4)


@given(
    st.lists(
        st.builds(
            lambda due_s, gaps, error: Measured(
                session=0,
                turn=0,
                due_s=due_s,
                sent_s=due_s + gaps[0],
                arrivals_s=[due_s + sum(gaps[: index + 2]) for index in range(len(gaps) - 1)],
                end_s=due_s + sum(gaps),
                num_output_tokens=len(gaps),
                error=error,
            ),
            TIMES,
            st.lists(st.floats(0, 100), min_size=1, max_size=6),
            st.sampled_from(["", "timeout"]),
        ),
        max_size=6,
    )
)
def test_any_results_have_a_report(results: list[Measured]) -> None:
    duration_s = max((one.end_s for one in results), default=0.0)
    read(report_of(a_run(results=results, duration_s=duration_s, samples=[]), {}))


def test_a_client_that_was_too_busy_and_many_failures_are_told() -> None:
    run = a_run(lateness=Lateness(loop_p99_ms=25.0, cpu_share=0.99))
    text = read(report_of(run, {})).text
    assert "The client was too busy" in text
    assert "2 of 20 requests failed" in text
    assert "too busy" not in report_of(a_run(num=3), {})


def test_a_comparison_shows_both_with_what_is_sure() -> None:
    a = [a_run(label="main", num=40, seed=seed) for seed in range(5)]
    b = [a_run(label="branch", num=40, seed=seed, slow=1.5) for seed in range(5)]
    text = read(compared(a, b)).text
    for words in ("main and branch", "5 and 5 runs", "p50_ttft_ms", "slower", "Requests failed"):
        assert words in text, words
    assert "main (first) and main (second)" in read(compared(a, a)).text


def test_the_series_of_pictures_are_what_happened() -> None:
    results = [
        Measured(
            session=0,
            turn=0,
            due_s=1.0,
            sent_s=1.5,
            end_s=4.0,
            arrivals_s=[2.0, 3.0, 3.5],
            num_output_tokens=30,
        ),
        Measured(session=1, turn=0, due_s=1.0, sent_s=1.0, end_s=9.0, error="timeout"),
    ]
    assert ttft_ms(results).tolist() == [1000]
    assert itl_ms(results).tolist() == [1000, 500]
    points = tokens_over_time(results, 9.0)
    width_s = points[1][0] - points[0][0]
    assert sum(rate * width_s for _, rate in points) == pytest.approx(30)
    assert in_flight([(1.0, 3.0), (2.0, 4.0), (5.0, 5.0)]) == [
        *((1.0, 0), (1.0, 1), (2.0, 1), (2.0, 2)),
        *((3.0, 2), (3.0, 1), (4.0, 1), (4.0, 0)),
    ]


def test_the_command_to_repeat_is_one_for_a_shell_and_without_a_password() -> None:
    plan = a_run().plan
    target = msgspec.structs.replace(plan.target, url="https://u:secret@h/", is_insecure=True)
    words = shlex.split(repeat_command(msgspec.structs.replace(plan, target=target)))
    assert words[:3] == ["kvorum", "bench", "serve"]
    said = dict(zip(words[3::2], words[4::2], strict=False))
    assert said["--url"] == "https://h/"
    assert said["--body"] == '{"temperature":0}'
    assert said["--objective"] == "ttft:300"
    assert words[-1] == "--insecure"


NUMBERS = st.floats(-1e12, 1e12)


@given(NUMBERS, NUMBERS)
def test_a_scale_is_round_and_holds_its_values(one: float, other: float) -> None:
    low, high = sorted((one, other))
    scale = linear_scale(low, high)
    slack = 1e-6 * (scale.high - scale.low)
    assert scale.low <= low + slack
    assert scale.high >= high - slack
    assert 2 <= len(scale.ticks) <= 9
    assert len({text for _, text in scale.ticks}) == len(scale.ticks)
    assert 0 <= scale.place(low) <= scale.place(high) <= 1


@given(st.integers(1, 10**7), st.integers(2, 200))
def test_the_scale_of_tails_gives_each_nine_the_same_room(num: int, num_points: int) -> None:
    scale = tail_scale(num)
    assert (
        scale.place(0.99) - scale.place(0.9) == pytest.approx(scale.place(0.9) - scale.place(0.0))
        or scale.high < 0.99
    )
    shares = tail_shares(num, num_points)
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(scale.high)
    assert [scale.place(share) for share in shares] == pytest.approx(
        [index / (num_points - 1) for index in range(num_points)]
    )


def test_an_exact_scale_ends_where_time_does() -> None:
    scale = exact_scale(-1.2, 46.3, 8)
    assert (scale.low, scale.high) == (-1.2, 46.3)
    assert [text for _, text in scale.ticks] == ["0", "10", "20", "30", "40"]


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=500), st.integers(10, 100))
def test_a_thinned_line_keeps_its_peaks(points: list[tuple[float, float]], num: int) -> None:
    points.sort()
    kept = thinned(points, num)
    assert len(kept) <= num
    assert set(kept) <= set(points)
    assert sorted(kept) == kept
    if points:
        for peak in (max, min):
            assert peak(y for _, y in kept) == peak(y for _, y in points)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (12.345, "12.3"), (123.4, "123")),
        *((1234567.0, "1\u202f234\u202f567"), (2e12, "2e+12"), (math.nan, "–"), (-5.5, "-5.50")),
    ],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert number_text(value) == text
