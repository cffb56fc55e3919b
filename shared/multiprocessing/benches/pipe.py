"""What the Pipe is measured against: Python's. Arguments: ping or stream, bytes of a message, messages. Prints round trips, or
messages, per second."""

import sys
import time
from multiprocessing import Pipe, get_context


def answer(end, ping, message, messages):
    for _ in range(messages):
        if ping:
            end.recv_bytes()
        end.send_bytes(message)


def main():
    ping, size, messages = sys.argv[1] == "ping", int(sys.argv[2]), int(sys.argv[3])
    message = bytes(size)
    here, there = Pipe()
    begun = time.monotonic()
    child = get_context("fork").Process(target=answer, args=(there, ping, message, messages))
    child.start()
    for _ in range(messages):
        if ping:
            here.send_bytes(message)
        here.recv_bytes()
    took = time.monotonic() - begun
    child.join()
    print(messages / took)


main()
