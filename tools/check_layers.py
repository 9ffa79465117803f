#!/usr/bin/python3
"""Dependencies point one way, and library types stay home (STYLE.md sections 1 and 3)."""

import re
import sys

from cpp_text import line_of, main

# From the bottom; a folder may include itself and what stands in a line above it here.
LAYERS = (
    ("base",),
    ("wire",),
    ("nat", "quic"),
    ("path",),
    ("session",),
    ("forward", "vnet"),
    ("relay",),
    ("net",),
    ("store",),
    ("agent", "server"),
    ("cli",),
)
RANK = {folder: rank for rank, layer in enumerate(LAYERS) for folder in layer}
OUTSIDE = ("sim", "test", "fuzz", "bench")  # May use everything; nothing of src but tests uses them.

DRIVERS = ("src/net/", "src/agent/", "src/server/", "src/cli/")
SYSTEM = r"sys/(?:socket|epoll|ioctl|mman|timerfd|eventfd|un|uio)\.h|netdb\.h|poll\.h|unistd\.h|ifaddrs\.h"

# Which header is at home where: path prefixes. Headers not named here may be used anywhere.
HOMES = (
    (r"ngtcp2/", ("src/quic/",)),
    (r"intel-ipsec-mb\.h", ("src/quic/",)),
    (r"gnutls/", ("src/quic/", "src/base/crypto.")),
    (r"nettle/", ("src/base/crypto.",)),
    (r"boost/asio", DRIVERS),
    (r"soci/|sqlite3\.h", ("src/server/", "src/store/")),
    (r"google/protobuf/|.*\.pb\.h", ("src/agent/", "src/server/", "src/relay/relay_message.")),
    (r"boost/json", ("src/agent/", "src/server/", "src/cli/")),
    (r"argon2\.h", ("src/server/",)),
    (r"CLI/", ("src/cli/",)),
    (SYSTEM, (*DRIVERS, "src/base/descriptor.", "src/base/file_replace.")),
)

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


# What only tests use, beside what it tests: x_test.cc, test_x.h, simulated_x.h.
_TEST_NAME = re.compile(r"(?:test|simulated)_\w+\.(?:h|cc)$|\w+_test\.cc$")


def is_test(path):
    return path.startswith(("test/", "sim/", "fuzz/", "bench/")) or is_test_name(path)


def is_test_name(path):
    return _TEST_NAME.match(path.rsplit("/", 1)[-1]) is not None


def check_ours(path, included):
    """Whether a file of src may include a header of ours."""
    folder, target = path.split("/")[1], included.split("/")[0]
    if folder not in RANK:
        return f"{folder} has no place in the layers: give it one in tools/check_layers.py"
    if "/" not in included:
        return f'include "{folder}/{included}": names start at src/'
    if is_test_name(included) and not is_test(path):
        return f"{included} is for tests"
    if target in OUTSIDE:
        return None if is_test(path) else f"{folder} includes {target}, which only tests may"
    if target not in RANK:
        return f"{target} has no place in the layers"
    if target != folder and RANK[target] >= RANK[folder]:
        return f"{folder} includes {target}, which is not below it"
    return None


def check_theirs(path, included):
    """Whether a file may include a library's header."""
    if is_test(path):
        return None
    for pattern, homes in HOMES:
        if re.match(pattern, included) and not path.startswith(homes):
            return f"{included} is at home in {', '.join(homes)}"
    return None


def check(path, source):
    path = path if isinstance(path, str) else path.as_posix()
    for match in _INCLUDE.finditer(source):
        ours, theirs = match.groups()
        fault = check_theirs(path, theirs or ours)
        if not fault and ours and path.startswith("src/") and not ours.endswith(".pb.h"):
            fault = check_ours(path, ours)
        if fault:
            yield line_of(source, match.start()), fault


if __name__ == "__main__":
    sys.exit(main(check))
