"""A sidecar that the API server refuses, or that cannot trust it: it says what is wrong and how to mend it, once, and serves on.

The engine is a stand-in of this process and tuning is off, so that no model is needed.
"""

import contextlib
import json
import pathlib
import re
import sys
import tempfile
import unittest
import urllib.request

import kube
from stand_in import Engine
from test_operator_election import OTHER_AUTHORITY

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/clients"))
import harness  # noqa: E402

NAME = "small"


class SidecarRefused(unittest.TestCase):
    def expect(self, config: dict, code: str, *parts: str) -> None:
        """`code`: what its metrics count the calls as. Each of `parts` is in every complaint."""
        with contextlib.ExitStack() as at_the_end:
            ns = at_the_end.enter_context(kube.namespace())
            kubeconfig = pathlib.Path(at_the_end.enter_context(tempfile.TemporaryDirectory())) / "kubeconfig"
            kubeconfig.write_text(json.dumps(config))
            engine = Engine()
            at_the_end.callback(engine.stop)
            engine.go.set()
            peers = f"127.0.0.1:{harness.free_port()}"
            sidecar = harness.Sidecar(engine, limit=4, NAMESPACE=ns.name, DEPLOYMENT=NAME, REVISION="0a1b2c3d", POD_NAME="pod-a",
                                      KUBECONFIG=str(kubeconfig), PEERS_LISTEN=peers, PEERS=peers, PEERS_CERTIFICATES="none")
            at_the_end.callback(sidecar.stop)

            def tries() -> int:
                with urllib.request.urlopen(f"{sidecar.admin}/metrics", timeout=5) as answer:
                    metrics = answer.read().decode()
                counts = re.findall(rf'(?m)^rest_client_requests_total{{[^}}]*code="{re.escape(code)}"[^}}]*}} (\d+)', metrics)
                return sum(map(int, counts))

            kube.eventually(lambda: tries() >= 12, 60, f"a dozen tries; log:\n{sidecar.log_text()}")
            lines = [line.split(" ", 1)[1] for line in sidecar.log_text().splitlines()]
            complaints = [line for line in lines if line.startswith(("warn", "error"))]
            self.assertTrue(complaints, sidecar.log_text())
            for complaint in complaints:
                for part in parts:
                    self.assertIn(part, complaint)
            of = [re.match(r"[^=]*=\S+", complaint)[0] for complaint in complaints]  # the event and its object
            self.assertEqual(len(set(of)), len(of), "each once: " + "\n".join(complaints))
            self.assertLessEqual(len(of), 3, "the object, the Lease and the election: " + "\n".join(complaints))

            with harness.post(sidecar.url, "/generate", {"inputs": "x"}) as answer:
                self.assertEqual(answer.status, 200)
            self.assertEqual(harness.status_of(sidecar.admin)["limit"], 4)
            self.assertTrue(harness.answers(f"{sidecar.admin}/readyz"))
            self.assertIsNone(sidecar.process.poll())

    def admin(self) -> dict:
        return json.loads(pathlib.Path(kube.setting("PATELLA_KUBECONFIG")).read_text())

    def test_a_token_that_is_not_valid(self):
        config = self.admin()
        config["users"][0]["user"] = {"token": "expired"}
        self.expect(config, "401", "expired or unknown to this API server", "renew the token or certificate")

    def test_a_certificate_of_another_authority(self):
        config = self.admin()
        cluster = config["clusters"][0]["cluster"]
        cluster.pop("certificate-authority", None)
        cluster["certificate-authority-data"] = OTHER_AUTHORITY
        self.expect(config, "<error>", "is not signed by the CA of kubeconfig", "compare certificate-authority")

    def test_an_account_without_rights(self):
        user = json.loads(pathlib.Path(kube.setting("PATELLA_USER_KUBECONFIG")).read_text())
        self.expect(user, "403", "Forbidden", "a Role or ClusterRole with verb")


if __name__ == "__main__":
    unittest.main()
