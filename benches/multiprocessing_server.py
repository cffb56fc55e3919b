"""Server of the `typed` dialect with Python's multiprocessing: the baseline for CPU time per bet.

    multiprocessing_server.py PORT WORKERS STORAGE_DIR plain|tuned

With PORT 0 the kernel chooses a free port. One line on stdout names the port when the socket
listens. SIGTERM stops the server.

Pre-forked workers accept on one inherited socket. They share a Lock for the files, a Value with the
number of winners and an Array with one flag per worker, set while the worker handles a batch. As in
the original server, a connection carries one request and the server closes it. A batch is written
with one csv `writerows`, and only errors are logged. There are two styles:

plain  the usual way: one recv per length and per record, strptime for each date
tuned  buffered reads, and the fastest date parser of the standard library

The number decides whether a bet wins. For four-field records a hash decides; in Python it runs byte
by byte and dominates the time, so quote figures of this server only for bets with a number.
"""

import csv
import ctypes
import multiprocessing
import os
import signal
import socket
import struct
import sys
import typing
from datetime import date, datetime

BATCH, QUERY = 0, 1
PARTIAL, TOTAL = b"\x00", b"\x01"
U16, U32 = struct.Struct(">H"), struct.Struct(">I")

WINNING_NUMBER = 7574
UNNUMBERED_WINNER_DIVISOR = 17
MAX_NUMBER = 0xFFFF_FFFF
MAX_TEXT_BYTES = 255

BACKLOG = 1024
SOCKET_TIMEOUT_SECONDS = 30

# From <linux/prctl.h>: sets the signal that a process receives when its parent dies.
PR_SET_PDEATHSIG = 1


class ProtocolError(Exception):
    """The peer sent an invalid request."""


class Bet:
    """A validated bet."""

    __slots__ = ("first_name", "last_name", "document", "birthdate", "number")

    def __init__(self, record, parse_date):
        fields = record.decode().split(";")
        if len(fields) == 5:
            self.number = parse_number(fields.pop())
        else:
            self.number = None
        if len(fields) != 4:
            raise ProtocolError("bad protocol")
        self.first_name, self.last_name, self.document, birthdate = fields
        if len(record) > MAX_TEXT_BYTES and any(len(text.encode()) > MAX_TEXT_BYTES for text in fields):
            raise ProtocolError("text too long")
        self.birthdate = parse_date(birthdate)

    def is_winner(self):
        if self.number is not None:
            return self.number == WINNING_NUMBER
        return fnv1a(";".join(self.wire_fields()).encode()) % UNNUMBERED_WINNER_DIVISOR == 0

    def row(self):
        """Returns the row of bets.csv. A dialect without agency and a bet without number store 0."""
        birthdate = self.birthdate.isoformat()
        return (0, self.first_name, self.last_name, self.document, birthdate, self.number or 0)

    def wire_fields(self):
        return self.first_name, self.last_name, self.document, self.birthdate.isoformat()

    def record(self):
        fields = self.wire_fields()
        if self.number is not None:
            fields += (str(self.number),)
        text = ";".join(fields).encode()
        return U16.pack(len(text)) + text

    def winner_line(self):
        return (
            f"Full name: {self.first_name} {self.last_name} | Document: {self.document}"
            f" | Date of Birth: {self.birthdate:%d/%m/%Y}\n"
        )


def parse_date(text):
    """Parses a calendar date; month and day may have one digit."""
    return datetime.strptime(text, "%Y-%m-%d").date()


def parse_date_fast(text):
    """Like parse_date, but faster for dates of full length."""
    if len(text) == 10 and text[4] == text[7] == "-":
        return date.fromisoformat(text)
    return parse_date(text)


class Style(typing.NamedTuple):
    """Style of the implementation."""

    parse_date: typing.Callable[[str], date]
    # Passed to socket.makefile; 0 means unbuffered.
    buffering: typing.Optional[int]


STYLES = {"plain": Style(parse_date, buffering=0), "tuned": Style(parse_date_fast, buffering=None)}


