"""How soon another operator leads: within 3 s of one that ends in good order, within 50 s of one that crashes. For a machine that does nothing
else."""

import contextlib
import signal
import time
import unittest

import kube
from operators import account


class TimesTest(unittest.TestCase):
    def test_another_leads_within_3_s_of_a_good_end_and_50_s_of_a_crash(self):
        with kube.namespace() as ns, account(ns) as own, contextlib.ExitStack() as operators:
            both = {name: operators.enter_context(own.operator(name)) for name in ("a", "b")}
            for how, bound in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 50.0)):
                name = kube.eventually(own.leader, of="a leader").split("_")[0]
                leader, standby = both[name], both["b" if name == "a" else "a"]
                standby.wait_ready()
                began = time.monotonic()
                leader.stop(how)
                kube.eventually(lambda: own.leader().split("_")[0] == standby.identity, seconds=120, of="the other leads")
                took = time.monotonic() - began
                print(f"after {how.name}: {took:.1f} s")
                self.assertLess(took, bound)
                if how == signal.SIGTERM:
                    both[name] = operators.enter_context(own.operator(name))


if __name__ == "__main__":
    unittest.main()
