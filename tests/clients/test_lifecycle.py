"""The engine from its first byte to its last: the port is bound before the model is there, SIGTERM lets streams end,
the metrics are clean."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.request

import harness
from harness import answers, post


def setUpModule():
    harness.require_model()


class EngineLifecycle(unittest.TestCase):
    def test_health_is_503_until_the_model_is_there(self):
        process = harness.Process("patella-engine", {"MODEL_ID": str(harness.MODEL), "PORT": "0"})
        try:
            url = process.engine_url()
            seen = []
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and 200 not in seen:
                try:
                    seen.append(urllib.request.urlopen(url + "/health", timeout=5).status)
                except urllib.error.HTTPError as error:
                    seen.append(error.code)
                    self.assertIn("being loaded", error.read().decode())
            self.assertEqual(set(seen), {503, 200})
        finally:
            self.assertEqual(process.stop(), 0)

    def test_taken_port_is_said_before_the_model_is_loaded(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            done = subprocess.run([harness.BIN / "patella-engine", "--model-id", harness.MODEL, "--port", port],
                                  capture_output=True, text=True, timeout=30)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"127.0.0.1:{port} is already in use", done.stderr)
        self.assertNotIn("kv_mib", done.stderr)

    def test_sigterm_under_load_ends_every_stream_and_exits_0(self):
        engine = harness.Engine()
        body = {"inputs": "Once upon a time", "parameters": {"max_new_tokens": 120, "ignore_eos": True}}
        answers, begun = [], threading.Semaphore(0)

        def stream():
            with post(engine.url, "/generate_stream", body) as answer:
                text = answer.readline().decode()
                begun.release()
                text += answer.read().decode()
            answers.append(text)

        threads = [threading.Thread(target=stream) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in threads:
            self.assertTrue(begun.acquire(timeout=30))
        engine.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        self.assertEqual(engine.process.wait(30), 0)
        self.assertEqual(len(answers), 6)
        for text in answers:
            last = json.loads(text.strip().split("\n")[-1].removeprefix("data:"))
            self.assertEqual(last["details"]["generated_tokens"], 120)

    def test_while_draining_newcomers_get_503_and_what_outlasts_the_drain_is_told(self):
        engine = harness.Engine(DRAIN_SECONDS="2")
        answer = post(engine.url, "/generate_stream",
                      {"inputs": "Tell me", "parameters": {"max_new_tokens": 7000, "ignore_eos": True}})
        answer.readline()
        engine.process.send_signal(signal.SIGTERM)
        engine.wait_for(lambda: not answers(engine.url + "/health"))
        for path, body in (("/generate", {"inputs": "x"}), ("/v1/completions", {"prompt": "x", "stream": True})):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                post(engine.url, path, body)
            self.assertEqual(refused.exception.code, 503)
            self.assertTrue(refused.exception.headers["Retry-After"])
        last = json.loads(answer.read().decode().strip().split("\n")[-1].removeprefix("data:"))
        self.assertIn("shutting down", last["error"])
        self.assertEqual(engine.process.wait(30), 0)

    def test_a_client_that_leaves_frees_its_place_at_once(self):
        engine = harness.Engine(MAX_CONCURRENT_REQUESTS="1")
        try:
            connection = http.client.HTTPConnection(engine.url.removeprefix("http://"), timeout=30)
            connection.request("POST", "/generate_stream",
                               json.dumps({"inputs": "Tell me", "parameters": {"max_new_tokens": 1500}}),
                               {"Content-Type": "application/json"})
            connection.getresponse().readline()
            with self.assertRaises(urllib.error.HTTPError) as refused:
                post(engine.url, "/generate", {"inputs": "x", "parameters": {"max_new_tokens": 1}})
            self.assertEqual(refused.exception.code, 429)
            connection.close()
            deadline = time.monotonic() + 10
            status = 0
            while status != 200 and time.monotonic() < deadline:
                try:
                    status = post(engine.url, "/generate", {"inputs": "x", "parameters": {"max_new_tokens": 1}}).status
                except urllib.error.HTTPError as error:
                    self.assertEqual(error.code, 429)
            self.assertEqual(status, 200)
        finally:
            engine.stop()


class Metrics(unittest.TestCase):
    @unittest.skipUnless(shutil.which("promtool") or os.environ.get("CI"),
                         "promtool is missing: tools/setup/install.sh test")
    def test_promtool_finds_nothing_in_the_metrics_of_engine_and_sidecar(self):
        engine = harness.Engine()
        sidecar = harness.Sidecar(engine, limit=4)
        try:
            post(sidecar.url, "/generate",
                 {"inputs": "The capital of France is", "parameters": {"max_new_tokens": 8}}).read()
            for url in (engine.url, sidecar.admin):
                text = urllib.request.urlopen(url + "/metrics").read()
                done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
                # TGI's counters have no _total, one ends in _count; whoever has dashboards for TGI wants its names.
                complaints = [line for line in (done.stdout + done.stderr).decode().splitlines()
                              if not (line.startswith("tgi_") and ("_total" in line or '"_count"' in line))]
                self.assertEqual(complaints, [], url)
                self.assertIn(done.returncode, (0, 3))  # 3: only such complaints; 1: cannot be parsed
                self.assertIn(b"time_to_first_token" if url == sidecar.admin else b"tgi_", text)
        finally:
            sidecar.stop()
            engine.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
