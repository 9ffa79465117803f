"""What passes an interface, kept as it comes, so that a test can look for what must not be there."""

import contextlib
import socket
import struct
import threading

ETH_P_ALL = 3
BYTES_MAX = 256 << 20
IPPROTO_UDP = 17
SO_RCVBUFFORCE = 33


class Capture:
    """UDP payloads over IPv4 that an interface of a node sends and receives.

    A train of datagrams that the kernel has not cut yet (GSO) is one payload.

    with Capture(relay.host, "eth0") as capture:
        ...
    capture.payloads
    """

    def __init__(self, node, interface):
        self.payloads, self._bytes = [], 0
        with node.inside():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
            # Python reads slower than relays send. Beyond the system's limit where the system's root
            # asks; the root of a lab alone gets what the limit allows.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BYTES_MAX)
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BYTES_MAX)
            self._socket.bind((interface, ETH_P_ALL))
        self._socket.settimeout(0.2)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._is_over.set()
        self._thread.join()
        self._socket.close()

    def _collect(self):
        while not self._is_over.is_set() and self._bytes < BYTES_MAX:
            try:
                packet = self._socket.recv(65_535)
            except TimeoutError:
                continue
            if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != IPPROTO_UDP:
                continue
            header = (packet[0] & 15) * 4
            size = struct.unpack_from("!H", packet, header + 4)[0] - 8
            self.payloads.append(packet[header + 8:header + 8 + size])
            self._bytes += size
