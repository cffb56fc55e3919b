"""The table of the kinds of object, and how each is decoded. A new kind needs a row in KINDS.

A decoder gets the bytes of an object as a read-only memoryview, and the Object."""
import sys
from collections import namedtuple

from .elements import element_bytes, read_all, read_one
from .layout import FORMATS

LOCK_BYTES, HEAD_BYTES, SIGNAL_BYTES, ROW_BYTES = 64, 64, 64, 32
RECOVERIES_OFFSET, VERSION_OFFSET = 48, 56
HOLDER_MASK = 0x3FFFFFFF  # of the kernel's robust futexes
CLOSED = 1 << 32
BROKEN, CAUSES = 1 << 63, {1: "aborted", 2: "timeout", 3: "party died", 4: "action failed", 5: "reset"}
TRIES = 1_000_000

Row = namedtuple("Row", "pid count mark")


def _number(place, offset, code="Q"):
    """Returns a number, which is read in one step and so never torn."""
    with place[offset : offset + (8 if code == "Q" else 4)] as part, part.cast(code) as numbers:
        return numbers[0]


def _room(place, of, wanted):
    if len(place) < wanted:
        raise ValueError(f"object {of.name!r} is not inside the segment")


def _current(place, of, read):
    """Returns `read(copy)` for the current one of the two copies behind a lock block. A writer
    changes only the other copy and then increments the version, so what was read is whole unless
    the version has changed."""
    half = (len(place) - LOCK_BYTES) // 2
    for _ in range(TRIES):
        before = _number(place, VERSION_OFFSET)
        start = LOCK_BYTES + before % 2 * half
        copy = bytes(place[start : start + half])
        if _number(place, VERSION_OFFSET) == before:
            return read(copy)
    raise TimeoutError(f"object {of.name!r} changes faster than it can be read")


def lock(place, of):
    _room(place, of, LOCK_BYTES)
    holder = _number(place, 0, "I") & HOLDER_MASK
    return {"holder": holder or None, "recoveries": _number(place, RECOVERIES_OFFSET)}


def rlock(place, of):
    return {**lock(place, of), "depth": _number(place, VERSION_OFFSET)}


