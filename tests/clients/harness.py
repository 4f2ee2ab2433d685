"""Starts patella-engine and patella-sidecar as a user would, on free loopback ports, and stops them by process id."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

BIN = pathlib.Path(os.environ.get("PATELLA_BIN", pathlib.Path(__file__).parents[2] / "build/release/bin"))
CACHE = pathlib.Path(os.environ.get("PATELLA_CACHE", pathlib.Path.home() / ".cache/patella"))
MODEL = CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
SAMPLE = pathlib.Path(__file__).parents[2] / "deploy/samples/smollm2.yaml"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """A program with its log in a file; `stop` sends SIGTERM and returns the exit code."""

    def __init__(self, program: str, environment: dict[str, str]):
        self.log = tempfile.NamedTemporaryFile("w+", prefix=program + "-", suffix=".log")
        self.process = subprocess.Popen(
            [BIN / program], env={**os.environ, **environment}, stdout=self.log, stderr=self.log)

    def log_text(self) -> str:
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def wait_for(self, what, seconds=120):
        """Polls `what()` until it returns something true; fails with the log when the process ends or time is up."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"exited with {self.process.returncode}:\n{self.log_text()}")
            if value := what():
                return value
            time.sleep(0.05)
        raise TimeoutError(f"not ready after {seconds} s:\n{self.log_text()}")

    def engine_url(self) -> str:
        """Where an engine listens, as its log says; waits until it does."""
        listening = re.compile(r"listening on (http://\S+)")
        return self.wait_for(lambda: listening.search(self.log_text()))[1]

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except (urllib.error.URLError, OSError):
        return False


def post(url: str, path: str, body: dict, timeout=60):
    """The open answer; HTTPError for any status but 2xx."""
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=timeout)


def long_prompt() -> str:
    """Some 2,500 tokens: seconds of prefill."""
    return "Once upon a time there was a king, and then " * 250


def status_of(admin: str) -> dict:
    """The sidecar's /status.json."""
    return json.load(urllib.request.urlopen(admin + "/status.json", timeout=10))


class Engine(Process):
    def __init__(self, **environment):
        super().__init__("patella-engine", {
            "MODEL_ID": str(MODEL), "SERVED_MODEL_NAME": "smollm2", "PORT": "0", **environment})
        try:
            self.url = self.engine_url()
            self.wait_for(lambda: answers(self.url + "/health"))
        except Exception:
            self.stop()
            raise


class Sidecar(Process):
    def __init__(self, engine: Engine, limit: int, **environment):
        data, admin = free_port(), free_port()
        self.url, self.admin = f"http://127.0.0.1:{data}", f"http://127.0.0.1:{admin}"
        super().__init__("patella-sidecar", {
            "ENGINE_URL": engine.url, "ENGINE_TYPE": "TGI",
            "LISTEN": f"127.0.0.1:{data}", "ADMIN": f"127.0.0.1:{admin}",
            "MODEL_NAME": "smollm2", "TUNING_MODE": "Off", "MAX_CONCURRENT_REQUESTS": str(limit), **environment})
        try:
            self.wait_for(lambda: answers(self.admin + "/readyz"))
        except Exception:
            self.stop()
            raise


def tuned(engine, limit: int, attempts=3, **environment) -> Sidecar:
    """A sidecar that tunes itself. One that finds the machine too noisy to measure (exit code 5) is started again."""
    for attempt in range(attempts):
        try:
            return Sidecar(engine, limit, **{"TUNING_MODE": "Auto", **environment})
        except RuntimeError as error:
            if attempt + 1 == attempts or "exit_code=5" not in str(error):
                raise


def require_model():
    if not MODEL.exists():
        sys.exit(f"{MODEL} is missing: run tools/fetch_model.sh")


def processes_with(text: str) -> list[int]:
    """Process ids whose environment mentions `text`."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            pass
    return found


class Up:
    """`patella up`, or another command that takes the same, with the sample changed by (pattern, replacement) pairs."""

    def __init__(self, *changes, model: pathlib.Path = MODEL, listen=None, arguments=(), command="up"):
        text = SAMPLE.read_text().replace("file://SmolLM2-135M-Instruct.Q4_1.gguf", f"file://{model}")
        for pattern, replacement in changes:
            text, n = re.subn(pattern, replacement, text)
            assert n == 1, f"{pattern} stands {n} times in the sample"
        self.folder = tempfile.TemporaryDirectory()
        self.yaml = pathlib.Path(self.folder.name) / "deployment.yaml"
        self.yaml.write_text(text)
        self.mark = f"PATELLA_TEST_MARK={self.folder.name}"
        self.ports = [free_port(), free_port()]
        if listen:
            self.ports[0] = listen
        name, value = self.mark.split("=")
        self.process = subprocess.Popen(
            [BIN / "patella", command, "-f", self.yaml, "--listen", f"127.0.0.1:{self.ports[0]}",
             "--admin", f"127.0.0.1:{self.ports[1]}", *arguments],
            env={**os.environ, name: value}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def children(self) -> list[int]:
        return [pid for pid in processes_with(self.mark) if pid != self.process.pid]

    def child(self, program: str, seconds=30) -> int:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for pid in self.children():
                try:
                    if os.readlink(f"/proc/{pid}/exe").endswith(program):
                        return pid
                except OSError:
                    pass
            time.sleep(0.05)
        raise TimeoutError(f"no {program}")

    def measuring(self, seconds=60):
        """Returns once the calibration has begun to send."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if status_of(f"http://127.0.0.1:{self.ports[1]}")["progress"]["phase"] == "ramp":
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise TimeoutError("the ramp has not begun")

    def left_behind(self, taken=()) -> list[str]:
        """Processes that still run and ports that are still held, but those of `taken`."""
        found = [f"process {pid}" for pid in self.children()]
        for port in set(self.ports) - set(taken):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    s.bind(("127.0.0.1", port))
                except OSError:
                    found.append(f"port {port}")
        return found

    def end(self, seconds=120) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, err
