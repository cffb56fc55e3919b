"""Creating a segment that the Rust library shm-multiprocessing can open by name.

    from shm_multiprocessing import WrittenSegment

    with WrittenSegment("jobs", [("next", "RawValue", "u64", 1), ("busy", "RawArray", "u16", 8)]) as segment:
        segment["next"][0] = 7574           # Segment::open(&name)?.raw_value::<u64>("next")?.load() == 7574
        segment["busy"][3]                  # the value that any process stored last

Only raw objects are supported. The lock of a Value or an Array is a robust mutex of the C library,
which Python cannot create. Each number is read or written in one step, but
`segment["next"][0] += 1` takes two. Give every number one writer, or add in Rust.
"""
import atexit
import fcntl
import mmap
import os
import struct
import sys
import time

from . import kinds
from .layout import ENTRY, FORMATS, HEADER, LAYOUT_VERSION, MADE, MAGIC, READY, REMOVED, STATE_OFFSET, TYPES, directory
from .segment import DIRECTORY

ALIGNMENT, LONGEST_NAME = 64, 31


class WrittenSegment:
    """A segment created by this process. It is removed when it is closed or when the process exits.
    If the process is killed, the next segment of that name takes its place.

    It follows the rules of the library: mode 0600, and a lock on the entry as long as this process
    or a child of it lives, so that no other process reclaims it."""

    # SharedMemory would remove any entry of this name: also one that another process has created
    # since this one was removed.
    def __init__(self, name, plan):
        """Creates a segment with all values 0. `plan` is a list of tuples: name, "RawValue" or
        "RawArray", integer type such as "u64", length."""
        entries, total = _laid_out(plan)
        if not name or "/" in name:
            raise ValueError(f"{name!r} is no name of a segment")
        self._views, self._creator, self._path = {}, os.getpid(), f"{DIRECTORY}/{name}"
        self._map = self._buffer = None
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        try:
            self._entry = os.open(self._path, flags, 0o600)
        except FileExistsError:
            _reclaim(self._path)
            self._entry = os.open(self._path, flags, 0o600)
        try:
            os.fchmod(self._entry, 0o600)  # whatever the umask is
            fcntl.flock(self._entry, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._has_entry():
                raise FileExistsError(f"another process has taken {name}")
            os.posix_fallocate(self._entry, 0, total)
            self._map = mmap.mmap(self._entry, total)
            self._buffer = memoryview(self._map)
            self._fill(entries, total)
        except BaseException:
            self.close()
            raise
        atexit.register(self.close)

    def _fill(self, entries, total):
        buffer = self._buffer
        now, namespaces = time.time_ns(), (_namespace("pid"), _namespace("time"))
        creator = (os.getpid(), _start_ticks(), now // 10**6)
        # The image, of which 0 means unknown, comes before the generation.
        HEADER.pack_into(
            buffer, 0, MAGIC, LAYOUT_VERSION, MADE, total, len(entries), *creator, *namespaces, 0, now
        )
        for index, entry in enumerate(entries):
            ENTRY.pack_into(buffer, HEADER.size + index * ENTRY.size, *entry)
        # Written last, because other processes may open the segment from now on.
        self._set_state(READY)
        for of in directory(buffer, kinds.NAMES).values():
            self._views[of.name] = buffer[of.offset : of.offset + of.bytes].cast(FORMATS[of.type])

    def _set_state(self, state):
        with self._buffer[: HEADER.size] as header, header.cast("I") as words:
            words[STATE_OFFSET // 4] = state

    def __getitem__(self, name):
        """Returns the elements of an object as a memoryview. Read and assign them by index."""
        return self._views[name]

    def _has_entry(self):
        """Returns true if the entry of this name still leads to this segment."""
        try:
            return os.path.samestat(os.stat(self._path, follow_symlinks=False), os.fstat(self._entry))
        except FileNotFoundError:
            return False

    def close(self):
        """Removes the entry, in the process that created it. Processes that have the segment open
        keep the memory."""
        if self._entry is None:
            return
        atexit.unregister(self.close)
        for view in self._views.values():
            view.release()
        if os.getpid() == self._creator:
            if self._views:
                self._set_state(REMOVED)
            if self._has_entry():
                os.unlink(self._path)
        self._views = {}
        if self._buffer is not None:
            self._buffer.release()
            self._map.close()
        os.close(self._entry)
        self._entry = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _reclaim(path):
    """Removes the entry of a segment whose creator and its children are gone, by the rules of the
    library. Raises FileExistsError if one of them lives, or if it is not a finished segment."""
    try:
        entry = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileExistsError(f"{path} is not a segment of this user") from error
    try:
        found, start = os.fstat(entry), os.pread(entry, STATE_OFFSET + 4, 0)
        is_finished = start.startswith(MAGIC) and start[STATE_OFFSET:] != MADE.to_bytes(4, sys.byteorder)
        if found.st_uid != os.geteuid() or not is_finished:
            raise FileExistsError(f"{path} is not a finished segment of this user")
        # First the lock of a removal, which children of a dead creator take too.
        whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(entry, fcntl.F_OFD_SETLK, whole)
        fcntl.flock(entry, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.stat(path, follow_symlinks=False), found):
            os.pwrite(entry, REMOVED.to_bytes(4, sys.byteorder), STATE_OFFSET)
            os.unlink(path)
    except BlockingIOError as error:
        raise FileExistsError(f"{path} is in use") from error
    except FileNotFoundError:
        pass  # another process has been faster
    finally:
        os.close(entry)


def _laid_out(plan):
    codes = {kind.name: code for code, kind in kinds.KINDS.items() if kind.created}
    types = {name: code for code, name in TYPES.items()}
    entries, names, end = [], set(), HEADER.size + ENTRY.size * len(plan)
    for name, kind, element, length in plan:
        encoded = name.encode()
        if not 0 < len(encoded) <= LONGEST_NAME or b"\0" in encoded or name in names:
            raise ValueError(f"object name {name!r} is repeated, or not 1 to {LONGEST_NAME} bytes without NUL")
        if kind not in codes or length < 1 or (kind == "RawValue" and length > 1):
            raise ValueError(f"object {name!r}: Python can create only a RawValue of length 1 or a RawArray")
        if element not in FORMATS or element.startswith("f"):
            raise ValueError(f"object {name!r}: raw objects hold integers, u8 to u64 or i8 to i64")
        names.add(name)
        size = struct.calcsize(FORMATS[element]) * length
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        entries.append((encoded, codes[kind], types[element], length, offset, size, 0, 0, 0))
        end = offset + size
    return entries, end


def _start_ticks():
    """Returns the start time, field 22 of /proc/self/stat. Field 2, in parentheses, may contain any
    character, so the fields are counted from its end."""
    with open("/proc/self/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[19])


def _namespace(kind):
    """Returns the number of a namespace of this process, or 0 where Linux has none of that kind."""
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    except FileNotFoundError:
        return 0
