"""The page's place on this machine: its port, its address, and its end."""

import errno
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from bert_lightning.errors import UserError

if TYPE_CHECKING:  # an extra
    from fastapi import FastAPI

PORT = 7860
PORTS = 20
"""How many ports from `PORT` on are tried where none is asked for."""
_SECONDS_FOR_ANSWERS = 1
"""How long the end waits for answers that are under way."""


def listen(host: str, port: int | None) -> socket.socket:
    """Returns a socket that listens on a port, or on the first free one from `PORT` on.

    Raises:
        UserError: the port is taken or not allowed, or this machine does not have that address.
    """
    if port is not None:
        return _listening(host, port)
    for candidate in range(PORT, PORT + PORTS):
        with suppress(_TakenError):
            return _listening(host, candidate)
    raise UserError(
        f"ports {PORT} to {PORT + PORTS - 1} of {host} are taken: --port 0 takes any free one"
    )


class _TakenError(UserError):
    """Another program listens there."""


def _listening(host: str, port: int) -> socket.socket:
    place = f"--host {host} --port {port}"
    if not 0 <= port < 2**16:
        raise UserError(f"{place}: a port is a number from 0 to {2**16 - 1}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _TakenError(
                f"{place}: another program listens there; take another port, or omit --port for "
                "the next free one"
            ) from None
        raise UserError(
            f"{place}: this machine cannot listen there ({error.strerror or error}); omit --host "
            "for this machine alone, and --port for a free port"
        ) from None


def address(listening: socket.socket) -> str:
    """Returns the URL of what listens there."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: "FastAPI", listening: socket.socket) -> None:
    """Serves the page until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(
        app, log_level="warning", timeout_graceful_shutdown=_SECONDS_FOR_ANSWERS
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
