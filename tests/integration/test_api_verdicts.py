"""The API server and lib/api judge alike: tests/unit/api/testdata/verdicts on a real one, and what they show."""

import http.client
import json
import pathlib
import re
import ssl
import unittest
import urllib.parse

import kube
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLES = sorted((ROOT / "tests/unit/api/testdata/verdicts").glob("*.yaml"))
KINDS = {
    "InferenceDeployment": "inferencedeployments",
    "AcceleratorClass": "acceleratorclasses",
    "ServingCurve": "servingcurves",
}


class Server:
    """Plain HTTPS as the admin, because kubectl would read the YAML before the server does."""

    def __init__(self):
        config = json.loads(pathlib.Path(kube.setting("PATELLA_KUBECONFIG")).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self.context.load_cert_chain(user["client-certificate"], user["client-key"])
        self.address = urllib.parse.urlparse(cluster["server"]).netloc
        self.connection = http.client.HTTPSConnection(self.address, context=self.context, timeout=30)

    def request(
        self, method: str, path: str, body: str | None = None, content_type: str = "application/json"
    ) -> tuple[int, dict]:
        self.connection.request(
            method, path, body=body.encode() if body else None, headers={"Content-Type": content_type}
        )
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())


def resource(kind: str, namespace: str) -> str:
    scope = "" if kind == "AcceleratorClass" else f"namespaces/{namespace}/"
    return f"/apis/patella.dev/v1alpha1/{scope}{KINDS[kind]}"


def cases():
    for table in TABLES:
        content = yaml.safe_load(table.read_text())
        for case in content["cases"]:
            text = case.get("object") or content["base"] + case.get("add", "")
            yield f"{table.stem}: {case['name']}", text, case


def at(value, path: str):
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


