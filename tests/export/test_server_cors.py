"""Cross-origin requests: pages that browsers let ask."""

import pytest
from serving import Desk

from export.server import ServerConfig
from himari_jax.command import parse
from himari_jax.errors import InputError

pytest_plugins = ["server_fixtures"]

PAGE = "https://desk.example.com"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-api-key"}


def desk_for(bundles, *origins):
    return Desk(bundles["mlp"], cors_origins=origins, api_key=b"secret-key")


def allowed(desk, origin, path="/predict", key="secret-key"):
    """The origin that an answer lets in, if any."""
    status, headers, _ = desk.ask(path, b"{}", {"origin": origin, "x-api-key": key})
    assert status in (400, 401, 404)
    assert b"access-control-allow-credentials" not in headers
    return headers.get(b"access-control-allow-origin")


def test_without_the_flag_no_page_is_let_in(bundles):
    desk = desk_for(bundles)
    asked = {"origin": PAGE, "x-api-key": "secret-key"} | PREFLIGHT
    status, headers, _ = desk.ask("/predict", method="OPTIONS", headers=asked)
    assert status == 405
    assert not any(name.startswith(b"access-control") for name in headers)
    assert allowed(desk, PAGE) is None


@pytest.mark.parametrize("path", ["/predict", "/v2/models/mlp/infer", "/v2/nothing"])
def test_a_named_origin_is_let_in_and_no_other(bundles, path):
    desk = desk_for(bundles, PAGE, "http://localhost:3000")
    for origin in (PAGE, "http://localhost:3000"):
        assert allowed(desk, origin, path) == origin.encode()
        assert allowed(desk, origin, path, key="wrong") == origin.encode()  # so that the page can read the 401
        # A browser asks first, and without the key.
        status, headers, body = desk.ask(path, method="OPTIONS", headers={"origin": origin} | PREFLIGHT)
        assert (status, body) == (200, b"")
        assert headers[b"access-control-allow-origin"] == origin.encode()
        assert b"x-api-key" in headers[b"access-control-allow-headers"]
        assert headers[b"access-control-allow-methods"] in (b"POST", b"*")
        assert headers[b"vary"] == b"origin"
    for origin in ("https://desk.example.com.evil.com", "http://desk.example.com", "null", ""):
        assert allowed(desk, origin, path) is None
        _, headers, _ = desk.ask(path, method="OPTIONS", headers={"origin": origin} | PREFLIGHT)
        assert b"access-control-allow-origin" not in headers


def test_any_origin_never_comes_with_credentials(bundles):
    desk = desk_for(bundles, "*", PAGE)
    for origin in (PAGE, "https://other.example.com", "null"):
        assert allowed(desk, origin) == b"*"


def test_the_flag_may_be_repeated_and_takes_origins_alone():
    flags = ["bundle", "--cors-origin", PAGE, "--cors-origin", "http://[::1]:3000"]
    assert parse(ServerConfig, flags, "test").cors_origin == (PAGE, "http://[::1]:3000")
    for wrong in ("desk.example.com", f"{PAGE}/", "null", "", "ftp://x", f"{PAGE} http://b"):
        with pytest.raises(InputError, match="--cors-origin"):
            parse(ServerConfig, ["bundle", "--cors-origin", wrong], "test")
