"""Homes: a router with its NAT in nft's rules, and the hosts behind it."""

import ipaddress
import pathlib

import lab_services
from lab_node import Host, Node
from lab_process import LabError

NAT_KINDS = ("none", "full_cone", "address_restricted", "port_restricted", "symmetric", "firewall")

# The router's rules. Linux's masquerade keeps the source port while no other flow holds it, so one
# socket shows the same address to everybody: endpoint-independent mapping (RFC 4787 REQ-1). Replies
# come in by connection tracking, which is address- and port-dependent filtering. Unsolicited packets
# must be dropped in `input`, before they are confirmed: an entry of their own would take the port,
# and the answer of the host behind would leave from another one. Protocols are numbers (2 IGMP,
# 6 TCP, 17 UDP, 58 ICMPv6), since a small system has no /etc/protocols to look names up in.
_ROUTER_FILTER = """
table inet filter {{
  # Group membership reports would be counted among the NAT's entries.
  chain sent {{
    type filter hook output priority raw; policy accept;
    ip protocol 2 notrack
  }}
  chain received {{
    type filter hook prerouting priority raw; policy accept;
    ip protocol 2 notrack
  }}
  chain input {{
    type filter hook input priority 0; policy accept;
    iifname "wan" ct state established,related accept
    iifname "wan" meta l4proto 58 accept
    iifname "wan" ct state new {unsolicited}
  }}
  chain pinholes {{
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname "wan" ct state established,related accept
    iifname "wan" ct status dnat accept
    iifname "wan" jump pinholes
    iifname "wan" {unsolicited}
  }}
}}
"""
_MASQUERADE = """
table ip nat {{
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan" masquerade {flags}
  }}
}}
"""
_FULL_CONE = """
table ip cone {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "wan" meta l4proto {{ 6, 17 }} dnat to {host}
  }}
}}
"""
# Whom a port of the host has sent to may send back to it, from any port. (Masquerade keeps ports.)
_ADDRESS_RESTRICTED = """
table ip cone {{
  set known {{ type ipv4_addr . inet_service; flags dynamic,timeout; timeout 2m; size 4096; }}
  chain forward {{
    type filter hook forward priority 1; policy accept;
    oifname "wan" meta l4proto {{ 6, 17 }} update @known {{ ip daddr . th sport }}
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "wan" meta l4proto {{ 6, 17 }} ip saddr . th dport @known dnat to {host}
  }}
}}
"""


