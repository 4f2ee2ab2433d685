"""Reads the dashboard, the alerts and the list of metrics, as the tests need them."""

import dataclasses
import json
import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy/dashboards/patella.json"
ALERTS = ROOT / "deploy/alerts/patella.rules.yaml"
RUNBOOKS = ROOT / "docs/runbooks"
METRIC_LIST = ROOT / "lib/metrics/list.cc"

# On every sidecar's metric; Prometheus adds the others to what it scrapes in a cluster.
SIDECAR_LABELS = {"model_name", "deployment", "revision"}
TARGET_LABELS = {"namespace", "pod", "container", "job", "instance"}
WORDS = {  # of PromQL itself
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "by",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "vector",
    "rate",
    "increase",
    "histogram_quantile",
    "label_replace",
    "max_over_time",
    "le",
    "inf",
    "bool",
}


@dataclasses.dataclass(frozen=True)
class Query:
    panel: str
    ref: str
    expression: str
    instant: bool


def load() -> dict:
    return json.loads(DASHBOARD.read_text())


def panels() -> list[dict]:
    return [panel for panel in load()["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    return [
        Query(panel["title"], target["refId"], target["expr"], target.get("instant", False))
        for panel in panels()
        for target in panel["targets"]
    ]


def expand(expression: str, rate_interval: str, **variables: str) -> str:
    """What Grafana sends: its variables replaced; those that are not given select all."""
    expression = expression.replace("$__rate_interval", rate_interval)
    return re.sub(r"\$(\w+)", lambda match: variables.get(match[1], ".*"), expression)


def alerts() -> list[dict]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def metric_list() -> dict[str, set[str]]:
    """Every series that a program may export, with the labels of its line in list.cc; histograms under three names."""
    found = {}
    line = r'\{"([a-z_0-9]+)",\s*k(Counter|Gauge|Histogram),\s*"(?:[^"\\]|\\.)*",\s*\{([^}]*)\}'
    for name, kind, labels in re.findall(line, METRIC_LIST.read_text()):
        names = [name + suffix for suffix in ("_bucket", "_sum", "_count")] if kind == "Histogram" else [name]
        for each in names:
            found[each] = set(re.findall(r'"(\w+)"', labels)) | ({"le"} if each.endswith("_bucket") else set())
    return found


def without_text(expression: str) -> str:
    return re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)


def metrics_in(expression: str) -> set[str]:
    """Names of series: words that are neither PromQL's nor labels (in braces, or after by, on, ignoring, group_*)."""
    text = without_text(expression)
    text = re.sub(r"\{[^}]*\}", "", text)
    text = re.sub(r"\b(by|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", text)
    text = re.sub(r"\[[^\]]*\]", "", text)
    return {word for word in re.findall(r"[A-Za-z_][A-Za-z_0-9]*", text) if word not in WORDS}


def labels_by_metric(expression: str) -> list[tuple[str, set[str]]]:
    """Each selector's metric and the labels that it matches on."""
    return [
        (name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels)))
        for name, labels in re.findall(r"([A-Za-z_]\w*)\{([^}]*)\}", without_text(expression))
    ]


def grouping_labels(expression: str) -> set[str]:
    lists = re.findall(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)", without_text(expression))
    return {label.strip() for names in lists for label in names.split(",") if label.strip()}
