"""The header and the directory of a segment. src/memory/layout.rs of the library describes them."""
import struct
from collections import namedtuple

MAGIC, LAYOUT_VERSION = b"SHMPROC\0", 3
MADE, READY, REMOVED = 0, 1, 2  # states
STATE_OFFSET = 12

# Magic, layout and state: the same in every version of the layout.
PREAMBLE = struct.Struct("8s I I")
# Magic, layout, state, bytes, objects, creator, its start, creation time, pid and time namespaces,
# image, generation; the rest is reserved.
HEADER = struct.Struct("8s I I Q I I Q Q Q Q I 4x Q 48x")
# Name, kind, type, length, offset, bytes, fingerprint, offset and bytes of the schema; reserved.
ENTRY = struct.Struct("32s I I Q Q Q Q Q Q 40x")

Header = namedtuple(
    "Header", "magic layout state bytes objects creator started created_ms pid_namespace time_namespace image generation"
)
# `fields` is the schema of a structure, or None.
Object = namedtuple("Object", "name kind type length offset bytes fields")

# The number types, with the characters of the modules struct and array.
TYPES = {1: "u8", 2: "u16", 3: "u32", 4: "u64", 5: "i8", 6: "i16", 7: "i32", 8: "i64", 9: "f32", 10: "f64"}
FORMATS = dict(zip(TYPES.values(), "BHIQbhiqfd"))


def header(buffer):
    """Returns the header of a mapped segment. Raises ValueError if the buffer is not a segment of
    this library that is ready."""
    if len(buffer) < PREAMBLE.size:
        raise ValueError("too short for a segment of shm-multiprocessing")
    magic, layout, state = PREAMBLE.unpack_from(buffer)
    if magic == MAGIC and state == REMOVED:
        raise ValueError("the segment is removed: its creator has ended")
    if magic != MAGIC or (layout == LAYOUT_VERSION and state != READY):
        raise ValueError("no segment of shm-multiprocessing, or not initialized yet")
    if layout != LAYOUT_VERSION:
        raise ValueError(f"the segment has layout version {layout}; this program reads version {LAYOUT_VERSION}")
    if len(buffer) < HEADER.size:
        raise ValueError("too short for a segment of shm-multiprocessing")
    read = Header(*HEADER.unpack_from(buffer))
    if read.bytes != len(buffer) or HEADER.size + read.objects * ENTRY.size > read.bytes:
        raise ValueError("the header does not fit the size of the segment")
    return read


def directory(buffer, kinds):
    """Returns the objects of a mapped segment by name. `kinds` names the kinds by their codes."""
    objects = {}
    for index in range(header(buffer).objects):
        entry = ENTRY.unpack_from(buffer, HEADER.size + index * ENTRY.size)
        name, kind, element, length, offset, size, _, schema, schema_bytes = entry
        name = name.partition(b"\0")[0].decode(errors="replace")
        if offset + size > len(buffer) or schema + schema_bytes > len(buffer):
            raise ValueError(f"object {name!r} is not inside the segment")
        fields = bytes(buffer[schema : schema + schema_bytes]).decode(errors="replace") or None
        kind, element = kinds.get(kind, f"kind {kind}"), TYPES.get(element, f"type {element}")
        objects[name] = Object(name, kind, element, length, offset, size, fields)
    return objects
