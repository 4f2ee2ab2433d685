"""A TCP gate between a client and a server on loopback that can be shut.

with gate.Gate(server_port) as way:
    way.shut()  # connections break, and new ones are refused
    way.open()  # on the same port
    way.hold()  # nothing reaches the server any more; what it says still comes
"""

import contextlib
import socket
import struct
import threading


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it
    connection.close()


class Gate:
    def __init__(self, server_port: int):
        self.server_port, self.port = server_port, 0
        self._lock, self._connections, self._listener = threading.Lock(), set(), None
        self._flows = threading.Event()
        self.open()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shut()

    def open(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port, self._listener = listener.getsockname()[1], listener
        self._flows.set()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def hold(self) -> None:
        self._flows.clear()

    def shut(self) -> None:
        with self._lock:
            listener, self._listener = self._listener, None
            broken, self._connections = self._connections, set()
        if listener:
            _reset(listener)
        for connection in broken:
            _reset(connection)
        self._flows.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server_port))
            except OSError:
                return  # shut
            with self._lock:
                if self._listener is not listener:
                    _reset(client)
                    return _reset(server)
                self._connections |= {client, server}
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(one, other, one is client), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, to_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if to_server:
                    self._flows.wait()
                other.sendall(data)
        with self._lock:
            self._connections -= {one, other}
        _reset(one)
        _reset(other)
