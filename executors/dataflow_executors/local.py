"""What the executors of this process have in common: the channel, kept values, blobs.

State of an executor: `_values`, kept values by key; `_shipped`, digests that it holds in `blobs`; `_channel`, there
while it is started; `_stop`, set by `cancel`.
"""

from __future__ import annotations

import threading
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Set
from weakref import WeakValueDictionary

from dataflow_executors import blobs as table
from dataflow_executors.base import (
    AlreadyStarted,
    Channel,
    Done,
    Executor,
    ExecutorError,
    Fragment,
    Key,
    Message,
    NotStarted,
    Sent,
    UnknownKeys,
)
from dataflow_executors.kept import KeptValues

# A channel's pickle is its name, since a callable of this process means nothing elsewhere.
_channels: WeakValueDictionary[str, LocalChannel] = WeakValueDictionary()


class ChannelElsewhere(ExecutorError, RuntimeError):
    """A channel of this process was unpickled in another one, or after it was gone."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"Channel {self.name} is not alive in this process. It serves only the process that started its executor: "
            "send from there, or take a DaskExecutor."
        )


class LocalChannel:
    """Calls `post` where the task runs. Once it is shut, nobody listens and messages go nowhere."""

    def __init__(self, post: Callable[[Message], None]) -> None:
        self.name = uuid.uuid4().hex
        self._post: Callable[[Message], None] | None = post
        _channels[self.name] = self

    def send(self, payload: object) -> None:
        """Post `Sent(payload)`."""
        self.post(Sent(payload))

    def post(self, message: Message) -> None:
        """Post a message of the executor itself."""
        post = self._post
        if post is not None:
            post(message)

    def is_open(self) -> bool:
        """Whether somebody listens."""
        return self._post is not None

    def is_cancelled(self) -> bool:
        """Nothing in this process is cancelled while it runs."""
        return False

    def shut(self) -> None:
        """Stop posting."""
        self._post = None

    def __reduce__(self) -> tuple[Callable[[str], LocalChannel], tuple[str]]:
        return _find_channel, (self.name,)


def _find_channel(name: str) -> LocalChannel:
    try:
        return _channels[name]
    except KeyError:
        raise ChannelElsewhere(name) from None


class LocalExecutor(Executor):
    """An executor of this process; what is left to say is how a fragment is run."""

    def __init__(self) -> None:
        self._channel: LocalChannel | None = None
        self._values = KeptValues()
        self._shipped: set[str] = set()
        self._stop = threading.Event()

    @property
    def channel(self) -> Channel:
        """The channel of this start."""
        if self._channel is None:
            raise NotStarted(repr(self), "channel")
        return self._channel

    def start(self, post: Callable[[Message], None]) -> None:
        """Get ready; see `Executor.start`."""
        if self._channel is not None:
            raise AlreadyStarted(repr(self))
        self._stop = threading.Event()
        self._channel = LocalChannel(post)

    def ship(self, blobs: Mapping[str, bytes]) -> None:
        """Hold blobs in this process; see `Executor.ship`."""
        if self._channel is None:
            raise NotStarted(repr(self), "ship()")
        new = {digest: data for digest, data in blobs.items() if digest not in self._shipped}
        table.add(new)
        self._shipped.update(new)

    def submit(self, fragment: Fragment) -> None:
        """Run a fragment; see `Executor.submit`."""
        if self._channel is None:
            raise NotStarted(repr(self), "submit()")
        inputs = fragment.inputs()
        if missing := self._values.unknown(inputs):
            raise UnknownKeys(fragment.id, missing)
        if fragment.tasks:
            self._values.expect(fragment.keep)
            self._run(fragment, inputs, self._channel.post, self._stop)
        else:
            self._channel.post(Done(fragment.id, {}))

    @abstractmethod
    def _run(
        self,
        fragment: Fragment,
        inputs: Set[Key],
        post: Callable[[Message], None],
        stop: threading.Event,
    ) -> None:
        """Run the fragment and post its `Done`."""

    def cancel(self) -> None:
        """Start nothing any more; see `Executor.cancel`."""
        self._stop.set()

    def fetch(self, keys: Iterable[Key]) -> dict[Key, object]:
        """Values of kept keys; see `Executor.fetch`."""
        return self._values.get(keys)

    def release(self, keys: Iterable[Key]) -> None:
        """Keep these keys no longer; see `Executor.release`."""
        self._values.drop(keys)

    def close(self, now: bool = False) -> None:
        """Cancel, and drop values and blobs; see `Executor.close`."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        self._stop.set()
        if now:
            channel.shut()
        try:
            self._finish(now)
        finally:
            channel.shut()
            self._values = KeptValues()
            shipped, self._shipped = self._shipped, set()
            table.discard(shipped)

    @abstractmethod
    def _finish(self, now: bool) -> None:
        """Wait for what runs, unless `now`, and free what `start` took."""

    def __repr__(self) -> str:
        state = "started" if self._channel is not None else "not started"
        return f"<{type(self).__name__} {state} slots={self.slots} kept={len(self._values)}>"
