"""The recurrent state as a signed token that travels with the caller, so that any replica can answer.

`base64url(version, model, stream, time, carry, HMAC-SHA256)`: the first 8 bytes of the model's hash and of the
stream's show why a token is refused; the signature covers both in full.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from typing import NamedTuple

import numpy as np

from export.runtime import Model
from export.serving.requests.errors import ApiError, conflict
from export.serving.requests.keys import Keys

HEAD = struct.Struct("<B8s8sq")  # version, model, stream, open time of the newest candle (0: an observation)
VERSION = 1
SIGNATURE = 32
REPLAY = "replay: send the request again without carry and with history"


class Stream(NamedTuple):
    """The sequence of decisions that a recurrent state belongs to."""

    name: str  # the caller's
    symbol: str = ""  # of a pool, each symbol of which has a memory of its own

    def __str__(self) -> str:
        return f"symbol or stream than {self.symbol}, {self.name!r}" if self.symbol else f"stream than {self.name!r}"

    @property
    def signed_name(self) -> bytes:
        """Bytes that bind a token to its stream, part of what is signed."""
        return (f"{self.symbol}\0{self.name}" if self.symbol else self.name).encode()


def make_token(model: Model, stream: Stream, time: int, carry: tuple[np.ndarray, ...], key: bytes) -> str:
    """Makes the token of a recurrent state.

    Args:
        model: that made it.
        stream: whose memory it is.
        time: open time of the newest candle, epoch ms; 0 where only an observation was seen.
        carry: leaves (1, ...) or (...), float32.
        key: of the signature; the same on every replica.
    """
    leaves = b"".join(np.ascontiguousarray(leaf, "<f4").tobytes() for leaf in carry)
    body = HEAD.pack(VERSION, bytes.fromhex(model.digest)[:8], stream_mark(stream), time) + leaves
    return base64.urlsafe_b64encode(body + sign(model, stream, body, key)).decode()


def open_token(token: str, model: Model, stream: Stream, keys: Keys, field: str) -> tuple[tuple[np.ndarray, ...], int]:
    """Verifies a token; returns its recurrent state, leaves (1, ...), and its time.

    Raises:
        ApiError: 409; it is of another model or stream, or not as it was given.
    """
    raw = decode(token, field)
    sizes = [int(np.prod(shape)) for shape in model.carry_shapes]
    if len(raw) < HEAD.size + SIGNATURE:
        raise altered_token(field)
    body, signature = raw[:-SIGNATURE], raw[-SIGNATURE:]
    version, made_by, made_for, time = HEAD.unpack(body[: HEAD.size])
    if version == VERSION and made_by != bytes.fromhex(model.digest)[:8]:
        raise conflict(field, f"a token of another model than {model.name} {model.version}; {REPLAY}", "token_model")
    if version == VERSION and made_for != stream_mark(stream):
        raise conflict(field, f"a token of another {stream}; {REPLAY}", "token_stream")
    whole = len(body) == HEAD.size + 4 * sum(sizes)
    signed = [hmac.compare_digest(signature, sign(model, stream, body, key)) for key in keys.accepted]
    if not any(signed) or version != VERSION or not whole:
        raise altered_token(field)
    flat = np.frombuffer(body, "<f4", offset=HEAD.size).astype(np.float32)
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return tuple(x.reshape(1, *shape) for x, shape in zip(parts, model.carry_shapes, strict=True)), time


def decode(token: str, field: str) -> bytes:
    """Decodes a token; accepts only the spelling of `make_token`.

    Raises:
        ApiError: 409.
    """
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise altered_token(field) from error
    # base64 ignores the spare bits of the last letter.
    if base64.urlsafe_b64encode(raw).decode() != token:
        raise altered_token(field)
    return raw


def altered_token(field: str) -> ApiError:
    """Makes the error for a token whose signature does not hold."""
    return conflict(field, f"not a token of this server, or altered; {REPLAY}", "token_altered")


def stream_mark(stream: Stream) -> bytes:
    """Returns the first 8 bytes of the SHA-256 of a stream's name."""
    return hashlib.sha256(stream.signed_name).digest()[:8]


def sign(model: Model, stream: Stream, body: bytes, key: bytes) -> bytes:
    """Signs a token: HMAC-SHA256 over the whole model hash, the whole stream and the body."""
    name = stream.signed_name
    message = bytes.fromhex(model.digest) + struct.pack("<I", len(name)) + name + body
    return hmac.digest(key, message, "sha256")
