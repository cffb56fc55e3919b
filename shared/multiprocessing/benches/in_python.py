"""What the benches measure of Python's multiprocessing. Arguments: which, and its numbers. Prints how often it happened per second."""

import multiprocessing
import sys
import time

fork = multiprocessing.get_context("fork")


def seconds_of(processes, work):
    """Runs the work in this many processes, and returns how long that takes."""
    begun = time.monotonic()
    started = [fork.Process(target=work) for _ in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    lasted = time.monotonic() - begun
    assert all(process.exitcode == 0 for process in started)
    return lasted


def increments(processes, each):
    number = fork.Value("Q", 0)

    def work():
        for _ in range(each):
            with number.get_lock():
                number.value += 1

    lasted = seconds_of(processes, work)
    assert number.value == processes * each
    return processes * each / lasted


def pairs(processes, each):
    lock = fork.Lock()

    def work():
        for _ in range(each):
            with lock:
                pass

    return processes * each / seconds_of(processes, work)


def barrier(parties, rounds):
    meet = fork.Barrier(parties)

    def work():
        for _ in range(rounds):
            meet.wait()

    return rounds / seconds_of(parties, work)


def event(rounds):
    there, back = fork.Event(), fork.Event()

    def answer():
        for _ in range(rounds):
            there.wait()
            there.clear()
            back.set()

    begun = time.monotonic()
    other = fork.Process(target=answer)
    other.start()
    for _ in range(rounds):
        there.set()
        back.wait()
        back.clear()
    lasted = time.monotonic() - begun
    other.join()
    return 2 * rounds / lasted


def through(queue, messages, done=lambda: None):
    def fill():
        for message in range(messages):
            queue.put(message)

    begun = time.monotonic()
    filling = fork.Process(target=fill)
    filling.start()
    for message in range(messages):
        assert queue.get() == message
        done()
    lasted = time.monotonic() - begun
    filling.join()
    return messages / lasted


def queue(capacity, messages):
    return through(fork.Queue(capacity), messages)


def joinable_queue(capacity, messages):
    tasks = fork.JoinableQueue(capacity)
    return through(tasks, messages, tasks.task_done)


def simple_queue(messages):
    return through(fork.SimpleQueue(), messages)


def pipe(ping, size, messages):
    here, there = fork.Pipe()
    message = bytes(size)

    def answer():
        for _ in range(messages):
            if ping:
                there.recv_bytes()
            there.send_bytes(message)

    begun = time.monotonic()
    other = fork.Process(target=answer)
    other.start()
    for _ in range(messages):
        if ping:
            here.send_bytes(message)
        here.recv_bytes()
    lasted = time.monotonic() - begun
    other.join()
    return messages / lasted


def square(item):
    return item * item


def tasks(way, workers, items):
    with fork.Pool(workers) as pool:
        pool.map(square, range(100))
        begun = time.monotonic()
        if way == 0:
            squares = [pool.apply(square, (item,)) for item in range(items)]
        elif way == 1:
            squares = pool.map(square, range(items))
        elif way == 2:
            squares = pool.map(square, range(items), chunksize=1)
        else:
            squares = list(pool.imap(square, range(items)))
        lasted = time.monotonic() - begun
    assert squares == [item * item for item in range(items)]
    return items / lasted


def process(children):
    begun = time.monotonic()
    for _ in range(children):
        child = fork.Process(target=int)
        child.start()
        child.join()
    return children / (time.monotonic() - begun)


what, *numbers = sys.argv[1:]
print(globals()[what](*map(int, numbers)))
