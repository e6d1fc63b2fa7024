"""Clients that open a connection for each request, as a balancer without kept connections does."""

import socket
import threading
import time
from collections import Counter


class Clients:
    """Ask until nobody listens any more; what they saw is counted.

    A connection that stands and gets no whole answer is lost; one that is refused is an end like any other.
    """

    def __init__(self, port, request, count, kept=False):
        self.port, self.request, self.kept = port, request, kept
        self.answered, self.statuses = 0, Counter()
        self.lost = []  # when, why
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.ask_on, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def ask_on(self):
        while not self.stop.is_set():
            try:
                sock = socket.create_connection(("127.0.0.1", self.port), timeout=15)
            except OSError:  # nobody listens
                return
            with sock:
                while self.ask(sock) and self.kept and not self.stop.is_set():
                    pass

    def ask(self, sock):
        """Whether another request may follow on the connection."""
        got = b""
        try:
            sock.sendall(self.request)
            while not whole(got):
                part = sock.recv(65536)
                if not part:
                    raise ConnectionError(f"closed after {len(got)} bytes")
                got += part
        except OSError as error:
            with self.lock:
                self.lost.append((time.monotonic(), error))
            return False
        with self.lock:
            self.answered += 1
            self.statuses[int(got[9:12])] += 1
        return b"connection: close" not in got.partition(b"\r\n\r\n")[0]

    def join(self, seconds=20.0):
        for thread in self.threads:
            thread.join(seconds)


def whole(answer):
    """Whether headers and body of an answer are here."""
    head, gap, body = answer.partition(b"\r\n\r\n")
    return bool(gap) and len(body) >= int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])


def request_of(body, path="/predict"):
    """The bytes of a request on a connection that is kept."""
    head = f"POST {path} HTTP/1.1\r\nhost: here\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body
