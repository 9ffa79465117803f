#!/usr/bin/python3
"""Names and words that STYLE.md bans: folders by kind; hidden state, clocks and randomness."""

import re
import sys

from cpp_scopes import namespace_scope
from cpp_text import blank, line_of, main

_BANNED_NAME = re.compile(r"(?:^|_)(utils?|common|helpers?|managers?|misc)(?:_|$)")

# pattern, why, path prefixes where it is at home.
_BANNED_CODE = (
    (r"\bstd::\w+_distribution\b", "its results differ between libraries: use base/random.h", ()),
    (
        r"\b(?:sleep_for|sleep_until|usleep|nanosleep|sleep)\s*\(",
        "nothing sleeps: wait for an event",
        (),
    ),
    (
        r"_clock::now\s*\(|\bclock_gettime\s*\(|\bgettimeofday\s*\(|\btime\s*\(\s*(?:nullptr|NULL|0|&)",
        "time is an argument; only net/ reads clocks",
        ("src/net/", "bench/"),
    ),
    (
        r"\bstd::random_device\b|\b(?:std::)?s?rand\s*\(|\bstd::mt19937",
        "randomness is handed in: base/random.h, or a SecretSource",
        (),
    ),
    (
        r"\bspdlog::(?:get|default_logger\w*|set_default_logger|register_logger|initialize_logger|drop\w*"
        r"|apply_all|trace|debug|info|warn|error|critical|log|set_level|set_pattern|flush_\w+"
        r"|\w+_[ms]t)\s*\(|\bSPDLOG_(?:TRACE|DEBUG|INFO|WARN|ERROR|CRITICAL)\b",
        "spdlog's registry and default logger are globals: pass a logger object",
        (),
    ),
    (r"\bthread_local\b", "a global of its thread: pass it", ()),
)
_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
_STATIC = re.compile(
    r"\bstatic\b\s+(?!const\b|constexpr\b|constinit const\b|inline const)([^;{}()=]*)([;{(=])"
)


def faults_of_path(path):
    for part in path.parts:
        match = _BANNED_NAME.search(part.rsplit(".", 1)[0])
        if match:
            yield 1, f"{part} says what kind of thing it is, not what it can do"
            return


def mutable_statics(text):
    """Static variables that are not constant, wherever they stand; static functions are fine."""
    for match in _STATIC.finditer(text):
        declared, then = match.groups()
        if then != "(" or is_call_initialised(text, match.end() - 1):
            yield match.start(), f"a mutable static: {' '.join(declared.split())}"


def is_call_initialised(text, opening):
    """Whether `static T x(..)` is a variable: a number in the brackets is no parameter."""
    inside = text[opening + 1 : text.find(")", opening)].strip()
    return bool(re.fullmatch(r"-?\d[\w.]*", inside))


_HARMLESS = re.compile(
    r"(?:\[\[[^\]]*\]\]\s*)?(?:inline\s+)?(?:static\s+)?(?:inline\s+)?"
    r"(?:constexpr|using|typedef|friend|template|static_assert|class|struct|union|enum|namespace"
    r"|extern\s+template|return|public|private|protected|concept)\b"
)
_VARIABLE = re.compile(
    r"(?:inline\s+|extern\s+|constinit\s+)*(?:[\w:]+(?:<[^;]*>)?[\s&*]+)+\w+\s*"
    r"(?:\[[^\]]*\]\s*)?(?:[={].*)?$",
    re.DOTALL,
)


def mutable_globals(source):
    for offset, statement in namespace_scope(source):
        if _HARMLESS.match(statement) or "operator" in statement:
            continue
        head = re.split(r"[={]", statement, maxsplit=1)[0]
        if "(" in head or not _VARIABLE.match(statement):
            continue
        if re.search(r"\*\s*const\b|\bconst\b(?!.*\*)", head):
            continue
        yield offset, f"a mutable global: {' '.join(head.split())}"


def check(path, source):
    yield from faults_of_path(path)
    text = blank(source)
    for pattern, why, homes in _BANNED_CODE:
        if path.as_posix().startswith(homes or ("\0",)):
            continue
        for match in re.finditer(pattern, text):
            yield line_of(text, match.start()), f"{' '.join(match.group().split())}: {why}"
    for offset, message in [*mutable_statics(text), *mutable_globals(source)]:
        yield line_of(text, offset), message
    for match in _UNFINISHED.finditer(source):
        yield line_of(source, match.start()), f"{match.group()}: finish it, or file it"


if __name__ == "__main__":
    sys.exit(main(check))
