"""The operator on a real API server, under its own account: children, status, what users add, deletion, scale."""

import functools
import json
import operator as operations
import unittest

import kube
import operators
import yaml
from operators import ROOT, account, children, condition, deployments, sample


class OperatorTest(unittest.TestCase):
    def run_with_sample(self, test, **spec):
        """test(ns, account, operator) with the sample applied and its Deployment made; no call may be forbidden."""
        with kube.namespace() as ns, account(ns) as own, own.operator() as operator:
            ns.apply(sample(**spec))
            kube.eventually(lambda: deployments(ns), of=f"a Deployment; log:\n{operator.text()}")
            test(ns, own, operator)

    def test_the_demos_sample_becomes_children_and_a_story(self):
        with kube.namespace() as ns, account(ns) as own, own.operator(HOST_MODEL_DIR="/srv/models") as operator:
            ns.kubectl("apply", "-f", str(ROOT / "deploy/samples/smollm2.yaml"))
            kube.eventually(lambda: condition(ns, "Reconciling"), of="status")
            kube.eventually(lambda: len(children(ns)) == 11, of="all children")
            revision = deployments(ns)[0]["metadata"]["labels"]["patella.dev/revision"]
            self.assertEqual(
                children(ns),
                [
                    f"ConfigMap/smollm2-{revision}",
                    f"ConfigMap/smollm2-{revision}-limits",
                    f"Deployment/smollm2-{revision}",
                    "Lease/smollm2-autotuner",
                    "PodDisruptionBudget/smollm2",
                    "Role/smollm2-autotuner",
                    "RoleBinding/smollm2-autotuner",
                    "Secret/smollm2-peers",
                    "Service/smollm2",
                    "Service/smollm2-pods",
                    "ServiceAccount/smollm2-autotuner",
                ],
            )
            uid = ns.get("inferencedeployment", "smollm2")["metadata"]["uid"]
            for item in ns.get(operators.CHILD_KINDS, "-l", "app.kubernetes.io/managed-by=patella")["items"]:
                owners = item["metadata"]["ownerReferences"]
                self.assertEqual([o["uid"] for o in owners], [uid], item["metadata"]["name"])
            self.assertIn("BEGIN CERTIFICATE", operators.decode(ns.get("secret", "smollm2-peers"), "tls.crt"))
            kube.eventually(lambda: "RevisionCreated" in ns.kubectl("describe", "inferencedeployment", "smollm2"))
            story = ns.kubectl("describe", "inferencedeployment", "smollm2")
            for part in ("Reconciling", "NotReady", r"Observed Generation: +1\b", "Deployment smollm2-", "runs on the CPU"):
                self.assertRegex(story, part)
            self.assertLess(operator.rss_mib(), 50)

    def test_children_are_the_golden_ones_in_every_field(self):
        images = {"ENGINE_IMAGE": "patella-engine:1", "SIDECAR_IMAGE": "patella-sidecar:1"}  # as in the golden files
        for name in ("cpu", "vllm"):
            with self.subTest(name), kube.namespace() as ns, account(ns) as own, own.operator(**images):
                idep = yaml.safe_load((operators.SAMPLES / f"{name}.yaml").read_text())
                del idep["metadata"]["namespace"]
                ns.apply(idep)
                owner = ns.get("inferencedeployment", idep["metadata"]["name"])["metadata"]
                golden = operators.golden_children(name, ns, owner["uid"])
                # Beside them the sidecars' certificates, which are new each time.
                expected = [f"{body['kind']}/{body['metadata']['name']}" for body in golden.values()]
                expected = sorted([*expected, f"Secret/{owner['name']}-peers"])
                kube.eventually(lambda: children(ns) == expected, of=f"{expected} instead of {children(ns)}")
                for child, wanted in golden.items():
                    live = ns.get(*child.split("/"))
                    # A hash of all the rest, so of the namespace and the owner too.
                    del wanted["metadata"]["annotations"]["patella.dev/intent"]
                    self.assertRegex(live["metadata"]["annotations"]["patella.dev/intent"], "^[0-9a-f]{1,16}$")
                    self.assertEqual(operators.differences(wanted, live), [], child)
                    self.each_field_counts(wanted, live)

    def each_field_counts(self, wanted: dict, live: dict):
        """The comparison sees every value that is changed or gone."""
        for *path, last in operators.leaves(wanted):
            parent = functools.reduce(operations.getitem, path, live)
            value = parent[last]
            parent[last] = "something else"
            self.assertEqual(len(operators.differences(wanted, live)), 1, [*path, last])
            del parent[last]
            self.assertEqual(len(operators.differences(wanted, live)), 1, [*path, last])
            parent.insert(last, value) if isinstance(parent, list) else parent.update({last: value})

    def test_at_rest_nothing_is_written(self):
        def test(ns, own, operator):
            kube.eventually(lambda: len(children(ns)) == 11)
            kube.eventually(lambda: condition(ns, "Reconciling"))
            ns.apply(sample() | {"metadata": {"name": "smollm2", "labels": {"mine": "yes"}}})  # a reconcile, but no change
            writes = lambda: [
                r for r in own.requests() if r["verb"] in ("create", "patch", "update", "delete") and r["objectRef"]["resource"] != "leases"
            ]
            before = len(kube.settled(lambda: len(writes()), still_s=1.0) and writes())
            ns.kubectl("label", "inferencedeployment", "smollm2", "again=yes")
            successes = 'controller_runtime_reconcile_total{controller="inferencedeployment",result="requeue_after"}'
            reconciles = lambda: float(dict(l.rsplit(" ", 1) for l in operator.get("/metrics")[1].splitlines() if l).get(successes, 0))
            count = reconciles()
            ns.kubectl("label", "inferencedeployment", "smollm2", "and-again=yes")
            kube.eventually(lambda: reconciles() > count, of="one more reconcile")
            self.assertEqual(len(writes()), before)

        self.run_with_sample(test)

    def test_what_a_user_adds_to_children_survives_and_what_patella_set_is_mended(self):
        def test(ns, own, operator):
            name = deployments(ns)[0]["metadata"]["name"]
            ns.kubectl("label", "deployment", name, "team=blue")
            ns.kubectl("annotate", "service", "smollm2", "team=blue")
            extra = {
                "spec": {
                    "template": {
                        "spec": {
                            "containers": [{"name": "logs", "image": "logs:1"}],
                            "tolerations": [{"key": "mine", "operator": "Exists"}],
                        }
                    }
                }
            }
            ns.kubectl("patch", "deployment", name, "-p", json.dumps(extra))
            ns.kubectl("scale", "deployment", name, "--replicas=5")
            ns.kubectl("delete", "service", "smollm2-pods")
            kube.eventually(lambda: ns.get("deployment", name)["spec"]["replicas"] == 1, of="the operator's figure")
            kube.eventually(lambda: "Service/smollm2-pods" in children(ns), of="the deleted Service")
            ns.apply(sample(scaling={"maxReplicas": 4}, replicas=2, pod={"annotations": {"from": "spec"}}))
            kube.eventually(lambda: ns.get("deployment", name)["spec"]["replicas"] == 2, of="2 replicas")
            deployment = ns.get("deployment", name)
            self.assertEqual(deployment["metadata"]["labels"]["team"], "blue")
            pod = deployment["spec"]["template"]["spec"]
            self.assertEqual({c["name"] for c in pod["containers"]}, {"engine", "logs"})
            self.assertEqual(pod["tolerations"], [{"key": "mine", "operator": "Exists"}])
            self.assertEqual(deployment["spec"]["template"]["metadata"]["annotations"]["from"], "spec")
            self.assertEqual(ns.get("service", "smollm2")["metadata"]["annotations"]["team"], "blue")

        self.run_with_sample(test)

    def test_peers_certificates_that_are_deleted_or_changed_are_back_within_seconds(self):
        def test(ns, own, operator):
            kube.eventually(lambda: len(children(ns)) == 11)
            ns.kubectl("create", "secret", "generic", "others", "--from-literal=password=x")
            key = lambda: operators.decode(ns.get("secret", "smollm2-peers"), "tls.key")
            first = key()
            ns.kubectl("delete", "secret", "smollm2-peers")
            # The hourly look would be late by an hour; the bound is for a slow machine.
            kube.eventually(lambda: "PRIVATE KEY" in key() and key() != first, of="a new one")
            second = key()
            ns.kubectl("patch", "secret", "smollm2-peers", "-p", '{"stringData":{"tls.key":"' + "x" * 10 + '"}}')
            kube.eventually(lambda: "PRIVATE KEY" in key() and key() != second, of="another new one")
            # It holds this Secret alone: others are none of its business.
            self.assertIn("secrets: synced, 1 objects", operator.get("/readyz?verbose")[1])
            asked = [r["requestURI"] for r in own.requests() if r["objectRef"]["resource"] == "secrets" and r["verb"] in ("list", "watch")]
            self.assertTrue(asked)
            self.assertEqual([uri for uri in asked if "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dpatella" not in uri], [])

        self.run_with_sample(test)

    def test_a_new_revision_takes_over_and_the_old_one_goes(self):
        def test(ns, own, operator):
            old = deployments(ns)[0]["metadata"]["name"]
            ns.apply(sample(engine={"args": ["--max-input-tokens=64"]}))

            def only_new():
                operators.pods_are_ready(ns)
                return [d["metadata"]["name"] for d in deployments(ns)] not in ([], [old]) and len(deployments(ns)) == 1

            kube.eventually(only_new, of="the new revision alone")
            kube.eventually(lambda: len(children(ns)) == 11, of="the old settings gone")
            kube.eventually(lambda: "RevisionRemoved" in ns.kubectl("get", "events", "-o", "json"), of="an event")

        self.run_with_sample(test)

    def test_deletion_leaves_nothing(self):
        def test(ns, own, operator):
            kube.eventually(lambda: len(children(ns)) == 11)
            ns.kubectl("delete", "inferencedeployment", "smollm2", "--wait=false")
            kube.eventually(lambda: children(ns) == [], of="nothing left")
            self.assertEqual(ns.get("pods,replicasets")["items"], [])

        self.run_with_sample(test)

    def test_what_the_api_server_let_through_but_cannot_work_is_told_on_the_object(self):
        with kube.namespace() as ns, account(ns) as own, own.operator():
            ns.apply(sample(hardware={"acceleratorClasses": ["no-such-class"]}))
            kube.eventually(lambda: condition(ns, "Stalled").get("status") == "True", of="Stalled")
            self.assertEqual(condition(ns, "Stalled")["reason"], "AcceleratorClassMissing")
            self.assertIn("no-such-class", condition(ns, "Stalled")["message"])
            self.assertEqual(condition(ns, "Stalled")["observedGeneration"], 1)
            self.assertEqual(deployments(ns), [])

    def test_a_name_that_is_taken_is_left_alone_and_told(self):
        with kube.namespace() as ns, account(ns), account(ns) as own, own.operator() as operator:
            ns.kubectl("create", "service", "clusterip", "smollm2", "--tcp=80")
            ns.apply(sample())
            kube.eventually(lambda: condition(ns, "Stalled").get("reason") == "NameTaken", of="NameTaken")
            self.assertNotIn("ownerReferences", ns.get("service", "smollm2")["metadata"])
            ns.kubectl("delete", "service", "smollm2")
            kube.eventually(lambda: condition(ns, "Stalled").get("status") == "False", seconds=60, of="resumed")
            self.assertEqual(operator.text().count("reconcile failed"), 1, operator.text())

    def test_kubectl_scale_and_an_autoscaler_set_the_replicas_in_external_mode(self):
        def test(ns, own, operator):
            replicas = lambda: deployments(ns)[0]["spec"]["replicas"]
            ns.kubectl("scale", "inferencedeployment", "smollm2", "--replicas=3")
            kube.eventually(lambda: replicas() == 3, of="3 replicas by kubectl scale")
            ns.set_external_metric("load", "40")
            target = {"apiVersion": "patella.dev/v1alpha1", "kind": "InferenceDeployment", "name": "smollm2"}
            metric = {"metric": {"name": "load"}, "target": {"type": "AverageValue", "averageValue": "10"}}
            ns.apply(
                {
                    "apiVersion": "autoscaling/v2",
                    "kind": "HorizontalPodAutoscaler",
                    "metadata": {"name": "smollm2"},
                    "spec": {
                        "minReplicas": 1,
                        "maxReplicas": 5,
                        "scaleTargetRef": target,
                        "metrics": [{"type": "External", "external": metric}],
                        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
                    },
                }
            )
            kube.eventually(lambda: replicas() == 4, of="4 replicas at load 40")
            ns.set_external_metric("load", "20")
            kube.eventually(lambda: replicas() == 2, of="2 replicas at load 20")
            self.assertEqual(ns.get("inferencedeployment", "smollm2")["spec"]["replicas"], 2)

        self.run_with_sample(test, scaling={"mode": "External", "maxReplicas": 5})

    def test_the_admin_port_tells_health_readiness_and_controller_runtimes_metrics(self):
        def test(ns, own, operator):
            operator.wait_ready()
            self.assertEqual(operator.get("/healthz"), (200, "ok\n"))
            self.assertIn("inferencedeployments.patella.dev: synced", operator.get("/readyz?verbose")[1])
            kube.eventually(lambda: "leader_election_master_status" in operator.get("/metrics")[1])
            text = operator.get("/metrics")[1]
            for name in (
                "controller_runtime_reconcile_total",
                "controller_runtime_reconcile_errors_total",
                "controller_runtime_reconcile_time_seconds_bucket",
                "controller_runtime_max_concurrent_reconciles",
                "controller_runtime_active_workers",
                "workqueue_depth",
                "workqueue_adds_total",
                "workqueue_queue_duration_seconds_bucket",
                "workqueue_work_duration_seconds_bucket",
                "workqueue_retries_total",
                "rest_client_requests_total",
                'leader_election_master_status{name="patella-operator"} 1',
            ):
                self.assertIn(name, text)

        self.run_with_sample(test)


if __name__ == "__main__":
    unittest.main()
