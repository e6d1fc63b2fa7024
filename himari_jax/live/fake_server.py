"""The fake exchange below ccxt and httpx in this process, as an ASGI app, or on a port of this machine."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from himari_jax.errors import SourceError
from himari_jax.live.fake import FakeExchange

HANGS = 30.0  # seconds without an answer
STARTS = 10.0  # seconds that a server may take


def route_ccxt_to(api: Any, fake: FakeExchange) -> None:
    """Makes an exchange of ccxt ask the fake, through ccxt's own handling of answers and errors.

    Args:
        api: of ccxt.
        fake: answers.
    """
    import requests
    from requests.adapters import BaseAdapter

    class Adapter(BaseAdapter):
        """Answers in the place of a network."""

        def send(self, request: Any, *args: Any, **named: Any) -> requests.Response:
            """The fake's answer."""
            reply = fake.answer(request.url)
            if reply.hangs:
                raise requests.exceptions.ReadTimeout("no answer in time")
            answer = requests.Response()
            answer.status_code, answer.url, answer.request = reply.status, request.url, request
            answer.reason = HTTPStatus(reply.status).phrase
            answer.headers.update(reply.headers)
            answer._content = reply.body
            return answer

        def close(self) -> None:
            """Closes nothing: no connection is open."""

    api.enableRateLimit = False
    api.session.mount("https://", Adapter())


def httpx_client_of(fake: FakeExchange) -> Any:
    """A client of httpx that asks the fake."""
    import httpx

    def send(request: httpx.Request) -> httpx.Response:
        reply = fake.answer(str(request.url))
        if reply.hangs:
            raise httpx.ReadTimeout("no answer in time", request=request)
        return httpx.Response(reply.status, headers=reply.headers, content=reply.body)

    return httpx.Client(transport=httpx.MockTransport(send))


def asgi_app(fake: FakeExchange) -> Any:
    """The fake as an ASGI app: any path, with the host in front of it or without."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def answer(request: Request) -> Response:
        reply = fake.answer(str(request.url))
        if reply.hangs:
            await asyncio.sleep(HANGS)
        return Response(reply.body, reply.status, reply.headers)

    return Starlette(routes=[Route("/{path:path}", answer)])


@contextlib.contextmanager
def serve_fake(fake: FakeExchange, port: int = 0) -> Iterator[str]:
    """Serves the fake on a port of this machine; yields its address, for HIMARI_SOURCES_URL.

    Args:
        fake: answers.
        port: 0 takes a free one.

    Raises:
        SourceError: it does not start, as where the port is taken.
    """
    import uvicorn

    config = uvicorn.Config(asgi_app(fake), "127.0.0.1", port, log_level="critical", date_header=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + STARTS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise SourceError(f"the fake exchange does not start on port {port}")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
