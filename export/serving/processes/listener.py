"""The listening socket: opened, and closed without resetting connections that were established."""

import contextlib
import ctypes
import select
import socket
import struct
import sys

ATTACH_FILTER = 26  # SO_ATTACH_FILTER of Linux
# Classic BPF over the TCP header: of byte 13, its flags, SYN without ACK drops the packet.
NO_SYN = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


def listen(host: str, port: int, backlog: int = 2048) -> socket.socket:
    """Opens a listening socket; `port` 0 takes a free one.

    Raises:
        OSError: the port is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def reject_new_connections(sock: socket.socket) -> None:
    """Drops new connections, in every process that shares the socket; established ones can still be accepted.

    A connection that waits when its listener closes is reset, although its caller had it confirmed. Where the
    system has no such filter, what begins within the last moment before the close is lost.
    """
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in NO_SYN))
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HL", len(NO_SYN), ctypes.addressof(code)))


def readable(files: list[int]) -> set[int]:
    """Returns the file descriptors on which a connection or bytes wait."""
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    return {file for file, _ in poll.poll(0)}
