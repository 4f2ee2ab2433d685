"""A real Prometheus scrapes a real sidecar and engine under three times their load; no query of the dashboard is empty.

The sidecar calibrates first, so that there is a curve; the load is refused in part, one client leaves, and at the end
the engine is killed, so that there are errors to show. An operator on the real API server has a deployment of the same
name, with accelerators that have a price. Stat panels are evaluated while the load runs, the others over the whole
time.
"""

import asyncio
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

import dashboard
import kube
import operators

sys.path += [str(dashboard.ROOT / "tests/clients"), str(dashboard.ROOT / "tests/acceptance")]
import harness  # noqa: E402
from load_client import LoadClient  # noqa: E402

LABELS = {"model_name": "smollm2", "deployment": "chat", "revision": "0a1b2c3d"}
OBJECTIVES = json.dumps(
    {
        "latency": [
            {"metric": "TimePerOutputToken", "quantile": "0.90", "targetMs": 100},
            {"metric": "TimeToFirstToken", "quantile": "0.90", "targetMs": 4000},
            {"metric": "EndToEnd", "quantile": "0.90", "targetMs": 20000},
        ]
    }
)
SIZES = [(40, 24)]
ACCELERATORS = {
    "apiVersion": "patella.dev/v1alpha1",
    "kind": "AcceleratorClass",
    "metadata": {"name": f"priced-{os.getpid()}"},
    "spec": {
        "memoryGiB": 24,
        "memoryBandwidthGBps": 600,
        "fp16TFLOPS": 70,
        "acceleratorsPerNode": 4,
        "pricePerNodeHour": "5.672",
    },
}
LOAD_SECONDS = 15

# What must not only be there but be above zero under this load.
ABOVE_ZERO = {
    "Limit",
    "In flight",
    "Goodput",
    "Rejected",
    "Replicas",
    "Curve: latency over concurrency",
    "Limit against in-flight",
    "Time per output token",
    "Time to first token",
    "End to end",
    "Gap between tokens",
    "Admitted and rejected",
    "Errors",
    "Batch in the engine",
    "Cost of calibration",
}


class Prometheus:
    """Scrapes three targets once a second and answers queries; its data lives in a folder that goes with it."""

    def __init__(self, sidecar: str, operator: str):
        self.folder = tempfile.TemporaryDirectory()
        target = sidecar.removeprefix("http://")
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {"job_name": "sidecar", "static_configs": [{"targets": [target]}]},
                {"job_name": "operator", "honor_labels": True, "static_configs": [{"targets": [operator]}]},
                {
                    "job_name": "engine",
                    "metrics_path": "/engine/metrics",
                    "static_configs": [
                        {
                            "targets": [target],
                            "labels": {"deployment": LABELS["deployment"], "revision": LABELS["revision"]},
                        }
                    ],
                },
            ],
        }
        file = pathlib.Path(self.folder.name) / "prometheus.yaml"
        file.write_text(json.dumps(config))  # JSON is YAML
        port = harness.free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(pathlib.Path(self.folder.name) / "log", "w+")
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={self.folder.name}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=self.log,
            stderr=self.log,
        )
        wait_for(lambda: harness.answers(self.url + "/-/ready"), 60, self.said)

    def said(self) -> str:
        return pathlib.Path(self.log.name).read_text()[-4000:]

    def get(self, path: str, **parameters) -> list[dict]:
        with urllib.request.urlopen(
            f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=30
        ) as answer:
            return json.load(answer)["data"]["result"]

    def values(self, query: dashboard.Query, begin: float, loaded: float, end: float) -> list[float]:
        """The finite samples: at `loaded` for a panel that shows one moment, else over the whole time."""
        expression = dashboard.expand(query.expression, "5s", **LABELS)
        if query.instant:
            series = [[sample["value"]] for sample in self.get("query", query=expression, time=loaded)]
        else:
            series = [
                sample["values"]
                for sample in self.get("query_range", query=expression, start=begin, end=end, step="1s")
            ]
        return [float(value) for samples in series for _, value in samples if math.isfinite(float(value))]

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
        self.folder.cleanup()


def wait_for(what, seconds: float, why=lambda: ""):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(0.1)
    raise TimeoutError(f"not within {seconds} s\n{why()}")


