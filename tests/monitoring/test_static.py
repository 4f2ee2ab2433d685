"""The dashboard and the alerts as files: they parse, fit together, and name only what the programs export."""

import itertools
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

import dashboard

# What the operator exports, by deployment.
OPERATORS = ("patella_desired_replicas", "patella_cost_")
PANEL_TYPES = {"stat", "timeseries", "xychart", "bargauge", "state-timeline"}


def promtool(*arguments: str) -> subprocess.CompletedProcess:
    if not shutil.which("promtool"):
        raise RuntimeError("promtool is missing: tools/setup/install.sh test")
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True)


class Structure(unittest.TestCase):
    def setUp(self):
        self.board = dashboard.load()

    def test_ids_and_titles_are_unique(self):
        ids = [panel["id"] for panel in self.board["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        # Two panels of one title in one row could not be told apart in a conversation; elsewhere the row helps.
        row, seen = "", set()
        for panel in self.board["panels"]:
            if panel["type"] == "row":
                row = panel["title"]
            else:
                self.assertNotIn((row, panel["title"]), seen)
                seen.add((row, panel["title"]))

    def test_no_panel_covers_another_or_leaves_the_grid(self):
        boxes = [(panel["title"], panel["gridPos"]) for panel in self.board["panels"]]
        for title, box in boxes:
            self.assertTrue(0 <= box["x"] and box["x"] + box["w"] <= 24 and box["h"] > 0 and box["w"] > 0, title)
        for (one, a), (other, b) in itertools.combinations(boxes, 2):
            apart = (
                a["x"] + a["w"] <= b["x"]
                or b["x"] + b["w"] <= a["x"]
                or a["y"] + a["h"] <= b["y"]
                or b["y"] + b["h"] <= a["y"]
            )
            self.assertTrue(apart, f"{one} and {other} overlap")

    def test_every_panel_has_a_unit_a_description_and_the_chosen_data_source(self):
        for panel in dashboard.panels():
            with self.subTest(panel["title"]):
                self.assertIn(panel["type"], PANEL_TYPES)
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                self.assertGreater(len(panel["description"]), 20)
                self.assertTrue(panel["targets"])
                for item in (panel, *panel["targets"]):
                    self.assertEqual(item["datasource"], {"type": "prometheus", "uid": "${datasource}"})
                refs = [target["refId"] for target in panel["targets"]]
                self.assertEqual(len(refs), len(set(refs)))

    def test_variables_are_the_data_source_and_the_labels(self):
        variables = {variable["name"]: variable for variable in self.board["templating"]["list"]}
        self.assertEqual(list(variables), ["datasource", "namespace", "model_name", "deployment", "revision"])
        self.assertEqual(variables["datasource"]["type"], "datasource")
        for name, variable in variables.items():
            if name != "datasource":
                # ".*" also matches series without the label: outside Kubernetes there is no namespace.
                self.assertEqual((variable["type"], variable["allValue"]), ("query", ".*"))
                self.assertTrue(variable["query"]["query"].endswith(f", {name})"))
        used = set(re.findall(r"\$(\w+)", " ".join(query.expression for query in dashboard.queries())))
        self.assertLessEqual(used, set(variables) | {"__rate_interval"})

    def test_it_can_be_imported_anywhere(self):
        self.assertIsNone(self.board["id"])
        self.assertRegex(self.board["uid"], r"^[a-z0-9-]{1,40}$")
        self.assertNotIn("__inputs", self.board)


class Queries(unittest.TestCase):
    def test_promtool_parses_every_query(self):
        rules = [
            {"record": f"panel:query_{i}", "expr": dashboard.expand(query.expression, "1m")}
            for i, query in enumerate(dashboard.queries())
        ]
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "rules.yaml"
            file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
            done = promtool("check", "rules", str(file))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"{len(rules)} rules found", done.stdout)

    def test_every_metric_and_label_is_one_that_a_program_exports(self):
        known = dashboard.metric_list()
        self.assertGreater(len(known), 60)
        expressions = [(f"panel {query.panel!r}", query.expression) for query in dashboard.queries()]
        expressions += [(f"alert {rule['alert']}", rule["expr"]) for rule in dashboard.alerts()]
        for where, expression in expressions:
            with self.subTest(where):
                names = dashboard.metrics_in(expression)
                self.assertTrue(names)
                self.assertLessEqual(names, set(known), f"not in lib/metrics/list.cc: {names - set(known)}")
                for name, labels in dashboard.labels_by_metric(expression):
                    self.assertLessEqual(labels, known[name] | dashboard.SIDECAR_LABELS | dashboard.TARGET_LABELS, name)
                every = (
                    set().union(*(known[name] for name in names)) | dashboard.SIDECAR_LABELS | dashboard.TARGET_LABELS
                )
                every |= set(re.findall(r'label_replace\([^"]*"(\w+)"', expression))
                self.assertLessEqual(dashboard.grouping_labels(expression), every)

    def test_every_query_follows_the_variables(self):
        for query in dashboard.queries():
            for metric, selector in re.findall(r"([a-z_]+)\{([^}]*)\}", query.expression):
                operators = metric.startswith(OPERATORS)  # those are of all revisions together
                for name in ("namespace", "deployment") if operators else ("namespace", "deployment", "revision"):
                    self.assertIn(f'{name}=~"${name}"', selector, query.panel)

    def test_the_metrics_for_users_are_all_shown(self):
        shown = set().union(*(dashboard.metrics_in(query.expression) for query in dashboard.queries()))
        missing = {
            name
            for name in dashboard.metric_list()
            if name.startswith("patella_")
            and not name.startswith(("patella_engine_", "patella_build_"))
            and not name.endswith(("_sum", "_count"))
        } - shown
        self.assertEqual(missing, set(), "show them in deploy/dashboards/patella.json")


class Alerts(unittest.TestCase):
    def test_promtool_accepts_the_rules_and_its_tests_pass(self):
        checked = promtool("check", "rules", str(dashboard.ALERTS))
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
        tested = promtool("test", "rules", str(pathlib.Path(__file__).with_name("alerts.test.yaml")))
        self.assertEqual(tested.returncode, 0, tested.stdout + tested.stderr)

    def test_every_alert_says_what_and_how_bad_and_has_a_test_and_a_runbook(self):
        tests = yaml.safe_load(pathlib.Path(__file__).with_name("alerts.test.yaml").read_text())["tests"]
        tested = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
        silent = {case["alertname"] for test in tests for case in test["alert_rule_test"] if not case["exp_alerts"]}
        index = (dashboard.RUNBOOKS / "README.md").read_text()
        for rule in dashboard.alerts():
            with self.subTest(rule["alert"]):
                self.assertIn(rule["labels"]["severity"], ("warning", "critical"))
                self.assertLessEqual({"summary", "description"}, set(rule["annotations"]))
                self.assertIn(rule["alert"], tested & silent)
                page = re.sub(r"(?<!^)(?=[A-Z])", "-", rule["alert"]).lower() + ".md"
                self.assertTrue((dashboard.RUNBOOKS / page).read_text().startswith(f"# {rule['alert']}\n"))
                self.assertIn(f"]({page})", index)


if __name__ == "__main__":
    unittest.main(verbosity=2)
