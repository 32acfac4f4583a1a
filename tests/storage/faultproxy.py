"""A proxy that does harm on the way to a server: which request suffers what follows from its path alone, so that a seed
names a case whatever runs beside it. The Host header is kept, so that signatures stay valid.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web
from yarl import URL

KINDS = ("503", "500", "reset", "lost", "truncated", "stalled", "late")
Plan = Callable[[str], list[str]]

_ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>Please try again.</Message></Error>"
_DROPPED = ("transfer-encoding", "content-length", "content-encoding", "connection", "expect")


def seeded(path: str) -> list[str]:
    """What befalls the first requests to a path; empty text: nothing."""
    draw = random.Random(path)
    return [draw.choice((*KINDS, "", "")) for _ in range(draw.randrange(1, 4))]


class FaultProxy:
    """A running proxy; `done` counts the faults by kind."""

    def __init__(self, upstream: str, plan: Plan, stall: float) -> None:
        self._upstream, self._plan, self._stall = upstream, plan, stall
        self._waiting: dict[str, list[str]] = {}
        self.done: Counter[str] = Counter()
        self.port = 0

    async def start(self) -> None:
        self._session = ClientSession(auto_decompress=False, timeout=ClientTimeout(total=60))
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        faults = self._waiting.setdefault(request.path, self._plan(request.path))
        fault = faults.pop(0) if faults else ""
        self.done[fault] += 1
        if fault in ("503", "500"):
            text = _ERROR.format("SlowDown" if fault == "503" else "InternalError")
            return web.Response(status=int(fault), content_type="application/xml", text=text)
        if fault == "reset":
            return self._drop(request)
        if fault in ("stalled", "late"):
            await asyncio.sleep(self._stall)
            if fault == "stalled":
                return self._drop(request)
        status, headers, data = await self._forward(request, body)
        if fault == "lost":
            return self._drop(request)
        response = web.StreamResponse(status=status, headers=headers)
        if request.method == "HEAD":
            response.content_length = int(headers.get("X-Length", "0"))
            await response.prepare(request)
            return response
        if status not in (204, 304):
            response.content_length = len(data)
        await response.prepare(request)
        if fault == "truncated" and len(data) > 1:
            await response.write(data[: len(data) // 2])
            return self._drop(request, response)
        await response.write(data)
        return response

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _DROPPED[:2]}
        url = URL(self._upstream + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            data = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _DROPPED}
            if request.method == "HEAD":
                kept["X-Length"] = answer.headers.get("Content-Length", "0")
            return answer.status, kept, data

    def _drop(self, request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return response or web.Response()


@contextmanager
def fault_proxy(upstream: str, plan: Plan = seeded, stall: float = 1.0) -> Iterator[FaultProxy]:
    """Run a proxy in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fault proxy", daemon=True)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    proxy = FaultProxy(upstream, plan, stall)
    try:
        run(proxy.start())
        yield proxy
    finally:
        run(proxy.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
