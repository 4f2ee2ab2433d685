"""A real HorizontalPodAutoscaler follows an external metric, and the audit log tells who did what."""

import unittest

import kube


class ControlPlane(unittest.TestCase):
    def test_an_autoscaler_follows_an_external_metric_up_and_down(self):
        with kube.namespace() as ns:
            ns.kubectl("create", "deployment", "web", "--image=none", "--replicas=1")
            ns.set_external_metric("load", "40")
            ns.apply(
                {
                    "apiVersion": "autoscaling/v2",
                    "kind": "HorizontalPodAutoscaler",
                    "metadata": {"name": "web"},
                    "spec": {
                        "minReplicas": 1,
                        "maxReplicas": 5,
                        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                        "metrics": [
                            {
                                "type": "External",
                                "external": {
                                    "metric": {"name": "load"},
                                    "target": {"type": "AverageValue", "averageValue": "10"},
                                },
                            }
                        ],
                    },
                }
            )
            replicas = lambda: ns.get("deployment", "web")["spec"]["replicas"]
            kube.eventually(lambda: replicas() == 4, of="4 replicas at load 40")
            ns.set_external_metric("load", "20")
            kube.eventually(lambda: replicas() == 2, of="2 replicas at load 20")

    def test_the_audit_log_tells_who_was_refused(self):
        with kube.namespace() as ns:
            with self.assertRaisesRegex(kube.Refused, "forbidden"):
                ns.kubectl("get", "secrets", kubeconfig="PATELLA_USER_KUBECONFIG")
            refused = [r for r in ns.requests() if r["responseStatus"].get("code") == 403]
            self.assertEqual(
                [(r["user"]["username"], r["verb"], r["objectRef"]["resource"]) for r in refused],
                [("test-user", "list", "secrets")],
            )


if __name__ == "__main__":
    unittest.main()
