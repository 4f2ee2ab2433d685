"""The operator and the custom resource definitions: missing, older, then right. On a control plane of its own: definitions are cluster-wide."""

import pathlib
import re
import time
import unittest

import kube
import operators
import yaml
from operators import ROOT, account, deployments, sample

CRDS = ROOT / "deploy/crds"
REMEDY = "kubectl apply --server-side --force-conflicts -f deploy/crds"
NAMES = ["acceleratorclasses.patella.dev", "inferencedeployments.patella.dev", "servingcurves.patella.dev"]


def older(plural: str, *paths: str) -> str:
    """A definition as an earlier version might have had it: without these fields."""
    crd = yaml.safe_load((CRDS / f"{plural}.yaml").read_text())
    for path in paths:
        at = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        *parents, last = path.split(".")
        for parent in parents:
            at = at["properties"][parent]
        del at["properties"][last]
    return yaml.safe_dump(crd)


class DefinitionsTest(unittest.TestCase):
    def tries(self, operator: operators.Operator) -> int:
        """How often it has asked for the schemas: the first that it asks for, and the last while they are not as they must be."""
        text = operator.get("/metrics")[1]
        return sum(int(float(n)) for n in re.findall(r'^rest_client_requests_total\{.*\} (\S+)$', text, re.M))

    def test_it_says_what_is_missing_once_looks_again_with_pauses_and_goes_on_by_itself(self):
        kube.kubectl("delete", "crd", *NAMES)
        with kube.namespace() as ns, account(ns) as own, own.operator() as operator:
            told = lambda *parts: kube.eventually(
                lambda: (found := operator.get("/readyz"))[0] == 503 and all(p in found[1] for p in parts), of=str(parts)
            )
            told(*(f"the CustomResourceDefinition {name} is missing in the cluster" for name in NAMES), REMEDY)
            first, began = self.tries(operator), time.monotonic()
            kube.eventually(lambda: self.tries(operator) >= first + 2, of="two further tries")
            # Pauses of 1 and 2 s at least; the first of them may have been over when we began to count.
            self.assertGreater(time.monotonic() - began, 1.9)
            self.assertEqual(operator.text().count("cannot work yet"), 1, operator.text())

            for plural in ("acceleratorclasses", "servingcurves"):
                lacking = ("spec.law.prefillMs",) if plural == "servingcurves" else ()
                kube.kubectl("apply", "--server-side", "-f", "-", stdin=older(plural, *lacking))
            kube.kubectl(
                "apply", "--server-side", "-f", "-", stdin=older("inferencedeployments", "spec.admission", "status.nearestFeasible")
            )
            told(
                "inferencedeployments.patella.dev is of an older Patella: it lacks spec.admission, status.nearestFeasible;",
                "servingcurves.patella.dev is of an older Patella: it lacks spec.law.prefillMs;",
                REMEDY,
            )
            kube.kubectl(*REMEDY.split()[1:-1], CRDS)
            operator.wait_ready()
            ns.apply(sample())
            kube.eventually(lambda: deployments(ns), of=f"a Deployment; log:\n{operator.text()}")
            said = re.findall(r"cannot work yet.*", operator.text())
            messages = [re.sub(r"^.*?why=", "", line) for line in said]
            self.assertEqual(len(messages), len(set(messages)), operator.text())

    def test_definitions_and_sample_in_one_command_on_a_bare_server(self):
        """kubectl looks every kind up before it sends anything, so on a server without the definitions the same command is given twice."""
        kube.kubectl("delete", "crd", *NAMES)
        both = ("apply", "-f", str(CRDS), "-f", str(ROOT / "deploy/samples/smollm2.yaml"))
        with kube.namespace() as ns, account(ns) as own, own.operator(HOST_MODEL_DIR="/srv/models") as operator:
            with self.assertRaisesRegex(kube.Refused, "ensure CRDs are installed first"):
                ns.kubectl(*both)
            kube.kubectl("wait", "--for=condition=Established", "crd", *NAMES)
            ns.kubectl(*both)
            operator.wait_ready()
            kube.eventually(lambda: len(operators.children(ns)) == 11, of=f"all children; log:\n{operator.text()}")


if __name__ == "__main__":
    unittest.main()
