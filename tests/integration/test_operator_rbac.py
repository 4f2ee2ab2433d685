"""The rules of deploy/rbac/operator-rules.yaml are enough, and each of them is needed."""

import concurrent.futures
import unittest

import kube
import operators
from operators import account, children, deployments, sample


def forbidden_without(rule: tuple[str, int]) -> list[str]:
    """What the API server refuses an operator that lacks one rule, on the way through a deployment's life."""
    with kube.namespace() as ns, account(ns, operators.without(*rule), may_be_refused=True) as own, own.operator():
        ns.apply(sample())
        return kube.eventually(own.forbidden, seconds=60, of=f"a 403 without {operators.RULES[rule[0]][rule[1]]}")


class RulesTest(unittest.TestCase):
    def test_the_rules_are_enough_for_a_whole_life(self):
        with kube.namespace() as ns, account(ns) as own, own.operator() as operator:
            ns.apply(sample())
            kube.eventually(lambda: len(children(ns)) == 11, of=f"children; log:\n{operator.text()}")
            old = deployments(ns)[0]["metadata"]["name"]
            ns.apply(sample(engine={"args": ["--max-input-tokens=64"]}))

            def only_new():
                operators.pods_are_ready(ns)
                return len(deployments(ns)) == 1 and deployments(ns)[0]["metadata"]["name"] != old

            kube.eventually(only_new, of="the new revision alone")
            kube.eventually(lambda: "RevisionRemoved" in ns.kubectl("get", "events", "-o", "json"), of="an event")
            ns.kubectl("delete", "inferencedeployment", "smollm2", "--wait=false")
            kube.eventually(lambda: children(ns) == [], of="nothing left")
            self.assertEqual(own.forbidden(), [])

    def test_without_any_one_rule_something_is_forbidden(self):
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for rule, refused in zip(operators.all_rules(), pool.map(forbidden_without, operators.all_rules())):
                self.assertTrue(refused, rule)


if __name__ == "__main__":
    unittest.main()
