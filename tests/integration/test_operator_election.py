"""Two operators, one Lease: hand-over in good order and after a crash (how soon: test_operator_times.py); bad credentials are told once."""

import json
import pathlib
import signal
import time
import unittest
import urllib.parse

import gate
import kube
import operators
from operators import account, deployments, sample


class ElectionTest(unittest.TestCase):
    def test_a_leader_that_ends_hands_over_and_one_that_crashes_is_replaced(self):
        with kube.namespace() as ns, account(ns) as own, own.operator("a") as first, own.operator("b") as second:
            both = {"a": first, "b": second}
            for operator in both.values():
                operator.wait_ready()
            name = kube.eventually(own.leader, of="a leader").split("_")[0]
            leader, standby = both[name], both["b" if name == "a" else "a"]
            ns.apply(sample("one"))
            kube.eventually(lambda: len(deployments(ns)) == 1)

            self.assertEqual(leader.stop(), 0, leader.text())
            self.assertNotEqual(own.leader().split("_")[0], leader.identity)  # given up, not left to expire
            kube.eventually(lambda: own.leader().split("_")[0] == standby.identity, of="the other leads")
            ns.apply(sample("two"))
            kube.eventually(lambda: len(deployments(ns)) == 2, of="work by the second")

            with own.operator("c") as third:
                third.wait_ready()
                standby.stop(signal.SIGKILL)
                ns.apply(sample("three"))
                kube.eventually(lambda: len(deployments(ns)) == 3, seconds=120, of="work by the third")
                self.assertEqual(own.leader().split("_")[0], "c")

    def test_a_lease_that_is_deleted_by_hand_is_made_anew_and_nobody_stops(self):
        with kube.namespace() as ns, account(ns) as own, own.operator("a") as first, own.operator("b") as second:
            leader = kube.eventually(own.leader, of="a leader")
            second.wait_ready()
            own.own.kubectl("delete", "lease", operators.LEASE)
            self.assertEqual(kube.eventually(own.leader, of="the Lease anew"), leader)
            log = (first if leader.startswith("a_") else second).text()
            self.assertIn("the Lease was deleted while this process leads", log)
            ns.apply(sample())
            kube.eventually(lambda: len(deployments(ns)) == 1, of="work")
            self.assertEqual((first.process.poll(), second.process.poll()), (None, None))

    def test_an_api_server_that_does_not_answer_does_not_keep_an_operator_from_ending(self):
        with kube.namespace() as ns, account(ns) as own:
            config = json.loads(own.kubeconfig.read_text())
            cluster = config["clusters"][0]["cluster"]
            server = urllib.parse.urlparse(cluster["server"])
            with gate.Gate(server.port) as way:
                cluster["server"] = f"https://{server.hostname}:{way.port}"
                own.kubeconfig.write_text(json.dumps(config))
                with own.operator() as operator:
                    operator.wait_ready()
                    kube.eventually(own.leader, of="it leads")
                    way.hold()
                    ns.apply(sample())
                    waits = lambda: "1 with workers" in operator.get("/readyz?verbose")[1]
                    kube.eventually(waits, of=f"a worker that waits; log:\n{operator.text()}")
                    self.assertEqual(operator.stop(), 0, operator.text())
                    self.assertIn("the API server does not answer", operator.text())

    def test_two_operators_by_mistake_of_which_one_elects_nobody_still_agree(self):
        with kube.namespace() as ns, account(ns) as own, own.operator("a"), own.operator("b", LEADER_ELECTION="false"):
            ns.apply(sample())
            kube.eventually(lambda: len(operators.children(ns)) == 11, of="children")
            version = lambda: deployments(ns)[0]["metadata"]["generation"]
            kube.settled(version, still_s=2.0)
            self.assertLess(version(), 4)

    def test_two_installations_by_mistake_one_works_and_the_other_says_so_until_the_first_is_gone(self):
        with kube.namespace() as ns, account(ns) as own, own.operator("a", HOST_MODEL_DIR="/srv/models") as first:
            ns.apply(sample(model={"name": "SmolLM2-135M-Instruct", "uri": "file://SmolLM2-135M-Instruct.Q4_1.gguf"}))
            kube.eventually(lambda: len(operators.children(ns)) == 11, of=f"children; log:\n{first.text()}")
            before = [d["metadata"]["resourceVersion"] for d in deployments(ns)]
            with own.operator("b", LEASE_NAME="second", HOST_MODEL_DIR="/elsewhere") as second:
                told = lambda: [e for e in ns.get("events")["items"] if e["reason"] == "AnotherOperator"]
                event = kube.eventually(told, of=f"an event; log:\n{second.text()}")[0]
                for part in (f"Lease {own.own.name}/{operators.LEASE}", "left to that one", "WATCH_NAMESPACES"):
                    self.assertIn(part, event["message"])
                kube.settled(lambda: [d["metadata"]["resourceVersion"] for d in deployments(ns)], still_s=6.0)
                self.assertEqual([d["metadata"]["resourceVersion"] for d in deployments(ns)], before)
                self.assertEqual(second.text().count("reason=AnotherOperator"), 1, second.text())

                self.assertEqual(first.stop(), 0)
                kube.eventually(lambda: "reason=TakenOver" in second.text(), 60, "the second takes over")
                kube.eventually(lambda: [d["metadata"]["annotations"]["patella.dev/operator"] for d in deployments(ns)]
                                == [f"{own.own.name}/second"], 60, f"its name; log:\n{second.text()}")

    def test_two_releases_by_mistake_that_cannot_read_each_others_lease_do_not_fight(self):
        """The first by name goes on, whoever came first, elected or not."""
        for came_first, elected in ((0, "true"), (1, "false")):
            with (
                self.subTest(came_first=came_first, elected=elected),
                kube.namespace() as ns,
                account(ns, may_be_refused=True) as one,
                account(ns, may_be_refused=True) as other,
            ):
                accounts = sorted((one, other), key=lambda a: f"{a.own.name}/")
                settings = [{"HOST_MODEL_DIR": f"/srv/{i}", "LEADER_ELECTION": elected} for i in range(2)]
                by_name = [f"{a.own.name}/{operators.LEASE}" for a in accounts]
                with accounts[came_first].operator(**settings[came_first]) as there:
                    ns.apply(sample(model={"name": "SmolLM2-135M-Instruct", "uri": "file://SmolLM2-135M-Instruct.Q4_1.gguf"}))
                    kube.eventually(lambda: len(operators.children(ns)) == 11, of=f"children; log:\n{there.text()}")
                    with accounts[1 - came_first].operator(**settings[1 - came_first]) as newcomer:
                        second = newcomer if came_first == 0 else there
                        told = lambda: second.text().count("reason=AnotherOperator")
                        kube.eventually(told, 60, f"the second by name says so; log:\n{second.text()}")
                        state = lambda: [
                            (d["metadata"]["annotations"]["patella.dev/operator"], d["metadata"]["generation"])
                            for d in deployments(ns)
                        ]
                        version = lambda: [d["metadata"]["resourceVersion"] for d in deployments(ns)]
                        kube.eventually(lambda: {mark for mark, _ in state()} == {by_name[0]}, 60, "the first's mark")
                        kube.settled(version, still_s=5.0, seconds=60)
                        self.assertTrue(all(generation < 6 for _, generation in state()), state())
                        contested = kube.eventually(lambda: operators.condition(ns, "Contested"), of="the condition")
                        self.assertIn(f"Lease {by_name[0]}", contested["message"])
                        self.assertIn("left to that one", contested["message"])
                        self.assertEqual(told(), 1, second.text())


