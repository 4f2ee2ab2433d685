"""Names and rules as C++ text: what api/cpp.py puts into the calls of lib/api/reader.h."""

import json
import re
import textwrap


def snake(name):
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: "_" + m.group(1).lower(), name).lower()


def enumerator(name):
    return "k" + "".join(w[0].upper() + w[1:].lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*", name))


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


def pascal(name):
    return name[0].upper() + name[1:]


def text_rule(schema, required):
    parts = []
    if schema.get("minLength"):
        parts.append(f".min_length = {schema['minLength']}")
    if schema["maxLength"] != 253:
        parts.append(f".max_length = {schema['maxLength']}")
    if required:
        parts.append(".required = true")
    if "pattern" in schema:
        parts.append(f".pattern = {quoted(schema['pattern'])}")
    if "x-expected" in schema:
        parts.append(f".expected = {quoted(schema['x-expected'])}")
    if schema.get("format") == "date-time":
        parts.append(".time = true")
    return "{" + ", ".join(parts) + "}"


def int_rule(schema, required):
    parts = []
    if schema["minimum"]:
        parts.append(f".min = {schema['minimum']}")
    if "maximum" in schema:
        parts.append(f".max = {schema['maximum']}")
    if "x-unit" in schema:
        parts.append(f".unit = {quoted(schema['x-unit'])}")
    if required:
        parts.append(".required = true")
    return "{" + ", ".join(parts) + "}"


def decimal_rule(schema, required):
    rule = schema["x-decimal"]
    parts = [f".{key} = {float(rule[key])}" for key in ("above", "below") if key in rule]
    parts.append(f".example = {quoted(rule['example'])}")
    if required:
        parts.append(".required = true")
    return "{" + ", ".join(parts) + "}"


def list_rule(schema, required):
    parts = []
    if schema.get("minItems"):
        parts.append(f".min_items = {schema['minItems']}")
    parts.append(f".max_items = {schema['maxItems']}")
    if required:
        parts.append(".required = true")
    if schema["x-kubernetes-list-type"] == "map":
        parts.append(".keys = kKeys")
    if schema["x-kubernetes-list-type"] == "set":
        parts.append(".unique = true")
    return "{" + ", ".join(parts) + "}"


def key_list(schema):
    keys = []
    for key in schema["x-kubernetes-list-map-keys"]:
        default = schema["items"]["properties"][key].get("default")
        keys.append("{" + quoted(key) + (f", {quoted(str(default))}" if default is not None else "") + "}")
    return f"static constexpr ListKey kKeys[] = {{{', '.join(keys)}}};"


def map_rule(schema):
    value = schema["additionalProperties"]
    parts = [f".max_items = {schema['maxProperties']}", f".value = {text_rule(value, False)}"]
    if value.get("x-kubernetes-int-or-string"):
        parts.append(".whole_numbers_too = true")
    return "{" + ", ".join(parts) + "}"


def comment(schema):
    """The first sentence of the description if it fits behind a field."""
    return re.split(r"(?<=\.) ", schema["description"])[0].rstrip(".").replace("\n", " ")


def member(declaration, note):
    """The declaration with its comment behind it or, if that is too long, above."""
    line = f"  {declaration};  // {note}\n"
    return (
        line
        if len(line) <= 121
        else "".join(f"  // {part}\n" for part in textwrap.wrap(note, 115)) + f"  {declaration};\n"
    )
