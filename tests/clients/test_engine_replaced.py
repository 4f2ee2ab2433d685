"""The engine ends and another takes its place, as when kubelet restarts that container alone: probes let it load."""

import unittest
import urllib.request

import harness
from harness import answers, post


def setUpModule():
    harness.require_model()


class EngineReplaced(unittest.TestCase):
    def test_the_next_engine_may_load_in_peace_and_a_drain_of_the_last_one_is_over(self):
        port = str(harness.free_port())
        engine = harness.Engine(PORT=port)
        sidecar = harness.Sidecar(engine, 4)
        try:
            self.assertTrue(answers(sidecar.admin + "/engine/startupz"))
            urllib.request.urlopen(sidecar.admin + "/drain", timeout=30).read()  # kubelet's preStop of the engine alone
            self.assertFalse(answers(sidecar.admin + "/readyz"))
            engine.stop()
            sidecar.wait_for(lambda: not answers(sidecar.admin + "/engine/startupz"), 20)
            # Nobody is there, for longer than a liveness probe would bear: it is the startup probe that judges now.
            self.assertTrue(answers(sidecar.admin + "/engine/livez"))
            self.assertFalse(answers(sidecar.admin + "/readyz"))
            engine = harness.Engine(PORT=port)
            sidecar.wait_for(lambda: answers(sidecar.admin + "/engine/startupz"), 20)
            sidecar.wait_for(lambda: answers(sidecar.admin + "/readyz"), 20)
            with post(sidecar.url, "/generate", {"inputs": "Hello", "parameters": {"max_new_tokens": 4}}) as answer:
                self.assertEqual(answer.status, 200)
        finally:
            self.assertEqual(sidecar.stop(), 0)
            engine.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
