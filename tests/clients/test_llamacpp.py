"""The sidecar tunes an engine that nobody here wrote: llama.cpp's server, with the same model. In the venv
python-llamacpp."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import harness


class LlamaCpp(harness.Process):
    def __init__(self, slots=16):
        port = harness.free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = tempfile.NamedTemporaryFile("w+", prefix="llamacpp-", suffix=".log")
        script = pathlib.Path(__file__).parent / "llamacpp_server.py"
        self.process = subprocess.Popen(
            [sys.executable, script, harness.MODEL, str(port), str(slots)], stdout=self.log, stderr=self.log)
        self.wait_for(lambda: harness.answers(self.url + "/health"))


def complete(url: str) -> dict:
    body = {"model": "smollm2", "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
    return json.load(harness.post(url, "/v1/completions", body))


class LlamaCppTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.require_model()
        cls.engine = LlamaCpp()
        cls.addClassCleanup(cls.engine.stop)
        objectives = {"latency": [{"metric": "TimePerOutputToken", "quantile": "0.90", "targetMs": 150}]}
        cls.sidecar = harness.tuned(cls.engine, limit=16, ENGINE_TYPE="OpenAI", OBJECTIVES=json.dumps(objectives),
                                    WORKLOAD_INPUT_TOKENS="64", WORKLOAD_OUTPUT_TOKENS="32")
        cls.addClassCleanup(cls.sidecar.stop)

    def test_a_limit_is_found_and_explained(self):
        status = harness.status_of(self.sidecar.admin)
        self.assertGreaterEqual(status["limit"], 1)
        self.assertLessEqual(status["limit"], 16)
        self.assertIn(status["bound_by"], ("TimePerOutputToken", "Knee", "Ceiling", "KvCapacity", "Timeout"))
        self.assertGreaterEqual(len(status["curve"]["points"]), 2)
        self.assertGreater(status["curve"]["law"]["b_ms"], 0)

    def test_the_tuned_server_answers_through_the_sidecar(self):
        self.assertIn("Paris", complete(self.sidecar.url)["choices"][0]["text"])
        for _ in range(5):  # llama.cpp closes connections after a reply; a stale one must never surface as an error
            complete(self.sidecar.url)


if __name__ == "__main__":
    unittest.main(verbosity=2)
