"""Reads and creates the shared memory segments of the Rust library shm-multiprocessing.

    from shm_multiprocessing import Segment

    with Segment("lottery") as segment:
        print(segment["winners"])
"""
from .creation import WrittenSegment
from .layout import Object
from .segment import Segment

__all__ = ["Object", "Segment", "WrittenSegment"]
