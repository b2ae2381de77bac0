"""A link with a delay: `python -m benchmarks.relay HOST:PORT SECONDS`.

It listens on a free port of this machine, says which on standard error, and passes on
each byte so many seconds later, both ways.  It has a process of its own, so that it
takes no turn of those whom it connects.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

_PIECE = 256 * 1024
_PIECES = 256  # on their way in one direction: 64 MB, more than a tenth of a second of any link


async def relay(host: str, port: int, delay: float) -> None:
    """Listen until cancelled."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Who cannot be reached is closed, as a kernel would.
        try:
            there, back = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass(reader, back, delay), _pass(there, writer, delay))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print("listening on {}:{},".format(*server.sockets[0].getsockname()), file=sys.stderr)
    async with server:
        await server.serve_forever()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    clock = asyncio.get_running_loop().time
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_PIECES)

    async def take() -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(_PIECE)
            except OSError:
                data = b""  # reset is an end, too
            await under_way.put((clock() + delay, data))

    taking = asyncio.create_task(take())
    with suppress(OSError):
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
    taking.cancel()
    writer.close()


def main(argv: list[str]) -> None:
    """Relay to argv's address with its delay."""
    host, port = argv[0].rsplit(":", 1)
    with suppress(KeyboardInterrupt):
        asyncio.run(relay(host, int(port), float(argv[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