def parse_number(text):
    """Parses a decimal without sign, blanks or leading zeros, since the reply repeats the record."""
    if not (text.isascii() and text.isdigit()):
        raise ProtocolError("bad number")
    number = int(text)
    if number > MAX_NUMBER or str(number) != text:
        raise ProtocolError("bad number")
    return number


def fnv1a(data):
    """Returns the 64-bit FNV-1a hash."""
    digest = 0xCBF29CE484222325
    for byte in data:
        digest = (digest ^ byte) * 0x100000001B3 & 0xFFFF_FFFF_FFFF_FFFF
    return digest


def read_exactly(stream, count):
    data = stream.read(count)
    while len(data) < count:
        more = stream.read(count - len(data))
        if not more:
            raise ProtocolError("connection closed within a request")
        data += more
    return data


def read_batch(stream, parse_date):
    (count,) = U16.unpack(read_exactly(stream, U16.size))
    if count == 0:
        raise ProtocolError("empty batch")
    bets = []
    for _ in range(count):
        (size,) = U16.unpack(read_exactly(stream, U16.size))
        bets.append(Bet(read_exactly(stream, size), parse_date))
    return bets


class SharedState:
    """State shared by the workers."""

    def __init__(self, context, workers, directory):
        self.files = context.Lock()
        self.winners = context.Value("I", 0)
        self.busy = context.Array("b", workers)
        self.bets_path = os.path.join(directory, "bets.csv")
        self.winners_path = os.path.join(directory, "winners.log")

    def store(self, slot, bets):
        """Stores the batch and counts it before the reply, so that a later query includes it."""
        winners = [bet for bet in bets if bet.is_winner()]
        with self.files:
            with open(self.bets_path, "a", newline="", encoding="utf-8") as rows:
                csv.writer(rows).writerows(bet.row() for bet in bets)
            if winners:
                with open(self.winners_path, "a", encoding="utf-8") as lines:
                    lines.writelines(bet.winner_line() for bet in winners)
        with self.winners.get_lock():
            self.winners.value += len(winners)
        self.busy[slot] = 0
        return winners

    def results(self):
        busy = sum(self.busy)
        winners = U32.pack(self.winners.value)
        return PARTIAL + U16.pack(busy) + winners if busy else TOTAL + winners


def answer(state, slot, stream, parse_date):
    """Reads one request and returns the bytes of its reply."""
    (kind,) = read_exactly(stream, 1)
    if kind == QUERY:
        return state.results()
    if kind != BATCH:
        raise ProtocolError("bad protocol")
    state.busy[slot] = 1
    winners = state.store(slot, read_batch(stream, parse_date))
    return U16.pack(len(winners)) + b"".join(bet.record() for bet in winners)


def work(state, slot, listener, style, parent):
    """Serves one connection at a time, forever."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent has died")
    while True:
        client, peer = listener.accept()
        with client:
            client.settimeout(SOCKET_TIMEOUT_SECONDS)
            try:
                with client.makefile("rb", buffering=style.buffering) as stream:
                    client.sendall(answer(state, slot, stream, style.parse_date))
            except (ProtocolError, ValueError, OSError) as error:
                print(f"Error while communicating with client {peer}: {error!r}", file=sys.stderr)
            finally:
                state.busy[slot] = 0


def main():
    if len(sys.argv) != 5 or sys.argv[4] not in STYLES:
        sys.exit(f"usage: {sys.argv[0]} PORT WORKERS STORAGE_DIR {'|'.join(STYLES)}")
    port, workers, directory, style = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], STYLES[sys.argv[4]]
    context = multiprocessing.get_context("fork")
    state = SharedState(context, workers, directory)
    with socket.create_server(("127.0.0.1", port), backlog=BACKLOG) as listener:
        pool = [
            context.Process(target=work, args=(state, slot, listener, style, os.getpid()))
            for slot in range(workers)
        ]
        for process in pool:
            process.start()
        print(f"action: listen | result: success | port: {listener.getsockname()[1]}", flush=True)

    def stop(_signal, _frame):
        for process in pool:
            process.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for process in pool:
        process.join()


if __name__ == "__main__":
    main()
