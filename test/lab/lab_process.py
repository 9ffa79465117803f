"""Processes of the lab: started in a node, watched through their log, ended with the lab."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS_ROOT = pathlib.Path(os.environ.get("OPENP2P_TOOLS_ROOT", ROOT / "build" / "tools-root"))
COMMAND_TIMEOUT = 30  # Seconds for one ip, nft or tc call: they end at once or are stuck.
POLL_SECONDS = 0.02
LOG_TAIL_BYTES = 8000


class LabError(Exception):
    """The lab itself, not the program under test, could not do something."""


def call(argv, **options):
    """Runs a short command to its end and returns its output; a failure is a LabError."""
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, **options
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{' '.join(argv)}: {error}") from error
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def wait_until(condition, timeout, what):
    """Polls until condition() is truthy and returns that value; TimeoutError names `what`."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(POLL_SECONDS)


def tool(name):
    """Path of a program: from the packages that tools/unpack.sh unpacked, or from the system."""
    found = shutil.which(name, path=str(TOOLS_ROOT / "run")) or shutil.which(name, path=search_path())
    if found is None:
        raise LabError(f"{name} is missing: run ./dev test once, or {ROOT}/tools/unpack.sh")
    return found


def program(name, folder="src/cli"):
    """Path of a program of ours, in the build folder OPENP2P_BUILD (build/dev when not set)."""
    build = pathlib.Path(os.environ.get("OPENP2P_BUILD", ROOT / "build" / "dev"))
    path = build / folder / name
    if not path.exists():
        raise LabError(f"{path} is missing: run ./dev build")
    return str(path)


def search_path():
    """Where administrators' tools are too; a user's own PATH often lacks the sbin folders."""
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def tail(path, limit=LOG_TAIL_BYTES):
    with open(path, "rb") as log:
        log.seek(max(0, path.stat().st_size - limit))
        return log.read().decode(errors="replace")


class Process:
    """A program running in a node. Its output, both streams in order, is the file `log`."""

    def __init__(self, node, argv, name, log, **options):
        self.name, self.argv, self.log = name, [str(word) for word in argv], log
        # A program that is started again goes on with its log; what it said before is not meant.
        self._read = len(self.output()) if log.exists() else 0
        with open(log, "ab") as out:
            self._process = subprocess.Popen(
                node.command(self.argv), stdin=options.pop("stdin", subprocess.DEVNULL),
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **options,
            )

    @property
    def pid(self):
        return self._process.pid

    @property
    def stdin(self):
        return self._process.stdin

    def is_running(self):
        return self._process.poll() is None

    def output(self):
        return self.log.read_text(errors="replace")

    def wait_for_line(self, pattern, timeout):
        """The match of the first line, after those already matched, in which `pattern` is found."""
        expression = re.compile(pattern)

        def find():
            ended = not self.is_running()  # Before the look, so that last words are not missed.
            text = self.output()
            for line in re.finditer(r"[^\n]*\n", text[self._read :]):
                match = expression.search(line.group())
                if match:
                    self._read += line.end()
                    return match
            if ended:
                raise LabError(f"{self.name} ended without {pattern!r}:\n{tail(self.log)}")
            return None

        try:
            return wait_until(find, timeout, f"{self.name} says {pattern!r}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it said:\n{tail(self.log)}") from None

    def wait(self, timeout):
        """Waits for the end; returns the exit code, negative for a signal."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {timeout} s:\n{tail(self.log)}") from None

    def signal(self, number):
        if self.is_running():
            os.kill(self.pid, number)

    def kill(self):
        """kill -9, and waits until it is gone."""
        self.signal(signal.SIGKILL)
        return self.wait(COMMAND_TIMEOUT)

    def terminate(self, timeout=10):
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def _end(self):
        """Its whole session, when the lab goes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(COMMAND_TIMEOUT)
        if self._process.stdin:
            self._process.stdin.close()
