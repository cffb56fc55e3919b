"""The `typed` dialect served with Python's multiprocessing: the reference for CPU time per bet and for throughput.

    multiprocessing_server.py PORT WORKERS STORAGE_DIR plain|tuned

PORT 0 means any free one; the chosen port is printed on one line of stdout once the socket listens. SIGTERM stops it.

Pre-forked workers accept on one inherited socket and share a Lock around the files, a Value with the winners and an Array with
one flag per worker that is busy with a batch. As in the original, a connection carries one request and the server closes it.
A batch is one csv `writerows`, and nothing is logged but errors. There are two styles:

plain  the usual way to write it: one recv for every length and every record, strptime for every date
tuned  buffered reads, and the fastest date parser of the standard library

Bets with a number are decided by it. The hash that decides four-field records runs byte by byte and then dominates in Python,
so figures of this server should only be quoted for bets with a number.
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

# From <linux/prctl.h>: the signal a process gets when its parent dies.
PR_SET_PDEATHSIG = 1


class ProtocolError(Exception):
    """The peer sent something that is no request of this dialect."""


class Bet:
    """One bet, checked."""

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
        """The row of bets.csv: this dialect carries no agency, and a record without number stores 0."""
        return (0, self.first_name, self.last_name, self.document, self.birthdate.isoformat(), self.number or 0)

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
    """A real calendar date; month and day may lack their zero."""
    return datetime.strptime(text, "%Y-%m-%d").date()


def parse_date_fast(text):
    """The same, quicker where nothing lacks its zero."""
    if len(text) == 10 and text[4] == text[7] == "-":
        return date.fromisoformat(text)
    return parse_date(text)


class Style(typing.NamedTuple):
    """How the server is written."""

    parse_date: typing.Callable[[str], date]
    # As for socket.makefile: 0 reads what is asked for and no more.
    buffering: typing.Optional[int]


STYLES = {"plain": Style(parse_date, buffering=0), "tuned": Style(parse_date_fast, buffering=None)}


def parse_number(text):
    """A plain decimal: no sign, blanks or leading zeros, because the reply repeats it as it came."""
    if not (text.isascii() and text.isdigit()):
        raise ProtocolError("bad number")
    number = int(text)
    if number > MAX_NUMBER or str(number) != text:
        raise ProtocolError("bad number")
    return number


def fnv1a(data):
    """FNV-1a, 64 bit."""
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


class Central:
    """What the workers share."""

    def __init__(self, context, workers, directory):
        self.files = context.Lock()
        self.winners = context.Value("I", 0)
        self.busy = context.Array("b", workers)
        self.bets_path = os.path.join(directory, "bets.csv")
        self.winners_path = os.path.join(directory, "winners.log")

    def store(self, slot, bets):
        """Stores the batch, then publishes it, so that a client that has its reply finds its batch counted."""
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


def answer(central, slot, stream, parse_date):
    """Reads one request and returns the bytes of its reply."""
    (kind,) = read_exactly(stream, 1)
    if kind == QUERY:
        return central.results()
    if kind != BATCH:
        raise ProtocolError("bad protocol")
    central.busy[slot] = 1
    winners = central.store(slot, read_batch(stream, parse_date))
    return U16.pack(len(winners)) + b"".join(bet.record() for bet in winners)


def work(central, slot, listener, style, parent):
    """A worker: one connection at a time, for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent died at once")
    while True:
        client, peer = listener.accept()
        with client:
            client.settimeout(SOCKET_TIMEOUT_SECONDS)
            try:
                with client.makefile("rb", buffering=style.buffering) as stream:
                    client.sendall(answer(central, slot, stream, style.parse_date))
            except (ProtocolError, ValueError, OSError) as error:
                print(f"Error while communicating with client {peer}: {error!r}", file=sys.stderr)
            finally:
                central.busy[slot] = 0


def main():
    if len(sys.argv) != 5 or sys.argv[4] not in STYLES:
        sys.exit(f"usage: {sys.argv[0]} PORT WORKERS STORAGE_DIR {'|'.join(STYLES)}")
    port, workers, directory, style = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], STYLES[sys.argv[4]]
    context = multiprocessing.get_context("fork")
    central = Central(context, workers, directory)
    with socket.create_server(("127.0.0.1", port), backlog=BACKLOG) as listener:
        pool = [
            context.Process(target=work, args=(central, slot, listener, style, os.getpid()))
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
