"""Stock servers in a lab's nodes: OpenSSH, lighttpd, miniupnpd; unpacked, configured for one test."""

import pathlib

import lab_process
from lab_process import LabError

SSH_USER = "lab"
SSH_USER_ID = 64000  # Debian gives 60000-64999 to nobody but packages that ask.


class SshServer:
    """An sshd that lets SSH_USER in with one key, and what a client needs to log in."""

    def __init__(self, process, port, key, host_key):
        self.process, self.port, self.key, self.host_key = process, port, key, host_key

    def client(self, address, port, *command):
        """The argv of an ssh client that accepts no other server than this one."""
        known = self.key.with_name(f"known_hosts-{port}")
        known.write_text(f"[{address}]:{port} {self.host_key}\n")
        options = {
            "UserKnownHostsFile": known,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
        }
        words = ["ssh", "-F", "none", "-i", str(self.key), "-p", str(port)]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        return [*words, f"{SSH_USER}@{address}", *command]


def start_sshd(lab, host, port):
    folder = lab.path(f"sshd-{host.name}")
    folder.mkdir()
    for name in ("host_key", "user_key"):
        lab_process.call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
    folder.chmod(0o755)
    (folder / "user_key.pub").chmod(0o644)
    _add_users(folder)
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 0.0.0.0\nListenAddress ::\n"
        f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/user_key.pub\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
    )
    host.sysctl("net.ipv4.ip_unprivileged_port_start", 0)  # For the one without rights.
    argv = [*_sshd_prefix(), lab_process.tool("sshd"), "-D", "-e", "-f", config]
    process = host.start(argv, name=f"sshd-{host.name}")
    process.wait_for_line("Server listening on 0.0.0.0", timeout=10)
    host_key = (folder / "host_key.pub").read_text().strip()
    return SshServer(process, port, folder / "user_key", host_key)


def _is_real_root():
    """Whether other user ids exist here; in a user namespace of our own there is only one."""
    return pathlib.Path("/proc/self/uid_map").read_text().split()[2] == "4294967295"


def _add_users(folder):
    """Adds SSH_USER, and the user sshd gives its rights up to, in this mount namespace only."""
    text = pathlib.Path("/etc/passwd").read_text()
    lines = {
        SSH_USER: f"{SSH_USER}:x:{SSH_USER_ID}:{SSH_USER_ID}:lab:{folder}:/bin/sh\n",
        "sshd": f"sshd:x:{SSH_USER_ID + 1}:65534::/run/sshd:/usr/sbin/nologin\n",
    }
    missing = [line for name, line in lines.items() if f"\n{name}:" not in text]
    if missing:
        copy = folder / "passwd"
        copy.write_text(text + "".join(missing))
        copy.chmod(0o644)
        lab_process.call(["mount", "--bind", copy, "/etc/passwd"])


def _sshd_prefix():
    """The start of sshd's argv.

    Root's sshd changes to SSH_USER by itself. Without rights there is only one user id to be, so it
    gets one more user namespace, in which that one has SSH_USER's number: then it serves itself.
    """
    if _is_real_root():
        pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        return []
    return ["unshare", "--user", f"--map-user={SSH_USER_ID}", f"--map-group={SSH_USER_ID}"]


def start_web_server(lab, host, folder, port):
    """Serves the files of `folder` over HTTP, on all IPv4 addresses of the host."""
    if not pathlib.Path(folder).is_dir():
        raise LabError(f"{folder} is no folder to serve")
    config = lab.path(f"lighttpd-{host.name}-{port}.conf")
    config.write_text(
        f'server.document-root = "{folder}"\nserver.bind = "0.0.0.0"\nserver.port = {port}\n'
        'server.modules = ()\nserver.upload-dirs = ("/run")\n'
        'mimetype.assign = ("" => "application/octet-stream")\n'
    )
    server = pathlib.Path(lab_process.tool("lighttpd"))
    argv = [server, "-D", "-f", config]
    modules = lab_process.TOOLS_ROOT / "usr/lib/lighttpd"
    if modules.is_dir():
        argv += ["-m", modules]
    process = host.start(argv, name=f"lighttpd-{host.name}-{port}")
    process.wait_for_line("server started", timeout=10)
    return process


# Where miniupnpd puts its rules; openings for IPv6 go to the router's own filter. Before masquerade,
# so that what leaves a mapped port keeps it.
_MAPPING = """
table inet mapping {{
  # What the router itself hears and says on the LAN would be counted among the NAT's entries.
  chain heard {{
    type filter hook prerouting priority raw; policy accept;
    iifname "lan" ip daddr {{ {router}, 224.0.0.0/4 }} notrack
  }}
  chain said {{
    type filter hook output priority raw; policy accept;
    oifname "lan" ip saddr {router} notrack
  }}
  chain redirects {{
  }}
  chain sources {{
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump redirects
  }}
  chain postrouting {{
    type nat hook postrouting priority 99; policy accept;
    jump sources
  }}
}}
"""


def start_port_mapping(home, **changed):
    """miniupnpd on a home's router: UPnP IGD, NAT-PMP and PCP, for everybody on the LAN.

    changed: lines of its configuration that are to be others, such as enable_upnp="no".
    """
    lab, router = home.lab, home.router
    router.nft(_MAPPING.format(router=home.lan[1]))
    config = lab.path(f"miniupnpd-{router.name}.conf")
    settings = {
        "ext_ifname": "wan",
        "listening_ip": "lan",
        "http_port": 5000,
        "enable_upnp": "yes",
        "enable_natpmp": "yes",
        "secure_mode": "yes",
        "min_lifetime": 1,
        "max_lifetime": 86400,
        "lease_file": lab.path(f"miniupnpd-{router.name}.leases"),
        "uuid": f"00000000-0000-4000-8000-{home.number:012x}",
        "upnp_table_name": "filter",
        "upnp_forward_chain": "pinholes",
        "upnp_nat_table_name": "mapping",
        "upnp_nat_chain": "redirects",
        "upnp_nat_postrouting_chain": "sources",
        **changed,
    }
    rules = "allow 1-65535 0.0.0.0/0 1-65535\n"
    config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()) + rules)
    pid_file = lab.path(f"miniupnpd-{router.name}.pid")
    argv = [lab_process.tool("miniupnpd"), "-d", "-f", config, "-P", pid_file]
    process = router.start(argv, name=f"miniupnpd-{router.name}")
    process.wait_for_line("version .* starting", timeout=10)
    return process
