"""From a schema to its custom resource definition, deploy/crds/PLURAL.yaml."""

import copy

import yaml
from api.schema import GROUP, HASH_ANNOTATION, NOTE, VERSION, stripped


def fill_defaults(schema):
    """Spells `default: {}` out: the API server judges it by the rules before it puts the defaults within it in."""
    for sub in schema.get("properties", {}).values():
        fill_defaults(sub)
    if schema.get("default") == {}:
        schema["default"] = {k: copy.deepcopy(v["default"]) for k, v in schema["properties"].items() if "default" in v}


def explain_patterns(schema):
    """A pattern becomes a rule with a message in words: of a pattern the API server shows the expression alone."""
    if "x-decimal" in schema:
        schema.pop("pattern")  # its rule says it
    elif "x-expected" in schema:
        rule = f"self.matches(r'{schema.pop('pattern')}')"
        if schema.get("x-kubernetes-int-or-string"):
            rule = f"type(self) == int || {rule}"
        schema.setdefault("x-kubernetes-validations", []).insert(
            0, {"rule": rule, "message": f"expected {schema['x-expected']}"}
        )
    for sub in [
        *schema.get("properties", {}).values(),
        *(schema[k] for k in ("items", "additionalProperties") if k in schema),
    ]:
        explain_patterns(sub)


def drop_rules(schema):
    """Of a status, which programs write, patterns alone are checked: they cost nothing."""
    schema.pop("x-kubernetes-validations", None)
    for sub in [
        *schema.get("properties", {}).values(),
        *(schema[k] for k in ("items", "additionalProperties") if k in schema),
    ]:
        drop_rules(sub)


def crd(source):
    schema = copy.deepcopy(source["schema"])
    for part in ("metadata", "spec"):
        explain_patterns(schema["properties"][part])
    drop_rules(schema["properties"].get("status", {}))
    name_rule = schema["properties"]["metadata"]["properties"]["name"].pop("x-kubernetes-validations")[0]
    schema.setdefault("x-kubernetes-validations", []).append(
        {
            "rule": name_rule["rule"].replace("self", "self.metadata.name"),
            "message": name_rule["message"],
            "fieldPath": ".metadata.name",
        }
    )
    schema = stripped(schema)
    fill_defaults(schema)
    schema["properties"] = {
        "apiVersion": {"type": "string", "description": f"Version of the schema: {GROUP}/{VERSION}."},
        "kind": {"type": "string", "description": f"Kind of the object: {source['kind']}."},
        **schema["properties"],
    }
    schema["properties"]["metadata"].pop("description")  # the API server's own; a definition may only narrow the name
    version = {"name": VERSION, "served": True, "storage": True}
    if "subresources" in source:
        version["subresources"] = source["subresources"]
    version["additionalPrinterColumns"] = source["printerColumns"]
    version["schema"] = {"openAPIV3Schema": schema}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{source['plural']}.{GROUP}", "annotations": {}},
        "spec": {
            "group": GROUP,
            "scope": source["scope"],
            "names": {
                "kind": source["kind"],
                "listKind": source["kind"] + "List",
                "plural": source["plural"],
                "singular": source["singular"],
                "shortNames": source["shortNames"],
                "categories": source["categories"],
            },
            "versions": [version],
        },
    }


class Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


def crd_text(definition, schema_hash):
    definition = copy.deepcopy(definition)
    definition["metadata"]["annotations"] = {HASH_ANNOTATION: schema_hash}
    return f"# {NOTE}\n" + yaml.dump(definition, Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)
