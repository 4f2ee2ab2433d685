#!/usr/bin/env python3
"""Makes what charts/patella copies from elsewhere, so that each thing has one source:

deploy/crds/*.yaml                  -> templates/crds/*.yaml     behind crds.enabled, with crds.keep
deploy/accelerators/*.yaml          -> files/accelerators/*.yaml
deploy/rbac/operator-rules.yaml     -> files/operator-rules.yaml
deploy/alerts/patella.rules.yaml    -> files/alerts.yaml
deploy/dashboards/patella.json      -> files/dashboard.json
values.yaml                         -> values.schema.json and the table in README.md

tools/chart.py            writes them
tools/chart.py --check    writes nothing; says which differ, and fails if any does
"""

import json
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[1]
CHART = ROOT / "charts/patella"
MADE_BY = "Made by tools/chart.py from {}: change it there."

# What a default alone does not tell: values whose default is empty, and those with a closed list or a range.
STRING_MAP = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECT = {"type": "object"}  # a Kubernetes type: the API server knows its fields
OBJECTS = {"type": "array", "items": OBJECT}
STRINGS = {"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True}
IMAGE = {
    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "repository": {"type": "string", "minLength": 1},
}
SPECIAL = {
    "replicaCount": {"type": "integer", "minimum": 0},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    **{f"{of}image.{name}": schema for of in ("", "sidecar.", "engine.") for name, schema in IMAGE.items()},
    "imagePullSecrets": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string"}},
        },
    },
    "watchNamespaces": STRINGS,
    "workers": {"type": "integer", "minimum": 1, "maximum": 64},
    "logLevel": {"enum": ["trace", "debug", "info", "warn", "error", "off"]},
    "hostModelDir": {"type": "string", "pattern": "^(/.*)?$"},
    "extraEnv": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string"}, "value": {"type": "string"}, "valueFrom": OBJECT},
        },
    },
    "extraArgs": {"type": "array", "items": {"type": "string"}},
    "leaderElection.flowSchema.matchingPrecedence": {"type": "integer", "minimum": 1, "maximum": 10000},
    "acceleratorClasses.exclude": STRINGS,
    "revisionHistoryLimit": {"type": "integer", "minimum": 0},
    "terminationGracePeriodSeconds": {"type": "integer", "minimum": 0},
    "podDisruptionBudget.maxUnavailable": {
        "oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9]+%$"}]
    },
    "networkPolicy.metricsFrom": OBJECTS,
    "networkPolicy.apiServerPorts": {
        "type": "array",
        "minItems": 1,
        "items": {"type": "integer", "minimum": 1, "maximum": 65535},
    },
    "metrics.service.port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "prometheusRule.runbookUrl": {"type": "string", "pattern": "^https?://"},
    "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
    **{
        name: STRING_MAP
        for name in (
            "commonLabels",
            "commonAnnotations",
            "serviceAccount.annotations",
            "podAnnotations",
            "podLabels",
            "nodeSelector",
            "metrics.service.annotations",
            "metrics.serviceMonitor.labels",
            "metrics.podMonitor.labels",
            "dashboard.labels",
            "dashboard.annotations",
            "prometheusRule.labels",
            "prometheusRule.alertLabels",
        )
    },
    **{name: OBJECT for name in ("resources", "affinity", "podSecurityContext", "securityContext")},
    **{
        name: OBJECTS
        for name in (
            "tolerations",
            "topologySpreadConstraints",
            "metrics.serviceMonitor.relabelings",
            "metrics.serviceMonitor.metricRelabelings",
            "metrics.podMonitor.metricRelabelings",
        )
    },
    **{
        name: {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))*$"}
        for name in ("metrics.serviceMonitor.interval", "metrics.podMonitor.interval")
    },
}


def described_values(text: str) -> list[tuple[str, str]]:
    """The dotted path of each value with the comment directly above it; values in flow style have none."""
    found, path, comment = [], [], []
    for line in text.splitlines():
        if match := re.match(r"( *)# (.*)", line):
            comment.append(match[2])
        elif match := re.match(r"( *)([A-Za-z]+):", line):
            depth = len(match[1]) // 2
            path = path[:depth] + [match[2]]
            if comment:
                found.append((".".join(path), " ".join(comment)))
            comment = []
        else:
            comment = []
    return found


def value_at(values: dict, path: str):
    for name in path.split("."):
        values = values[name]
    return values


def schema_of(path: str, value, comments: dict[str, str]) -> dict:
    if path in SPECIAL:
        schema = dict(SPECIAL[path])
    elif isinstance(value, dict) and value:
        schema = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: schema_of(f"{path}.{name}" if path else name, inner, comments) for name, inner in value.items()
            },
        }
    elif isinstance(value, bool):
        schema = {"type": "boolean"}
    elif isinstance(value, str):
        schema = {"type": "string"}
    else:
        sys.exit(f"tools/chart.py: SPECIAL must tell what {path} may be: its default {value!r} does not")
    if path in comments:
        schema = {"description": comments[path], **schema}
    return schema


