"""Other people's STUN clients name each NAT correctly through our service, and so does ours.

Clients: coturn's turnutils_stunclient and turnutils_natdiscovery (RFC 5780), and Debian's stun of
stun-client (RFC 3489). Each has a home of its own: what one client opens in a NAT, another would see.
They wait most of the time, so those of all NATs run at once.
"""

import os
import pathlib
import re

import pytest

import lab as lab_module
import lab_process

SERVER, OTHER_SERVER = "203.0.113.1", "203.0.113.2"
PORT, OTHER_PORT = 3478, 3479  # coturn's tools and stun default to the first.
TIMEOUT = 40  # Seconds; natdiscovery waits 3 s for each answer that a NAT keeps out.


def stun_discover():
    build = pathlib.Path(os.environ.get("OPENP2P_BUILD", lab_process.ROOT / "build" / "dev"))
    return build / "test" / "stun_discover"


def start_service(lab, *addresses, host=None):
    """The real server, on the ports that foreign clients default to."""
    argv = [lab_module.program("openp2p-server"), "run", "--data", lab.path("server-data")]
    for address in addresses:
        argv += ["--listen", f"{address}:{PORT}"]
    service = (host or lab.server()).start([*argv, "--stun-port", OTHER_PORT], name="server")
    service.wait_for_line(r"server\.started", timeout=20)


class Visitor:
    """A host in a home of its own, and the client that runs there."""

    def __init__(self, lab, nat, name):
        self.home = lab.home(nat=nat)
        self.host = self.home.host(f"{name}{self.home.number}")
        is_translated = nat not in ("none", "firewall")
        self.seen_address = self.home.wan_address if is_translated else self.host.address

    def start(self, *argv):
        self.process = self.host.start(argv)
        return self

    def output(self):
        self.process.wait(TIMEOUT)
        return self.process.output()


# NAT, what natdiscovery calls its mapping and filtering, what stun calls it, what we call it.
NATS = [
    ("none", "Endpoint Independent", "Endpoint Independent", "Open", "no NAT"),
    ("firewall", "Endpoint Independent", "Address and Port Dependent", "Firewall",
     "no NAT, but a firewall"),
    ("full_cone", "Endpoint Independent", "Endpoint Independent",
     "Independent Mapping, Independent Filter", "full cone"),
    ("address_restricted", "Endpoint Independent", "Address Dependent",
     "Independent Mapping, Address Dependent Filter", "address-restricted cone"),
    ("port_restricted", "Endpoint Independent", "Address and Port Dependent",
     "Independent Mapping, Port Dependent Filter", "port-restricted cone"),
    ("symmetric", "Address and Port Dependent", "Address and Port Dependent", "Dependent Mapping",
     "symmetric"),
]


def visitors_of(lab, nat, *names):
    return [Visitor(lab, nat, name) for name in names]


def test_every_client_names_the_nat(lab):
    start_service(lab, SERVER, OTHER_SERVER)
    natdiscovery = lab_module.tool("turnutils_natdiscovery")
    met = []
    for nat, *names in NATS:
        visitors = visitors_of(lab, nat, "mapper", "filterer", "old", "ours", "plain")
        mapper, filterer, old, ours, plain = visitors
        mapper.start(natdiscovery, "-m", "-L", mapper.host.address, SERVER)
        filterer.start(natdiscovery, "-f", "-L", filterer.host.address, SERVER)
        old.start(lab_module.tool("stun"), SERVER)
        ours.start(stun_discover(), f"{ours.host.address}:5000", f"{SERVER}:{PORT}")
        plain.start(lab_module.tool("turnutils_stunclient"), SERVER)
        met.append((nat, names, visitors))

    for nat, (mapping, filtering, stun_name, our_name), visitors in met:
        mapper, filterer, old, ours, plain = visitors
        assert f"NAT with {mapping} Mapping!" in mapper.output(), nat
        assert "No ALG: Mapped == XOR-Mapped" in mapper.output(), nat
        assert f"NAT with {filtering} Filtering!" in filterer.output(), nat
        for client in (mapper, filterer):
            assert ("No NAT!" in client.output()) == (nat in ("none", "firewall")), nat
        assert re.search(rf"^Primary: {stun_name}(,.*)?\s*$", old.output(), re.MULTILINE), nat
        assert f"\nclassic: {our_name}\n" in ours.output(), nat
        expect_seen(plain)


def expect_seen(plain):
    """This one then asks to be answered from elsewhere, and waits for ever where a NAT forbids it."""
    seen = plain.process.wait_for_line(r"UDP reflexive addr: ([\d.]+):\d+", timeout=TIMEOUT)
    assert seen.group(1) == plain.seen_address


