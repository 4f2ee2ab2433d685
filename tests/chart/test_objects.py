"""What charts/patella renders keeps the rules of the house: rights, Pod Security, labels, and copies that are whole."""

import json
import re
import unittest

import yaml

from helms import CASES, NAMESPACE, ROOT, of_kind, objects, rendered


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
            ("coordination.k8s.io", "leases"): {"get", "list", "watch", "update", "patch"},
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


def selects(selector: dict, labels: dict) -> bool:
    """As the API server judges a LabelSelector."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    judge = {
        "Exists": lambda e: e["key"] in labels,
        "DoesNotExist": lambda e: e["key"] not in labels,
        "In": lambda e: labels.get(e["key"]) in e["values"],
        "NotIn": lambda e: labels.get(e["key"]) not in e["values"],
    }
    return all(judge[e["operator"]](e) for e in selector.get("matchExpressions", []))


class PodMonitor(unittest.TestCase):
    """The pods that the operator makes, as the unit tests' golden files have them."""

    def setUp(self):
        self.pods = {}
        for file in sorted((ROOT / "tests/unit/operator/testdata").glob("*.children")):
            parts = (part.split("\n", 1) for part in file.read_text().split("--- ")[1:])
            for name, body in parts:
                if name.startswith("deployments"):
                    self.pods[f"{file.stem} {name}"] = json.loads(body)["spec"]["template"]
        self.assertGreaterEqual(len(self.pods), 3)
        (self.monitor,) = of_kind(rendered(4, "all"), "PodMonitor")

    def test_it_selects_the_replicas_and_nothing_of_the_charts_own(self):
        selector = self.monitor["spec"]["selector"]
        for name, pod in self.pods.items():
            self.assertTrue(selects(selector, pod["metadata"]["labels"]), name)
        (operator,) = of_kind(rendered(4, "all"), "Deployment")
        self.assertFalse(selects(selector, operator["spec"]["template"]["metadata"]["labels"]))

    def test_its_ports_and_labels_are_those_of_the_replicas(self):
        for name, pod in self.pods.items():
            containers = pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
            ports = [port["name"] for container in containers for port in container.get("ports", [])]
            labels = {"__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", key) for key in pod["metadata"]["labels"]}
            for endpoint in self.monitor["spec"]["podMetricsEndpoints"]:
                self.assertEqual(ports.count(endpoint["port"]), 1, name)
                for relabeling in endpoint.get("relabelings", []):
                    self.assertLessEqual(set(relabeling.get("sourceLabels", [])), labels, name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
