"""A sidecar whose API server is out of reach: what it has stays in force and is served by, and what was missed is caught up on.

The engine is a stand-in of this process, tuning is off and the ceiling is the limit, so that no model is needed.
"""

import contextlib
import json
import pathlib
import re
import sys
import tempfile
import threading
import unittest
import urllib.error
import urllib.parse

import gate
import kube
from stand_in import Engine

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/clients"))
import harness  # noqa: E402

NAME, REVISION = "small", "0a1b2c3d"


class SidecarCutOff(unittest.TestCase):
    def served_at_once(self, sidecar, engine, requests: int) -> tuple[int, int]:
        """How many of that many requests at once were served, and how many turned away."""
        codes, lock = [], threading.Lock()

        def ask():
            try:
                with harness.post(sidecar.url, "/generate", {"inputs": "x"}) as answer:
                    code = answer.status
            except urllib.error.HTTPError as refused:
                code = refused.code
            with lock:
                codes.append(code)

        engine.go.clear()
        threads = [threading.Thread(target=ask) for _ in range(requests)]
        for thread in threads:
            thread.start()
        try:
            kube.eventually(lambda: engine.running + len(codes) == requests, of="each served or turned away")
        finally:
            engine.go.set()
            for thread in threads:
                thread.join()
        self.assertEqual(set(codes) - {200, 429}, set())
        return codes.count(200), codes.count(429)

    def test_goes_on_with_what_it_has_and_catches_up_after(self):
        config = json.loads(pathlib.Path(kube.setting("PATELLA_KUBECONFIG")).read_text())
        cluster = config["clusters"][0]["cluster"]
        server = urllib.parse.urlparse(cluster["server"])
        with contextlib.ExitStack() as at_the_end:
            ns, way = at_the_end.enter_context(kube.namespace()), at_the_end.enter_context(gate.Gate(server.port))
            folder = at_the_end.enter_context(tempfile.TemporaryDirectory())
            cluster["server"] = f"https://{server.hostname}:{way.port}"
            kubeconfig = pathlib.Path(folder) / "kubeconfig"
            kubeconfig.write_text(json.dumps(config))
            objectives = {"latency": [{"metric": "TimePerOutputToken", "quantile": "0.90", "targetMs": 50}]}
            spec = {
                "model": {"name": NAME, "uri": "pvc://models/small.gguf"},
                "objectives": objectives,
                "tuning": {"mode": "Off"},
                "maxConcurrentRequests": 4,
            }
            kind = {"apiVersion": "patella.dev/v1alpha1", "kind": "InferenceDeployment"}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": f"{NAME}-autotuner"}}
            ns.apply(kind | {"metadata": {"name": NAME}, "spec": spec}, lease)

            engine = Engine()
            at_the_end.callback(engine.stop)
            peers = f"127.0.0.1:{harness.free_port()}"
            sidecar = harness.Sidecar(engine, limit=4, NAMESPACE=ns.name, DEPLOYMENT=NAME, REVISION=REVISION, POD_NAME="pod-a",
                                      KUBECONFIG=str(kubeconfig), OBJECTIVES=json.dumps(objectives), PEERS_LISTEN=peers,
                                      PEERS=peers, PEERS_CERTIFICATES="none")
            at_the_end.callback(sidecar.stop)

            def ceiling(n: int):
                ns.kubectl("patch", "inferencedeployment", NAME, "--type=merge", "-p", json.dumps({"spec": {"maxConcurrentRequests": n}}))

            limit = lambda: harness.status_of(sidecar.admin)["limit"]

            def published() -> int:
                status = ns.get("inferencedeployment", NAME).get("status", {})
                return next((r.get("limit", 0) for r in status.get("revisions", []) if r["hash"] == REVISION), 0)

            kube.eventually(lambda: published() == 4, of=f"the limit in status; log:\n{sidecar.log_text()}")
            ceiling(3)
            kube.eventually(lambda: (limit(), published()) == (3, 3), of="what is changed comes through the gate")
            self.assertEqual(self.served_at_once(sidecar, engine, 5), (3, 2))

            way.shut()
            ceiling(2)
            # It has noticed, and it has tried again in vain.
            refused = lambda: re.search(r"watch failed resource=inferencedeployments.*nothing accepts connections", sidecar.log_text())
            kube.eventually(refused, of=f"a refused watch; log:\n{sidecar.log_text()}")
            self.assertEqual(limit(), 3)
            self.assertEqual(self.served_at_once(sidecar, engine, 5), (3, 2))
            self.assertTrue(harness.answers(f"{sidecar.admin}/readyz"), "an API server that is away is no reason to leave the Service")
            self.assertEqual(published(), 3)

            way.open()
            kube.eventually(lambda: (limit(), published()) == (2, 2), 60, f"what was missed; log:\n{sidecar.log_text()}")
            self.assertEqual(self.served_at_once(sidecar, engine, 5), (2, 3))
            self.assertIsNone(sidecar.process.poll())


if __name__ == "__main__":
    unittest.main()
