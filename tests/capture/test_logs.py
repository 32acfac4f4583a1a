"""Log records of a task body go to its sink; everything else goes where it always went."""

from __future__ import annotations

import io
import logging

import pytest

from dataflow.capture import capturing, install, uninstall
from tests.capture.lines import Lines, log, script


@pytest.mark.usefixtures("installed")
def test_records_of_a_body_arrive_with_level_name_and_message() -> None:
    lines = Lines()
    with capturing(lines, prints=False):
        log.info("%d of %d", 1, 2)
        logging.getLogger("other").error("no")
        logging.getLogger().warning("root")
        log.debug("below the level")
    log.warning("after the body")
    assert lines == [(20, "tests.capture", "1 of 2"), (40, "other", "no"), (30, "root", "root")]


@pytest.mark.usefixtures("installed")
def test_levels_that_somebody_set_are_respected() -> None:
    lines = Lines()
    loud, quiet = logging.getLogger("tests.loud"), logging.getLogger("tests.quiet")
    loud.setLevel(logging.DEBUG)
    quiet.setLevel(logging.WARNING)
    with capturing(lines, prints=False):
        loud.debug("debug")
        quiet.info("info")
        assert log.isEnabledFor(logging.INFO)
        logging.disable(logging.INFO)
        log.info("disabled")
        logging.disable(logging.NOTSET)
    assert not log.isEnabledFor(logging.INFO)
    assert lines.messages == ["debug"]


@pytest.mark.usefixtures("installed")
def test_a_logger_that_does_not_propagate_keeps_its_records() -> None:
    lines, own, text = Lines(), logging.getLogger("tests.own"), io.StringIO()
    own.propagate = False
    handler = logging.StreamHandler(text)
    own.addHandler(handler)
    with capturing(lines, prints=False):
        own.warning("mine")
    own.removeHandler(handler)
    own.propagate = True
    assert lines == []
    assert text.getvalue() == "mine\n"


@pytest.mark.usefixtures("installed")
def test_arguments_that_do_not_fit_never_break_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute:
        def __str__(self) -> str:
            raise ZeroDivisionError

    monkeypatch.setattr(logging.Logger, "hasHandlers", lambda self: False)  # pytest's handler makes these an error
    lines = Lines()
    with capturing(lines, prints=False):
        log.warning("%d rows", "three")
        log.warning("%s and %s", "one")
        log.warning("%s", Mute())
        log.warning(Mute())
        log.warning("traceback", exc_info=(1, 2, 3))  # type: ignore[arg-type]
    *lines[:], (_, _, traceback) = lines
    assert traceback.startswith("traceback\n<traceback that cannot be shown: ")
    assert lines.messages == [
        "%d rows",
        "%s and %s",
        "%s",
        "<Mute that cannot be shown>",
    ]


@pytest.mark.usefixtures("installed")
def test_several_lines_are_one_entry_and_a_traceback_is_part_of_it() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    lines = Lines()
    with capturing(lines, prints=False):
        log.info("one\ntwo")
        try:
            raise Mute
        except Mute:
            log.exception("failed")
        log.info("here", stack_info=True)
    one, failed, here = lines.messages
    assert one == "one\ntwo"
    assert failed.startswith("failed\nTraceback (most recent call last):\n")
    assert "Mute: <exception str() failed>" in failed
    assert here.startswith("here\nStack (most recent call last):\n")


@pytest.mark.usefixtures("installed")
def test_what_a_sink_logs_and_prints_does_not_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def sink(created: float, level: int, name: str, message: str) -> None:
        seen.append(message)
        log.warning("from the sink")
        print("from the sink")

    with capturing(sink, prints=True):
        log.info("one")
        print("two")
    assert seen == ["one", "two"]
    assert capsys.readouterr().out == "from the sink\n" * 2


@pytest.mark.usefixtures("installed")
def test_a_broken_sink_is_reported_and_does_not_break_the_body(capsys: pytest.CaptureFixture[str]) -> None:
    def sink(*line: object) -> None:
        raise OSError("disk full")

    with capturing(sink, prints=True):
        log.info("one")
        print("two", end="")
    errors = capsys.readouterr().err
    assert "a log line was lost (tests.capture: one)" in errors
    assert "a log line was lost (print: two)" in errors
    assert errors.count("OSError: disk full") == 2


@pytest.mark.usefixtures("installed")
def test_caplog_gets_what_it_gets_without_us(caplog: pytest.LogCaptureFixture) -> None:
    lines = Lines()
    with capturing(lines, prints=False):
        log.info("too low for caplog")
        log.warning("warning")
        with caplog.at_level(logging.INFO):
            log.info("now")
    log.info("too low")
    assert caplog.messages == ["warning", "now"]
    assert lines.messages == ["too low for caplog", "warning", "now"]


@pytest.mark.usefixtures("installed")
def test_handlers_of_others_do_not_get_louder() -> None:
    text, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(text)  # of level NOTSET
    root.addHandler(handler)
    own = logging.StreamHandler(text)
    log.addHandler(own)
    lines = Lines()
    with capturing(lines, prints=False):
        log.info("in")
        log.warning("warning")
    log.info("out")
    root.removeHandler(handler)
    log.removeHandler(own)
    assert lines.messages == ["in", "warning"]
    assert text.getvalue() == "warning\nwarning\n"


def test_nothing_of_ours_is_seen_in_the_logging_configuration() -> None:
    def look() -> tuple[object, ...]:
        root = logging.getLogger()
        return root.level, list(root.handlers), [h.level for h in root.handlers], root.parent, root.filters

    before = look()
    install()
    assert look() == before
    uninstall()
    assert look() == before


def test_without_any_handler_a_body_is_silent_and_the_rest_is_not() -> None:
    _, errors = script("""
        log = logging.getLogger("a")
        install()
        log.info("outside"); log.warning("outside, seen")
        with capturing(sink, prints=False):
            log.info("inside"); log.warning("inside too")
            logging.getLogger("asyncio").debug("chatter")
        log.warning("after, seen")
        uninstall()
        log.warning("at the end, seen")
        assert lines == [(20, "a", "inside"), (30, "a", "inside too")], lines
        assert not logging.getLogger().hasHandlers()
    """)
    assert errors == "outside, seen\nafter, seen\nat the end, seen\n"


@pytest.mark.parametrize("when", ["before", "during", "inside", "after"])
def test_basic_config_does_what_it_says(when: str) -> None:
    _, errors = script(f"""
        def configure(now):
            if now == {when!r}:
                logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")
        log = logging.getLogger("a")
        configure("before")
        install()
        configure("during")
        with capturing(sink, prints=False):
            configure("inside")
            log.info("in")
        uninstall()
        configure("after")
        log.info("out")
        assert lines == [(20, "a", "in")], lines
        assert logging.getLogger().level == logging.INFO and len(logging.getLogger().handlers) == 1
    """)
    assert errors == ("INFO out\n" if when == "after" else "INFO in\nINFO out\n")


def test_dict_config_and_forced_configuration_in_a_body_do_not_end_the_capture() -> None:
    _, errors = script("""
        import logging.config
        install()
        with capturing(sink, prints=False):
            logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "root": {"handlers": []}})
            logging.getLogger("a").info("one")
            logging.basicConfig(force=True, level="ERROR")
            logging.getLogger("a").warning("no")
            logging.getLogger("a").error("two")
        uninstall()
        assert lines == [(20, "a", "one"), (40, "a", "two")], lines
    """)
    assert errors == "ERROR:a:two\n"
