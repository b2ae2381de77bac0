"""Services that are no manager, each on a port of its own."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import zmq

from fancypipe_remote._address import Address

__all__ = ["hangs_up", "nothing", "says", "silent", "web", "zeromq"]


@contextmanager
def nothing() -> Iterator[Address]:
    """A port that somebody has and nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Address(*taken.getsockname())


@contextmanager
def _serve(each: Callable[[socket.socket], None]) -> Iterator[Address]:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def loop() -> None:
            kept = []
            while not over.is_set():
                with suppress(TimeoutError):
                    connection, _ = server.accept()
                    kept.append(connection)
                    each(connection)
            for connection in kept:
                connection.close()

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield Address(*server.getsockname())
        finally:
            over.set()
            thread.join()


def says(data: bytes) -> AbstractContextManager[Address]:
    """It says this to everybody, and no more."""
    return _serve(lambda connection: connection.sendall(data))


def silent() -> AbstractContextManager[Address]:
    """It accepts, and says nothing."""
    return _serve(lambda _: None)


def hangs_up() -> AbstractContextManager[Address]:
    """It accepts, and hangs up."""
    return _serve(lambda connection: connection.close())


@contextmanager
def web() -> Iterator[Address]:
    """A real web server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield Address(*server.server_address[:2])  # type: ignore[arg-type]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def zeromq(plain: bool = False) -> Iterator[Address]:
    """A ZeroMQ service without security, or with a password."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server:
        server.setsockopt(zmq.PLAIN_SERVER, plain)
        port = server.bind_to_random_port("tcp://127.0.0.1")
        yield Address("127.0.0.1", port)
