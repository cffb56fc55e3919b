#!/usr/bin/env python3
"""Reads a segment of the Rust library shm-multiprocessing: its objects and their current values.

    python3 read_segment.py NAME          one line per object: name, kind, type, length, value

src/memory/layout.rs describes the layout. This script never writes to a segment and never removes
one. A Value is read whole even while another process changes it. Each element of an Array is read
whole, but different elements may be from different moments.

For x86-64 only: other processors may reorder the reads, and Python has no fence.
"""
import struct
import sys
from collections import namedtuple
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

MAGIC, LAYOUT_VERSION, READY = b"SHMPROC\0", 3, 1
# Magic, layout, state, bytes, objects, creator, its start, creation time; the rest is reserved.
HEADER = struct.Struct("8s I I Q I I Q Q 80x")
# Name, kind, type, length, offset, bytes; the rest is reserved.
ENTRY = struct.Struct("32s I I Q Q Q 64x")
PREAMBLE = struct.Struct("8s I I")  # magic, layout and state, the same in every layout
LOCK_BYTES, VERSION_OFFSET = 64, 56
KINDS = {
    1: "Lock", 2: "Value", 3: "RawValue", 4: "Array", 5: "RawArray", 6: "RLock", 7: "Semaphore", 8: "BoundedSemaphore",
    9: "Event", 10: "Condition", 11: "Barrier", 12: "Queue", 13: "JoinableQueue",
}
TYPES = {1: "u8", 2: "u16", 3: "u32", 4: "u64", 5: "i8", 6: "i16", 7: "i32", 8: "i64", 9: "f32", 10: "f64"}
FORMATS = dict(zip(TYPES.values(), "BHIQbhiqfd"))  # format characters of struct and array
TRIES = 1_000_000

Object = namedtuple("Object", "name kind type length offset bytes")


class Attached(SharedMemory):
    """A segment of another process. The standard class removes a segment that it cannot map. This
    class removes nothing."""

    def unlink(self):
        pass


def attach(name):
    """Maps a segment without tracking it. Python before 3.13 tracks every segment that it opens,
    and would remove this one when the process ends."""
    if sys.version_info >= (3, 13):
        return Attached(name=name, track=False)
    register, resource_tracker.register = resource_tracker.register, lambda *_: None
    try:
        return Attached(name=name)
    finally:
        resource_tracker.register = register


def directory(buffer):
    """Returns the objects of a mapped segment (the `buf` of a SharedMemory) by name. Raises
    ValueError if the buffer is not a segment of this library."""
    if len(buffer) < PREAMBLE.size:
        raise ValueError("too short for a segment of shm-multiprocessing")
    magic, layout, state = PREAMBLE.unpack_from(buffer)
    if magic != MAGIC or (layout == LAYOUT_VERSION and state != READY):
        raise ValueError("no segment of shm-multiprocessing, or not initialized yet")
    if layout != LAYOUT_VERSION:
        raise ValueError(f"the segment has layout version {layout}; this program reads version {LAYOUT_VERSION}")
    if len(buffer) < HEADER.size:
        raise ValueError("too short for a segment of shm-multiprocessing")
    total, count = HEADER.unpack_from(buffer)[3:5]
    if total != len(buffer) or HEADER.size + count * ENTRY.size > total:
        raise ValueError("the header does not fit the size of the segment")
    objects = {}
    for index in range(count):
        name, kind, element, *place = ENTRY.unpack_from(buffer, HEADER.size + index * ENTRY.size)
        name = name.partition(b"\0")[0].decode(errors="replace")
        objects[name] = Object(name, KINDS.get(kind, f"kind {kind}"), TYPES.get(element, f"type {element}"), *place)
    return objects


def read(buffer, of):
    """Returns the value of an object: a number, a list of numbers, or None if it holds no numbers."""
    if of.type not in FORMATS or of.kind not in ("Value", "RawValue", "Array", "RawArray"):
        return None
    if of.length == 0:
        return []
    size = struct.calcsize(FORMATS[of.type]) * of.length
    data = of.offset + (LOCK_BYTES if of.kind in ("Value", "Array") else 0)
    if data + size > of.offset + of.bytes or of.offset + of.bytes > len(buffer):
        raise ValueError(f"object {of.name!r} is not inside the segment")
    with buffer.toreadonly() as whole:
        if of.kind == "Value":
            numbers = _whole_value(whole, of, data, size)
        else:
            # A memoryview reads each element of a native format in one step, so no element is torn.
            with whole[data : data + size] as part, part.cast(FORMATS[of.type]) as elements:
                numbers = elements.tolist()
    return numbers[0] if of.length == 1 and "Value" in of.kind else numbers


def _whole_value(buffer, of, data, size):
    """Returns the current copy of a Value. A writer changes only the other copy and then increments
    the version, so the copy is whole unless the version has changed during the read."""
    with buffer[of.offset + VERSION_OFFSET : of.offset + LOCK_BYTES] as part, part.cast("Q") as version:
        for _ in range(TRIES):
            before = version[0]
            start = data + before % 2 * (-(-size // 8) * 8)
            copy = bytes(buffer[start : start + size])
            if version[0] == before:
                return memoryview(copy).cast(FORMATS[of.type]).tolist()
    raise TimeoutError(f"value {of.name!r} changes faster than it can be read")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: read_segment.py NAME")
    try:
        memory = attach(sys.argv[1])
        try:
            for of in directory(memory.buf).values():
                value = read(memory.buf, of)
                print(of.name, of.kind, of.type, of.length, "-" if value is None else value, sep="\t")
        finally:
            memory.close()
    except (OSError, ValueError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")


if __name__ == "__main__":
    main()