class Home:
    """A router with its NAT, and the hosts behind it on one LAN.

    nat: one of NAT_KINDS, in STUN's old words:
      none                no router function but routing; hosts have public addresses
      firewall            public addresses, but only answers come in
      full_cone           endpoint-independent mapping and filtering, to the first host
      address_restricted  endpoint-independent mapping, address-dependent filtering, first host
      port_restricted     endpoint-independent mapping, address and port-dependent filtering
      symmetric           a random port for every destination
    The two "first host" kinds forward everything to the address the first host will get.
    """

    def __init__(self, lab, number, nat, wan_address, lan, ipv6, unsolicited):
        self.lab, self.number, self.nat, self.wan_address = lab, number, nat, wan_address
        self.lan = ipaddress.ip_network(lan)
        self.lan6 = ipaddress.ip_network(f"2001:db8:{number:x}::/64") if ipv6 else None
        self.hosts = []
        self._conntrack_max = 0
        self.router = Node(lab, f"router{number}")
        self._make_lan()
        self._connect(unsolicited)

    def _connect(self, unsolicited):
        """Attaches the router to the internet, and makes its NAT."""
        if self.nat not in NAT_KINDS:
            raise LabError(f"no such NAT: {self.nat}")
        self.lab._attach(self.router, self.wan_address, self._routed())
        self._make_nat(unsolicited)

    def _routed(self):
        """What the core sends to this router besides its own address."""
        routed = [str(self.lan)] if self.nat in ("none", "firewall") else []
        return routed + ([str(self.lan6)] if self.lan6 else [])

    def _make_lan(self):
        router = self.router
        # An address of its own: a bridge otherwise takes on the lowest of its ports', and changes it
        # with each new host, which the hosts before it notice after seconds only.
        mac = f"02:00:00:00:00:{self.number:02x}"
        router.run("ip", "link", "add", "lan", "address", mac, "type", "bridge")
        router.run("ip", "address", "add", f"{self.lan[1]}/{self.lan.prefixlen}", "dev", "lan")
        if self.lan6:
            router.run("ip", "address", "add", f"{self.lan6[1]}/64", "dev", "lan", "nodad")
        router.link_up("lan")
        # Where Docker has loaded br_netfilter, the LAN's own traffic would pass the router's rules.
        if pathlib.Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
            router.sysctl("net.bridge.bridge-nf-call-iptables", 0)
            router.sysctl("net.bridge.bridge-nf-call-ip6tables", 0)

    def _make_nat(self, unsolicited):
        rules = ""
        if self.nat != "none":
            rules += _ROUTER_FILTER.format(unsolicited=unsolicited)
        if self.nat not in ("none", "firewall"):
            flags = "random,fully-random" if self.nat == "symmetric" else ""
            rules += _MASQUERADE.format(flags=flags)
        if self.nat == "full_cone":
            rules += _FULL_CONE.format(host=self.lan[10])
        if self.nat == "address_restricted":
            rules += _ADDRESS_RESTRICTED.format(host=self.lan[10])
        if rules:
            self.router.nft(rules)

    def host(self, name):
        """A new device on the LAN: the first is .10, the next .11."""
        index = 10 + len(self.hosts)
        host = Host(self.lab, name)
        host.address = str(self.lan[index])
        port = f"p{index}"
        self.lab._veth(host, "eth0", self.router, port)
        self.router.run("ip", "link", "set", port, "master", "lan")
        host.run("ip", "address", "add", f"{host.address}/{self.lan.prefixlen}", "dev", "eth0")
        host.run("ip", "route", "add", "default", "via", str(self.lan[1]))
        if self.lan6:
            host.address6 = str(self.lan6[index])
            host.run("ip", "address", "add", f"{host.address6}/64", "dev", "eth0", "nodad")
            host.run("ip", "route", "add", "default", "via", str(self.lan6[1]))
        self.hosts.append(host)
        return host

    def adopt(self, host, interface):
        """Plugs a host of another home into this LAN too, with a new interface."""
        index = 10 + len(self.hosts)
        self.lab._veth(host, interface, self.router, f"p{index}")
        self.router.run("ip", "link", "set", f"p{index}", "master", "lan")
        host.run("ip", "address", "add", f"{self.lan[index]}/{self.lan.prefixlen}", "dev", interface)
        host.run("ip", "route", "replace", "default", "via", str(self.lan[1]), "dev", interface)
        self.hosts.append(host)

    def start_port_mapping(self, **changed):
        """Runs miniupnpd on the router; its process is `port_mapping`. See lab_services."""
        if self.nat in ("none", "firewall"):
            raise LabError("a router without NAT has no ports to map")
        self.port_mapping = lab_services.start_port_mapping(self, **changed)
        return self.port_mapping

    def outside_address(self, host):
        """The IPv4 address under which the internet knows a host of this home."""
        return host.address if self.nat in ("none", "firewall") else self.wan_address

    def conntrack_max(self):
        """The most entries its NAT held when this was asked, now and before.

        Netfilter keeps no peak, but an entry for 30 s at least, so asking at the end of what is
        shorter sees them all.
        """
        self._conntrack_max = max(self._conntrack_max, self.router.conntrack_total())
        return self._conntrack_max

    def conntrack_now(self):
        """How many entries its NAT holds, with those that expired and are not collected yet."""
        return self.router.conntrack_total()

    def set_udp_timeout(self, seconds):
        """How long the NAT keeps an idle UDP mapping, before and after an answer."""
        for key in ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"):
            self.router.sysctl(f"net.netfilter.{key}", seconds)

    def forget(self):
        """Drops every mapping, as a router does that restarts."""
        # Deleting and adding the address flushes masqueraded flows: the kernel drops them when
        # the interface's address goes.
        self.router.run("ip", "link", "set", "wan", "down")
        self.router.run("ip", "link", "set", "wan", "up")
        self.lab._route_site(self.router)
        self.lab._route_default(self.router)

    def move(self, wan_address):
        """Gives the router another external address, as some providers do each day."""
        self.lab._readdress(self.router, wan_address)
        self.wan_address = wan_address

    def change_nat(self, nat):
        """Another NAT from now on; mappings that are there stay as they are, like their filters."""
        if {self.nat, nat} - {"symmetric", "port_restricted"}:
            raise LabError(f"a {self.nat} NAT cannot become a {nat} one here")
        self.nat = nat
        flags = "random,fully-random" if nat == "symmetric" else ""
        self.router.nft("delete table ip nat\n" + _MASQUERADE.format(flags=flags))

    def disconnect(self):
        """Takes the home off the internet: packets vanish, no interface goes down."""
        self.lab.core.nft(f"add element inet cut off {{ \"to-{self.router.name}\" }}")

    def reconnect(self):
        self.lab.core.nft(f"delete element inet cut off {{ \"to-{self.router.name}\" }}")

    def shape(self, rate_mbit=None, delay_ms=None):
        """The home's internet connection, both directions."""
        self.router.shape("wan", rate_mbit, delay_ms)
        self.lab.core.shape(f"to-{self.router.name}", rate_mbit, delay_ms)
