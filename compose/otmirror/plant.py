"""The plant for other containers: `otmirror plant` listens on loopback only, this passes its two ports on."""

from __future__ import annotations

import asyncio
import sys

PORTS = {4840: 48400, 5021: 5020}
"""Port of the container: port of the plant."""


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until one side ends."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(port: int, inner: int, host: str = "0.0.0.0") -> asyncio.Server:  # noqa: S104 - a container's own
    """Pass connections at `port` on to `inner` on loopback; return the server."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", inner)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    return await asyncio.start_server(connected, host, port)


async def main() -> int:
    """Run the plant and its ports until it ends; return its exit status."""
    plant = await asyncio.create_subprocess_exec("otmirror", "plant", *sys.argv[1:])
    servers = [await serve(port, inner) for port, inner in PORTS.items()]
    try:
        return await plant.wait()
    finally:
        for server in servers:
            server.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
