"""A hostile template ends soon, in bounded memory, and harms no other rendering."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engine.text.errors import TemplateFailed, TextError
from engine.text.templates.chat_template import ChatTemplate

ROOT = Path(__file__).parents[3]
NS = "{% set ns = namespace(x=[1, 2], y=[1, 2], t=(), l=[]) %}"
FOR = "{% for i in range(99999) %}"
TWICE = "{% for i in range(99999) %}{% for j in range(99999) %}"
END = "{% endfor %}"
# A value, and an equal one, whose parts are the same two at forty levels; and a tuple like them.
BOMB = (
    NS + "{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}"
    "{% set ns.t = (ns.t, ns.t) %}" + END
)
LONG = "{% set s = 'a' * 2000000 %}"


def failure(source: str, max_render_s: float = 5.0) -> str:
    """Why it failed; checks that this took no longer than it may."""
    template = ChatTemplate({"default": source}, {}, max_chars=2_000_000, max_render_s=max_render_s)
    begin = time.perf_counter()
    with pytest.raises(TemplateFailed) as raised:
        template.render([{"role": "user", "content": "hi"}])
    assert time.perf_counter() - begin < max_render_s + 1.5
    return str(raised.value)


@pytest.mark.parametrize(
    "source",
    [
        TWICE + END + END,
        TWICE + "{{ '' if loop.first }}" + END + END,
        "{% for i in range(200) %}" * 6 + END * 6,
        "{% for i in range(99999) %}{% for j in range(99999) if false %}" + END + END,
        "{% for i in range(99999) recursive %}{{ loop(range(99999)) if loop.depth < 9 }}" + END,
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% macro m(n) %}{% if n %}{% call m(n - 1) %}{% endcall %}{% call m(n - 1) %}{% endcall %}"
        "{% endif %}{{ caller is none }}{% endmacro %}{{ m(60) }}",
        FOR + "{% set x = range(50000) | map('string') | sort %}" + END,
        FOR + "{% set x = range(50000) | unique | list %}" + END,
        LONG + FOR + "{% if 'aab' in s %}{% endif %}" + END,
        LONG + FOR + "{% if s.count('aab') %}{% endif %}" + END,
        LONG + "{% set t = 'a' * 2000000 %}" + FOR + "{% if s == t %}{% endif %}" + END,
        "{% set s = '<!---->' * 9999 %}" + FOR + "{% set t = s | striptags %}" + END,
        "{% set s = 'a' * 9999 %}" + FOR + "{% set t = s | wordwrap(1) %}" + END,
        "{% set x = range(9999) | list %}" + FOR + "{% set t = x | pprint %}" + END,
        "{% set x = [0] * 200000 %}{% macro m() %}{{ varargs | length }}{% endmacro %}" + FOR + "{{ m(*x) }}" + END,
        "{% set x = [0] * 200000 %}" + FOR + "{% if 'a' in x %}{% endif %}" + END,
    ],
)  # fmt: skip
def test_what_goes_on_for_ever_is_stopped(source: str) -> None:
    assert "takes more than 0.2 s" in failure(source, max_render_s=0.2)


@pytest.mark.parametrize(
    "use",
    [
        "{{ ns.x }}", "{{ [ns.x] }}", "{{ {1: ns.x}.items() }}", "{{ '' ~ ns.x }}",
        "{{ ns.x | tojson }}", "{{ {'a': ns.x} | tojson(indent=2) }}",
        "{{ ns.x == ns.y }}", "{{ ns.x != ns.y }}", "{{ ns.x < ns.y }}", "{{ ns.x in [ns.y] }}",
        "{{ ns.x is eq(ns.y) }}", "{{ ns.x is in([ns.y]) }}", "{{ ns.x is upper }}",
        "{{ [ns.x] | select('==', ns.y) | list }}", "{{ [ns.x].index(ns.y) }}",
        "{{ [{'a': ns.x}] | selectattr('a', 'eq', ns.y) | list }}",
        "{{ [ns.x, ns.y] | sort | length }}", "{{ [ns.x, ns.y] | max | length }}",
        "{% for i in [1, 2] %}{{ loop.changed(ns.x) }}{% endfor %}",
        "{{ {}[ns.t] }}", "{{ {ns.t: 1} | length }}", "{{ {}.get(ns.t) }}", "{{ ns.t in {} }}",
        "{{ [ns.t] | unique | list | length }}", "{{ dict.fromkeys([ns.t]) | length }}",
        "{{ [][ns.t].x }}",
        "{{ '%s' % [ns.x] }}", "{{ '%(a)s' % {'a': ns.x} }}", "{{ '{}'.format(ns.x) }}",
        "{{ '{a}'.format_map({'a': ns.x}) }}", "{{ '%s' | format(ns.x) }}",
        "{{ [ns.x] | join }}", "{{ [ns.x] | map('string') | list }}",
        *(f"{{{{ ns.x | {name} }}}}" for name in ("string", "upper", "trim", "title", "pprint", "e",
                                                 "safe", "urlencode", "replace('a', 'b')", "sum")),
        "{{ raise_exception(ns.x) }}",
    ],
)  # fmt: skip
def test_a_value_that_refers_to_itself_many_times_is_never_followed(use: str) -> None:
    assert "value of more than" in failure(BOMB + use)


@pytest.mark.parametrize(
    "source",
    [
        "{% set x = ['a' * 100000] * 100000 %}{{ x }}",
        "{% set x = ['a' * 100000] * 100000 %}{{ x | tojson }}",
        "{% set x = ['a' * 100000] * 100000 %}{{ x | join }}",
        "{% set x = ['a' * 100000] * 100000 %}{{ ''.join(x | map('string')) }}",
        "{{ ('%(a)s' * 9000) % {'a': 'a' * 1000000} }}",
        "{{ ('%999999d' * 9999) % ((1,) * 9999) }}",
        "{{ ('{:{}}' * 9999).format(1, 999999) }}",
        "{{ ('{0}' * 500000).format('') }}",
        LONG + "{{ s.translate({97: 'b' * 1000000}) }}",
        "{{ (1).to_bytes(10000000000, 'big') | length }}",
        "{{ ([[0] * 10000] * 10000) | sum(start=[]) | length }}",
        "{% set ns = namespace(x=3) %}{% for i in range(40) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{{ ('f' * 1000000) | int(base=16) }}",
        "{{ (1).from_bytes(('a' * 1000000).encode(), 'big') }}",
        "{{ 1.5 | round(1000000000, 'ceil') }}",
        LONG + "{{ s.rfind('ab' + 'a' * 1000000) }}",
        LONG + "{{ s.strip('b' * 1000000 + 'a') }}",
        LONG + "{{ s | trim('b' * 1000000 + 'a') }}",
        LONG + "{{ s | wordwrap(1) }}",
        "{{ ('<!---->' * 200000) | striptags }}",
        "{{ (('<!---->' * 200000) | safe).striptags() }}",
        "{{ ('é' * 1000000).encode('punycode') }}",
        "{% set x = range(60000) | list %}{{ (x + x) | sort }}",
        "{{ range(60000) | map(attribute='a.' * 100000) | list }}",
        "{{ strftime_now('%c' * 1000000) }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(900) %}{% set ns.x = [ns.x, 1] %}{% endfor %}"
        "{{ [ns.x] * 20 | tojson(indent=64) }}",
        "{{ {}.fromkeys([1] * 200000) | length }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(2000) %}{% set ns.x = [ns.x] %}{% endfor %}"
        "{{ ns.x }}",
    ],
)  # fmt: skip
def test_one_operation_out_of_all_proportion_is_refused(source: str) -> None:
    assert "takes more than" not in failure(source)


# Each of these would end the process, or fill the machine, and not only fail.
ALONE = {
    "strings": NS + FOR + "{% set ns.l = ns.l + ['a' * 15000000] %}" + END,
    "slices": NS + "{% set s = 'a' * 16000000 %}" + FOR + "{% set ns.l = [ns.l, s[1:]] %}" + END,
    "results": NS + "{% set s = 'a' * 16000000 %}" + FOR + "{% set ns.l = [ns.l, s.upper()] %}" + END,
    "parts": NS + "{% set s = 'ab ' * 100000 %}" + FOR + "{% set ns.l = [ns.l, s.split()] %}" + END,
    "characters": NS + "{% set s = 'ab' * 50000 %}" + FOR + "{% set ns.l = [ns.l, s | list] %}" + END,
    "ranges": NS + FOR + "{% set ns.l = [ns.l, range(99999) | list] %}" + END,
    "fillers": NS + FOR + "{% set ns.l = [ns.l, [0] | batch(1000000, 0) | list] %}" + END,
    "constants": "{{ 'a' | center(15000000) | length }}" * 50,
    "chained filters": NS + FOR + "{% set ns.x = ns.x | map('string') %}" + END,
    "deep tuples": NS + "{% for j in range(9) %}" + FOR + "{% set ns.t = (ns.t,) %}" + END * 2 + "{{ {}[ns.t] }}",
    "namespaces": NS + "{% for i in range(40) %}{% set ns.x = namespace(a=ns.x, b=ns.x) %}" + END + "{{ ns.x }}",
}  # fmt: skip
PROGRAM = """
import json, resource, sys
from engine.text.templates.chat_template import ChatTemplate
from engine.text.errors import TemplateFailed
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for source in json.load(sys.stdin):
    template = ChatTemplate({"default": source}, {}, max_render_s=1.0)
    try:
        template.render([])
    except TemplateFailed:
        pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_neither_memory_nor_the_stack_runs_out() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        input=json.dumps(list(ALONE.values())),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    # 16 values of 16 million characters, and some room.
    assert int(done.stdout) < 600


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ [1]" + " | map('string')" * 300 + " | list }}",
    ],
)
def test_a_template_too_deep_for_the_compiler_does_not_compile(source: str) -> None:
    with pytest.raises(TemplateFailed, match="does not compile"):
        ChatTemplate({"default": source}, {})


