"""The local stack for the smoke runs: starts it, waits for it, and ends it without a trace."""

import contextlib
import os
import pathlib
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "target/ci"

# The first run may have to build everything.
START_SECONDS = 900
STOP_SECONDS = 20
# Killed processes disappear a moment after the one that killed them.
SETTLE_SECONDS = 2

MARK = "POSTHORN_CI_PROGRAM"


class Failure(Exception):
    """A check did not hold."""


def check(holds: bool, what: str) -> None:
    if not holds:
        raise Failure(what)
    print(f"  ok  {what}", flush=True)


def free_ports(count: int) -> int:
    """The first of `count` consecutive free ports, below those that the system hands out."""
    for _ in range(100):
        first = random.randrange(15000, 32000)
        with contextlib.ExitStack() as sockets:
            try:
                for port in range(first, first + count):
                    sockets.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise Failure("no free ports")


class Program:
    """A background process. Its descendants carry a mark in their environment, by which they can be found,
    because cargo-lambda starts functions in separate sessions."""

    def __init__(self, name: str, command: list[str]) -> None:
        OUTPUT.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = OUTPUT / f"{name}.log"
        self._lines: queue.Queue = queue.Queue()
        self._mark = f"{os.getpid()}-{name}"
        self.log.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self.log.open("ab") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                self._lines.put(line.decode(errors="replace").rstrip("\n"))
        self._lines.put(None)

    def expect(self, wanted, what: str, seconds: float) -> str:
        """The next wanted line of standard output; the lines before it are dropped."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failure(f"{self.name}: no {what} within {seconds} s") from None
            if line is None:
                raise Failure(f"{self.name} ended with {self.process.wait()} before {what}")
            if wanted(line):
                return line

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} still runs {STOP_SECONDS} s after the signal") from None

    def check_gone(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while (left := self.family()) and time.monotonic() < deadline:
            time.sleep(0.05)
        names = ", ".join(left.values())
        check(not left, f"{self.name} leaves no process{': ' + names if left else ''}")

    def family(self) -> dict[int, str]:
        """The running processes among this one and its descendants: ids and names."""
        mark = f"{MARK}={self._mark}".encode()
        family = {}
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    family[int(folder.name)] = (folder / "comm").read_text().strip()
        return family

    def kill(self) -> None:
        # Repeat, because one may have started another in between.
        while family := self.family():
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        self.process.wait()

    def print_log(self) -> None:
        lines = self.log.read_text(errors="replace").splitlines()[-40:]
        print("\n".join([f"--- the end of {self.log.relative_to(ROOT)} ---", *lines]))


@contextlib.contextmanager
def running(name: str, command: list[str]):
    """A program that is killed when the block fails; its log is then shown."""
    program = Program(name, command)
    try:
        yield program
    except BaseException:
        program.print_log()
        raise
    finally:
        program.kill()


@contextlib.contextmanager
def local_stack(name: str):
    """`cargo run`, once it is ready; yields the program, its environment and the file that holds it."""
    env_file = OUTPUT / f"{name}.env"
    env_file.unlink(missing_ok=True)
    port = free_ports(4)
    command = ["cargo", "run", "--quiet", "--", "--memory"]
    command += ["--port", str(port), "--env-file", str(env_file)]
    with running(name, command) as program:
        started = time.monotonic()
        program.expect(lambda line: line == "Posthorn is ready.", "ready line", START_SECONDS)
        print(f"  ok  ready after {time.monotonic() - started:.0f} s", flush=True)
        lines = env_file.read_text().splitlines()
        yield program, dict(line.split("=", 1) for line in lines), env_file
        code = program.stop()
        check(code == 0, f"the stack ends with {code} on SIGTERM")
        program.check_gone()


def verified(program: Program, message: str) -> None:
    """Waits for the demo receiver's line about a message."""
    line = program.expect(lambda line: line.startswith("✓") and message in line, "✓ line", 30)
    print(f"      {line}", flush=True)


def run(main) -> int:
    """Runs a smoke script's main; a failed check is one line, not a stack trace."""
    # Raises an exception, so that a stopped run still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except (Failure, subprocess.SubprocessError) as error:
        print(f"  FAILED  {error}")
        return 1
    return 0
