"""From a schema to C++: structs, enums, reader and writer of one kind."""

import json
import re

from api.cpp_rules import (
    comment,
    decimal_rule,
    enumerator,
    int_rule,
    key_list,
    list_rule,
    map_rule,
    member,
    pascal,
    quoted,
    snake,
    text_rule,
)
from api.schema import SchemaError, stripped


class Cpp:
    """Collects the C++ of one kind. `enums` and `shared` are common to all kinds."""

    def __init__(self, source, enums, shared):
        self.source, self.enums, self.shared = source, enums, shared
        self.kind = source["kind"]
        self.structs, self.reads, self.writes, self.checks = [], [], [], []
        # A status is cut to what the schema allows: one text that is too long must not cost the rest.
        self.in_status = False

    def enum(self, schema, path):
        name = schema.get("x-cpp-type")
        if not name:
            raise SchemaError(f"{path}: an enum without x-cpp-type")
        if self.enums.setdefault(name, schema["enum"]) != schema["enum"]:
            raise SchemaError(f"{path}: another enum is called {name}")
        return name

    def struct(self, schema, path):
        name = schema.get("x-cpp-type")
        if not name:
            raise SchemaError(f"{path}: an object without x-cpp-type")
        shape = json.dumps(stripped(schema.get("properties")), sort_keys=True)
        if name in self.shared:
            if self.shared[name] != (self.kind, shape):
                raise SchemaError(f"{path}: another struct is called {name}")
            return name
        self.shared[name] = (self.kind, shape)
        fields, reads, writes = self.fields(schema, path, "")
        text = f"// {comment(schema)}.\nstruct {name} {{\n"
        text += "".join(member(*f) for f in fields)
        text += f"  bool operator==(const {name}&) const = default;\n}};\n"
        self.structs.append(text)
        self.reads.append(f"void Read(Section& s, {name}* out) {{\n" + "".join(f"  {line}\n" for line in reads) + "}\n")
        self.writes.append(
            f"Node Write(const {name}& v) {{\n  Writer w;\n"
            + "".join(f"  {line}\n" for line in writes)
            + "  return w.Take();\n}\n"
        )
        return name

    def fields(self, schema, path, prefix):
        fields, reads, writes = [], [], []
        for key, sub in schema["properties"].items():
            f, r, w = self.field(key, sub, key in schema.get("required", []), f"{path}.{key}", prefix)
            fields += f
            reads += r
            writes += w
        return fields, reads, writes

    def field(self, key, schema, required, path, prefix):
        name, kind, note = prefix + schema.get("x-cpp-name", snake(key)), schema.get("type"), comment(schema)
        k, default, out, v = (
            quoted(key),
            schema.get("default"),
            f"&out->{prefix + schema.get('x-cpp-name', snake(key))}",
            f"v.{name}",
        )
        must = "true" if required else "false"
        if schema.get("x-cpp-raw"):
            return (
                [(f"RawJson {name}", note)],
                self.check(key, schema, required, path) + [f"s.Raw({k}, {out});"],
                [f"w.Raw({k}, {v});"],
            )
        if kind == "object" and "x-cpp-prefix" in schema:
            fields, reads, writes = self.fields(schema, path, prefix + schema["x-cpp-prefix"])
            reads = (
                [f"s.Sub({k}, [out](Section& s) {{"]
                + ["  " + line for line in reads]
                + ["}" + (", true);" if required else ");")]
            )
            writes = (
                ["{", "  Writer outer = std::move(w);", "  w = Writer();"]
                + ["  " + line for line in writes]
                + [f"  outer.Sub({k}, w.Take(), {must});", "  w = std::move(outer);", "}"]
            )
            return fields, reads, writes
        if kind == "object" and "additionalProperties" in schema:
            return [(f"StringMap {name}", note)], [f"s.Map({k}, {out}, {map_rule(schema)});"], [f"w.Map({k}, {v});"]
        if kind == "object":
            struct = self.struct(schema, path)
            tail = ", true);" if required else ");"
            if schema.get("x-cpp-optional"):
                return (
                    [(f"std::optional<{struct}> {name}", note)],
                    [f"s.Sub({k}, [out](Section& t) {{ Read(t, &out->{name}.emplace()); }}{tail}"],
                    [f"if ({v}) w.Sub({k}, Write(*{v}), true);"],
                )
            return (
                [(f"{struct} {name}", note)],
                [f"s.Sub({k}, [out](Section& t) {{ Read(t, {out}); }}{tail}"],
                [f"w.Sub({k}, Write({v}), {must});"],
            )
        if kind == "array":
            return self.array(key, schema, required, path, name, note)
        if kind == "integer":
            base = "int64_t" if schema.get("format") == "int64" else "int"
            read = [f"s.Int({k}, {out}, {int_rule(schema, required)});"]
            if required or default is not None:
                start = 0 if default is None else default
                return (
                    [(f"{base} {name} = {start}", note)],
                    read,
                    [f"w.Int({k}, {v});" if required else f"w.IntUnless({k}, {v}, {start});"],
                )
            return [(f"std::optional<{base}> {name}", note)], read, [f"w.Int({k}, {v});"]
        if kind == "boolean":
            if default is not None:
                start = "true" if default else "false"
                return (
                    [(f"bool {name} = {start}", note)],
                    [f"s.Bool({k}, {out});"],
                    [f"w.BoolUnless({k}, {v}, {start});"],
                )
            return [(f"std::optional<bool> {name}", note)], [f"s.Bool({k}, {out});"], [f"w.Bool({k}, {v});"]
        if kind == "string" and "enum" in schema:
            enum = self.enum(schema, path)
            if schema.get("x-cpp-optional"):
                return [(f"std::optional<{enum}> {name}", note)], [f"s.Enum({k}, {out});"], [f"w.Enum({k}, {v});"]
            if not required and default is None:
                raise SchemaError(f"{path}: an enum that is neither required nor has a default needs x-cpp-optional")
            start = f"{enum}::{enumerator(default or schema['enum'][0])}"
            return (
                [(f"{enum} {name} = {start}", note)],
                [f"s.Enum({k}, {out}{', true' if required else ''});"],
                [f"w.Enum({k}, {v});" if required else f"w.EnumUnless({k}, {v}, {start});"],
            )
        if kind == "string":
            decimal = "x-decimal" in schema
            type_name = "Decimal" if decimal else "Timestamp" if schema.get("format") == "date-time" else "std::string"
            start = f" = {quoted(default)}" if default else ""
            read = (
                f"s.DecimalText({k}, {out}, {decimal_rule(schema, required)});"
                if decimal
                else f"s.Text({k}, {out}, {text_rule(schema, required)});"
            )
            text = (
                f"Cut({v}, {schema['maxLength']})"
                if self.in_status and type_name == "std::string" and "pattern" not in schema
                else v
            )
            write = f"w.Text({k}, {text});" if required else f"w.TextUnless({k}, {text}, {quoted(default or '')});"
            return [(f"{type_name} {name}{start}", note)], [read], [write]
        raise SchemaError(f"{path}: type {kind} is not supported")

    def array(self, key, schema, required, path, name, note):
        k, out, v, items = quoted(key), f"&out->{name}", f"v.{name}", schema["items"]
        if items["type"] == "string":
            return (
                [(f"std::vector<std::string> {name}", note)],
                [f"s.TextList({k}, {out}, {list_rule(schema, required)}, {text_rule(items, False)});"],
                [f"w.TextList({k}, {v});"],
            )
        struct = self.struct(items, path + "[]")
        cut = (
            f", false, {schema['maxItems']}" if self.in_status and schema["x-kubernetes-list-type"] == "atomic" else ""
        )
        reads = [
            f"s.SubList({k}, {list_rule(schema, required)}, "
            f"[out](Section& t) {{ Read(t, &out->{name}.emplace_back()); }});"
        ]
        if schema["x-kubernetes-list-type"] == "map":
            reads = ["{", "  " + key_list(schema)] + ["  " + r for r in reads] + ["}"]
        return (
            [(f"std::vector<{struct}> {name}", note)],
            reads,
            [
                f"w.SubList({k}, {v}, [](const {struct}& item) {{ return Write(item); }}"
                f"{', true' if required else cut});"
            ],
        )

    def check(self, key, schema, required, path):
        """Statements that check a field without keeping it."""
        k, kind, tail = quoted(key), schema.get("type"), ", true);" if required else ");"
        if kind == "object" and "additionalProperties" in schema:
            return [f"s.Map({k}, nullptr, {map_rule(schema)});"]
        if kind == "object":
            return [f"s.Sub({k}, {self.check_object(schema, path)}{tail}"]
        if kind == "array" and schema["items"]["type"] == "string":
            return [f"s.TextList({k}, nullptr, {list_rule(schema, required)}, {text_rule(schema['items'], False)});"]
        if kind == "array":
            lines = [f"s.SubList({k}, {list_rule(schema, required)}, {self.check_object(schema['items'], path)});"]
            return (
                ["{", "  " + key_list(schema)] + ["  " + line for line in lines] + ["}"]
                if schema["x-kubernetes-list-type"] == "map"
                else lines
            )
        if kind == "integer":
            return [f"s.CheckInt({k}, {int_rule(schema, required)});"]
        if kind == "boolean":
            return [f"s.Bool({k}, static_cast<bool*>(nullptr){', true' if required else ''});"]
        if "enum" in schema:
            names = f"k{''.join(pascal(part) for part in re.findall('[A-Za-z]+', path))}"
            self.checks.append(
                f"constexpr std::string_view {names}[] = {{{', '.join(quoted(n) for n in schema['enum'])}}};\n"
            )
            return [f"s.Choice({k}, {names}{', true' if required else ''});"]
        return [f"s.Text({k}, nullptr, {text_rule(schema, required)});"]

    def check_object(self, schema, path):
        name = f"Check{''.join(pascal(part) for part in re.findall('[A-Za-z]+', path))}"
        lines = []
        for key, sub in schema.get("properties", {}).items():
            lines += self.check(key, sub, key in schema.get("required", []), f"{path}.{key}")
        if "maxProperties" in schema:
            any_field = "true" if schema.get("x-kubernetes-preserve-unknown-fields") else "false"
            lines.append(f"s.AtMost({schema['maxProperties']}, {any_field});")
        self.checks.append(f"void {name}(Section& s) {{\n" + "".join(f"  {line}\n" for line in lines) + "}\n")
        return name

    def object(self):
        """The struct of the kind itself, and the body's reader and writer."""
        properties = self.source["schema"]["properties"]
        fields, reads, writes = [("Metadata metadata", "Name, namespace, labels and what the API server adds")], [], []
        f, r, writes = self.field("spec", properties["spec"], True, "spec", "")
        fields += f
        reads += r
        if "status" in properties:
            self.in_status = True
            f, _, _ = self.field("status", properties["status"], False, "status", "")
            self.in_status = False
            fields += f
            reads.append('s.LenientSub("status", [out](Section& t) { Read(t, &out->status); });')
        else:
            reads.append('s.Ignore("status");')
        kind = self.kind
        text = f"// {comment(self.source['schema'])}.\nstruct {kind} {{\n"
        text += "".join(member(*f) for f in fields)
        self.structs.append(text + f"  bool operator==(const {kind}&) const = default;\n}};\n")
        name_rule = text_rule(properties["metadata"]["properties"]["name"], True)
        body = f"const TextRule& NameRule(const {kind}&) {{\n  static constexpr TextRule kRule = {name_rule};\n"
        body += "  return kRule;\n}\n\n"
        body += f"void ReadBody(Section& s, {kind}* out) {{\n" + "".join(f"  {line}\n" for line in reads) + "}\n\n"
        body += f"Node WriteSpec(const {kind}& v) {{\n  Writer w;\n" + "".join(f"  {line}\n" for line in writes)
        return body + "  return std::move(w.Take().fields.front().value);\n}\n"
