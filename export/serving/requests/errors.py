"""Errors of the server's answers: a status, a code, the field and one line."""

import msgspec


class ApiError(Exception):
    """A request that is refused: it gets no prediction and no substitute for one."""

    def __init__(self, status: int, code: str, field: str, message: str):
        super().__init__(message)
        self.status, self.code, self.field, self.message = status, code, field, message

    def encode(self) -> bytes:
        """Encodes `{"error": {"code", "field", "message"}}`."""
        return msgspec.json.encode({"error": {"code": self.code, "field": self.field, "message": self.message}})

    def encode_plain(self) -> bytes:
        """Encodes `{"error": "field: message"}`, the form of the Open Inference Protocol."""
        return msgspec.json.encode({"error": f"{self.field}: {self.message}"})


def invalid(field: str, message: str, code: str = "invalid") -> ApiError:
    """Makes the error for a value that is not allowed: 400."""
    return ApiError(400, code, field, message)


def conflict(field: str, message: str, code: str) -> ApiError:
    """Makes the error for a value of another model, stream, symbol or bar: 409."""
    return ApiError(409, code, field, message)


def too_large(field: str, message: str) -> ApiError:
    """Makes the error for more than the server takes: 413."""
    return ApiError(413, "too_large", field, message)


def not_ready() -> ApiError:
    """Makes the error for a server without a verified model: 503."""
    return ApiError(503, "not_ready", "model", "no verified model is loaded; ask /health/ready again later")
