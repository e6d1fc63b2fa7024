"""Routes of requests: straight to the source, through one proxy, or to another address, such as that of a fake."""

import os
from typing import NamedTuple
from urllib.parse import urlsplit

from himari_jax.errors import InputError

PROXY, INSTEAD = "HIMARI_PROXY", "HIMARI_SOURCES_URL"  # environment: config.json and command lines keep no passwords
SCHEMES = ("http", "https", "socks5", "socks5h")


class Route(NamedTuple):
    """Route of a request: straight to the source where both are None."""

    proxy: str | None = None  # http://HOST:PORT or socks5h://HOST:PORT
    instead: str | None = None  # https://HOST/PATH is asked for as INSTEAD/HOST/PATH

    def rewrite(self, url: str) -> str:
        """The address to request in place of the given one."""
        return url if self.instead is None else f"{self.instead.rstrip('/')}/{url.partition('://')[2]}"


def route_from_environment() -> Route:
    """Reads the route of all requests from the environment.

    Raises:
        InputError: an address that is none.
    """
    proxy, instead = (os.environ.get(name) or None for name in (PROXY, INSTEAD))
    for name, url, schemes in ((PROXY, proxy, SCHEMES), (INSTEAD, instead, SCHEMES[:2])):
        if url is not None and (urlsplit(url).scheme not in schemes or not urlsplit(url).hostname):
            raise InputError(f"{name}: must be {' or '.join(f'{scheme}://HOST:PORT' for scheme in schemes)}")
    return Route(proxy, instead)
