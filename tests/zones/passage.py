"""Passes connections at a zone's address on to a server that listens on that zone's loopback only.

passage.py ADDRESS PORT ...: as compose does it for the plant, with its code.
"""

import asyncio
import runpy
import sys
from pathlib import Path

COMPOSE = Path(__file__).resolve().parents[2] / "compose" / "otmirror" / "plant.py"


async def main() -> None:
    serve = runpy.run_path(str(COMPOSE))["serve"]
    address, *ports = sys.argv[1:]
    servers = [await serve(int(port), int(port), address) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main())
