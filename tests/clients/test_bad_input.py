"""What `patella up` and the engine say to input that cannot work: one clear message that names the thing and the remedy, an exit code of its
own, no process left behind, and the ports free again."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import harness

SAMPLE = pathlib.Path(__file__).parents[2] / "deploy/samples/smollm2.yaml"
USAGE, UNREACHABLE, IMPOSSIBLE, INTERRUPTED = 2, 3, 4, 130


def setUpModule():
    harness.require_model()


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
    """`patella up` with the sample changed by (pattern, replacement) pairs."""

    def __init__(self, *changes, model: pathlib.Path = harness.MODEL, listen=None):
        text = SAMPLE.read_text().replace("file://SmolLM2-135M-Instruct.Q4_1.gguf", f"file://{model}")
        for pattern, replacement in changes:
            text, n = re.subn(pattern, replacement, text)
            assert n == 1, f"{pattern} stands {n} times in the sample"
        self.folder = tempfile.TemporaryDirectory()
        self.yaml = pathlib.Path(self.folder.name) / "deployment.yaml"
        self.yaml.write_text(text)
        self.mark = f"PATELLA_TEST_MARK={self.folder.name}"
        self.ports = [harness.free_port(), harness.free_port()]
        if listen:
            self.ports[0] = listen
        name, value = self.mark.split("=")
        self.process = subprocess.Popen(
            [harness.BIN / "patella", "up", "-f", self.yaml, "--listen", f"127.0.0.1:{self.ports[0]}", "--admin", f"127.0.0.1:{self.ports[1]}"],
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
                if harness.status_of(f"http://127.0.0.1:{self.ports[1]}")["progress"]["phase"] == "ramp":
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise TimeoutError("the ramp has not begun")

    def end(self, seconds=120) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, err


class BadInput(unittest.TestCase):
    def check(self, up: Up, code: int, *words: str, taken=()):
        got, message = up.end()
        self.assertEqual(got, code, message)
        for word in words:
            self.assertIn(word, message)
        self.assertEqual(up.children(), [], "processes are left behind")
        for port in up.ports:
            if port not in taken:
                with socket.socket() as s:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    s.bind(("127.0.0.1", port))
        up.folder.cleanup()

    def test_unknown_field_names_it_and_the_near_miss(self):
        self.check(Up(("outputTokens", "outputToken")), USAGE, "outputToken", "did you mean")

    def test_wrong_type_names_the_field_and_what_was_expected(self):
        self.check(Up(("targetMs: 75", "targetMs: fast")), USAGE, "targetMs", "whole number")

    def test_impossible_target_names_the_nearest_that_can_be_met(self):
        self.check(Up(("targetMs: 75", "targetMs: 1")), IMPOSSIBLE, "1 ms", "the nearest target that can is")

    def test_missing_model_file(self):
        self.check(Up(model=pathlib.Path("/nowhere/x.gguf")), USAGE, "/nowhere/x.gguf")

    def test_model_file_cut_short(self):
        with tempfile.NamedTemporaryFile(suffix=".gguf") as cut:
            with open(harness.MODEL, "rb") as whole:
                cut.write(whole.read(20_000_000))
            cut.flush()
            self.check(Up(model=pathlib.Path(cut.name)), USAGE, cut.name, "incomplete")

    def test_model_file_that_is_not_a_gguf(self):
        with tempfile.NamedTemporaryFile(suffix=".gguf") as other:
            other.write(b"PK\x03\x04 this is a zip" * 100)
            other.flush()
            self.check(Up(model=pathlib.Path(other.name)), USAGE, other.name, "GGUF")

    def test_engine_killed_during_the_ramp(self):
        up = Up()
        engine = up.child("patella-engine")
        up.measuring()
        os.kill(engine, signal.SIGKILL)
        self.check(up, UNREACHABLE, "engine", "killed by signal 9")

    def test_taken_port(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.check(Up(listen=port), USAGE, f"127.0.0.1:{port}", "another port", taken=[port])

    def test_interrupt_during_the_ramp_leaves_nothing(self):
        up = Up()
        up.child("patella-sidecar")
        up.process.send_signal(signal.SIGINT)
        self.check(up, INTERRUPTED)


if __name__ == "__main__":
    unittest.main(verbosity=2)
