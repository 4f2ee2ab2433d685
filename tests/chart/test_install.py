"""The chart on a real kube-apiserver: both Helms install, upgrade, roll back, uninstall and install again.

Nothing runs pods: what the API server admits and what the controllers make of it is what counts.
"""

import itertools
import json
import pathlib
import shutil
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

import yaml

import helms
import kube
from installs import BARE, CRDS, MODEL, allowed, names, release, start_control_plane

setUpModule = start_control_plane


class Lifecycle(unittest.TestCase):
    def test_install_upgrade_roll_back_uninstall_and_install_again(self):
        for major in (3, 4):
            with self.subTest(helm=major), release() as patella:
                notes = patella.install(major).stdout
                self.assertIn(f"helm test patella -n {patella.namespace}", notes)
                kube.kubectl("wait", "--for=condition=Established", "--timeout=10s", *CRDS)
                classes = names("acceleratorclasses")
                self.assertGreater(len(classes), 5)
                with kube.namespace() as models:
                    models.apply(MODEL)

                    # The restricted standard lets both pods in.
                    pods = lambda: names("pods", "-n", patella.namespace)  # noqa: E731
                    kube.eventually(lambda: len(pods()) == 2, of="two operator pods")

                    # What the first install made by a hook is the release's own from the first upgrade on.
                    patella.upgrade(major, "--set", "workers=8,acceleratorClasses.exclude={h100}")
                    self.assertEqual(patella.environment()["WORKERS"], "8")
                    self.assertEqual(names("acceleratorclasses"), classes)
                    generation = patella.deployment()["metadata"]["generation"]
                    patella.upgrade(major, "--reuse-values")
                    self.assertEqual(patella.deployment()["metadata"]["generation"], generation)
                    patella.helm(major, "rollback", "1")
                    self.assertEqual(patella.environment()["WORKERS"], "4")
                    self.assertEqual(names("acceleratorclasses"), classes)

                    patella.helm(major, "uninstall")
                    self.assertEqual(patella.objects(), set())
                    self.assertEqual(len(names(*CRDS)), len(CRDS))
                    self.assertEqual(models.get("idep", "chat")["spec"]["model"]["name"], "llama-2-7b")
                    self.assertEqual(names("acceleratorclasses"), classes)

                    # Kept things are taken over again, and go when values say so.
                    patella.install(major)
                    self.assertEqual(models.get("idep", "chat")["spec"]["model"]["name"], "llama-2-7b")
                    patella.upgrade(major, "--set", "crds.keep=false")
                    patella.helm(major, "uninstall")
                    kube.eventually(lambda: not [name for name in names("crd") if name.endswith(".patella.dev")])

    def test_a_release_of_helm_3_goes_on_under_helm_4(self):
        with release() as patella:
            patella.install(3)
            patella.upgrade(4, "--set", "workers=8")
            self.assertEqual(patella.environment()["WORKERS"], "8")
            patella.helm(4, "uninstall")
            self.assertEqual(patella.objects(), set())

    def test_definitions_that_kubectl_applied_are_taken_over_when_asked(self):
        with release() as patella:
            kube.kubectl("apply", "--server-side", "-f", helms.ROOT / "deploy/crds")
            for major in (3, 4):
                refused = patella.install(major, ok=False)
                self.assertIn("cannot be imported into the current release", refused.stderr)
            arguments = ("--take-ownership", "--force-conflicts")
            self.assertEqual(patella.install(4, *arguments).returncode, 0)

    def test_an_upgrade_of_the_release_upgrades_the_definitions(self):
        served = lambda: json.loads(kube.kubectl("get", CRDS[0], "-o", "json"))["spec"]["versions"]  # noqa: E731
        for major in (3, 4):
            with self.subTest(helm=major), release() as patella, tempfile.TemporaryDirectory() as folder:
                older = shutil.copytree(helms.CHART, pathlib.Path(folder) / "patella")
                file = older / "templates/crds/inferencedeployments.yaml"
                self.assertIn("updatePolicy:", file.read_text())
                file.write_text(file.read_text().replace("updatePolicy:", "rolloutPolicy:"))
                patella.helm(major, "install", older)
                fields = lambda: served()[0]["schema"]["openAPIV3Schema"]["properties"]["spec"][
                    "properties"
                ]  # noqa: E731
                self.assertNotIn("updatePolicy", fields())
                patella.upgrade(major)
                self.assertIn("updatePolicy", fields())
                self.assertNotIn("rolloutPolicy", fields())

    def test_helm_test_asks_a_pod_of_the_operators_image_and_believes_it(self):
        with release() as patella:
            patella.install(4, *BARE)
            here = ("-n", patella.namespace)
            for major, phase in ((3, "Succeeded"), (4, "Succeeded"), (3, "Failed"), (4, "Failed")):
                with self.subTest(helm=major, pod=phase), ThreadPoolExecutor() as pool:
                    testing = pool.submit(patella.helm, major, "test", "--timeout=60s", ok=False)
                    # No kubelet runs it: this test does what the pod would report.
                    pod = ("pod", "patella-test", *here)
                    kube.eventually(lambda: kube.kubectl("get", *pod, "-o", "jsonpath={.status.phase}") == "Pending")
                    spec = json.loads(kube.kubectl("get", *pod, "-o", "json"))["spec"]
                    self.assertEqual(spec["serviceAccountName"], "patella")
                    self.assertEqual(spec["containers"][0]["args"], ["--check"])
                    status = json.dumps({"status": {"phase": phase}})
                    kube.kubectl("patch", *pod, "--subresource=status", "--type=merge", "-p", status)
                    self.assertEqual(testing.result().returncode == 0, phase == "Succeeded")
                    kube.kubectl("delete", *pod, "--ignore-not-found", "--now")

    def test_everything_switched_on_is_accepted(self):
        with release() as patella:
            crds = helms.tools() / "crds"
            kube.kubectl("apply", "--server-side", "-f", crds)
            kube.kubectl("wait", "--for=condition=Established", "--timeout=10s", "-f", crds)
            try:
                for major in (3, 4):
                    patella.install(major, "-f", helms.VALUES / "all.yaml")
                    for kind in ("servicemonitor", "podmonitor", "prometheusrule", "networkpolicy", "pdb", "configmap"):
                        self.assertTrue(names(kind, "-n", patella.namespace, "-l", "team=serving"), kind)
                    self.assertTrue(names("flowschema", "-l", "app.kubernetes.io/instance=patella"))
                    patella.helm(major, "uninstall")
                    self.assertEqual(patella.objects(), set())
            finally:
                kube.kubectl("delete", "-f", crds)


