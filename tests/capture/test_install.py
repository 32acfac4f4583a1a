"""Bodies in threads and forks do not mix; install and uninstall leave nothing behind."""

from __future__ import annotations

import builtins
import contextvars
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from dataflow.capture import Sink, capturing, current_sink, install, uninstall
from tests.capture.lines import Lines, log, script


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
