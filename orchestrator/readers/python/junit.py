# Prints the tests that junitparser finds in a document, as JSON.
import json
import sys

import junitparser
from junitparser import xunit2
from xml.etree.ElementTree import ParseError

def results(case):
    return [type(result)._tag for result in list(case.result) + list(case.interim_result)]


def tests(document):
    one = isinstance(document, junitparser.TestSuite)
    for suite in [document] if one else document:
        for case in suite:
            case = xunit2.TestCase.fromelem(case._elem)
            yield {
                "suite": suite.name or "",
                "classname": case.classname or "",
                "name": case.name or "",
                "results": results(case),
                "properties": [f"{p.name}={p.value}" for p in case.properties()],
            }


try:
    document = xunit2.JUnitXml.fromfile(sys.argv[1])
    print(json.dumps(list(tests(document))))
except (ParseError, junitparser.JUnitXmlError) as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(65)