class CredentialsTest(unittest.TestCase):
    """Each message says what and how to mend it, once in the log and on /readyz."""

    def expect(self, kubeconfig: dict, *parts: str):
        with kube.namespace() as ns, account(ns) as own:
            own.kubeconfig.write_text(json.dumps(kubeconfig))
            with own.operator() as operator:
                code, text = kube.eventually(
                    lambda: (found := operator.get("/readyz"))[0] == 503 and "starting" not in found[1] and found,
                    of="a reason",
                )
                for part in parts:
                    self.assertIn(part, text)
                time.sleep(2.5)  # two further tries
                self.assertEqual(operator.text().count("cannot work yet"), 1, operator.text())

    def admin(self) -> dict:
        return json.loads(pathlib.Path(kube.setting("PATELLA_KUBECONFIG")).read_text())

    def test_a_token_that_is_not_valid(self):
        config = self.admin()
        config["users"][0]["user"] = {"token": "expired"}
        self.expect(config, "token", "not valid")

    def test_no_api_server(self):
        config = self.admin()
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
        self.expect(config, "127.0.0.1:1")

    def test_a_certificate_of_another_authority(self):
        config = self.admin()
        cluster = config["clusters"][0]["cluster"]
        cluster.pop("certificate-authority", None)
        cluster["certificate-authority-data"] = OTHER_AUTHORITY
        self.expect(config, "certificate")

    def test_an_account_without_rights(self):
        user = json.loads(pathlib.Path(kube.setting("PATELLA_USER_KUBECONFIG")).read_text())
        self.expect(user, "forbidden", "deploy/rbac/operator-rules.yaml")


def other_authority() -> str:
    import base64
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=other",
             "-keyout", f"{folder}/key", "-out", f"{folder}/ca"],
            check=True,
            capture_output=True,
        )
        return base64.b64encode(pathlib.Path(f"{folder}/ca").read_bytes()).decode()


OTHER_AUTHORITY = other_authority()

if __name__ == "__main__":
    unittest.main()
