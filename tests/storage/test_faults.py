"""A storage that fails in every way, a thousand times over: nothing acknowledged is lost, wrong, or there twice."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from dataflow_storage import Committed, ResultStore, StoreUnavailable
from tests.storage.faultproxy import KINDS, FaultProxy, fault_proxy
from tests.storage.servers import Server

CASES = 1000
TIMEOUT = 1.5  # seconds; an attempt gets a third, which is less than what a stalled request takes
STALL = 0.8

Servers = Callable[[str], Server]


@pytest.fixture
def proxy(server: Servers) -> Iterator[FaultProxy]:
    with fault_proxy(f"http://127.0.0.1:{server('s3').port}", stall=STALL) as running:
        yield running


class Case:
    """Two attempts at one task, with faults on the way, and what must hold after."""

    def __init__(self, seed: int, faulty: Callable[[], ResultStore], sound: ResultStore) -> None:
        self.draw = random.Random(seed)
        self.key = f"run{seed}/task/0"
        self.faulty, self.sound = faulty, sound
        self.values = {name: self._value(name) for name in "ab"}
        self.outcomes: dict[str, Committed | None] = {}

    def _value(self, name: str) -> bytes:
        size = self.draw.choice((1, 300, 70_000)) if self.draw.random() < 0.99 else 9_000_000
        return f"{self.key} {name} ".encode() + self.draw.randbytes(size)

    def run(self) -> str:
        if self.draw.random() < 0.1:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(self.attempt, "ab"))
        else:
            self.attempt("a")
            self.attempt("b")
        self.judge()
        return "committed" if any(self.outcomes.values()) else "unavailable"

    def attempt(self, name: str) -> None:
        store, value = self.faulty(), self.values[name]
        try:
            if int(self.key[3:].partition("/")[0]) % 5 == 0:
                done, failed = store.put_many(self.key, {0: value})
                assert not failed
                self.outcomes[name] = done[0]
            else:
                self.outcomes[name] = store.put(self.key, value)
        except StoreUnavailable:
            self.outcomes[name] = None

    def judge(self) -> None:
        found, batch = self.sound.find(self.key), self.sound.find_many(self.key)
        reference = found or (batch or {}).get(0)
        acknowledged = {name: committed for name, committed in self.outcomes.items() if committed is not None}
        if reference is None:
            assert not acknowledged, f"{self.key} was acknowledged and is lost"
            return
        (winner,) = (name for name, value in self.values.items() if self.sound.get(reference) == value)
        assert [name for name, committed in acknowledged.items() if not committed.adopted] in ([], [winner])
        for committed in acknowledged.values():
            assert committed.reference.digest == reference.digest
        if batch:
            assert set(batch) == {0}
        with suppress(StoreUnavailable):
            assert self.faulty().get(reference) == self.values[winner]


@pytest.mark.timeout(300)
def test_of_a_thousand_cases_none_is_lost_or_wrong_or_double(proxy: FaultProxy, server: Servers) -> None:
    s3, place = server("s3"), f"s3://results/{uuid.uuid4().hex}"
    through = {**s3.options, "endpoint_url": f"http://127.0.0.1:{proxy.port}"}
    sound = ResultStore(place, s3.options)
    ResultStore(place, through).is_exclusive()  # with time enough: a process that connects first imports half a second

    def run(seed: int) -> str:
        return Case(seed, lambda: ResultStore(place, through, timeout=TIMEOUT), sound).run()

    with ThreadPoolExecutor(16) as pool:
        outcomes = Counter(pool.map(run, range(CASES)))
    assert sum(outcomes.values()) == CASES
    assert outcomes["committed"] > CASES // 2, outcomes
    assert all(proxy.done[kind] > CASES // 50 for kind in KINDS), proxy.done
    print(outcomes, proxy.done)


def test_a_storage_that_stays_away_is_given_up_in_time(server: Servers) -> None:
    with fault_proxy(f"http://127.0.0.1:{server('s3').port}", lambda path: ["stalled"] * 99, stall=20) as proxy:
        options = {**server("s3").options, "endpoint_url": f"http://127.0.0.1:{proxy.port}"}
        store = ResultStore("s3://results/away", options, timeout=0.6)
        with pytest.raises(StoreUnavailable, match=r"'s3://results/away/k\.dflw'.*cannot read it, tried \d+ times in "):
            store.find("k")
        with pytest.raises(StoreUnavailable, match="cannot write it, tried"):
            store.put("k", 1)


@pytest.mark.parametrize("name", ["gcs", "azure"])  # SeaweedFS makes what is missing
def test_a_missing_bucket_fails_at_once_and_is_named(server: Servers, name: str) -> None:
    at = server(name)
    with pytest.raises(StoreUnavailable, match=rf"'{at.protocol}://no-such-place/") as caught:
        ResultStore(f"{at.protocol}://no-such-place/x", at.options).put("k", 1)
    assert "tried" not in str(caught.value)


def test_wrong_credentials_fail_at_once_and_are_not_shown(server: Servers) -> None:
    secret = "another-secret-that-nobody-may-see"
    store = ResultStore("s3://results/x", {**server("s3").options, "secret": secret})
    for call in (lambda: store.put("k", 1), lambda: store.find("k"), store.keys):
        with pytest.raises(StoreUnavailable, match="permission denied") as caught:
            call()
        shown = "".join(map(str, (caught.value, caught.value.__cause__, store, store._files(store.url))))
        assert secret not in shown
        assert "test-key" not in shown
        assert "tried" not in str(caught.value)


def test_wrong_credentials_of_azure_fail_at_once(server: Servers) -> None:
    at = server("azure")
    connection = str(at.options["connection_string"]).replace("AccountKey=E", "AccountKey=F")
    with pytest.raises(StoreUnavailable) as caught:
        ResultStore("az://results/x", {"connection_string": connection}).put("k", 1)
    assert "tried" not in str(caught.value)
    assert "AccountKey" not in str(caught.value)


FULL = """
import os, resource, sys
from dataflow_storage import ResultStore, StoreUnavailable
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
store, refused = ResultStore(sys.argv[1]), 0
for seed in range(100):
    value = os.urandom(seed * 2000 + 1)
    try:
        store.put(f"k/{seed}", value)
    except StoreUnavailable as error:
        assert "File too large" in str(error), error
        refused += 1
        assert store.find(f"k/{seed}") is None
    else:
        assert store.get(store.find(f"k/{seed}")) == value
print(refused)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on the size of files here")
def test_a_disk_that_takes_no_more_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
    assert [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"] == []
