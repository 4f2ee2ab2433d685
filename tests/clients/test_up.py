"""`patella up` to Ready and to its end, as a user runs it: every URL that it prints answers."""

import json
import re
import signal
import unittest
import urllib.parse
import urllib.request

import harness
from harness import Up

TOO_NOISY = 6
# What it learns is not the matter here, and machines differ: a target that any holds at a few requests.
EASY = (r"targetMs: \d+", "targetMs: 150")


def setUpModule():
    harness.require_model()


def fetch(url: str) -> tuple[str, str]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


class UpTest(unittest.TestCase):
    def ready(self) -> tuple[Up, dict]:
        """Up and what it printed; a machine too noisy to measure is given three tries."""
        for _ in range(3):
            up = Up(EASY, arguments=("--output", "json"))
            self.addCleanup(up.process.kill)
            lines = []
            for line in up.process.stdout:
                lines.append(line)
                if line == "}\n":
                    return up, json.loads("".join(lines))
            code, message = up.end()
            self.assertEqual(code, TOO_NOISY, message)
        self.fail(message)

    def test_it_prints_what_it_learned_serves_and_leaves_nothing_behind(self):
        up, said = self.ready()
        self.assertGreaterEqual(said["limit"], 1)
        self.assertGreaterEqual(len(said["points"]), 2)
        urls = said["urls"]
        self.assertEqual(set(urls), {"clients", "status_page", "metrics", "healthz", "readyz"})
        for name in ("metrics", "healthz", "readyz"):
            self.assertTrue(fetch(urls[name])[1], name)

        kind, page = fetch(urls["status_page"])
        self.assertIn("text/html", kind)
        used = re.findall(r'fetch\("([^"]+)"\)', page)
        self.assertEqual(used, ["status.json"])
        status = json.loads(fetch(urllib.parse.urljoin(urls["status_page"], used[0]))[1])
        self.assertEqual(status["limit"], said["limit"])
        engine = json.loads(fetch(urls["clients"] + "/info")[1])
        self.assertGreater(engine["max_concurrent_requests"], said["limit"], "the engine follows, with a little more")
        self.assertLessEqual(engine["max_concurrent_requests"], max(said["limit"] + 2, 1.25 * said["limit"]))
        self.assertEqual(re.findall(r'(?:src|href)="(https?:[^"]+)"', page), [], "nothing from elsewhere")

        answer = harness.post(urls["clients"], "/v1/completions",
                              {"model": "tgi", "prompt": "Once upon a time", "max_tokens": 8})
        self.assertTrue(json.load(answer)["choices"][0]["text"])

        up.process.send_signal(signal.SIGINT)
        code, message = up.end()
        self.assertEqual(code, 0, message)
        self.assertEqual(up.left_behind(), [])


if __name__ == "__main__":
    unittest.main()