class Rights(unittest.TestCase):
    def test_users_reach_patellas_objects_through_view_edit_and_admin(self):
        with release() as patella, kube.namespace() as models:
            patella.install(4, *BARE)
            for role in ("view", "edit", "admin"):
                models.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}")
            deployments, curves = "inferencedeployments.patella.dev", "servingcurves.patella.dev"
            may = lambda *what: allowed(*what[:3], models.name, *what[3:])  # noqa: E731
            # A controller aggregates, a moment later.
            for what in (("view", "list", deployments), ("edit", "create", deployments), ("admin", "create", curves)):
                kube.eventually(lambda: may(*what), of=str(what))
            for role in ("view", "edit", "admin"):
                with self.subTest(role):
                    writes = role != "view"
                    self.assertTrue(may(role, "watch", deployments))
                    self.assertTrue(may(role, "list", curves))
                    self.assertEqual(may(role, "create", deployments), writes)
                    self.assertEqual(may(role, "patch", deployments, "scale"), writes)
                    # The operator's and the autotuners' alone.
                    self.assertFalse(may(role, "patch", deployments, "status"))
            self.assertFalse(may("edit", "create", curves))

    def test_with_watch_namespaces_the_operator_can_do_nothing_elsewhere(self):
        with release() as patella, kube.namespace() as models, kube.namespace() as others:
            patella.install(4, "--set", f"watchNamespaces={{{models.name}}}")
            account = patella.account()
            kube.eventually(lambda: allowed(account, "create", "deployments.apps", models.name))
            self.assertTrue(allowed(account, "list", "nodes"))
            for verb, resource in (("list", "inferencedeployments.patella.dev"), ("create", "deployments.apps")):
                self.assertFalse(allowed(account, verb, resource, others.name), resource)
                self.assertFalse(allowed(account, verb, resource), resource)
            self.assertFalse(allowed(account, "get", "secrets", patella.namespace))

    def test_cluster_wide_the_operator_can_do_what_the_rules_say_and_no_more(self):
        with release() as patella:
            patella.install(4, *BARE)
            account = patella.account()
            kube.eventually(lambda: allowed(account, "list", "nodes"))
            rules = yaml.safe_load((helms.ROOT / "deploy/rbac/operator-rules.yaml").read_text())
            for rule in rules["namespaced"] + rules["cluster"]:
                for group, resource, verb in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"]):
                    name, _, below = resource.partition("/")
                    self.assertTrue(allowed(account, verb, f"{name}.{group}", "default", below), (verb, resource))
            for verb, resource in (
                ("delete", "inferencedeployments.patella.dev"),
                ("create", "pods"),
                ("patch", "nodes"),
            ):
                self.assertFalse(allowed(account, verb, resource, "default"), resource)


if __name__ == "__main__":
    unittest.main(verbosity=2)
