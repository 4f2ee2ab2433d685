"""The files of lib/api/generated, put together from what api/cpp.py makes of each kind."""

from api.cpp import Cpp
from api.cpp_rules import enumerator, quoted, snake
from api.schema import NOTE


def cpp_files(sources, schema_hash):
    enums, shared, files, kinds = {}, {}, {}, [s["kind"] for s in sources]
    declarations = ""
    for source in sources:
        cpp = Cpp(source, enums, shared)
        body = cpp.object()
        stem = snake(source["kind"])
        header = (
            f"// {NOTE}\n#pragma once\n\n#include <optional>\n#include <string>\n#include <vector>\n\n"
            '#include "lib/api/generated/enums.h"\n#include "lib/api/metadata.h"\n\nnamespace patella::api {\n\n'
        )
        files[f"lib/api/generated/{stem}.h"] = header + "\n".join(cpp.structs) + "\n}  // namespace patella::api\n"
        status = [f for f in cpp.writes if f.startswith("Node Write(const InferenceDeploymentStatus&")]
        private = [f for f in cpp.writes if f not in status]
        files[f"lib/api/generated/{stem}.cc"] = (
            f"// {NOTE}\n"
            + f'#include "lib/api/{stem}.h"\n\n#include "lib/api/generated/codec.h"\n#include "lib/api/reader.h"\n'
            '#include "lib/api/writer.h"\n\nnamespace patella::api {\nnamespace {\n\n'
            + "\n".join(cpp.checks + cpp.reads + private)
            + "\n}  // namespace\n\n"
            + "\n".join(status + [body])
            + "\n}  // namespace patella::api\n"
        )
        declarations += (
            f"const TextRule& NameRule(const {source['kind']}&);\n"
            f"void ReadBody(Section& s, {source['kind']}* out);  // spec, status\n"
            f"Node WriteSpec(const {source['kind']}& v);\n"
        )
    text = f'// {NOTE}\n#pragma once\n\n#include "lib/api/enums.h"\n\nnamespace patella::api {{\n\n'
    for name, values in enums.items():
        text += f"enum class {name} {{ {', '.join(enumerator(v) for v in values)} }};\n"
    for name, values in enums.items():
        text += (
            f"\ntemplate <>\nstruct EnumNames<{name}> {{\n"
            f"  static constexpr std::array<std::string_view, {len(values)}> kNames = "
            f"{{{', '.join(quoted(v) for v in values)}}};\n}};\n"
        )
    files["lib/api/generated/enums.h"] = text + "\n}  // namespace patella::api\n"
    includes = "".join(f'#include "lib/api/{snake(kind)}.h"\n' for kind in sorted(kinds))
    files["lib/api/generated/codec.h"] = (
        f"// {NOTE}\n#pragma once\n\n#include <span>\n#include <string_view>\n\n{includes}"
        '#include "lib/api/node.h"\n#include "lib/api/reader.h"\n\nnamespace patella::api {\n\n'
        f'inline constexpr char kSchemaHash[] = "{schema_hash}";\n\n{declarations}'
        "Node Write(const InferenceDeploymentStatus& v);\n\n"
        '// What this program knows of each kind: "spec.engine.env[].name", and "spec.engine.type=VLLM" for each name '
        "of a closed choice.\n"
        "struct KnownKind {\n  std::string_view kind, plural;\n  std::span<const std::string_view> fields;\n};\n"
        "std::span<const KnownKind> KnownKinds();\n\n}  // namespace patella::api\n"
    )
    files["lib/api/generated/fields.cc"] = fields_file(sources)
    files["lib/api/generated/.clang-format"] = "DisableFormat: true\nSortIncludes: Never\n"
    return files


def known_fields(schema, path=""):
    """The path of every field below, and PATH=NAME for every name of a closed choice."""
    for name, sub in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        yield where
        sub, where = (sub["items"], where + "[]") if sub.get("type") == "array" else (sub, where)
        yield from (f"{where}={value}" for value in sub.get("enum", []))
        yield from known_fields(sub, where)


def fields_file(sources):
    text = f"// {NOTE}\n" + '#include "lib/api/generated/codec.h"\n\nnamespace patella::api {\nnamespace {\n'
    rows = ""
    for source in sources:
        paths = [path for path in known_fields(source["schema"]) if not path.startswith("metadata")]
        text += (
            f"\nconstexpr std::string_view k{source['kind']}Fields[] = {{\n"
            + "".join(f"    {quoted(path)},\n" for path in paths)
            + "};\n"
        )
        rows += f'    {{"{source["kind"]}", "{source["plural"]}", k{source["kind"]}Fields}},\n'
    return (
        text
        + "\n}  // namespace\n\nstd::span<const KnownKind> KnownKinds() {\n  static constexpr KnownKind kKinds[] = {\n"
        + rows.replace("    {", "      {")
        + "  };\n  return kKinds;\n}\n\n}  // namespace patella::api\n"
    )
