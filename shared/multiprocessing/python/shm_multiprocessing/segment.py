"""Segments that other programs have created, for reading."""
import mmap
import os
import stat
import struct

from . import kinds
from .layout import REMOVED, STATE_OFFSET, directory, header

DIRECTORY = "/dev/shm"


class Segment:
    """A segment of another program. This process cannot write to it, and never removes it.

    `segment[name]` returns the value of an object at this moment; the README lists what that is for
    each kind. Raises ValueError for what is not a segment, FileNotFoundError, and PermissionError
    for a segment of another user or one that other users may open. `group` accepts one that the
    members of this group share."""

    def __init__(self, name, group=None):
        descriptor = os.open(f"{DIRECTORY}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            entry = os.fstat(descriptor)
            _check(entry, group)
            if not entry.st_size:
                raise ValueError("no segment of shm-multiprocessing, or not initialized yet")
            self._map = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        self.name, self._buffer = name, memoryview(self._map)
        try:
            read = header(self._buffer)
            #: The objects by name, in the order of the directory: name, kind, type, length, fields.
            self.objects = directory(self._buffer, kinds.NAMES)
        except BaseException:
            self.close()
            raise
        #: The process that created it, which may be gone.
        self.creator = read.creator
        #: Higher than that of every earlier segment of this name.
        self.generation = read.generation

    @property
    def removed(self):
        """True once the creator has ended or was replaced: open the segment again."""
        return struct.unpack_from("I", self._buffer, STATE_OFFSET)[0] == REMOVED

    def __getitem__(self, name):
        of = self.objects[name]
        kind = kinds.BY_NAME.get(of.kind)
        if kind is None:
            raise ValueError(f"object {name!r} is of a kind that this program does not know")
        with self._place(of) as place:
            return kind.decode(place, of)

    def lock(self, name):
        """Returns the state of the lock of an object: its holder and the number of recoveries. None
        for an object without a lock."""
        of = self.objects[name]
        kind = kinds.BY_NAME.get(of.kind)
        if kind is None or not kind.has_lock:
            return None
        with self._place(of) as place:
            return kinds.lock(place, of)

    def __iter__(self):
        return iter(self.objects)

    def __len__(self):
        return len(self.objects)

    def _place(self, of):
        return self._buffer[of.offset : of.offset + of.bytes]

    def close(self):
        """Unmaps the segment."""
        self._buffer.release()
        try:
            self._map.close()
        except BufferError:
            pass  # an error that is being reported refers to a part of it, and unmaps it in the end

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _check(entry, group):
    """Applies the rules of the library: what others may write could be anything."""
    mode = stat.S_IMODE(entry.st_mode)
    if not stat.S_ISREG(entry.st_mode):
        raise ValueError("it is not a file")
    if group is None and (entry.st_uid != os.geteuid() or mode & 0o077):
        raise PermissionError(f"it belongs to user {entry.st_uid} and has mode {mode:o}: not a private segment of this user")
    if group is not None and (entry.st_gid != group or mode != 0o660):
        raise PermissionError(f"it belongs to group {entry.st_gid} and has mode {mode:o}: not shared by group {group}")
