"""Which includes check_layers.py allows."""

import pytest

from check_layers import check

ALLOWED = [
    ("src/wire/codec.h", '#include "base/bytes.h"'),
    ("src/path/path.h", '#include "nat/stun.h"\n#include "path/candidate.h"'),
    ("src/path/path_test.cc", '#include "sim/world.h"'),
    ("src/path/path_test.cc", "#include <sys/socket.h>"),
    ("src/path/test_pair.h", '#include "sim/world.h"'),
    ("src/path/path_test.cc", '#include "path/test_pair.h"'),
    ("src/path/simulated_path.h", '#include "sim/world.h"'),
    ("src/net/udp.cc", "#include <boost/asio/post.hpp>\n#include <sys/socket.h>"),
    ("src/base/crypto.cc", "#include <gnutls/crypto.h>\n#include <nettle/eddsa.h>"),
    ("src/quic/tls.cc", "#include <gnutls/gnutls.h>"),
    ("src/server/store.cc", "#include <soci/soci.h>"),
    ("src/cli/main.cc", '#include "agent/node.h"\n#include "server/server.h"'),
    ("sim/world.cc", '#include "session/endpoint.h"'),
    ("test/end_to_end_test.cc", '#include "agent/node.h"'),
    ("src/path/path.cc", "#include <vector>\n#include <boost/intrusive/list.hpp>"),
]

REFUSED = [
    ("src/base/bytes.h", '#include "wire/codec.h"', "not below"),
    ("src/nat/stun.h", '#include "quic/connection.h"', "not below"),
    ("src/session/endpoint.h", '#include "forward/flow.h"', "not below"),
    ("src/agent/node.h", '#include "server/server.h"', "not below"),
    ("src/path/path.cc", '#include "sim/world.h"', "only tests"),
    ("src/path/path.cc", '#include "test/x.h"', "only tests"),
    ("src/path/path.cc", '#include "path/test_pair.h"', "for tests"),
    ("src/path/path.cc", '#include "candidate.h"', "names start at src/"),
    ("src/utils/x.cc", '#include "base/bytes.h"', "no place"),
    ("src/path/path.cc", '#include "odd/x.h"', "no place"),
    ("src/path/path.h", "#include <boost/asio.hpp>", "at home"),
    ("src/path/path.h", "  #  include <boost/asio/post.hpp>", "at home"),
    ("src/net/udp.h", "#include <ngtcp2/ngtcp2.h>", "at home"),
    ("src/base/ids.cc", "#include <gnutls/crypto.h>", "at home"),
    ("src/agent/node.cc", "#include <soci/soci.h>", "at home"),
    ("src/session/a.cc", '#include "control.pb.h"', "at home"),
    ("src/session/a.cc", "#include <sys/socket.h>", "at home"),
    ("src/agent/node.cc", "#include <CLI/CLI.hpp>", "at home"),
]


@pytest.mark.parametrize("path, source", ALLOWED)
def test_allowed(path, source):
    assert list(check(path, source)) == []


@pytest.mark.parametrize("path, source, why", REFUSED)
def test_refused(path, source, why):
    findings = list(check(path, source))
    assert len(findings) == 1 and why in findings[0][1], findings
