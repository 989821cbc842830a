"""Templates render as in transformers, in a sandbox with limits."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from engine.text.errors import TemplateFailed, TemplateMissing, TemplateRejected, TextError
from engine.text.templates.chat_template import ChatTemplate


def render(source: str, content: object = "hi", **kwargs: object) -> str:
    template = ChatTemplate({"default": source}, {"bos_token": "<s>"}, max_chars=100_000)
    return template.render([{"role": "user", "content": content}], **kwargs)


SAME = [
    "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "{%- for m in messages -%}\n  {% if loop.first %}\n x{{ m['content'] }}\n  {% endif %}\n{% endfor %}",
    "{% for m in messages %}{% if m.role == 'x' %}{% continue %}{% endif %}a{% break %}{% endfor %}",
    "{{ tools | tojson }}|{{ tools | tojson(indent=2) }}|{{ messages | tojson(ensure_ascii=true) }}",
    "{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 %}{{ ns.a }}{{ dict(b=2) }}",
    "a{% generation %}{{ messages[0].content }}{% endgeneration %}b",
    "{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m('q') ~ 1 ~ none ~ messages[0].content }}",
    "{{ messages[0].content | upper | replace('I', 'j') | indent(2) | center(9) }}{{ 'ab' * 3 }}",
    "{{ '%s-%d' % ('a', 3) }}{{ '{}:{}'.format(1, 2) }}{{ ', '.join(['a', 'b']) | trim }}{{ 2 ** 3 }}",
    "{{ messages[0].thinking }}{{ messages[0].reasoning_content }}{{ messages[0].name is defined }}",
    "{{ ['a', 'b'] | join('-') }}{{ [1, 2, 3] | batch(2) | list }}{{ documents is none }}{{ missing }}",
    "{{ enable_thinking is defined and enable_thinking }}{{ strftime_now('%Y') }}",
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.first }}{{ loop.last }}{{ loop.revindex }}"
    "{{ loop.nextitem is defined }}{{ loop.changed(m.role) }}{% endfor %}",
    "{% for i in [1, 2, 3, 4] if i % 2 %}{{ loop.index }}{{ loop.last }}{{ loop.length }}{% else %}none{% endfor %}",
    "{% for i in [] %}x{% else %}none{% endfor %}{% for k, v in messages[0].items() %}{{ k }}{{ v }}{% endfor %}",
    "{% for i in [1, [2, [3]]] recursive %}{{ i if i is number else loop(i) }}{{ loop.depth }}{% endfor %}",
    "{{ 1 < 2 <= 2 }}{{ 'r' in messages[0].reasoning }}{{ 'role' in messages[0] }}{{ 'x' not in ['y', 'x'] }}"
    "{{ messages == messages[:] }}{{ messages[0] in messages }}{{ [1] == [1.0] }}{{ 1 == true }}",
    "{{ messages[::-1][0].role }}{{ 'abc'[1:] }}{{ 'abc'[-1] }}{{ [1, 2][-1:] }}{{ (1, 2) }}{{ {'a' ~ 1: [2]}['a1'] }}",
    "{{ [3, 1, 2] | sort | join(',') }}{{ ['b', 'A'] | sort }}{{ [1, 2] | sum }}{{ [[1], [2]] | sum(start=[]) }}"
    "{{ [1, 1, 2] | unique | list }}{{ [1, 5] | max }}{{ {'b': 1, 'a': 2} | dictsort }}{{ 'ab' | list }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list }}{{ messages | map(attribute='role') | first }}"
    "{{ [1, none] | select | list }}{{ [0, 1] | reject | list }}{{ [3, 4] | map('string') | join }}",
    "{{ messages | groupby('role') }}{{ range(5) | slice(2) | list }}{{ [1, 2] | last }}{{ 'ab' | reverse }}"
    "{{ [1, 2] | reverse | list }}{{ {'a': 1} | items | list }}{{ 'a b' | title }}{{ 'a b' | wordcount }}",
    "{{ 1.25 | round(1) }}{{ '7' | int + 1 }}{{ 'ff' | int(base=16) }}{{ 'x' | default('y') }}{{ none | default('d', true) }}"
    "{{ 1700000000 | default(1700000000) }}{{ '{}'.format(1700000000) }}{{ '%d' % 1700000000 }}",
    "{{ 'a.b'.split('.') }}{{ 'a b'.partition(' ') }}{{ 'xax'.strip('x') }}{{ 'aXb'.rsplit('X', 1) }}{{ ','.join({'k': 1}) }}"
    "{{ 'a'.encode('utf-8').decode('utf-8') }}{{ {'a': 1}.get('b', 2) }}{{ [1, 2, 1].count(1) }}{{ [1, 2].index(2) }}",
    "{{ ['a', 'b'] is sequence }}{{ 'a' is in(['a']) }}{{ 'A' is upper }}{{ 3 is divisibleby(3) }}{{ 2 is gt(1) }}",
    "{% macro m(x, y='d') %}{{ x }}{{ y }}{{ varargs }}{{ kwargs }}{{ caller() if caller }}{% endmacro %}"
    "{{ m(1, 2, 3, z=4) }}{% call m([1]) %}body{% endcall %}{{ [m] | length }}",
    "{% block b %}{{ 'in block' | upper }}{% for i in [1] %}{{ loop.index }}{% endfor %}{% endblock %}{{ self.b() }}",
    "{% set x %}{{ messages[0].content }}{% endset %}{{ x | length }}{% filter upper %}{{ x }}{% endfilter %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{% set j = joiner('|') %}{{ j() }}{{ j() }}{{ [1, 2] + [3] }}"
    "{{ (1,) + (2,) }}{{ 7 // 2 }}{{ 7 % 4 }}{{ -3 }}{{ 2 ** 0.5 }}{{ 'a' + 'b' }}{{ not 1 }}{{ 1 if false }}",
]


@pytest.mark.parametrize("source", SAME)
def test_it_renders_what_transformers_renders(tmp_path: Path, source: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [{"role": "user", "content": "hi <ä>&\n", "reasoning": "r"}]
    tools = [{"type": "function", "function": {"name": "f", "description": "<é>"}}]
    theirs, _ = render_jinja_template(
        [messages],
        tools,
        None,
        source,
        add_generation_prompt=True,
        bos_token="<s>",
        enable_thinking=True,
    )
    ours = ChatTemplate({"default": source}, {"bos_token": "<s>"})
    assert ours.render(messages, tools, True, enable_thinking=True) == theirs[0]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}{{ bos_token }}", {"messages", "bos_token"}),
        ("{% if enable_thinking is defined and enable_thinking is false %}x{% endif %}", {"enable_thinking"}),
        ("{% set x = 1 %}{{ x }}{{ namespace(a=1).a }}{{ range(2) | list }}", set()),
        ("{% if not date is defined %}{% set date = strftime_now('%Y') %}{% endif %}{{ date }}", {"date"}),
        ("{% macro m(a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", {"b"}),
        ("{{ [1] | map('upper') | first | default(fallback) }}", {"fallback"}),
    ],
)  # fmt: skip
def test_a_template_names_the_variables_that_it_reads(source: str, names: set[str]) -> None:
    assert ChatTemplate({"default": source}, {}).variables == names


def test_the_variables_of_both_templates_count() -> None:
    sources = {"default": "{{ a }}", "tool_use": "{{ tools }}{{ b }}", "rag": "{{ c }}"}
    assert ChatTemplate(sources, {}).variables == {"a", "b", "tools"}


def test_the_templates_own_refusal_is_the_callers_fault() -> None:
    with pytest.raises(TemplateRejected, match=r"^roles must alternate$"):
        render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0].content.missing.more }}",
        "{{ 1 / 0 }}",
        "{{ messages | undefined_filter_result(3) }}",
        "{% if %}",
        "{{ messages[9].content }}",
    ],
)
def test_any_other_fault_is_a_failure(source: str) -> None:
    with pytest.raises(TemplateFailed):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ cycler.__init__.__globals__.os }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% set ns = namespace(__class__=1) %}",
        "{% include 'x' %}",
        "{{ lipsum(5) }}",
    ],
)
def test_nothing_leads_out_of_the_sandbox(source: str) -> None:
    with pytest.raises(TemplateFailed):
        render(source)


def test_format_strings_see_no_private_attributes() -> None:
    source = "{{ '{0.__class__}'.format(1) }}{{ ('{0.__class__}' | attr('format'))(1) }}"
    assert "class" not in render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ range(10 ** 9) | list }}",
        "{{ 'a' * 10 ** 10 }}",
        "{{ 10000000000 * 'a' }}",
        "{{ [0] * 10 ** 9 }}",
        "{{ 10 ** (10 ** 10) }}",
        "{% for i in range(1000) %}{{ 'a' * 1000 }}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aa') %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}"
        "{% endset %}{% set ns.x = y %}{% endfor %}",
        "{% macro d(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns = namespace(x='aa') %}"
        "{% for i in range(60) %}{% set ns.x = d(ns.x) %}{% endfor %}",
        "{{ 'a'.ljust(10 ** 9) }}",
        "{{ 'a'.zfill(10 ** 9) }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ 'a\n' | indent(1000000000) }}",
        "{{ '\t'.expandtabs(10 ** 9) }}",
        "{{ ('a' * 90000).replace('a', 'b' * 90000) }}",
        "{{ ('a' * 90000) | replace('a', 'b' * 90000) }}",
        "{{ ('a' * 90000).join(['b'] * 90000) }}",
        "{{ (['b'] * 90000) | join('a' * 90000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 1000000000) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ ('{0}' * 30000).format('a' * 90000) }}",
        "{{ [1] | batch(1000000000, 0) | list }}",
        "{{ messages | tojson(indent=1000000000) }}",
    ],
)
def test_no_value_grows_past_the_limit(source: str) -> None:
    with pytest.raises(TemplateFailed):
        render(source)


def test_ordinary_sizes_pass() -> None:
    assert render("{{ 'ab'.ljust(4) }}{{ messages[0].content }}", "x" * 90_000).startswith("ab  x")
    assert render("{{ messages[0].content.replace('a', 'bb') }}", "a" * 1000) == "bb" * 1000


def test_the_folder_says_where_the_template_is(tmp_path: Path) -> None:
    config = {"chat_template": "old", "bos_token": {"content": "<b>"}, "eos_token": "</b>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert ChatTemplate.from_folder(tmp_path).render([]) == "old"
    named = [
        {"name": "default", "template": "plain{{ bos_token }}"},
        {"name": "tool_use", "template": "tools{{ eos_token }}"},
        {"name": "rag", "template": "{% broken"},
    ]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": named}))
    template = ChatTemplate.from_folder(tmp_path)
    assert (template.render([]), template.render([], [{}])) == ("plain<b>", "tools</b>")
    (tmp_path / "chat_template.jinja").write_bytes("jinja ä\r\n".encode())
    assert ChatTemplate.from_folder(tmp_path).render([], [{}]) == "jinja ä"
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("more")
    assert ChatTemplate.from_folder(tmp_path).render([], [{}]) == "more"


def test_a_folder_without_a_usable_template_says_so(tmp_path: Path) -> None:
    with pytest.raises(TemplateMissing, match="no chat template"):
        ChatTemplate.from_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": [{"name": "rag"}]}')
    with pytest.raises(TemplateMissing, match="none is named"):
        ChatTemplate.from_folder(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(TextError, match="holds no JSON object"):
        ChatTemplate.from_folder(tmp_path)


def test_the_clock_is_the_callers() -> None:
    template = ChatTemplate(
        {"default": "{{ strftime_now('%d %b %Y') }}"}, {}, clock=lambda: datetime(2024, 2, 29)
    )
    assert template.render([]) == "29 Feb 2024"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for m in messages %}[{{ m.role }}]{% endfor %}", "[system]"),
        ("{# knows developer #}{% for m in messages %}[{{ m.role }}]{% endfor %}", "[developer]"),
    ],
)
def test_a_developer_is_a_system_to_templates_that_know_no_developer(
    source: str, expected: str
) -> None:
    template = ChatTemplate({"default": source}, {})
    assert template.render([{"role": "developer", "content": "x"}]) == expected