class ApiVerdicts(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        kube.kubectl("apply", "--server-side", "--force-conflicts", "-f", ROOT / "deploy/crds")
        kube.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", ROOT / "deploy/crds")
        cls.server = Server()

    def create(self, text: str, namespace: str = "default", dry_run: bool = True) -> tuple[int, dict]:
        kind = re.search(r"kind: (\w+)", text).group(1)
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.server.request("POST", resource(kind, namespace) + query, text, "application/yaml")

    def test_every_case_of_the_table_gets_the_same_verdict(self):
        count = 0
        for name, text, case in cases():
            with self.subTest(name):
                count += 1
                code, answer = self.create(text)
                expected = case.get("both") or case.get("server")
                if expected is None:
                    self.assertEqual(code, 201, answer.get("message"))
                    for path, value in case.get("stored", {}).items():
                        self.assertEqual(at(answer, path), value, path)
                else:
                    self.assertIn(code, (400, 422), f"accepted, but expected: {expected}")
                    self.assertIn(expected, answer["message"])
                    for jargon in (
                        "should match",
                        "rule:",
                        "evaluating",
                    ):  # a regular expression or CEL instead of words
                        self.assertNotIn(jargon, answer["message"])
        self.assertGreater(count, 100)

    def test_everything_in_deploy_is_applied_without_a_warning_and_nothing_changes_the_second_time(self):
        strict = ("--server-side", "--warnings-as-errors", "--validate=strict", "-f")
        kube.kubectl(
            "apply", "--dry-run=server", *strict, ROOT / "deploy/accelerators"
        )  # cluster-wide: not ours to make
        with kube.namespace() as ns:
            for folder in ("crds", "samples"):
                apply = lambda: ns.kubectl("apply", *strict, ROOT / "deploy" / folder)
                versions = lambda: ns.kubectl(
                    "get", "-f", ROOT / "deploy" / folder, "-o", "jsonpath={.items[*].metadata.resourceVersion}"
                )
                apply()
                before = versions()
                apply()
                self.assertEqual(versions(), before, folder)
            self.assertGreaterEqual(len(ns.get("idep")["items"]), 8)

    def test_every_field_is_explained(self):
        def paths(schema, path):
            for name, sub in schema.get("properties", {}).items():
                where = f"{path}.{name}"
                yield where, sub
                yield from paths(sub.get("items", sub), where)

        for kind, plural in KINDS.items():
            _, document = self.server.request("GET", "/openapi/v3/apis/patella.dev/v1alpha1")
            schema = document["components"]["schemas"][f"dev.patella.v1alpha1.{kind}"]
            fields = list(paths(schema, plural))
            self.assertGreater(len(fields), 10)
            for path, sub in fields:
                if not path.startswith(f"{plural}.metadata"):
                    self.assertTrue(sub.get("description"), f"{path} has no description")
        kube.kubectl("get", "idep")  # kubectl explain does not refresh what kubectl knows of the server; this does
        explained = kube.kubectl("explain", "idep.spec.objectives.latency.quantile")
        self.assertIn("Share of the requests that must meet the target", explained)
        self.assertIn("tolerationSeconds", kube.kubectl("explain", "idep", "--recursive"))

    def test_scale_works_without_replicas_in_the_manifest(self):
        with kube.namespace() as ns:
            self.create(self.smallest(), ns.name, dry_run=False)
            path = resource("InferenceDeployment", ns.name) + "/demo/scale"
            code, scale = self.server.request("GET", path)
            self.assertEqual((code, scale["spec"]["replicas"]), (200, 1))
            code, scale = self.server.request("PATCH", path, '{"spec":{"replicas":3}}', "application/merge-patch+json")
            self.assertEqual((code, scale["spec"]["replicas"]), (200, 3))
            self.assertEqual(ns.get("idep", "demo")["spec"]["replicas"], 3)
            code, answer = self.server.request(
                "PATCH", path, '{"spec":{"replicas":1001}}', "application/merge-patch+json"
            )
            self.assertEqual(code, 422, answer)

    def test_two_writers_of_status_share_a_revision_and_people_see_both(self):
        with kube.namespace() as ns:
            self.create(self.smallest(), ns.name, dry_run=False)
            condition = {
                "status": "True",
                "lastTransitionTime": "2026-03-01T12:00:00Z",
                "reason": "Serving",
                "message": "",
            }
            self.apply_status(
                ns.name,
                "patella-operator-status",
                {
                    "replicas": 3,
                    "replicaSummary": "3/3",
                    "selector": "a=b",
                    "revisions": [
                        {"hash": "1a2b3c4d", "role": "Retiring", "acceleratorClass": "l4", "tensorParallelSize": 2},
                        {
                            "hash": "5e6f7a8b",
                            "role": "Serving",
                            "acceleratorClass": "a100-40g",
                            "tensorParallelSize": 1,
                            "replicas": 3,
                        },
                    ],
                    "conditions": [{"type": "Ready", **condition}],
                },
            )
            self.apply_status(
                ns.name,
                "patella-autotuner",
                {
                    "revisions": [{"hash": "5e6f7a8b", "limit": 76, "boundBy": "TimePerOutputToken"}],
                    "live": {"tokensPerSecond": "5310", "msPerToken": "44", "costPerMillionTokens": "0.64"},
                    "conditions": [{"type": "ObjectivesMet", **condition}],
                },
            )
            head, row = ns.kubectl("get", "idep").splitlines()
            self.assertEqual(
                head.split(), "NAME MODEL ACCEL TP LIMIT REPLICAS TOK/S MS/TOKEN $/1M BOUND-BY READY AGE".split()
            )
            self.assertEqual(row.split()[:-1], "demo m a100-40g 1 76 3/3 5310 44 0.64 TimePerOutputToken True".split())
            code, scale = self.server.request("GET", resource("InferenceDeployment", ns.name) + "/demo/scale")
            self.assertEqual((code, scale["status"]), (200, {"replicas": 3, "selector": "a=b"}))
            self.assertEqual(ns.get("patella")["items"][0]["metadata"]["name"], "demo")  # the category
            # Either one's next word leaves the other's fields alone.
            self.apply_status(ns.name, "patella-autotuner", {"revisions": [{"hash": "5e6f7a8b", "limit": 70}]})
            status = ns.get("idep", "demo")["status"]
            self.assertEqual(
                status["revisions"][1],
                {
                    "hash": "5e6f7a8b",
                    "role": "Serving",
                    "acceleratorClass": "a100-40g",
                    "tensorParallelSize": 1,
                    "replicas": 3,
                    "limit": 70,
                },
            )
            self.assertEqual([c["type"] for c in status["conditions"]], ["Ready"])
            self.assertNotIn("live", status)

    def test_a_status_of_the_wrong_shape_is_refused(self):
        with kube.namespace() as ns:
            self.create(self.smallest(), ns.name, dry_run=False)
            for wrong in (
                {"live": {"tokensPerSecond": 12.5}},
                {"revisions": [{"hash": "xyz"}]},
                {"conditions": [{"type": "Ready"}]},
                {"decisions": [{"time": "2026-03-01T12:00:00Z", "what": "limit"}] * 11},
            ):
                with self.subTest(wrong):
                    with self.assertRaises(AssertionError):
                        self.apply_status(ns.name, "test", wrong)

    def test_the_key_of_a_curve_is_never_changed(self):
        with kube.namespace() as ns:
            table = yaml.safe_load((ROOT / "tests/unit/api/testdata/verdicts/servingcurve.yaml").read_text())
            text = table["base"] + table["cases"][0]["add"]
            self.assertEqual(self.create(text, ns.name, dry_run=False)[0], 201)
            path = resource("ServingCurve", ns.name) + "/demo-1a2b3c4d"
            code, answer = self.server.request(
                "PATCH", path, '{"spec":{"key":{"inputTokens":512}}}', "application/merge-patch+json"
            )
            self.assertEqual(code, 422)
            self.assertIn("can't be changed: make another ServingCurve", answer["message"])

    def test_the_definitions_carry_the_hash_of_the_schemas(self):
        built = re.search(r'kSchemaHash\[\] = "(\w+)"', (ROOT / "lib/api/generated/codec.h").read_text()).group(1)
        for plural in KINDS.values():
            definition = json.loads(kube.kubectl("get", "crd", f"{plural}.patella.dev", "-o", "json"))
            self.assertEqual(definition["metadata"]["annotations"]["patella.dev/schema-hash"], built)
            self.assertEqual(
                [
                    c
                    for c in definition["status"]["conditions"]
                    if c["type"] == "NonStructuralSchema" and c["status"] == "True"
                ],
                [],
            )

    def smallest(self) -> str:
        return yaml.safe_load(TABLES[1].read_text())["base"]

    def apply_status(self, namespace: str, manager: str, status: dict) -> None:
        body = {
            "apiVersion": "patella.dev/v1alpha1",
            "kind": "InferenceDeployment",
            "metadata": {"name": "demo", "namespace": namespace},
            "status": status,
        }
        path = (
            resource("InferenceDeployment", namespace)
            + f"/demo/status?fieldManager={manager}&force=true&fieldValidation=Strict"
        )
        code, answer = self.server.request("PATCH", path, json.dumps(body), "application/apply-patch+yaml")
        self.assertEqual(code, 200, answer.get("message"))


if __name__ == "__main__":
    unittest.main()