def test_words_of_a_template_are_cut_to_a_readable_length() -> None:
    template = ChatTemplate({"default": "{{ raise_exception('a' * 100000) }}"}, {})
    with pytest.raises(TextError) as raised:
        template.render([])
    assert len(str(raised.value)) < 3000
    assert len(failure(LONG + "{{ {}[s].x }}")) < 3000


def test_the_limits_belong_to_one_rendering() -> None:
    hostile = "{% if loop_for_ever %}" + TWICE + END + END + "{% endif %}fine"
    template = ChatTemplate({"default": hostile}, {}, max_render_s=0.5)
    failures: list[TextError] = []

    def loop_for_ever() -> None:
        try:
            template.render([], loop_for_ever=True)
        except TextError as error:
            failures.append(error)

    threads = [threading.Thread(target=loop_for_ever) for _ in range(2)]
    for thread in threads:
        thread.start()
    num_rendered = 0
    while any(thread.is_alive() for thread in threads):
        assert template.render([]) == "fine"
        num_rendered += 1
    assert num_rendered > 10
    assert len(failures) == 2
    assert template.render([]) == "fine"


def test_a_long_chat_is_far_from_every_limit() -> None:
    source = (
        "{% for m in messages %}{% if m['content'] is string and '<x>' not in m.content %}"
        "<|{{ m.role }}|>{{ m.content | trim + '\n' }}{{ m | tojson }}{% endif %}{% endfor %}"
    )
    messages = [{"role": "user", "content": "word " * 1000} for _ in range(800)]
    template = ChatTemplate({"default": source}, {}, max_render_s=1.0)
    assert len(template.render(messages)) > 8_000_000
