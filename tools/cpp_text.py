"""What the checks share: which files there are, C++ without its comments and strings, and main()."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = ("src", "sim", "fuzz", "test", "bench")

_NOISE = re.compile(
    r"""//[^\n]*
      | /\*.*?\*/
      | (?:u8|[uUL])?R"(?P<mark>[^()\s\\]{0,16})\(.*?\)(?P=mark)"
      | "(?:\\.|[^"\\\n])*"
      | (?<![0-9a-zA-Z_])'(?:\\.|[^'\\\n])+'
    """,
    re.VERBOSE | re.DOTALL,
)


def source_files(root=ROOT):
    """Every C++ file of ours, in a fixed order."""
    found = []
    for folder in FOLDERS:
        found += [path for path in (root / folder).rglob("*") if path.suffix in (".cc", ".h")]
    return sorted(found)


def blank(text):
    """The text with comments, strings and characters as spaces: same offsets, same lines."""

    def spaces(match):
        return re.sub(r"[^\n]", " ", match.group())

    return _NOISE.sub(spaces, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def closing(text, opening):
    """The offset of the bracket that closes the one at `opening`; the end where there is none."""
    pairs = {"(": ")", "[": "]", "{": "}"}
    depth = 0
    for offset in range(opening, len(text)):
        if text[offset] in pairs:
            depth += 1
        elif text[offset] in pairs.values():
            depth -= 1
            if depth == 0:
                return offset
    return len(text)


def is_excused(lines, line, check_name):
    """Whether the line, or the one before it, says `NOLINT(check_x): why`."""
    pattern = re.compile(rf"NOLINT\({check_name}\): \w+")
    return any(pattern.search(text) for text in lines[max(line - 2, 0) : line])


def main(check, paths=None):
    """Runs check(path, text) over the files; it yields (line, message). Returns the exit code."""
    name = pathlib.Path(sys.argv[0]).stem
    paths = [pathlib.Path(word).resolve() for word in (paths or sys.argv[1:])] or source_files()
    findings = 0
    for path in paths:
        relative = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        text = path.read_text(encoding="utf-8")
        for line, message in check(relative, text):
            if is_excused(text.splitlines(), line, name):
                continue
            print(f"{relative}:{line}: {message}")
            findings += 1
    print(f"{len(paths)} files, {findings} findings")
    if not paths:
        print("no files: a check that reads nothing proves nothing")
    return 1 if findings or not paths else 0
