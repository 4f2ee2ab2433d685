#!/usr/bin/env python3
"""Makes all that follows from the API's schemas (lib/api/v1alpha1/*.yaml, the one source); --check says what differs.

  deploy/crds/PLURAL.yaml         custom resource definitions, complete
  lib/api/generated/              C++ structs, enums, strict reader, writer
  docs/api.md                     reference

The sources are OpenAPI as kube-apiserver takes it. These keys beside it steer the generator and never reach a cluster:

  x-cpp-type: NAME      struct or enum of that name (objects with properties and enums need it)
  x-cpp-name: NAME      the field's name where camelCase to snake_case isn't right
  x-cpp-prefix: TEXT    no struct: the object's fields become fields of the parent, with this before their names
  x-cpp-optional: true  std::optional<struct or enum>
  x-cpp-raw: true       checked, and kept as JSON: a part of Kubernetes' own API that is passed on
  x-decimal: {above, below, example}   a decimal as text: type, length, pattern and the CEL rule for the range follow
  x-expected: TEXT      what a pattern asks for, in words, for error messages
  x-unit: TEXT          unit of a whole number, for error messages

Refuses a schema without a description, a bound on every list, map and text, or a CEL message that lib/api/validate.cc
doesn't give too. tools/api holds the parts: schema.py reads, crd.py, cpp*.py and docs.py write.
"""

import hashlib
import json
import sys

from api.cpp_files import cpp_files
from api.crd import crd, crd_text
from api.docs import docs
from api.schema import KINDS, ROOT, SchemaError, check_messages, load


def main():
    try:
        sources = [load(plural) for plural in KINDS]
        check_messages(sources)
        definitions = [crd(source) for source in sources]
        schema_hash = hashlib.sha256(json.dumps(definitions, sort_keys=True).encode()).hexdigest()[:12]
        files = {f"deploy/crds/{s['plural']}.yaml": crd_text(d, schema_hash) for s, d in zip(sources, definitions)}
        files.update(cpp_files(sources, schema_hash))
        files["docs/api.md"] = docs(sources)
    except SchemaError as error:
        print(f"lib/api/v1alpha1: {error}")
        return 1
    stale = [name for name, text in files.items() if not (ROOT / name).is_file() or (ROOT / name).read_text() != text]
    for folder in ("lib/api/generated", "deploy/crds"):
        stale += [
            str(p.relative_to(ROOT)) for p in sorted((ROOT / folder).glob("*")) if str(p.relative_to(ROOT)) not in files
        ]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"{name}: differs from lib/api/v1alpha1: run `make generate`")
        return 1 if stale else 0
    for name in stale:
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in files:
            path.write_text(files[name])
        else:
            path.unlink()
        print(f"{name} {'written' if name in files else 'removed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
