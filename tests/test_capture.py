"""Log records and prints of a task body go to its sink; everything else goes where it always went."""

from __future__ import annotations

import builtins
import contextlib
import contextvars
import io
import logging
import logging.config
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dataflow.capture import Sink, capturing, current_sink, install, uninstall

Line = tuple[int, str, str]
log = logging.getLogger("tests.capture")


class Lines(list[Line]):
    """A sink."""

    def __call__(self, created: float, level: int, name: str, message: str) -> None:
        assert abs(created - time.time()) < 5
        self.append((level, name, message))

    @property
    def messages(self) -> list[str]:
        return [message for _, _, message in self]


@pytest.fixture
def installed() -> Iterator[None]:
    install()
    yield
    uninstall()


def script(text: str) -> tuple[str, str]:
    """What a program writes to stdout and stderr: for what pytest's own handlers and streams would hide."""
    head = "import logging, sys\nfrom dataflow.capture import *\nfrom dataflow.capture import capturing, current_sink\n"
    head += "lines = []\ndef sink(*line): lines.append(line[1:])\n"
    done = subprocess.run([sys.executable, "-c", head + textwrap.dedent(text)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


# Log records


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


# Prints


@pytest.mark.usefixtures("installed")
def test_prints_of_a_body_and_of_its_helpers_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    def helper() -> None:
        print("helper", 1, sep="-")

    lines = Lines()
    print("before")
    with capturing(lines, prints=True):
        print("a", 1, None)
        helper()
        print("to stdout", file=sys.stdout, flush=True)
        print()
        print("one\ntwo")
        print(*"abc", sep="\n")
    print("after")
    assert lines.messages == ["a 1 None", "helper-1", "to stdout", "", "one", "two", "a", "b", "c"]
    assert set(lines) == {(20, "print", message) for message in lines.messages}
    assert capsys.readouterr() == ("before\nafter\n", "")


@pytest.mark.usefixtures("installed")
def test_a_line_ends_with_a_newline_or_with_the_body() -> None:
    lines = Lines()
    with pytest.raises(ZeroDivisionError), capturing(lines, prints=True):  # noqa: PT012 - that is what is tested
        print("a", end="")
        print("b", end="", flush=True)
        assert lines == []
        print("c\nd", end=" ")
        assert lines.messages == ["abc"]
        print("e", end="")
        raise ZeroDivisionError
    assert lines.messages == ["abc", "d e"]


@pytest.mark.usefixtures("installed")
def test_prints_elsewhere_stay_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    lines, text, redirected = Lines(), io.StringIO(), io.StringIO()
    with capturing(lines, prints=True):
        print("text", file=text, end="!")
        print("error", file=sys.stderr)
        with contextlib.redirect_stdout(redirected):
            print("redirected")
        print("here")
        sys.stdout.write("written\n")
    assert text.getvalue() == "text!"
    assert redirected.getvalue() == "redirected\n"
    assert lines.messages == ["here"]
    assert capsys.readouterr() == ("written\n", "error\n")


@pytest.mark.usefixtures("installed")
def test_without_prints_and_in_an_inner_capture_without_them(capsys: pytest.CaptureFixture[str]) -> None:
    outer, inner = Lines(), Lines()
    with capturing(outer, prints=True):
        with capturing(inner, prints=False):
            print("to stdout")
            log.info("to the inner one")
        print("to the outer one")
    assert (outer.messages, inner.messages) == (["to the outer one"], ["to the inner one"])
    assert capsys.readouterr().out == "to stdout\n"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("options", [{"sep": 3}, {"end": b""}, {"colour": "red"}])
def test_wrong_prints_are_wrong_as_ever(options: dict[str, object]) -> None:
    lines, wrong = Lines(), dict[str, Callable[..., None]](print=print)
    with capturing(lines, prints=True), pytest.raises(TypeError):
        wrong["print"]("a", **options)
    assert lines == []


def test_print_is_pickled_by_its_name() -> None:
    plain = pickle.dumps(print)
    install()
    try:
        assert pickle.dumps(print) == plain
        assert print.__name__ == "print"
    finally:
        uninstall()


# Threads, processes, install


@pytest.mark.usefixtures("installed")
def test_bodies_in_many_threads_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    def body(number: int) -> Lines:
        lines = Lines()
        for turn in range(50):
            with capturing(lines, prints=number % 2 == 0):
                log.info("log %d %d", number, turn)
                print("print", number, end=" ")
                time.sleep(0.0001)
                print(turn)
        return lines

    with ThreadPoolExecutor(8) as threads:
        for number, lines in enumerate(threads.map(body, range(8))):
            kinds = ["log", "print"] if number % 2 == 0 else ["log"]
            assert lines.messages == [f"{kind} {number} {turn}" for turn in range(50) for kind in kinds]
    printed = capsys.readouterr().out
    assert all(f"print {number}" in printed for number in (1, 3, 5, 7))
    assert not any(f"print {number}" in printed for number in (0, 2, 4, 6))


@pytest.mark.usefixtures("installed")
def test_a_thread_of_a_body_is_captured_in_a_copy_of_its_context(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()

    def start(run: Callable[[Callable[[], None]], None], word: str) -> None:
        thread = threading.Thread(target=run, args=(lambda: print(word),))
        thread.start()
        thread.join()

    with capturing(lines, prints=True):
        start(contextvars.copy_context().run, "in the copy")
        start(contextvars.Context().run, "on its own")
    assert lines.messages == ["in the copy"]
    assert capsys.readouterr().out == "on its own\n"


def test_a_forked_process_of_a_body_speaks_for_itself() -> None:
    out, errors = script("""
        import os
        install()
        with capturing(sink, prints=True):
            if os.fork() == 0:
                print("fork", flush=True)
                logging.getLogger("a").warning("fork")
                os._exit(len(lines))
            assert os.wait()[1] == 0
            print("body")
        assert lines == [(20, "print", "body")], lines
    """)
    assert (out, errors) == ("fork\n", "fork\n")


def test_install_is_counted_and_the_last_uninstall_restores_everything() -> None:
    def look() -> tuple[object, ...]:
        return builtins.print, logging.Logger.isEnabledFor, logging.Logger.callHandlers

    before = look()
    install()
    install()
    uninstall()
    during = look()
    lines = Lines()
    with capturing(lines, prints=True):
        print("still")
    uninstall()
    assert all(a is not b for a, b in zip(before, during, strict=True))
    assert look() == before
    assert lines.messages == ["still"]
    with pytest.raises(RuntimeError, match="more often than install"):
        uninstall()


def test_without_install_nothing_is_captured(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    with capturing(lines, prints=True):
        print("plain")
        log.warning("plain")
    assert lines == []
    assert capsys.readouterr().out == "plain\n"


def test_what_others_put_over_ours_stays_and_nothing_arrives_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "print", print)
    monkeypatch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
    theirs = []

    def over(original: Callable[..., None]) -> Callable[..., None]:
        def wrapper(*values: object, **options: object) -> None:
            theirs.append(values)
            original(*values, **options)

        return wrapper

    install()
    builtins.print = over(builtins.print)
    setattr(logging.Logger, "callHandlers", over(logging.Logger.callHandlers))  # noqa: B010 - mypy knows it as a method
    uninstall()
    install()
    lines = Lines()
    with capturing(lines, prints=True):
        print("printed")
        log.warning("logged")
    uninstall()
    assert lines.messages == ["printed", "logged"]
    assert len(theirs) == 2


def test_a_sink_is_seen_only_in_its_body() -> None:
    lines = Lines()
    assert current_sink.get() is None
    with capturing(lines, prints=False):
        sink: Sink | None = current_sink.get()
        assert sink is lines
    assert current_sink.get() is None


def test_it_costs_little() -> None:
    install()
    lines, rounds = Lines(), 5000
    started = time.perf_counter()
    for _ in range(rounds):
        with capturing(lines, prints=True):
            pass
    each = (time.perf_counter() - started) / rounds
    uninstall()
    assert each < 50e-6  # 1 µs on a quiet machine


def test_output_that_is_closed_breaks_nothing_of_ours() -> None:
    script("""
        import os
        def broken(*line): raise OSError
        install()
        with capturing(broken, prints=True):
            sys.stderr.close(); sys.stdout.close()
            print("one")
            logging.getLogger("a").info("two")
        uninstall()
        sys.stdout = sys.stderr = open(os.devnull, "w")
    """)
