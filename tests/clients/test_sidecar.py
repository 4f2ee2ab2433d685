"""The sidecar in front of a real engine: what survives a restart, what advice means, how it drains, what it says when
the engine is gone."""

import json
import signal
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import harness

OBJECTIVES = json.dumps({"latency": [{"metric": "TimePerOutputToken", "quantile": "0.90", "targetMs": 50}]})
SHORT = {"OBJECTIVES": OBJECTIVES, "WORKLOAD_INPUT_TOKENS": "48", "WORKLOAD_OUTPUT_TOKENS": "24"}


def setUpModule():
    harness.require_model()
    global engine
    engine = harness.Engine()


def tearDownModule():
    engine.stop()


def get(url) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def generate(sidecar, tokens=4, route="/generate"):
    return harness.post(sidecar.url, route, {
        "inputs": "Once upon a time", "parameters": {"max_new_tokens": tokens, "ignore_eos": True}})


class Restart(unittest.TestCase):
    def test_a_restart_resumes_at_four_fifths_without_a_probe_and_another_target_starts_anew(self):
        with tempfile.TemporaryDirectory() as state:
            first = harness.tuned(engine, limit=0, STATE_DIR=state, **SHORT)
            try:
                learned = harness.status_of(first.admin)
            finally:
                self.assertEqual(first.stop(), 0)
            self.assertGreater(learned["calibration"]["tokens"], 0)
            second = harness.tuned(engine, limit=0, STATE_DIR=state, **SHORT)
            try:
                resumed = harness.status_of(second.admin)
            finally:
                second.stop()
            self.assertEqual(resumed["calibration"]["tokens"], 0)
            self.assertEqual(resumed["limit"], max(1, int(0.8 * learned["limit"])))
            self.assertEqual(resumed["decisions"][-1]["reason"], "resumed")
            self.assertEqual(len(resumed["curve"]["points"]), len(learned["curve"]["points"]))
            other = {**SHORT, "WORKLOAD_OUTPUT_TOKENS": "16"}
            third = harness.tuned(engine, limit=0, STATE_DIR=state, **other)
            try:
                self.assertGreater(harness.status_of(third.admin)["calibration"]["tokens"], 0)
            finally:
                third.stop()


class Modes(unittest.TestCase):
    def test_advice_names_a_limit_and_enforces_the_ceiling(self):
        sidecar = harness.tuned(engine, limit=100, TUNING_MODE="Advise", **SHORT)
        try:
            status = harness.status_of(sidecar.admin)
            self.assertIn("advice: limit", status["message"])
            self.assertIn("enforced is the ceiling of 100", status["message"])
            self.assertLess(status["limit"], 100)
            metrics = get(sidecar.admin + "/metrics")[1]
            self.assertIn("patella_concurrency_limit", metrics)
        finally:
            sidecar.stop()

    def test_the_engines_probes_are_answered_for_it(self):
        sidecar = harness.Sidecar(engine, limit=4)
        try:
            self.assertEqual(get(sidecar.admin + "/engine/startupz")[0], 200)
            self.assertEqual(get(sidecar.admin + "/engine/livez")[0], 200)
            code, text = get(sidecar.admin + "/engine/metrics")
            self.assertEqual(code, 200)
            self.assertIn("tgi_request_count", text)
        finally:
            sidecar.stop()


class Batches(unittest.TestCase):
    def test_a_batch_takes_a_place_for_each_prompt_and_one_wider_than_the_limit_is_served_alone(self):
        def complete(prompts, **more):
            return harness.post(sidecar.url, "/v1/completions", {
                "prompt": prompts, "max_tokens": 200, "temperature": 0, "ignore_eos": True, **more})

        sidecar = harness.Sidecar(engine, limit=4)
        try:
            running = complete(["One", "Two", "Three"], stream=True)
            running.readline()
            self.assertEqual(harness.status_of(sidecar.admin)["inflight"], 3)
            with self.assertRaises(urllib.error.HTTPError) as refused:
                complete(["Four", "Five"])
            self.assertEqual(refused.exception.code, 429)
            running.close()
            while harness.status_of(sidecar.admin)["inflight"] > 0:
                time.sleep(0.01)
            wide = json.load(complete([str(n) for n in range(6)], max_tokens=2))
            self.assertEqual([choice["index"] for choice in wide["choices"]], list(range(6)))
        finally:
            sidecar.stop()


class Ends(unittest.TestCase):
    def test_drain_waits_for_streams_and_turns_newcomers_away(self):
        sidecar = harness.Sidecar(engine, limit=4)
        try:
            stream = generate(sidecar, tokens=200, route="/generate_stream")
            stream.readline()
            drained = []
            waiting = threading.Thread(target=lambda: drained.append((get(sidecar.admin + "/drain"), time.monotonic())))
            waiting.start()
            while get(sidecar.admin + "/readyz")[0] == 200:
                time.sleep(0.01)
            with self.assertRaises(urllib.error.HTTPError) as refused:
                generate(sidecar)
            self.assertEqual(refused.exception.code, 503)
            self.assertTrue(refused.exception.headers["Retry-After"])
            text = stream.read().decode()
            ended = time.monotonic()
            waiting.join(60)
            self.assertEqual(drained[0][0], (200, "drained\n"))
            self.assertGreaterEqual(drained[0][1], ended - 0.2)
            self.assertIn('"generated_tokens":200', text.replace(" ", ""))
        finally:
            sidecar.stop()

    def test_newcomers_are_served_until_the_drain_delay_is_over(self):
        sidecar = harness.Sidecar(engine, limit=4, DRAIN_DELAY_SECONDS="3")
        try:
            began, drained = time.monotonic(), []
            waiting = threading.Thread(target=lambda: drained.append((get(sidecar.admin + "/drain"), time.monotonic())))
            waiting.start()
            while get(sidecar.admin + "/readyz")[0] == 200:
                time.sleep(0.01)
            self.assertEqual(generate(sidecar, tokens=1).status, 200)
            with self.assertRaises(urllib.error.HTTPError) as refused:
                while True:
                    generate(sidecar, tokens=1)
            self.assertEqual(refused.exception.code, 503)
            waiting.join(60)
            self.assertEqual(drained[0][0], (200, "drained\n"))
            self.assertGreaterEqual(drained[0][1] - began, 3)
        finally:
            sidecar.stop()

    def test_without_its_engine_it_answers_503_and_is_not_ready(self):
        own = harness.Engine()
        sidecar = harness.Sidecar(own, limit=4)
        try:
            with generate(sidecar) as answer:
                self.assertEqual(answer.status, 200)
            own.process.send_signal(signal.SIGKILL)
            own.process.wait()
            with self.assertRaises(urllib.error.HTTPError) as gone:
                generate(sidecar)
            self.assertEqual(gone.exception.code, 503)
            self.assertTrue(gone.exception.headers["Retry-After"])
            deadline = time.monotonic() + 30
            while get(sidecar.admin + "/readyz")[0] == 200 and time.monotonic() < deadline:
                time.sleep(0.1)
            self.assertEqual(get(sidecar.admin + "/readyz")[0], 503)
            self.assertEqual(get(sidecar.admin + "/healthz")[0], 200)
        finally:
            sidecar.stop()
            own.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
