"""Where functions begin and end in C++ text, found by brackets and by what stands before them."""

import dataclasses
import re

from cpp_text import blank, closing

_TRANSPARENT = re.compile(r"\b(?:namespace|class|struct|union|extern\s*(?=$))\b|^\s*extern\s*$")
_CONTINUED = re.compile(r"\s*(?:,.*)?$", re.DOTALL)


@dataclasses.dataclass
class Function:
    name: str
    start: int  # Offset of the first character of its head.
    end: int  # Offset of the closing brace.


def functions(source):
    """The functions at namespace and class scope; lambdas and local classes are part of theirs."""
    text = without_directives(blank(source))
    found, at, head_start, previous = [], 0, 0, None
    while at < len(text):
        character = text[at]
        if character == "(":
            at = closing(text, at)
        elif character in ";}":
            head_start, previous = at + 1, None
        elif character == "{":
            head = text[head_start:at]
            if previous is not None and _CONTINUED.match(head):
                at = previous.end = closing(text, at)  # A constructor's a_{1}, b_{2} {
                head_start = at + 1
            elif is_function(head):
                at_end = closing(text, at)
                start = head_start + len(head) - len(head.lstrip())
                previous = Function(name_of(head), start, at_end)
                found.append(previous)
                at, head_start = at_end, at_end + 1
            elif _TRANSPARENT.search(head):
                head_start, previous = at + 1, None
            else:  # An enum, or the braces of an initialiser.
                at = closing(text, at)
        at += 1
    return found


def namespace_scope(source):
    """(offset, text) of each statement that stands in a namespace: declarations and variables."""
    text = without_directives(blank(source))
    at, start = 0, 0
    while at < len(text):
        character = text[at]
        if character == "(":
            at = closing(text, at)
        elif character == "{":
            head = text[start:at]
            if re.search(r"\bnamespace\b", head) or re.fullmatch(r"\s*extern\s*", head):
                start = at + 1
            elif is_function(head):
                at = closing(text, at)
                start = at + 1
            else:  # A class, an enum or an initialiser: it goes on to its semicolon.
                at = closing(text, at)
        elif character == "}":
            start = at + 1
        elif character == ";":
            statement = text[start:at]
            if statement.strip():
                yield start + len(statement) - len(statement.lstrip()), statement.strip()
            start = at + 1
        at += 1


def without_directives(text):
    """Preprocessor lines, with their continuations, as spaces: macro bodies are not functions."""
    pattern = re.compile(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", re.MULTILINE)
    return pattern.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def is_function(head):
    before = head.split("(", 1)
    return len(before) == 2 and "=" not in re.sub(r"operator\s*\S+", "", before[0])


def name_of(head):
    match = re.search(r"(operator\s*\S+?|[\w:~]+)\s*\(", head)
    return match.group(1) if match else "?"
