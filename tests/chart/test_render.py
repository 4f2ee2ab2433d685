"""charts/patella, rendered by both Helms and held against golden files, its schema and those of Kubernetes."""

import copy
import difflib
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import yaml

import schemas
from helms import CASES, CHART, ROOT, VALUES, helm, objects, rendered, template, tools

HERE = pathlib.Path(__file__).parent


def golden_text(text: str) -> str:
    """The objects in a fixed order. Copies of other files are named, not repeated: chart.generated has those."""
    items = sorted(
        copy.deepcopy(objects(text)),
        key=lambda item: (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]),
    )
    for item in items:
        if item["kind"] == "CustomResourceDefinition":
            item["spec"] = "of deploy/crds"
            item["metadata"]["annotations"].pop("patella.dev/schema-hash", None)
        if "patella.json" in item.get("data", {}):
            item["data"]["patella.json"] = "of deploy/dashboards"
        if item["kind"] == "AcceleratorClass":
            item["spec"] = "of deploy/accelerators"
    return yaml.safe_dump_all(items, sort_keys=True, width=120)


class Rendering(unittest.TestCase):
    def test_both_helms_find_nothing_to_complain_about(self):
        for major in (3, 4):
            for case in CASES:
                with self.subTest(helm=major, case=case):
                    done = helm(
                        major,
                        "lint",
                        "--strict",
                        "--kube-version",
                        "1.35.0",
                        CHART,
                        "-f",
                        VALUES / f"{case}.yaml",
                    )
                    self.assertNotRegex(done.stdout + done.stderr, r"\[(WARNING|ERROR)\]")

    def test_both_helms_render_the_same(self):
        for case in CASES:
            self.assertEqual(objects(rendered(3, case)), objects(rendered(4, case)), case)

    def test_what_is_rendered_is_what_was_reviewed(self):
        for case in CASES:
            with self.subTest(case):
                golden, text = HERE / "golden" / f"{case}.yaml", golden_text(rendered(4, case))
                if os.environ.get("PATELLA_GOLDEN") == "write":
                    golden.write_text(text)
                difference = difflib.unified_diff(
                    golden.read_text().splitlines(), text.splitlines(), "golden", "rendered", lineterm="", n=2
                )
                self.assertEqual("\n".join(difference), "", "PATELLA_GOLDEN=write rewrites it")

    def test_the_kubernetes_version_that_is_too_old_is_refused(self):
        for major in (3, 4):
            done = helm(major, "template", "x", CHART, "--kube-version", "1.28.9", ok=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("requires kubeVersion: >=1.29.0-0", done.stderr)


class Values(unittest.TestCase):
    def test_unknown_values_are_refused_at_every_depth(self):
        schema, paths = json.loads((CHART / "values.schema.json").read_text()), []

        def closed_objects(node: dict, path: str):
            if node.get("additionalProperties") is False and "properties" in node:
                paths.append(path)
            for name, inner in node.get("properties", {}).items():
                closed_objects(inner, f"{path}.{name}" if path else name)

        closed_objects(schema, "")
        self.assertGreater(len(paths), 15)
        for path in paths:
            for major in (3, 4) if path in ("", "metrics.podMonitor") else (4,):
                with self.subTest(helm=major, path=path):
                    done = template(major, "--set", (path + "." if path else "") + "replicaCuont=1", ok=False)
                    self.assertNotEqual(done.returncode, 0)
                    self.assertIn("replicaCuont", done.stderr)

    def test_every_object_with_known_values_is_closed(self):
        def walk(node: dict, path: str):
            if "properties" in node and path != "global":
                self.assertIs(node.get("additionalProperties"), False, path)
            for name, inner in node.get("properties", {}).items():
                walk(inner, f"{path}.{name}" if path else name)

        walk(json.loads((CHART / "values.schema.json").read_text()), "")

    def test_values_of_the_wrong_kind_are_refused(self):
        for wrong in (
            "replicaCount=two",
            "image.pullPolicy=Sometimes",
            "image.digest=abc",
            "watchNamespaces=models",
            "workers=0",
            "logLevel=loud",
            "crds.keep=perhaps",
            "networkPolicy.apiServerPorts[0]=0",
            "prometheusRule.runbookUrl=here",
            "metrics.podMonitor.interval=soon",
        ):
            with self.subTest(wrong):
                self.assertNotEqual(template(4, "--set", wrong, ok=False).returncode, 0)

    def test_every_value_is_described_and_used(self):
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        schema = json.loads((CHART / "values.schema.json").read_text())
        templates = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())

        def walk(value, node: dict, path: str):
            if node.get("additionalProperties") is False and "properties" in node:
                for name in value:
                    walk(value[name], node["properties"][name], f"{path}.{name}" if path else name)
            else:
                self.assertGreater(len(node.get("description", "")), 8, f"{path} has no comment in values.yaml")
                self.assertRegex(templates, rf"\.{path.rsplit('.', 1)[-1]}\b", f"{path} is used by no template")

        for name, value in values.items():
            if name != "global":
                walk(value, schema["properties"][name], name)


class Schemas(unittest.TestCase):
    def test_kubeconform_accepts_every_object_strictly(self):
        crds = [*sorted((ROOT / "deploy/crds").glob("*.yaml")), *sorted((tools() / "crds").glob("*.yaml"))]
        texts = {f"{case} by Helm {major}": rendered(major, case) for case in CASES for major in (3, 4)}
        wanted = {(item["apiVersion"], item["kind"]) for text in texts.values() for item in objects(text)}
        with tempfile.TemporaryDirectory() as folder:
            schemas.write(pathlib.Path(folder), tools() / "swagger.json", crds, wanted)

            def conform(text: str) -> subprocess.CompletedProcess:
                return subprocess.run(
                    [
                        tools() / "kubeconform",
                        "-strict",
                        "-summary",
                        "-schema-location",
                        f"{folder}/{schemas.LOCATION}",
                        "-",
                    ],
                    input=text,
                    capture_output=True,
                    text=True,
                )

            for name, text in texts.items():
                with self.subTest(name):
                    done = conform(text)
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                    self.assertIn(f"Valid: {len(objects(text))}, Invalid: 0, Errors: 0, Skipped: 0", done.stdout)
            # The check itself can fail: a field that Kubernetes does not know, and a value of the wrong type.
            for wrong in (
                ("replicas: 2", "replicaz: 2"),
                ("replicas: 2", "replicas: two"),
                ("failureThreshold: 60", "failureTreshold: 60"),
            ):
                self.assertIn(wrong[0], rendered(4, "default"))
                self.assertNotEqual(conform(rendered(4, "default").replace(*wrong, 1)).returncode, 0, wrong)


class Suites(unittest.TestCase):
    def test_helm_unittest(self):
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run(
                [
                    tools() / "helm-unittest",
                    "--strict",
                    "-f",
                    os.path.relpath(HERE / "suites" / "*.yaml", CHART),
                    CHART,
                ],
                capture_output=True,
                text=True,
                env={"PATH": os.environ["PATH"], "HOME": home},
            )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        suites = len(list((HERE / "suites").glob("*.yaml")))
        self.assertRegex(done.stdout, rf"Test Suites: {suites} passed, {suites} total")


if __name__ == "__main__":
    unittest.main(verbosity=2)
