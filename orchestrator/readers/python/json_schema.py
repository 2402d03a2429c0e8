# Holds a document against a JSON schema, and prints the number of its values. A document that is
# not one value has a value a line.
import json
import sys

import jsonschema


def values(text):
    try:
        return [json.loads(text)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]


with open(sys.argv[2], encoding="utf-8") as file:
    schema = json.load(file)
Validator = jsonschema.validators.validator_for(schema)
Validator.check_schema(schema)
try:
    with open(sys.argv[1], encoding="utf-8") as file:
        found = values(file.read())
    for value in found:
        Validator(schema, format_checker=Validator.FORMAT_CHECKER).validate(value)
except (json.JSONDecodeError, jsonschema.ValidationError) as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(65)
print(len(found))