async def leave_early(client: LoadClient):
    """Reads the beginning of a stream and goes."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    body = json.dumps(
        {"model": client.model, "prompt": client.prompt(20), "max_tokens": 400, "ignore_eos": True, "stream": True}
    ).encode()
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        % (len(body), body)
    )
    await reader.readline()
    await reader.read(64)
    writer.close()


async def load(client: LoadClient, concurrency: int, seconds: float) -> list:
    records, _ = await asyncio.gather(client.closed_loop(concurrency, seconds, SIZES), leave_early(client))
    return records


class Dashboard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        harness.require_model()
        if not shutil.which("prometheus"):
            raise RuntimeError("prometheus is missing: tools/setup/install.sh test")
        engine = harness.Engine()
        cls.addClassCleanup(engine.stop)
        sidecar = harness.Sidecar(
            engine,
            limit=0,
            TUNING_MODE="Auto",
            OBJECTIVES=OBJECTIVES,
            WORKLOAD_INPUT_TOKENS="40",
            WORKLOAD_OUTPUT_TOKENS="24",
            QUEUE_MAX_REQUESTS="2",
            QUEUE_MAX_WAIT_MS="200",
            DEPLOYMENT=LABELS["deployment"],
            REVISION=LABELS["revision"],
        )
        cls.addClassCleanup(sidecar.stop)
        cls.prometheus = Prometheus(sidecar.admin, cls.start_operator())
        cls.addClassCleanup(cls.prometheus.stop)
        for job in ("sidecar", "operator", "engine"):
            wait_for(lambda: cls.prometheus.get("query", query=f'up{{job="{job}"}} == 1'), 30, cls.prometheus.said)
        begin = time.time()
        limit = json.load(urllib.request.urlopen(sidecar.admin + "/status.json", timeout=10))["limit"]
        host, port = sidecar.url.removeprefix("http://").split(":")
        client = LoadClient(host, int(port), "smollm2", seed=7)

        async def scenario():
            running = asyncio.create_task(load(client, 3 * limit + 6, LOAD_SECONDS + 5))
            await asyncio.sleep(LOAD_SECONDS)
            loaded = time.time()
            engine.process.kill()  # with streams in flight: errors between sidecar and engine
            await running
            return loaded

        loaded = asyncio.run(scenario())
        errors = f'patella_upstream_errors_total{{deployment="{LABELS["deployment"]}"}}'
        failed = f"sum({errors}) and sum(rate({errors}[5s]))"
        wait_for(lambda: cls.prometheus.get("query", query=failed), 30, cls.prometheus.said)
        cls.times = (begin, loaded, time.time())

    @classmethod
    def start_operator(cls) -> str:
        """One that has reconciled the deployment; returns its metrics' host and port."""
        ns = cls.enterClassContext(kube.namespace())
        operator = cls.enterClassContext(cls.enterClassContext(operators.account(ns)).operator())
        operator.wait_ready()
        name = ACCELERATORS["metadata"]["name"]
        kube.kubectl("apply", "-f", "-", stdin=json.dumps(ACCELERATORS))
        cls.addClassCleanup(kube.kubectl, "delete", "acceleratorclass", name)
        ns.apply(operators.sample(LABELS["deployment"], hardware={"acceleratorClasses": [name]}))
        kube.eventually(lambda: "patella_desired_replicas{" in operator.get("/metrics")[1],
                        of="the deployment's metrics")
        return operator.address()

    def test_no_query_of_any_panel_is_empty_under_load(self):
        for query in dashboard.queries():
            with self.subTest(f"{query.panel} {query.ref}"):
                values = self.prometheus.values(query, *self.times)
                self.assertTrue(values, query.expression)
                if query.panel in ABOVE_ZERO and query.ref == "A":
                    self.assertGreater(max(values), 0, query.expression)

    def test_the_figures_make_sense_together(self):
        by_panel = {}
        for query in dashboard.queries():
            by_panel.setdefault(query.panel, {})[query.ref] = query
        at = lambda panel, ref="A": self.prometheus.values(by_panel[panel][ref], *self.times)  # noqa: E731
        self.assertGreater(at("Limit")[0], 0)
        self.assertLessEqual(max(at("In flight")), max(at("Limit against in-flight", "A")))
        self.assertGreater(at("Rejected")[0], 0.05)
        self.assertLessEqual(max(at("Targets met")), 1)
        self.assertEqual(at("Replicas")[0], 1)
        self.assertEqual(set(at("Replicas", "B")), {1})
        self.assertEqual(set(at("Cost per hour")), {round(5.672 / 4, 2)})
        p50, p99, target = (max(at("Time per output token", ref)) for ref in ("A", "C", "D"))
        self.assertLessEqual(p50, p99)
        self.assertEqual(target, 0.1)
        measured, law = (sorted(at("Curve: latency over concurrency", ref)) for ref in ("B", "C"))
        # One unit, one quantity; how near they are is the machine's affair, and the tracker's tests'.
        self.assertLess(abs(math.log(measured[len(measured) // 2] / law[len(law) // 2])), math.log(10))

    def test_the_variables_offer_what_is_there(self):
        for label, value in LABELS.items():
            with urllib.request.urlopen(
                f"{self.prometheus.url}/api/v1/label/{label}/values?match[]=patella_concurrency_limit", timeout=10
            ) as answer:
                self.assertEqual(json.load(answer)["data"], [value])


if __name__ == "__main__":
    unittest.main(verbosity=2)
