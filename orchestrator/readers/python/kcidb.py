# Holds a document against the newest schema of kcidb_io, and prints the number of its tests.
import json
import sys

import jsonschema
import kcidb_io

try:
    with open(sys.argv[1], encoding="utf-8") as file:
        document = json.load(file)
    kcidb_io.schema.LATEST.validate(document)
except (json.JSONDecodeError, jsonschema.ValidationError) as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(65)
print(len(document.get("tests", [])))
