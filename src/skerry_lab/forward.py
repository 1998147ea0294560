"""A program that carries TCP connections from one network namespace into another.

    nsenter --net=NAMESPACE python -m skerry_lab.forward DESCRIPTOR ADDRESS PORT

The descriptor is a socket that listens already, made by the starter in its own network, where it stays;
every connection to it goes on to ADDRESS:PORT in the network that this program runs in.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

BLOCK_BYTES = 1 << 16


async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then say so to the target."""
    with contextlib.suppress(OSError):
        while block := await source.read(BLOCK_BYTES):
            target.write(block)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()


async def serve(listener: socket.socket, host: str, port: int) -> None:
    """Carry connections for ever."""

    async def accept(near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(near_writer):
            try:
                far_reader, far_writer = await asyncio.open_connection(host, port)
            except OSError:
                return
            with contextlib.closing(far_writer):
                await asyncio.gather(carry(near_reader, far_writer), carry(far_reader, near_writer))

    server = await asyncio.start_server(accept, sock=listener)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Run as a program, see above."""
    descriptor, host, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    asyncio.run(serve(socket.socket(fileno=descriptor), host, port))


if __name__ == "__main__":
    main()
