"""From the schemas to docs/api.md."""

import json

from api.schema import GROUP, NOTE, VERSION, rules_of


def type_text(schema):
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "x-decimal" in schema:
        return "decimal"
    if "enum" in schema:
        return " \\| ".join(f"`{json.dumps(v) if v in ('Off', 'True', 'False') else v}`" for v in schema["enum"])
    if schema["type"] == "array":
        return f"list of {type_text(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {type_text(schema['additionalProperties'])}"
    if schema.get("format") == "date-time":
        return "time"
    return {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "object"}[schema["type"]]


def bounds(schema, required):
    parts = ["required"] if required else []
    if "default" in schema and schema["default"] != {}:
        parts.append(
            f"default `{json.dumps(schema['default'])}`"
            if not isinstance(schema["default"], str)
            else f"default `{schema['default']}`"
        )
    if schema.get("type") == "integer" and ("maximum" in schema or schema["minimum"]):
        parts.append(
            f"{schema['minimum']:,} to {schema['maximum']:,}" if "maximum" in schema else f"from {schema['minimum']}"
        )
    rule = schema.get("x-decimal", {})
    if "below" in rule:
        parts.append(f"between {rule['above']} and {rule['below']}")
    elif "above" in rule:
        parts.append(f"above {rule['above']}")
    if "maxItems" in schema:
        parts.append(f"at most {schema['maxItems']}")
    if schema.get("x-kubernetes-list-map-keys"):
        parts.append("unique " + " and ".join(f"`{key}`" for key in schema["x-kubernetes-list-map-keys"]))
    if "x-expected" in schema:
        parts.append(schema["x-expected"])
    return ", ".join(parts).replace("|", "\\|")


def describe(schema, path, out):
    properties = schema.get("properties", {})
    if not properties:
        return
    out.append(
        f"\n### `{path}`\n\n{schema['description']}\n\n| field | type | bounds | meaning |\n| --- | --- | --- | --- |"
    )
    for name, sub in properties.items():
        cells = [
            f"`{name}`",
            type_text(sub),
            bounds(sub, name in schema.get("required", [])),
            " ".join(sub["description"].split()).replace("|", "\\|"),
        ]
        out.append("| " + " | ".join(cells) + " |")
    for name, sub in properties.items():
        where = f"{path}.{name}"
        if sub.get("type") == "array":
            sub, where = sub["items"], where + "[]"
        describe(sub, where, out)


def docs(sources):
    out = [
        f"<!-- {NOTE} -->\n# The API, {GROUP}/{VERSION}\n",
        'Names are camelCase with the unit in the name. Decimals are text in quotes ("0.90"), because the API has no\n'
        "floating-point numbers. Money is in dollars. A field that is not set takes its default; a field that does\n"
        "not exist is an error, from the API server with `--validate=strict` (kubectl's default) and from `patella`\n"
        "always. "
        "`kubectl explain idep.spec.objectives` and the like show what this page does.\n",
    ]
    for source in sources:
        names = ", ".join(f"`{n}`" for n in [source["plural"], *source["shortNames"]])
        scope = "in a namespace" if source["scope"] == "Namespaced" else "cluster-wide"
        out.append(
            f"\n## {source['kind']}\n\n{source['schema']['description']}\n\n{names}; {scope}; category `patella`."
        )
        if "subresources" in source:
            out.append("Sub-resources: " + ", ".join(f"`/{name}`" for name in source["subresources"]) + ".")
        out.append(
            f"\n`metadata.name`: {source['schema']['properties']['metadata']['properties']['name']['x-expected']}."
        )
        out.append("\n`kubectl get` shows:\n\n| column | meaning |\n| --- | --- |")
        for column in source["printerColumns"]:
            wide = " (with `-o wide`)" if column.get("priority") else ""
            out.append(f"| {column['name'].upper()} | {column['description']}{wide} |")
        for part in ("spec", "status"):
            if part in source["schema"]["properties"]:
                describe(source["schema"]["properties"][part], part, out)
        rules = [
            (path + rule.get("fieldPath", ""), rule["message"])
            for path, schema, rule in rules_of(source["schema"])
            if "x-decimal" not in schema
        ]
        if rules:
            out.append(f"\n### Rules between fields of {source['kind']}\n\n| field | what is checked |\n| --- | --- |")
            out += [f"| `{path}` | {message} |" for path, message in rules]
    return "\n".join(out) + "\n"
