#!/usr/bin/python3
"""Holds every await to the four shapes that g++ 12.2 compiles correctly.

    co_await f(..);   auto x = co_await f(..);   x = co_await f(..);   co_return co_await f(..);

An await that shares its statement may destroy objects twice, trap or not compile (GCC PR 98401,
99576, 106188, 107288). Also: coroutine lambdas capture nothing, since captures live in the lambda
and not in the frame; asio::detached swallows exceptions; an object that runs member coroutines owns
their scope, so it needs no shared_from_this.

What a text check cannot see is left to review: default arguments that build aggregates, and the
types behind structured bindings.
"""

import re
import sys

from cpp_text import blank, closing, line_of, main

_BANNED = {
    r"\bdetached\b": "asio::detached swallows exceptions: spawn in a TaskScope",
    r"\b(?:enable_)?shared_from_this\b": "the object that runs member coroutines owns their scope",
    r"\bco_yield\b": "generators are not used: no shape of co_yield is known to be safe",
}
_HEAD = re.compile(r"\s*(?:else\b|do\b|default\s*:(?!:)|case\b[^;{}?]*?[^:]:(?!:)|\w+\s*:(?!:))")
_CONDITION = re.compile(r"\s*(?:if|while|for|switch)\s*(?:constexpr\s*)?(?=\()")
_TARGET = r"(?:(?:const\s+)?auto\s*&{0,2}\s*(?:\w+|\[[\w\s,]+\])|\*?[\w.:]+(?:->[\w.]+|\[\])*)"
_BEFORE = re.compile(rf"\s*(?:co_return\s+|{_TARGET}\s*=\s*)?$")
_TEMPLATE = r"(?:<[\w:,\s*&<>]*>)?"
_NAME = rf"[\w:]+{_TEMPLATE}(?:::\w+)*"
_OPERAND = re.compile(rf"\s*\*?{_NAME}(?:\(\)|\[\]|(?:\.|->)\s*(?:template\s+)?{_NAME})*\s*$")


def statement_start(text, offset):
    """Where the statement around offset starts, or None if it is inside brackets of one."""
    depth = 0
    for at in range(offset - 1, -1, -1):
        character = text[at]
        if character in ")]":
            depth += 1
        elif character in "([":
            if depth == 0:
                return None
            depth -= 1
        elif character in ";{}" and depth == 0:
            return at + 1
    return 0


def statement_end(text, offset):
    at = offset
    while at < len(text):
        if text[at] in "([{":
            at = closing(text, at)
        elif text[at] in ";)]}":
            return at
        at += 1
    return len(text)


def without_heads(text):
    """The statement without what it hangs on: `if (..)`, `else`, `case ..:`, a label."""
    while True:
        condition = _CONDITION.match(text)
        head = condition or _HEAD.match(text)
        if not head:
            return text
        text = text[closing(text, head.end()) + 1 if condition else head.end() :]


def collapse(text):
    """The text with what is inside round and square brackets taken out."""
    out, at = "", 0
    while at < len(text):
        out += text[at]
        if text[at] in "([":
            end = closing(text, at)
            out += text[end : end + 1]
            at = end
        at += 1
    return out


def faults_of_await(text, offset):
    start = statement_start(text, offset)
    if start is None:
        yield "an await inside brackets or a condition: name its value first"
        return
    if re.search(r"\(\s*$", text[: max(start - 1, 0)]) and text[start - 1 : start] == "{":
        yield "an await in a statement expression"
    after = offset + len("co_await")
    end = statement_end(text, after)
    operand = text[after:end]
    before = without_heads(text[start:offset])
    if text[end : end + 1] != ";" or not _BEFORE.match(collapse_subscripts(before)):
        yield "an await that shares its statement: one of the four shapes, please"
    if "{" in operand:
        yield "braces on the await line: name the argument first"
    if "?" in operand:
        yield "?: on the await line"
    if re.search(r"\bco_await\b", operand):
        yield "two awaits in one statement"
    elif "{" not in operand and not _OPERAND.match(collapse(operand)):
        yield "more than a call is awaited: name the rest first"


def collapse_subscripts(text):
    """Subscripts emptied, but the names of structured bindings kept."""
    if re.match(r"\s*(?:const\s+)?auto\b", text):
        return text
    return re.sub(r"\[[^\]]*\]", "[]", text)


def captures_in_coroutines(text):
    """Offsets of lambdas that capture and are coroutines themselves."""
    for match in re.finditer(r"(?<![\w\])])\s*(\[)(?!\[)", text):
        opening = match.start(1)
        end = closing(text, opening)
        if not text[opening + 1 : end].strip():
            continue
        body = re.compile(r"\s*(?:<[^;{}()]*>)?\s*(?=[({])").match(text, end + 1)
        if not body:
            continue
        at = body.end()
        if text[at] == "(":
            rest = re.compile(r"[\w\s:<>,*&]*(?:->[\w\s:<>,*&()]*)?(?=\{)").match(
                text, closing(text, at) + 1
            )
            if not rest:
                continue
            at = rest.end()
        if is_coroutine(text[at + 1 : closing(text, at)]):
            yield opening


def is_coroutine(body):
    """Whether the body awaits or returns as a coroutine, not counting lambdas inside it."""
    inner = re.compile(r"(?<![\w\])])\s*\[[^\[\]]*\]\s*(?:\([^{};]*)?\{")
    while True:
        match = inner.search(body)
        if not match:
            return re.search(r"\bco_(?:await|return|yield)\b", body) is not None
        body = body[: match.start()] + body[closing(body, match.end() - 1) + 1 :]


def check(_path, source):
    text = blank(source)
    for match in re.finditer(r"\bco_await\b", text):
        for fault in faults_of_await(text, match.start()):
            yield line_of(text, match.start()), fault
    for offset in captures_in_coroutines(text):
        yield line_of(text, offset), "a coroutine lambda captures: pass arguments instead"
    for pattern, why in _BANNED.items():
        for match in re.finditer(pattern, text):
            yield line_of(text, match.start()), why


if __name__ == "__main__":
    sys.exit(main(check))