def value(place, of):
    size = element_bytes(of) * of.length
    _room(place, of, LOCK_BYTES + 2 * (-(-size // 8) * 8))
    return _current(place, of, lambda copy: read_one(of, copy[:size]))


def array(place, of):
    return _elements(place, of, LOCK_BYTES)


def raw_array(place, of):
    return _elements(place, of, 0)


def raw_value(place, of):
    if of.length != 1:
        raise ValueError(f"object {of.name!r} is a single number of length {of.length}")
    return raw_array(place, of)[0]


def _elements(place, of, start):
    size = element_bytes(of) * of.length
    _room(place, of, start + size)
    if not size:
        return []
    # A memoryview reads each element of a native format in one step, so no element is torn.
    with place[start : start + size] as part, part.cast(FORMATS[of.type]) as elements:
        return elements.tolist() if of.fields is None else read_all(of, bytes(part))


def event(place, of):
    _room(place, of, 4)
    return bool(_number(place, 0, "I") & 1)


def _record(place, of):
    """Returns the numbers and the rows of a record."""
    _room(place, of, LOCK_BYTES + 2 * HEAD_BYTES + SIGNAL_BYTES)

    def read(copy):
        numbers = memoryview(copy[:HEAD_BYTES]).cast("Q").tolist()
        used = min(numbers[7], (len(copy) - HEAD_BYTES) // ROW_BYTES)
        rows = memoryview(copy[HEAD_BYTES : HEAD_BYTES + used * ROW_BYTES]).cast("Q").tolist() if used else []
        # A row is pid u32, image u32, start time, count, mark.
        return numbers, [Row(rows[at] & 0xFFFFFFFF, rows[at + 2], rows[at + 3]) for at in range(0, len(rows), 4)]

    return _current(place[: len(place) - SIGNAL_BYTES], of, read)


def _by_pid(rows):
    counts = {}
    for row in rows:
        counts[row.pid] = counts.get(row.pid, 0) + row.count
    return counts


def semaphore(place, of):
    (free, most, recovered, *_), rows = _record(place, of)
    return {"free": free, "most": most, "recovered": recovered, "held": _by_pid(rows)}


def condition(place, of):
    _, rows = _record(place, of)
    return {
        "waiting": [row.pid for row in rows if row.count == 0],
        "notified": [row.pid for row in rows if row.count != 0],
    }


def barrier(place, of):
    (parties, arrived, _, _, _, _, cause, _), rows = _record(place, of)
    broken = CAUSES.get(cause & 0xFF, "unknown") if cause & BROKEN else None
    return {"parties": parties, "arrived": arrived, "broken": broken, "members": [row.pid for row in rows]}


def queue(place, of):
    return _ring(place, of)[0]


def joinable_queue(place, of):
    state, numbers, rows = _ring(place, of)
    unfinished = (numbers[1] - numbers[3]) % 2**64
    return {**state, "unfinished": unfinished, "lost": numbers[4] & 0xFFFFFFFF, "in_progress": _by_pid(rows)}


def _ring(place, of):
    ring = element_bytes(of) * of.length
    record = place[: len(place) - ring] if ring <= len(place) else place[:0]
    numbers, rows = _record(record, of)
    message = numbers[0] * element_bytes(of)
    room = -(-message // 8) * 8
    if not 0 < room <= ring:
        raise ValueError(f"queue {of.name!r} has messages of {message} bytes in a ring of {ring}")
    capacity, start = ring // room, len(place) - ring
    put, taken = numbers[1], numbers[2]
    at = [start + number % capacity * room for number in range(taken, min(put, taken + capacity))]
    copies = [bytes(place[place_of : place_of + message]) for place_of in at]
    # The place of a message is used again only once the message is taken.
    numbers, rows = _record(record, of)
    gone = max(0, min(numbers[2] - taken, len(copies)))
    messages = [read_one(of, copy) for copy in copies[gone:]]
    return {"messages": messages, "capacity": capacity, "closed": bool(numbers[5] & CLOSED)}, numbers, rows


def message_queue(place, of):
    """Each message is its length in 8 bytes and its bytes, rounded up to 8. It may go on at the start of the
    ring. Messages are bytes, because only the programs know what they encode."""
    _room(place, of, of.length)
    record, ring = place[: len(place) - of.length], bytes(place[len(place) - of.length :])
    before, _ = _record(record, of)
    capacity, put, taken = before[:3]
    used = min((put - taken) % 2**64, len(ring))
    at = taken % len(ring) // 8 * 8 if ring else 0
    left = (ring[at:] + ring[:at])[:used]
    numbers, _ = _record(record, of)
    # The place of a message is used again only once the message is taken.
    gone = (numbers[2] - taken) % 2**64
    messages, start = [], 0
    while start < len(left):
        length = int.from_bytes(left[start : start + 8], sys.byteorder)
        end = start + 8 + -(-length // 8) * 8
        if start >= gone:
            if end > len(left):
                raise ValueError(f"queue {of.name!r} has a message of {length} bytes in a ring of {len(ring)}")
            messages.append(list(left[start + 8 : start + 8 + length]))
        start = end
    return {"messages": messages, "capacity": capacity, "closed": bool(numbers[5] & CLOSED)}


# `created` is true if Python can create such an object. The lock of the others is a robust mutex of
# the C library, which it cannot.
Kind = namedtuple("Kind", "name decode has_lock created")
KINDS = {
    1: Kind("Lock", lock, True, False),
    2: Kind("Value", value, True, False),
    3: Kind("RawValue", raw_value, False, True),
    4: Kind("Array", array, True, False),
    5: Kind("RawArray", raw_array, False, True),
    6: Kind("RLock", rlock, True, False),
    7: Kind("Semaphore", semaphore, True, False),
    8: Kind("BoundedSemaphore", semaphore, True, False),
    9: Kind("Event", event, False, False),
    10: Kind("Condition", condition, True, False),
    11: Kind("Barrier", barrier, True, False),
    12: Kind("Queue", queue, True, False),
    13: Kind("JoinableQueue", joinable_queue, True, False),
    14: Kind("MessageQueue", message_queue, True, False),
}
NAMES = {code: kind.name for code, kind in KINDS.items()}
BY_NAME = {kind.name: kind for kind in KINDS.values()}
