"""Locked increments of a multiprocessing.Value by several processes. Arguments: processes, increments of each. Prints increments of
all together per second."""

import multiprocessing
import sys
import time


def increment(number, times):
    for _ in range(times):
        with number.get_lock():
            number.value += 1


def main():
    processes, each = map(int, sys.argv[1:])
    fork = multiprocessing.get_context("fork")
    number = fork.Value("Q", 0)
    begun = time.monotonic()
    started = [fork.Process(target=increment, args=(number, each)) for _ in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    lasted = time.monotonic() - begun
    assert number.value == processes * each
    print(processes * each / lasted)


main()
