import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator

import pytest

from observability.log import configure_logging


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, show = root.handlers[:], root.level, warnings.showwarning
    yield
    logging.captureWarnings(False)
    warnings.showwarning = show
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(message: str, *args: object, json: bool, **extra: object) -> str:
    stream = io.StringIO()
    configure_logging("info", json, stream)
    logging.getLogger("service.app").info(message, *args, extra=extra)
    return stream.getvalue()


def test_a_json_line_carries_ids_and_known_fields_only() -> None:
    text = logged(
        "finished %s", "well", json=True, request_id="r1", trace_id="t1", prompt="secret words"
    )
    line = json.loads(text)
    assert text.count("\n") == 1
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "service.app",
        "message": "finished well",
        "request_id": "r1",
        "trace_id": "t1",
    }


def test_a_text_line_is_readable_and_carries_the_ids() -> None:
    text = logged("listening", json=False, request_id="r1", prompt="secret words")
    assert text.endswith(" INFO    service.app: listening  request_id=r1\n")


def test_a_client_cannot_forge_a_line_or_steer_the_terminal() -> None:
    text = logged("GET %s", "/\n2026 INFO root: \x1b[2Jok\r", json=False)
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert "/\\n2026 INFO root: \\x1b[2Jok\\r" in text


@pytest.mark.parametrize("is_json", [True, False])
def test_an_exception_brings_its_traceback(is_json: bool) -> None:
    stream = io.StringIO()
    configure_logging("INFO", is_json, stream)
    try:
        raise RuntimeError("the device is gone")
    except RuntimeError:
        logging.getLogger("engine").exception("step failed")
    assert "RuntimeError: the device is gone" in stream.getvalue()
    assert "Traceback" in stream.getvalue()


def test_half_a_surrogate_pair_does_not_lose_the_line() -> None:
    line = json.loads(logged("open %s", "\udcff.wav", json=True, request_id="r1"))
    assert (line["message"], line["request_id"]) == ("open ?.wav", "r1")


def test_the_level_is_a_threshold_and_a_bad_one_is_refused() -> None:
    stream = io.StringIO()
    configure_logging("warning", False, stream)
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").warning("loud")
    assert "loud" in stream.getvalue()
    assert "quiet" not in stream.getvalue()
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging("loud", False)


def test_configuring_twice_leaves_one_handler_on_stderr() -> None:
    configure_logging("info", True)
    configure_logging("info", False)
    [handler] = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr
