"""The operator on a real API server, with real engines and sidecars in the place of its pods: the learned limit arrives in status and in every limiter.

The sidecars use the token of the ServiceAccount that the operator made for them, so that their rights are those of a cluster.
"""

import base64
import json
import os
import pathlib
import sys
import tempfile
import time
import unittest
import urllib.request

import kube
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/clients"))
import harness  # noqa: E402

NAME = "smollm2"


def kubeconfig_for(ns, account: str, folder: pathlib.Path) -> pathlib.Path:
    """The admin's kubeconfig with a token of that ServiceAccount instead of the admin's certificate."""
    config = json.loads(pathlib.Path(kube.setting("PATELLA_KUBECONFIG")).read_text())
    config["users"][0]["user"] = {"token": ns.kubectl("create", "token", account).strip()}
    path = folder / "sidecar.kubeconfig"
    path.write_text(json.dumps(config))
    return path


class Sidecars(unittest.TestCase):
    def setUp(self):
        harness.require_model()
        self.processes = []
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) if hasattr(self, "enterContext") else pathlib.Path(tempfile.mkdtemp())

    def started(self, process):
        self.addCleanup(process.stop)
        self.processes.append(process)
        return process

    def tearDown(self):
        """A failure shows what each program said."""
        result = self._outcome.result
        if any(test is self for test, _ in result.failures + result.errors):
            for process in self.processes:
                print(f"--- {process.process.args[0].name}, pid {process.process.pid}\n{process.log_text()[-4000:]}", file=sys.stderr)

    def change(self, ns, spec: dict):
        ns.kubectl("patch", "inferencedeployment", NAME, "--type=merge", "-p", json.dumps({"spec": spec}))

    def holds(self, sidecar, limit: int):
        """Waits until that sidecar's limiter has that limit."""
        last = {}

        def reached():
            last.update(harness.status_of(sidecar.admin))
            return last["limit"] == limit

        try:
            kube.eventually(reached, of=f"a limit of {limit} in a limiter")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(last)[:2000]}") from None

    def operator(self, ns):
        return self.started(harness.Process("patella-operator", {
            "KUBECONFIG": kube.setting("PATELLA_KUBECONFIG"), "WATCH_NAMESPACES": ns.name, "LEADER_ELECTION": "false",
            "ADMIN": f"127.0.0.1:{harness.free_port()}", "HOST_MODEL_DIR": str(harness.CACHE / "models")}))

    def sidecar(self, ns, pod: str, engine, port: int, ports: list[int]):
        secret = ns.get("secret", f"{NAME}-peers")["data"]
        for file in ("ca.crt", "tls.crt", "tls.key"):
            (self.folder / file).write_bytes(base64.b64decode(secret[file]))
        return self.started(harness.Sidecar(engine, limit=0, TUNING_MODE="Auto", NAMESPACE=ns.name, DEPLOYMENT=NAME,
                                            REVISION=self.revision, POD_NAME=pod, KUBECONFIG=str(self.kubeconfig),
                                            OBJECTIVES=self.objectives, WORKLOAD_INPUT_TOKENS="128", WORKLOAD_OUTPUT_TOKENS="64",
                                            MAX_CALIBRATION_SECONDS="240", PEERS_LISTEN=f"127.0.0.1:{port}",
                                            PEERS=",".join(f"127.0.0.1:{p}" for p in ports), PEERS_CERTIFICATES=str(self.folder)))

    def status(self, ns) -> dict:
        return ns.get("inferencedeployment", NAME).get("status", {})

    def learned(self, ns) -> dict | None:
        found = [r for r in self.status(ns).get("revisions", []) if r["hash"] == self.revision and r.get("limit")]
        return found[0] if found else None

    def holder(self, ns) -> str:
        return ns.get("lease", f"{NAME}-autotuner")["spec"].get("holderIdentity") or ""

    def test_the_learned_limit_arrives_in_status_and_in_every_limiter(self):
        sample = yaml.safe_load((ROOT / "deploy/samples/smollm2.yaml").read_text())
        # What it learns is not the matter here, and machines differ: a target that any holds at a few requests.
        sample["spec"]["objectives"]["latency"][0]["targetMs"] = 150
        sample["spec"]["tuning"] = {"maxCalibrationSeconds": 240}
        sample["spec"]["scaling"] = {"mode": "Auto", "minReplicas": 1, "maxReplicas": 2}
        with kube.namespace() as ns:
            self.operator(ns)
            ns.apply(sample)
            serving = kube.eventually(lambda: ns.get("deployments", "-l", f"patella.dev/deployment={NAME}")["items"], of="a Deployment")
            self.revision = serving[0]["metadata"]["labels"]["patella.dev/revision"]
            self.objectives = json.dumps({"latency": sample["spec"]["objectives"]["latency"]})
            kube.eventually(lambda: ns.get("secret", f"{NAME}-peers"), of="the peers' Secret")
            kube.eventually(lambda: ns.get("lease", f"{NAME}-autotuner"), of="the autotuner's Lease")
            self.kubeconfig = kubeconfig_for(ns, f"{NAME}-autotuner", self.folder)

            engine = self.started(harness.Engine())
            ports = [harness.free_port(), harness.free_port()]
            first = self.sidecar(ns, "pod-a", engine, ports[0], ports)
            learned = kube.eventually(lambda: self.learned(ns), 60, "the limit in status")
            self.assertEqual(learned["limit"], harness.status_of(first.admin)["limit"])
            self.assertTrue(learned["boundBy"])
            conditions = {c["type"]: c for c in self.status(ns)["conditions"]}
            self.assertEqual(conditions["Tuned"]["status"], "True", conditions)
            self.assertEqual(conditions["ObjectivesMet"]["status"], "True", conditions)
            self.assertIn("Ready", conditions, "the operator's own conditions stay")
            self.assertTrue(self.status(ns)["decisions"])

            with urllib.request.urlopen(f"{first.admin}/metrics", timeout=5) as answer:
                metrics = answer.read().decode()
            self.assertRegex(metrics, rf'(?m)^leader_election_master_status{{[^}}]*name="{NAME}-autotuner"[^}}]*}} 1$')
            self.assertRegex(metrics, r'(?m)^rest_client_requests_total{[^}]*code="200"[^}]*} [1-9]')

            second = self.sidecar(ns, "pod-b", engine, ports[1], ports)
            began = harness.status_of(second.admin)["decisions"][0]
            self.assertEqual(began["reason"], "peer", "it begins from the first one's curve, without a load of its own")
            self.assertIn("pod-a", began["evidence"])
            learned = [harness.status_of(sidecar.admin)["limit"] for sidecar in (first, second)]
            self.assertGreaterEqual(min(learned), 3, "a few at once within 150 ms a token: any machine holds that")
            self.change(ns, {"maxConcurrentRequests": 3})
            for sidecar in (first, second):
                self.holds(sidecar, 3)
            kube.eventually(lambda: self.learned(ns)["limit"] == 3 and self.learned(ns)["boundBy"] == "Ceiling", 60, "the new limit in status")
            kube.eventually(lambda: "2 of 2" in {c["type"]: c["message"] for c in self.status(ns)["conditions"]}["Tuned"], 60,
                            "both replicas heard, over mutual TLS")
            # Without a target the knee stands in for it; the curve is known, so none is measured again.
            self.change(ns, {"maxConcurrentRequests": 64, "objectives": {"latency": None, "knee": {"definition": "Kleinrock"}}})
            for sidecar in (first, second):
                kube.eventually(lambda s=sidecar: "Kleinrock" in harness.status_of(s.admin)["decisions"][-1]["evidence"], of="the knee in force")
            self.change(ns, {"maxConcurrentRequests": 3, "objectives": {"latency": sample["spec"]["objectives"]["latency"], "knee": None}})
            for sidecar in (first, second):
                self.holds(sidecar, 3)
            after = ns.get("deployments", "-l", f"patella.dev/deployment={NAME}")["items"]
            self.assertEqual([d["metadata"]["generation"] for d in after], [serving[0]["metadata"]["generation"]], "no rollout")

            self.assertTrue(self.holder(ns).startswith("pod-a"))
            first.process.kill()
            kube.eventually(lambda: self.holder(ns).startswith("pod-b"), 90, "the other sidecar elected")
            self.change(ns, {"maxConcurrentRequests": 2})
            kube.eventually(lambda: self.learned(ns)["limit"] == 2, 60, "the second one publishes")

            wanted = sample["spec"]["objectives"]["latency"]
            for latency, relaxations in ([{**wanted[0], "targetMs": 1}], 1), (wanted, 0):
                self.change(ns, {"objectives": {"latency": latency}})
                kube.eventually(lambda: len(self.status(ns).get("nearestFeasible", [])) == relaxations, 60, f"{relaxations} in nearestFeasible")

            self.assertEqual(ns.get("inferencedeployment", NAME)["spec"]["replicas"], 1)
            self.change(ns, {"scaling": {"minReplicas": 2}})
            kube.eventually(lambda: ns.get("inferencedeployment", NAME)["spec"]["replicas"] == 2, 60, "the sidecar's write to /scale")
            kube.eventually(lambda: ns.get("deployments", "-l", f"patella.dev/deployment={NAME}")["items"][0]["spec"]["replicas"] == 2, 60,
                            "the operator's to the Deployment")
            decided = lambda: [(d["from"], d["to"]) for d in self.status(ns)["decisions"] if d["what"] == "replicas"]
            kube.eventually(lambda: decided() == [("1", "2")], 60, "the decision in status")

            refused = [r for r in ns.requests() if r["responseStatus"].get("code") == 403]
            self.assertEqual(refused, [], "every right that is used is given")


if __name__ == "__main__":
    unittest.main()