def values_schema(values: dict, comments: dict[str, str]) -> str:
    unused = [path for path in SPECIAL if not reachable(values, path)]
    if unused:
        sys.exit(f"tools/chart.py: SPECIAL names what values.yaml lacks: {', '.join(unused)}")
    schema = schema_of("", values, comments)
    # Where this chart is part of another, that one's globals come along.
    schema["properties"]["global"]["additionalProperties"] = True
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the Patella chart", **schema}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def reachable(values: dict, path: str) -> bool:
    try:
        value_at(values, path)
        return True
    except (KeyError, TypeError):
        return False


def readme(text: str, values: dict, described: list[tuple[str, str]]) -> str:
    rows = ["| value | default | what it is |", "| --- | --- | --- |"]
    for path, comment in described:
        default = json.dumps(value_at(values, path), ensure_ascii=False)
        rows.append(f"| `{path}` | `{default}` | {comment.replace('|', chr(92) + '|')} |")
    begin, end = "<!-- values: made by tools/chart.py -->\n", "<!-- end of values -->"
    head, rest = text.split(begin)
    return head + begin + "\n".join(rows) + "\n" + end + rest.split(end)[1]


def crd_template(text: str, source: str) -> str:
    """The CRD behind crds.enabled, with the chart's labels and, for crds.keep, Helm's annotation that keeps it."""
    crd = yaml.safe_load(text)
    if crd["kind"] != "CustomResourceDefinition":
        sys.exit(f"{source}: expected a CustomResourceDefinition, found {crd['kind']}")
    if "labels" in crd["metadata"]:
        sys.exit(f"{source}: metadata.labels are the chart's: leave them out")
    own = crd["metadata"].get("annotations", {})
    lines = text.splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith("metadata:"))
    stop = next(i for i in range(start + 1, len(lines)) if not re.match(r"\s|#", lines[i]))
    head = "".join(line for line in lines[:start] if not line.startswith(("#", "---")))
    annotations = " ".join(["dict", *(json.dumps(part) for item in own.items() for part in item)])
    return (
        "{{- /* " + MADE_BY.format(source) + " */}}\n{{- if .Values.crds.enabled }}\n"
        "{{- $own := "
        + annotations
        + ' }}\n{{- if .Values.crds.keep }}\n{{- $_ := set $own "helm.sh/resource-policy" "keep" }}\n{{- end }}\n'
        + escape(head)
        + "metadata:\n  name: "
        + crd["metadata"]["name"]
        + "\n"
        '  {{- include "patella.metadata" (list . dict $own) | nindent 2 }}\n'
        + escape("".join(lines[stop:])).rstrip()
        + "\n{{- end }}\n"
    )


def escape(text: str) -> str:
    return text.replace("{{", '{{ "{{" }}')


def outputs() -> dict[pathlib.Path, str]:
    made = {}
    for source in sorted((ROOT / "deploy/crds").glob("*.yaml")):
        made[CHART / "templates/crds" / source.name] = crd_template(source.read_text(), f"deploy/crds/{source.name}")
    for source in sorted((ROOT / "deploy/accelerators").glob("*.yaml")):
        made[CHART / "files/accelerators" / source.name] = (
            f"# {MADE_BY.format(f'deploy/accelerators/{source.name}')}\n{source.read_text()}"
        )
    for source, target in (
        ("deploy/rbac/operator-rules.yaml", "operator-rules.yaml"),
        ("deploy/alerts/patella.rules.yaml", "alerts.yaml"),
    ):
        made[CHART / "files" / target] = f"# {MADE_BY.format(source)}\n{(ROOT / source).read_text()}"
    # JSON has no comments; the dashboard is the same byte for byte.
    made[CHART / "files/dashboard.json"] = (ROOT / "deploy/dashboards/patella.json").read_text()
    text = (CHART / "values.yaml").read_text()
    values, described = yaml.safe_load(text), described_values(text)
    made[CHART / "values.schema.json"] = values_schema(values, dict(described))
    made[CHART / "README.md"] = readme((CHART / "README.md").read_text(), values, described)
    return made


def main() -> int:
    made = outputs()
    folders = (CHART / "templates/crds", CHART / "files/accelerators")
    stale = [path for folder in folders for path in folder.glob("*") if path not in made]
    differ = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in differ + stale:
            print(f"{path.relative_to(ROOT)} differs from its source: run `make generate`", file=sys.stderr)
        return 1 if differ or stale else 0
    for path in differ:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made[path])
    for path in stale:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