# What the quick survey says of the mapping, which filtering does not change, and of the ports: all
# kernel kinds keep them, but for the random one.
ENDPOINT_INDEPENDENT = "endpoint-independent"


def test_survey_agrees_with_other_clients(lab):
    start_service(lab, SERVER, OTHER_SERVER)
    met = []
    for nat, mapping, *_ in NATS:
        mapper, old, ours = visitors = visitors_of(lab, nat, "mapper", "old", "ours")
        mapper.start(lab_module.tool("turnutils_natdiscovery"), "-m", "-L", mapper.host.address,
                     SERVER)
        old.start(lab_module.tool("stun"), SERVER)
        ours.start(stun_discover(), "survey", ours.host.address, f"{SERVER}:{PORT}", OTHER_PORT)
        met.append((nat, mapping, visitors))

    for nat, mapping, (mapper, old, ours) in met:
        found = dict(line.split(": ", 1) for line in ours.output().splitlines() if ": " in line)
        assert f"NAT with {mapping} Mapping!" in mapper.output(), nat
        is_independent = mapping == "Endpoint Independent"
        assert (found["mapping"] == ENDPOINT_INDEPENDENT) == is_independent, (nat, found)
        is_dependent = re.search(r"^Primary: Dependent Mapping", old.output(), re.MULTILINE)
        assert (is_dependent is not None) != is_independent, (nat, old.output())
        ports = "kept" if is_independent else "without a pattern"
        assert found["ports"] == ports, (nat, found)
        assert found["external"] == ours.seen_address, nat
        assert found["translated"] == ("no" if nat in ("none", "firewall") else "yes"), nat


# RFC 3489 needs two addresses. With one, stun sees filters as closer than they are, which is safe;
# but it asks CHANGED-ADDRESS at the port it used before, so that it cannot see a symmetric NAT.
ONE_ADDRESS = [
    ("none", "Firewall", "no NAT"),
    ("full_cone", "Independent Mapping, Address Dependent Filter",
     "full cone, address-restricted cone or symmetric"),
    ("port_restricted", "Independent Mapping, Port Dependent Filter",
     "port-restricted cone or symmetric"),
    ("symmetric", "Independent Mapping, Port Dependent Filter", "symmetric"),
]


def test_server_with_one_address_still_serves(lab):
    start_service(lab, SERVER)
    met = []
    for nat, *names in ONE_ADDRESS:
        old, ours, plain = visitors = visitors_of(lab, nat, "old", "ours", "plain")
        old.start(lab_module.tool("stun"), SERVER)
        ours.start(stun_discover(), f"{ours.host.address}:5000", f"{SERVER}:{PORT}", OTHER_PORT)
        plain.start(lab_module.tool("turnutils_stunclient"), SERVER)
        met.append((nat, names, visitors))

    for nat, (stun_name, our_name), (old, ours, plain) in met:
        assert re.search(rf"^Primary: {stun_name}(,.*)?\s*$", old.output(), re.MULTILINE), nat
        assert f"\nclassic: {our_name}\n" in ours.output(), nat
        expect_seen(plain)


def test_mapping_lifetime_is_measured_by_response_port(lab):
    start_service(lab, SERVER, OTHER_SERVER)
    home = lab.home(nat="full_cone")
    host = home.host("alice")

    client = host.start(
        [lab_module.tool("turnutils_natdiscovery"), "-t", "-T", "1", "-L", host.address, SERVER]
    )

    client.wait(TIMEOUT)
    # The second answer, asked for from another port, arrives at the first one's mapping.
    assert len(re.findall(r"RFC 5780 response", client.output())) == 2


@pytest.mark.parametrize(
    "nat, our_name", [("none", "no NAT"), ("port_restricted", "no NAT, but a firewall")]
)
def test_ipv6_is_served(lab, nat, our_name):
    server = lab.server(ipv6=True)
    start_service(lab, f"[{server.address6}]", host=server)
    host = lab.home(nat=nat, ipv6=True).host("alice")

    plain = host.start([lab_module.tool("turnutils_stunclient"), server.address6])
    ours = host.start(
        [stun_discover(), f"[{host.address6}]:5000", f"[{server.address6}]:{PORT}", OTHER_PORT]
    )

    assert ours.wait(TIMEOUT) == 0
    assert f"\nclassic: {our_name}\n" in ours.output()
    seen = plain.wait_for_line(r"UDP reflexive addr: ([0-9a-f:]+):\d+", timeout=TIMEOUT)
    assert seen.group(1) == host.address6
