"""The main job, end to end, with programs that know nothing of us: what `./dev demo` shows.

Makes a small internet in network namespaces, runs the server and two devices behind NATs in it,
adds forwards, and uses them with ssh and curl. Ends by itself and leaves nothing behind.
"""

import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lab import Lab, LabError, main_in_lab, wait_until  # noqa: E402
from lab_openp2p import MIB, Device, Download, Server, make_file, sha256  # noqa: E402

GIB = 1 << 30
RELAYED_BYTES = 64 << 20
STEP = 0


def say(text):
    print(text, flush=True)


def step(text):
    global STEP
    STEP += 1
    say(f"\n{STEP}. {text}")


def start_server(lab, host):
    server = Server(lab, host).start()
    say("   " + "\n   ".join(line for line in server.process.output().splitlines()[:8]
                             if "--token" not in line))
    return server


def show_path(device, peer):
    found = device.peer(peer)
    address = f", peer's address {found['address']}" if found["address"] else ""
    say(f"   path: {device.name} -> {peer}: {found['path']}{address}")


def nat_name(device):
    report = device.json("netcheck")
    return f"{report['nat']} (mapping {report['mapping']}, filtering {report['filtering']})"


def show_relay(lab, token):
    """No direct path at first: a relay carries the download, and leaves it when there is one."""
    step("Two more homes, whose NATs take a new random port for every destination: no direct path "
         "exists between them. A third device of the same owner has a public address")
    homes = [lab.home(nat="symmetric"), lab.home(nat="symmetric")]
    camera, tablet = Device(homes[0].host("camera")), Device(homes[1].host("tablet"))
    vps = Device(lab.home(nat="none").host("vps"))
    for device in (vps, camera, tablet):
        device.up(token)
    www = lab.folder / "www2"
    www.mkdir()
    digest = make_file(www / "film.bin", RELAYED_BYTES)
    lab.web_server(camera.host, www, port=8080)
    before = time.monotonic()
    tablet.add_forward("film", "camera", "127.0.0.1:8080", 8080)
    download = Download(tablet.host, 8080, name="film.bin")
    download.read(RELAYED_BYTES // 16)
    say(f"   {download.received / MIB:.0f} MiB of {download.size / MIB:.0f} "
        f"{time.monotonic() - before:.2f} s after `forward add`")
    show_path(tablet, "camera")

    step("Both routers are replaced by friendlier ones, under the running download")
    for home in homes:
        home.change_nat("port_restricted")
    before = time.monotonic()
    wait_until(lambda: "direct" in tablet.peer("camera")["path"], 90, "the session has gone direct")
    say(f"   found after {time.monotonic() - before:.1f} s")
    download.read(RELAYED_BYTES // 4)
    show_path(tablet, "camera")

    step("The relay is killed with SIGKILL, and the download goes on to its end")
    vps.process.kill()
    same = download.finish() == digest
    show_path(tablet, "camera")
    say(f"   one TCP connection, {download.received / MIB:.0f} MiB, SHA-256 {digest[:16]}...: "
        f"{'equal at both ends' if same else 'DIFFERENT'}")
    for device in (tablet, camera):
        if device.process.terminate() != 0:
            raise LabError(f"{device.name} did not stop cleanly:\n{device.process.output()}")
    return same


def demo(lab, size):
    folder = lab.folder
    step("A small internet: a server with two public addresses, and two homes, each behind its own "
         "port-restricted NAT")
    host = lab.server()
    office, flat = lab.home(nat="port_restricted"), lab.home(nat="port_restricted")
    nas, laptop = Device(office.host("nas")), Device(flat.host("laptop"))
    say(f"   server  {', '.join(host.addresses)}")
    say(f"   nas     {nas.host.address} behind {office.wan_address}")
    say(f"   laptop  {laptop.host.address} behind {flat.wan_address}")

    step("The server: openp2p-server run --data DIR --listen ...")
    token = start_server(lab, host).token

    step("Both devices: openp2p up --token-file FILE --node NAME")
    sshd = lab.sshd(nas.host, port=22)
    for device in (nas, laptop):
        say(f"   {device.name} joined after {device.up(token):.2f} s")

    step("A forward to the nas's SSH port, and a login through it with OpenSSH")
    before = time.monotonic()
    say("   laptop$ openp2p forward add ssh --peer nas --to 127.0.0.1:22 --listen 2222")
    laptop.add_forward("ssh", "nas", "127.0.0.1:22", 2222)
    with laptop.host.connect("127.0.0.1", 2222, timeout=20) as connection:
        banner = connection.recv(64).decode().strip()
    say(f"   first byte {(time.monotonic() - before) * 1000:.0f} ms after `forward add` and "
        f"{time.monotonic() - laptop.started:.2f} s after `up`: {banner}")
    said = laptop.host.run(*sshd.client("127.0.0.1", 2222, "echo logged in as $(id -un) on $(hostname)"))
    say(f"   laptop$ ssh -p 2222 127.0.0.1  ->  {said.strip()}")
    show_path(laptop, "nas")
    for device in (nas, laptop):
        say(f"   {device.name}'s NAT, as `openp2p netcheck` finds it: {nat_name(device)}")
    say("   " + "\n   ".join(laptop.run("ping", "nas", "-c", "3").splitlines()))

    step(f"A forward to a stock web server on the nas, and a download of {size / GIB:g} GiB")
    www = folder / "www"
    www.mkdir()
    digest = make_file(www / "file.bin", size)
    lab.web_server(nas.host, www, port=8080)
    laptop.add_forward("web", "nas", "127.0.0.1:8080", 8080)
    copy = folder / "copy.bin"
    before = time.monotonic()
    download = laptop.host.start(
        ["curl", "-sSf", "-o", copy, "http://127.0.0.1:8080/file.bin"], name="curl")
    if download.wait(timeout=300) != 0:
        raise LabError(f"curl failed:\n{download.output()}")
    seconds = time.monotonic() - before
    say(f"   {size / seconds / 1e9 * 8:.2f} Gbit/s ({seconds:.2f} s), all programs on this machine")
    same = sha256(copy) == digest
    say(f"   SHA-256 {digest[:16]}...: {'equal at both ends' if same else 'DIFFERENT'}")

    same = show_relay(lab, token) and same

    step("What the laptop says")
    say("   " + "\n   ".join(laptop.run("forward", "list").splitlines()))
    for device in (laptop, nas):
        if device.process.terminate() != 0:
            raise LabError(f"{device.name} did not stop cleanly:\n{device.process.output()}")
    return 0 if same else 1


REAL = """
Between two real machines it is the same:
   on a machine with a public address (open UDP and TCP 27183 and 27182 in its firewall):
      openp2p-server run
   on each device, with the token that the server printed:
      openp2p up --token-stdin --node NAME
   then, where you want to use the other one:
      openp2p forward add ssh --peer NAME --to 127.0.0.1:22 --listen 2222
      ssh -p 2222 127.0.0.1
"""


def main():
    size = int(os.environ.get("OPENP2P_DEMO_BYTES", GIB))
    started = time.monotonic()
    try:
        with Lab("demo") as lab:
            code = demo(lab, size)
    except (LabError, TimeoutError, OSError) as error:
        say(f"\nThe demo failed: {error}")
        return 1
    say(f"\nDone in {time.monotonic() - started:.1f} s; the namespaces are gone.")
    say(REAL)
    return code


if __name__ == "__main__":
    main_in_lab(main)
