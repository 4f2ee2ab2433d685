"""What `patella up` and the engine say to input that cannot work: one clear message that names the thing and the
remedy, an exit code of its own, no process left behind, and the ports free again."""

import os
import pathlib
import signal
import socket
import tempfile
import unittest

import harness
from harness import Up

USAGE, UNREACHABLE, IMPOSSIBLE, INTERRUPTED = 2, 3, 4, 130


def setUpModule():
    harness.require_model()


class BadInput(unittest.TestCase):
    def check(self, up: Up, code: int, *words: str, taken=()):
        got, message = up.end()
        self.assertEqual(got, code, message)
        for word in words:
            self.assertIn(word, message)
        self.assertEqual(up.left_behind(taken), [])
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
