"""`patella demo` as a user runs it, though shorter: its sentence, its exit code and its report tell the same."""

import pathlib
import re
import signal
import tempfile
import unittest

import harness
from harness import Up

HELD, NOT_HELD, TOO_NOISY, INTERRUPTED = 0, 5, 6, 130
BEGINNINGS = {HELD: "limit ", NOT_HELD: "not held: limit ", TOO_NOISY: "this machine is too noisy to tell: "}
# Short requests, so that the whole takes a minute. What is learned and held is not the matter here, and machines differ.
SHORT = ((r"inputTokens: \d+", "inputTokens: 16"), (r"outputTokens: \d+", "outputTokens: 16"), (r"targetMs: \d+", "targetMs: 150"))
SENTENCE = re.compile(r"^.*limit (\d+): p90 \d+ ms/token (?:≤|within 10 % of|>) 150 at 3× load, goodput \d+ % of the best; "
                      r"without Patella \d+ ms$", re.MULTILINE)


def setUpModule():
    harness.require_model()


class DemoTest(unittest.TestCase):
    def test_sentence_exit_code_and_report_agree(self):
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder) / "new" / "report.html"
            for _ in range(3):  # a machine too noisy to find a limit at all
                demo = Up(*SHORT, command="demo", arguments=("--seconds", "45", "--report", str(report)))
                self.addCleanup(demo.process.kill)
                said, message = demo.process.communicate(timeout=300)
                code = demo.process.returncode
                if report.exists():
                    break
                self.assertEqual(code, TOO_NOISY, message)
            self.assertIn(code, BEGINNINGS, message)
            sentence = SENTENCE.search(said)
            self.assertTrue(sentence, said)
            self.assertTrue(sentence[0].startswith(BEGINNINGS[code]), sentence[0])
            limit = int(sentence[1])
            self.assertRegex(said, rf"\nlimit {limit}: bound by ")
            self.assertRegex(said, rf"\n{3 * limit} clients against a limit of {limit} ")
            self.assertIn(f"report: {report}\n", said)
            self.assertEqual(len(re.findall(r"\n  \S", said.split("\nnext:")[1])), 3, "the next three commands")
            page = report.read_text()
            self.assertIn(sentence[0], page)
            self.assertEqual(re.findall(r'(?:src|href)="(https?:[^"]+)"', page), [], "self-contained")
            self.assertEqual(demo.left_behind(), [])

    def test_ctrl_c_leaves_nothing_behind(self):
        demo = Up(*SHORT, command="demo")
        self.addCleanup(demo.process.kill)
        demo.child("patella-sidecar")
        demo.process.send_signal(signal.SIGINT)
        code, message = demo.end()
        self.assertEqual(code, INTERRUPTED, message)
        self.assertEqual(demo.left_behind(), [])


if __name__ == "__main__":
    unittest.main()
