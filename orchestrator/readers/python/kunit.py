# Prints the tests that the kernel's parser finds in a document, as JSON.
import inspect
import io
import json
import sys

out, said = sys.stdout, io.StringIO()
# The parser's printer takes the stream when it is imported.
sys.stdout = said
import kunit_parser


def shown(test):
    return {
        "name": test.name,
        "status": test.status.name,
        "tests": [shown(sub) for sub in test.subtests],
    }


with open(sys.argv[1], encoding="utf-8") as file:
    lines = file.read().splitlines()
# A later parser gets its printer from the caller.
wants_printer = len(inspect.signature(kunit_parser.parse_run_tests).parameters) > 1
printer = [kunit_parser.stdout] if wants_printer else []
test = kunit_parser.parse_run_tests(lines, *printer)
answer = {"tests": shown(test)["tests"], "errors": test.counts.errors, "said": said.getvalue()}
print(json.dumps(answer), file=out)
