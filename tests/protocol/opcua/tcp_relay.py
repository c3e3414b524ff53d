"""A TCP path between client and server that a test can cut and mend."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_RESET = struct.pack("ii", 1, 0)


class Relay:
    """Passes connections on to a port on 127.0.0.1, as long as it is not cut."""

    def __init__(self, port: int):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"opc.tcp://127.0.0.1:{self.port}"
        self.passed = 0
        """Bytes from the server so far."""
        self._limit: int | None = None
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._whole = True
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset every connection, and new ones at once."""
        with self._lock:
            self._whole = False
            self._limit = None
            sockets, self._open = self._open, []
        for one in sockets:
            _reset(one)

    def cut_after(self, more: int) -> None:
        """Cut once so many more bytes have come from the server."""
        with self._lock:
            self._limit = self.passed + more

    @property
    def whole(self) -> bool:
        return self._whole

    def mend(self) -> None:
        with self._lock:
            self._whole = True

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                whole = self._whole
                if whole:
                    far = socket.create_connection(("127.0.0.1", self._target), 5)
                    self._open += [near, far]
            if not whole:
                _reset(near)
                continue
            threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counted:
                    self.passed += len(data)
                    if self._limit is not None and self.passed > self._limit:
                        self.cut()
                        return
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        one.close()
