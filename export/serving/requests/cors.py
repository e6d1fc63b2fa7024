"""Cross-origin requests: pages of other origins that a browser lets ask this server; by default none.

Source: WHATWG, "Fetch", section CORS protocol. Credentials are never allowed: the key is a header that a page sends
itself, not a cookie that a browser adds.
"""

import re

from export.serving.requests.http import Reply

ANY = "*"
ORIGIN = re.compile(r"https?://[A-Za-z0-9._~\[\]:-]+")
ALLOWED = b"authorization, content-encoding, content-type, inference-header-content-length, x-api-key, x-request-id"
EXPOSED = b"inference-header-content-length, x-model-hash, x-request-id"
MAX_AGE_SECONDS = 600  # for which a browser may keep the answer of a preflight
Headers = tuple[tuple[bytes, bytes], ...]


def is_origin(text: str) -> bool:
    """Whether a text is an origin as browsers send it, scheme://host[:port] without a path, or `*` for any."""
    return text == ANY or ORIGIN.fullmatch(text) is not None


class Cors:
    """Headers for allowed origins.

    Args:
        origins: as `is_origin` has them; `*`: every page may ask.
    """

    def __init__(self, origins: tuple[str, ...]):
        self.any = ANY in origins
        self.origins = frozenset(origin.lower().encode() for origin in origins)

    def headers(self, headers_in: dict[bytes, bytes]) -> Headers:
        """Returns the headers that let the page read an answer; `vary` keeps origins apart in caches."""
        if self.any:
            return ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", EXPOSED))
        origin = headers_in.get(b"origin", b"")
        if origin.lower() not in self.origins:
            return ((b"vary", b"origin"),)
        shown = (b"access-control-expose-headers", EXPOSED)
        return ((b"access-control-allow-origin", origin), shown, (b"vary", b"origin"))

    def preflight(self, method: str, headers_in: dict[bytes, bytes], allowed: str) -> Reply | None:
        """Answers a preflight request of a browser; None for any other request.

        Args:
            method: of the request.
            headers_in: its headers.
            allowed: method of the route.
        """
        if method != "OPTIONS" or b"origin" not in headers_in or b"access-control-request-method" not in headers_in:
            return None
        headers = (
            (b"access-control-allow-methods", allowed.encode()),
            (b"access-control-allow-headers", ALLOWED),
            (b"access-control-max-age", b"%d" % MAX_AGE_SECONDS),
        )
        return Reply(b"", b"text/plain", headers=headers)
