"""JSON schemas for kubeconform, made offline: Kubernetes' own kinds from its OpenAPI document, others from CRDs.

Strict: an object that lists its properties takes no others. References are resolved in place: each file stands alone.
"""

import copy
import json
import pathlib

import yaml

NAME = "{kind}-{group}-{version}.json"
# What kubeconform fills in to find the file of an object.
LOCATION = "{{ .ResourceKind }}-{{ .Group }}-{{ .ResourceAPIVersion }}.json"


def closed(schema, definitions: dict, above: tuple = ()):
    """The schema with references resolved and unknown properties refused."""
    if isinstance(schema, list):
        return [closed(item, definitions, above) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        # JSONSchemaProps holds itself; quantities and int-or-string are written in more than one way.
        if name in above:
            return {}
        if name.endswith((".IntOrString", ".Quantity")):
            return {"type": ["string", "integer", "number"]}
        return closed(definitions[name], definitions, (*above, name))
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["string", "integer"]}
    # Below "properties" the keys are names of fields, "$ref" and "default" among them.
    result = {
        key: closed(value, definitions, above)
        for key, value in schema.items()
        if not key.startswith("x-") and key not in ("format", "default", "properties")
    }
    if "properties" in schema:
        result["properties"] = {key: closed(value, definitions, above) for key, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result.setdefault("additionalProperties", False)
    return result


def file_name(kind: str, group: str, version: str) -> str:
    # kubeconform takes what stands before the slash of apiVersion for the group, and the whole where there is none.
    return NAME.format(kind=kind.lower(), group=group or version, version=version)


def write(folder: pathlib.Path, swagger: pathlib.Path, crds: list[pathlib.Path], wanted: set[tuple[str, str]]):
    """Schemas of the wanted (apiVersion, kind) pairs; KeyError names one that has none."""
    definitions = json.loads(swagger.read_text())["definitions"]
    known = {}
    for definition in definitions.values():
        for gvk in definition.get("x-kubernetes-group-version-kind", []):
            known[gvk["group"], gvk["version"], gvk["kind"]] = definition
    meta = {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    for path in crds:
        crd = yaml.safe_load(path.read_text())
        for version in crd["spec"]["versions"]:
            schema = copy.deepcopy(version["schema"]["openAPIV3Schema"])
            schema.setdefault("properties", {}).update(
                {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": meta}
            )
            known[crd["spec"]["group"], version["name"], crd["spec"]["names"]["kind"]] = schema
    for api_version, kind in wanted:
        group, _, version = api_version.rpartition("/")
        (folder / file_name(kind, group, version)).write_text(
            json.dumps(closed(known[group, version, kind], definitions))
        )
