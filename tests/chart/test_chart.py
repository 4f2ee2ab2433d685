"""charts/patella, rendered by both Helms and held against schemas, golden files and the rules of the house."""

import copy
import difflib
import functools
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import yaml

import schemas
from helms import CHART, ROOT, helm, tools

HERE = pathlib.Path(__file__).parent
CASES = sorted(path.stem for path in (HERE / "values").glob("*.yaml"))
NAMESPACE = "patella-system"
MONITORING = [f"monitoring.coreos.com/v1/{kind}" for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule")]


def template(major: int, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess:
    return helm(
        major, "template", "patella", str(CHART), "-n", NAMESPACE, "--kube-version", "1.35.0", *arguments, ok=ok
    )


@functools.cache
def rendered(major: int, case: str) -> str:
    served = [part for api in MONITORING for part in ("--api-versions", api)]
    return template(major, "-f", str(HERE / "values" / f"{case}.yaml"), *served).stdout


def objects(text: str) -> list[dict]:
    return [item for item in yaml.safe_load_all(text) if item]


def of_kind(text: str, *kinds: str) -> list[dict]:
    return [item for item in objects(text) if item["kind"] in kinds]


def golden_text(text: str) -> str:
    """The objects in a fixed order. Copies of other files are named, not repeated: chart.generated has those."""
    items = sorted(
        copy.deepcopy(objects(text)),
        key=lambda item: (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]),
    )
    for item in items:
        if item["kind"] == "CustomResourceDefinition":
            item["spec"] = "of deploy/crds"
            item["metadata"]["annotations"].pop("patella.dev/schema-hash", None)
        if "patella.json" in item.get("data", {}):
            item["data"]["patella.json"] = "of deploy/dashboards"
        if item["kind"] == "AcceleratorClass":
            item["spec"] = "of deploy/accelerators"
    return yaml.safe_dump_all(items, sort_keys=True, width=120)


def pod_specs(text: str) -> list[tuple[str, dict]]:
    specs = [
        (item["metadata"]["name"], item["spec"]["template"]["spec"]) for item in of_kind(text, "Deployment", "Job")
    ]
    return specs + [(item["metadata"]["name"], item["spec"]) for item in of_kind(text, "Pod")]


def rules_of(text: str) -> list[tuple[str, dict]]:
    return [
        (f"{role['kind']} {role['metadata']['name']}", rule)
        for role in of_kind(text, "Role", "ClusterRole")
        for rule in role["rules"]
    ]


class Rendering(unittest.TestCase):
    def test_both_helms_find_nothing_to_complain_about(self):
        for major in (3, 4):
            for case in CASES:
                with self.subTest(helm=major, case=case):
                    done = helm(
                        major,
                        "lint",
                        "--strict",
                        "--kube-version",
                        "1.35.0",
                        str(CHART),
                        "-f",
                        str(HERE / "values" / f"{case}.yaml"),
                    )
                    self.assertNotRegex(done.stdout + done.stderr, r"\[(WARNING|ERROR)\]")

    def test_both_helms_render_the_same(self):
        for case in CASES:
            self.assertEqual(objects(rendered(3, case)), objects(rendered(4, case)), case)

    def test_what_is_rendered_is_what_was_reviewed(self):
        for case in CASES:
            with self.subTest(case):
                golden, text = HERE / "golden" / f"{case}.yaml", golden_text(rendered(4, case))
                if os.environ.get("PATELLA_GOLDEN") == "write":
                    golden.write_text(text)
                difference = difflib.unified_diff(
                    golden.read_text().splitlines(), text.splitlines(), "golden", "rendered", lineterm="", n=2
                )
                self.assertEqual("\n".join(difference), "", "PATELLA_GOLDEN=write rewrites it")

    def test_the_notes_name_the_next_commands(self):
        for major in (3, 4):
            done = (
                helm(
                    major,
                    "install",
                    "patella",
                    str(CHART),
                    "-n",
                    "a",
                    "--dry-run=client",
                    "--kube-version",
                    "1.35.0",
                    ok=False,
                )
                if major == 3
                else None
            )
            if done is not None and "unknown flag" not in done.stderr and done.returncode == 0:
                self.assertIn("helm test patella -n a", done.stdout)

    def test_the_kubernetes_version_that_is_too_old_is_refused(self):
        for major in (3, 4):
            done = helm(major, "template", "x", str(CHART), "--kube-version", "1.28.9", ok=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("requires kubeVersion: >=1.29.0-0", done.stderr)


class Values(unittest.TestCase):
    def test_unknown_values_are_refused_at_every_depth(self):
        schema, paths = json.loads((CHART / "values.schema.json").read_text()), []

        def closed_objects(node: dict, path: str):
            if node.get("additionalProperties") is False and "properties" in node:
                paths.append(path)
            for name, inner in node.get("properties", {}).items():
                closed_objects(inner, f"{path}.{name}" if path else name)

        closed_objects(schema, "")
        self.assertGreater(len(paths), 15)
        for path in paths:
            for major in (3, 4) if path in ("", "metrics.podMonitor") else (4,):
                with self.subTest(helm=major, path=path):
                    done = template(major, "--set", (path + "." if path else "") + "replicaCuont=1", ok=False)
                    self.assertNotEqual(done.returncode, 0)
                    self.assertIn("replicaCuont", done.stderr)

    def test_every_object_with_known_values_is_closed(self):
        def walk(node: dict, path: str):
            if "properties" in node and path != "global":
                self.assertIs(node.get("additionalProperties"), False, path)
            for name, inner in node.get("properties", {}).items():
                walk(inner, f"{path}.{name}" if path else name)

        walk(json.loads((CHART / "values.schema.json").read_text()), "")

    def test_values_of_the_wrong_kind_are_refused(self):
        for wrong in (
            "replicaCount=two",
            "image.pullPolicy=Sometimes",
            "image.digest=abc",
            "watchNamespaces=models",
            "workers=0",
            "logLevel=loud",
            "crds.keep=perhaps",
            "networkPolicy.apiServerPorts[0]=0",
            "prometheusRule.runbookUrl=here",
            "metrics.podMonitor.interval=soon",
        ):
            with self.subTest(wrong):
                self.assertNotEqual(template(4, "--set", wrong, ok=False).returncode, 0)

    def test_every_value_is_described_and_used(self):
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        schema = json.loads((CHART / "values.schema.json").read_text())
        templates = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())

        def walk(value, node: dict, path: str):
            if node.get("additionalProperties") is False and "properties" in node:
                for name in value:
                    walk(value[name], node["properties"][name], f"{path}.{name}" if path else name)
            else:
                self.assertGreater(len(node.get("description", "")), 8, f"{path} has no comment in values.yaml")
                self.assertRegex(templates, rf"\.{path.rsplit('.', 1)[-1]}\b", f"{path} is used by no template")

        for name, value in values.items():
            if name != "global":
                walk(value, schema["properties"][name], name)


class Schemas(unittest.TestCase):
    def test_kubeconform_accepts_every_object_strictly(self):
        crds = [*sorted((ROOT / "deploy/crds").glob("*.yaml")), *sorted((tools() / "crds").glob("*.yaml"))]
        texts = {f"{case} by Helm {major}": rendered(major, case) for case in CASES for major in (3, 4)}
        wanted = {(item["apiVersion"], item["kind"]) for text in texts.values() for item in objects(text)}
        with tempfile.TemporaryDirectory() as folder:
            schemas.write(pathlib.Path(folder), tools() / "swagger.json", crds, wanted)

            def conform(text: str) -> subprocess.CompletedProcess:
                return subprocess.run(
                    [
                        tools() / "kubeconform",
                        "-strict",
                        "-summary",
                        "-schema-location",
                        f"{folder}/{schemas.LOCATION}",
                        "-",
                    ],
                    input=text,
                    capture_output=True,
                    text=True,
                )

            for name, text in texts.items():
                with self.subTest(name):
                    done = conform(text)
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                    self.assertIn(f"Valid: {len(objects(text))}, Invalid: 0, Errors: 0, Skipped: 0", done.stdout)
            # The check itself can fail: a field that Kubernetes does not know, and a value of the wrong type.
            for wrong in (
                ("replicas: 2", "replicaz: 2"),
                ("replicas: 2", "replicas: two"),
                ("failureThreshold: 60", "failureTreshold: 60"),
            ):
                self.assertIn(wrong[0], rendered(4, "default"))
                self.assertNotEqual(conform(rendered(4, "default").replace(*wrong, 1)).returncode, 0, wrong)


class Rights(unittest.TestCase):
    def setUp(self):
        self.source = yaml.safe_load((ROOT / "deploy/rbac/operator-rules.yaml").read_text())

    def test_no_rule_has_a_wildcard_or_a_way_around_the_others(self):
        for case in CASES:
            for role, rule in rules_of(rendered(4, case)):
                with self.subTest(role=role, rule=rule):
                    for part in ("apiGroups", "resources", "verbs"):
                        self.assertTrue(rule[part])
                        self.assertNotIn("*", "".join(rule[part]))
                    self.assertFalse({"escalate", "bind", "impersonate"} & set(rule["verbs"]))
                    self.assertNotIn("nonResourceURLs", rule)

    def test_cluster_wide_the_operator_has_exactly_the_rules_of_deploy_rbac(self):
        (role,) = [
            role
            for role in of_kind(rendered(4, "default"), "ClusterRole")
            if role["metadata"]["name"] == f"{NAMESPACE}-patella"
        ]
        self.assertEqual(role["rules"], self.source["cluster"] + self.source["namespaced"])

    def test_with_watch_namespaces_the_cluster_role_only_reads(self):
        text = rendered(4, "namespaced")
        (role,) = of_kind(text, "ClusterRole")
        self.assertEqual(role["rules"], self.source["cluster"])
        for rule in role["rules"]:
            self.assertLessEqual(set(rule["verbs"]), {"get", "list", "watch"})
        roles = {role["metadata"]["namespace"]: role["rules"] for role in of_kind(text, "Role")}
        self.assertEqual(roles, {"models": self.source["namespaced"], "staging": self.source["namespaced"]})
        bindings = {
            (item["metadata"]["namespace"], item["subjects"][0]["namespace"]) for item in of_kind(text, "RoleBinding")
        }
        self.assertEqual(bindings, {("models", NAMESPACE), ("staging", NAMESPACE)})

    def test_what_the_autotuners_get_the_operator_has_itself(self):
        # The API server refuses to let anybody make a Role with more rights than his own.
        needed = {
            ("patella.dev", "inferencedeployments"): {"get", "list", "watch"},
            ("patella.dev", "inferencedeployments/status"): {"get", "patch"},
            ("patella.dev", "inferencedeployments/scale"): {"get", "patch"},
            ("coordination.k8s.io", "leases"): {"get", "watch", "update", "patch"},
        }
        has = {}
        for rule in self.source["namespaced"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    has.setdefault((group, resource), set()).update(rule["verbs"])
        for what, verbs in needed.items():
            self.assertLessEqual(verbs, has.get(what, set()), what)

    def test_view_edit_and_admin_reach_patellas_objects_by_aggregation(self):
        roles = {}
        for role in of_kind(rendered(4, "default"), "ClusterRole"):
            for label in role["metadata"]["labels"]:
                if label.startswith("rbac.authorization.k8s.io/aggregate-to-"):
                    roles[label.rsplit("-", 1)[1]] = role
        self.assertEqual(set(roles), {"view", "edit", "admin"})
        for rule in roles["view"]["rules"]:
            self.assertEqual(rule["verbs"], ["get", "list", "watch"])
        # Users write spec and scale; status belongs to the operator and the autotuners.
        for name in ("edit", "admin"):
            for rule in roles[name]["rules"]:
                self.assertNotIn("inferencedeployments/status", rule["resources"])


class PodSecurity(unittest.TestCase):
    def test_every_pod_satisfies_the_restricted_standard(self):
        for case in CASES:
            for name, pod in pod_specs(rendered(4, case)):
                with self.subTest(case=case, pod=name):
                    for forbidden in ("hostNetwork", "hostPID", "hostIPC"):
                        self.assertFalse(pod.get(forbidden))
                    self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                    self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                    self.assertGreaterEqual(pod["securityContext"]["runAsUser"], 10000)
                    self.assertFalse([volume for volume in pod.get("volumes", []) if "hostPath" in volume])
                    for container in pod["containers"] + pod.get("initContainers", []):
                        context = container["securityContext"]
                        self.assertIs(context["allowPrivilegeEscalation"], False)
                        self.assertIs(context["readOnlyRootFilesystem"], True)
                        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                        self.assertFalse([port for port in container.get("ports", []) if "hostPort" in port])
                        self.assertTrue(container["resources"]["requests"])


class Objects(unittest.TestCase):
    def test_every_object_carries_the_labels_and_belongs_somewhere(self):
        cluster_scoped = {
            "ClusterRole",
            "ClusterRoleBinding",
            "CustomResourceDefinition",
            "AcceleratorClass",
            "FlowSchema",
        }
        for case in CASES:
            for item in objects(rendered(4, case)):
                name = f"{item['kind']} {item['metadata']['name']}"
                if item["metadata"]["name"] in ("patella-extra", "patella-text"):  # the user's own
                    continue
                with self.subTest(case=case, object=name):
                    labels = item["metadata"]["labels"]
                    for label in ("name", "instance", "version", "component", "part-of", "managed-by"):
                        self.assertTrue(labels[f"app.kubernetes.io/{label}"])
                    self.assertEqual("namespace" in item["metadata"], item["kind"] not in cluster_scoped)

    def test_selectors_find_the_operators_pods_and_nothing_that_may_change(self):
        for case in CASES:
            text = rendered(4, case)
            (deployment,) = of_kind(text, "Deployment")
            selector = deployment["spec"]["selector"]["matchLabels"]
            labels = deployment["spec"]["template"]["metadata"]["labels"]
            self.assertEqual(set(selector), {f"app.kubernetes.io/{name}" for name in ("name", "instance", "component")})
            self.assertLessEqual(selector.items(), labels.items())
            for service in of_kind(text, "Service"):
                self.assertEqual(service["spec"]["selector"], selector)
            for other in of_kind(text, "PodDisruptionBudget", "ServiceMonitor"):
                self.assertEqual(other["spec"]["selector"]["matchLabels"], selector)

    def test_the_deployment_speaks_the_operators_settings(self):
        (deployment,) = of_kind(rendered(4, "all"), "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        names = [item["name"] for item in container["env"]]
        self.assertEqual(len(names), len(set(names)))
        config = ROOT / "operator/app/config.cc"
        known = set(re.findall(r'\{\.name = "([A-Z_]+)"', config.read_text())) if config.exists() else None
        if known is not None:
            self.assertLessEqual(set(names) - {"TZ"}, known)

    def test_the_dashboard_and_the_alerts_arrive_whole(self):
        text = rendered(4, "all")
        (dashboard,) = [item for item in of_kind(text, "ConfigMap") if "patella.json" in item.get("data", {})]
        self.assertEqual(
            json.loads(dashboard["data"]["patella.json"]),
            json.loads((ROOT / "deploy/dashboards/patella.json").read_text()),
        )
        self.assertEqual(dashboard["metadata"]["labels"]["grafana_dashboard"], "1")
        (rule,) = of_kind(text, "PrometheusRule")
        source = yaml.safe_load((ROOT / "deploy/alerts/patella.rules.yaml").read_text())
        for made, original in zip(rule["spec"]["groups"][0]["rules"], source["groups"][0]["rules"], strict=True):
            page = made["annotations"].pop("runbook_url").rsplit("/", 1)[1]
            self.assertTrue((ROOT / "docs/runbooks" / page).exists(), page)
            self.assertEqual(made["labels"].pop("team"), "serving")
            self.assertEqual(made, original)


class Suites(unittest.TestCase):
    def test_helm_unittest(self):
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run(
                [tools() / "helm-unittest", "--strict", "-f", os.path.relpath(HERE / "suites" / "*.yaml", CHART), CHART],
                capture_output=True,
                text=True,
                env={"PATH": os.environ["PATH"], "HOME": home},
            )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        suites = len(list((HERE / "suites").glob("*.yaml")))
        self.assertRegex(done.stdout, rf"Test Suites: {suites} passed, {suites} total")


if __name__ == "__main__":
    unittest.main(verbosity=2)
