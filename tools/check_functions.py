#!/usr/bin/python3
"""No function is longer than 70 lines. Long files are told, not refused (STYLE.md section 1)."""

import pathlib
import sys

from cpp_scopes import functions
from cpp_text import ROOT, line_of, main, source_files

FUNCTION_LINES_MAX = 70
FILE_LINES = {".cc": 500, ".h": 300}


def check(_path, source):
    for function in functions(source):
        first, last = line_of(source, function.start), line_of(source, function.end)
        if last - first + 1 > FUNCTION_LINES_MAX:
            yield first, f"{function.name} has {last - first + 1} lines, {FUNCTION_LINES_MAX} at most"


def warn_of_long_files(paths):
    for path in paths:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > FILE_LINES[path.suffix]:
            print(f"{path.relative_to(ROOT)}: warning: {lines} lines; split by concern?")


if __name__ == "__main__":
    warn_of_long_files([pathlib.Path(word).resolve() for word in sys.argv[1:]] or source_files())
    sys.exit(main(check))
