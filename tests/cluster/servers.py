"""Servers that outlive the program that starts them: each is found again by a mark in its environment, never by name.

The mark is PATELLA_SERVER=STATE/NAME, STATE being the absolute folder that the server works for. So a run that was
killed at any point leaves nothing that the next one cannot find, and a recycled process id is never mistaken for a
server of ours.
"""

import os
import pathlib
import signal
import socket
import subprocess
import time

# In front of a command: the kernel ends it with the process that started it, however that ends, so that it does not
# go on beside the next run.
TIED = ("setpriv", "--pdeathsig=KILL")


class Failure(Exception):
    """What was wrong and what to do, for a person to read."""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def running(state: pathlib.Path) -> dict[int, str]:
    """Process ids of the servers that work for `state`, with their names."""
    mark = f"PATELLA_SERVER={state.resolve()}/".encode()
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            variables = pathlib.Path("/proc", entry, "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            if variable.startswith(mark):
                found[int(entry)] = variable[len(mark) :].decode()
    return found


def start(state: pathlib.Path, name: str, command: list, **options) -> subprocess.Popen:
    """Starts a server in a session of its own, its output appended to STATE/logs/NAME.log."""
    (state / "logs").mkdir(parents=True, exist_ok=True)
    with open(state / "logs" / f"{name}.log", "ab") as log:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PATELLA_SERVER": f"{state.resolve()}/{name}"},
            **options,
        )


def stop(state: pathlib.Path, name: str = "", grace_seconds: float = 5) -> None:
    """Ends the servers of `state` (or the one named): SIGTERM, after the grace SIGKILL. Returns when they are gone."""

    def pids():
        return [pid for pid, of in running(state).items() if not name or of == name]

    for pid in pids():
        send(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while pids() and time.monotonic() < deadline:
        time.sleep(0.02)
    deadline = time.monotonic() + 10
    while left := pids():
        for pid in left:
            send(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise Failure(f"processes {left} do not end, not even by SIGKILL")
        time.sleep(0.02)


def send(pid: int, what: signal.Signals) -> None:
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        pass


def log_tail(state: pathlib.Path, name: str, lines: int = 15) -> str:
    path = state / "logs" / f"{name}.log"
    text = path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []
    return "\n".join([f"--- last lines of {path}"] + text)


def wait_for(what, seconds: float, of: str, process: subprocess.Popen | None = None):
    """Polls `what()` until it is true and returns it; Failure when `process` has ended or time is up."""
    deadline = time.monotonic() + seconds
    while True:
        if value := what():
            return value
        if process and process.poll() is not None:
            raise Failure(f"{of}: the process ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise Failure(f"{of}: not so after {seconds:g} s")
        time.sleep(0.05)
