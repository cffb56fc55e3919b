"""Every kind is decoded from bytes that were written by hand after src/memory/layout.rs."""
import struct
import unittest

from shm_multiprocessing.kinds import BY_NAME
from shm_multiprocessing.layout import Object

FREE = bytes(48)


def lock_block(holder=0, recoveries=0, version=0):
    return struct.pack("<I44xQQ", holder, recoveries, version)


def record(numbers, rows, capacity, version=0):
    """A lock block, two copies of numbers and rows, and the signal line. The other copy is garbage."""
    numbers = list(numbers) + [0] * (7 - len(numbers)) + [len(rows)]
    copy = struct.pack("<8Q", *numbers)
    copy += b"".join(struct.pack("<IIQQQ", pid, 7, 99, count, mark) for pid, count, mark in rows)
    copy = copy.ljust(64 + 32 * capacity, b"\xee")
    other = b"\xff" * len(copy)
    return lock_block(version=version) + (copy + other if version % 2 == 0 else other + copy) + bytes(64)


def decode(kind, data, element="u64", length=0, fields=None):
    of = Object("it", kind, element, length, 0, len(data), fields)
    with memoryview(bytes(data)) as place:
        return BY_NAME[kind].decode(place, of)


class Kinds(unittest.TestCase):
    def test_the_holder_of_a_lock_is_a_thread_without_the_flags_of_the_kernel(self):
        self.assertEqual(decode("Lock", lock_block(), "u8"), {"holder": None, "recoveries": 0})
        held = lock_block(4711 | 1 << 31 | 1 << 30, 2)
        self.assertEqual(decode("Lock", held, "u8"), {"holder": 4711, "recoveries": 2})
        self.assertEqual(decode("RLock", lock_block(5, 0, 3), "u8"), {"holder": 5, "recoveries": 0, "depth": 3})

    def test_a_value_is_the_copy_that_the_version_names(self):
        for version, expected in [(0, 7), (1, 8), (2, 7), (2**64 - 1, 8)]:
            data = lock_block(version=version) + struct.pack("<QQ", 7, 8)
            self.assertEqual(decode("Value", data, length=1), expected)
        odd = lock_block(version=1) + b"\xff" * 8 + bytes([1, 2, 3, 4, 5, 0xFF, 0xFF, 0xFF])
        self.assertEqual(decode("Value", odd, "u8", 5), [1, 2, 3, 4, 5])

    def test_numbers_keep_their_sign_and_size(self):
        self.assertEqual(decode("RawValue", struct.pack("<i", -7), "i32", 1), -7)
        self.assertEqual(decode("RawArray", b"\x00\x80\xff\xff", "i16", 2), [-32768, -1])
        self.assertEqual(decode("Array", FREE + bytes(16) + struct.pack("<2d", 0.5, -1.5), "f64", 2), [0.5, -1.5])
        self.assertEqual(decode("RawArray", b"", "u8", 0), [])

    def test_structures_are_read_by_the_names_of_their_fields(self):
        fields = "{bets:u64@0,name:u8*4@8,at:{x:i16@0,y:i16@2}*2@12,0:f32@20}"
        one = struct.pack("<Q4s4hf", 9, b"Pepe", 1, -2, 3, -4, 0.25)
        expected = {"bets": 9, "name": list(b"Pepe"), "at": [{"x": 1, "y": -2}, {"x": 3, "y": -4}], "0": 0.25}
        self.assertEqual(decode("Value", lock_block() + one * 2, "u8", 24, fields), expected)
        self.assertEqual(decode("Array", lock_block() + one * 3, "u8", 72, fields), [expected] * 3)

    def test_an_event_is_its_lowest_bit(self):
        self.assertIs(decode("Event", struct.pack("<I", 6), "u32", 1), False)
        self.assertIs(decode("Event", struct.pack("<I", 7), "u32", 1), True)

    def test_the_rows_of_a_record_name_processes(self):
        units = record([1, 5, 2], [(4711, 2, 0), (4712, 1, 0)], 3, version=1)
        expected = {"free": 1, "most": 5, "recovered": 2, "held": {4711: 2, 4712: 1}}
        self.assertEqual(decode("Semaphore", units, length=3), expected)
        self.assertEqual(decode("BoundedSemaphore", units, length=3), expected)
        waiters = record([3, 0], [(1, 0, 1), (2, 4, 2), (3, 0, 3)], 3)
        self.assertEqual(decode("Condition", waiters, length=3), {"waiting": [1, 3], "notified": [2]})

    def test_a_barrier_tells_the_cause_of_its_break(self):
        fine = record([3, 2, 9, 8, 1, 4, 2], [(1, 0, 8), (2, 0, 8)], 4)
        expected = {"parties": 3, "arrived": 2, "broken": None, "members": [1, 2]}
        self.assertEqual(decode("Barrier", fine, length=4), expected)
        broken = record([3, 0, 9, 8, 1, 4, 3 | 4711 << 8 | 1 << 63], [], 4)
        self.assertEqual(decode("Barrier", broken, length=4)["broken"], "party died")

    def test_the_messages_of_a_queue_are_those_that_were_put_and_not_taken(self):
        # Messages of 3 bytes, padded to 8, in a ring of 3. Number n is at n modulo 3.
        ring = b"".join(bytes([n, n, n]).ljust(8, b"\xee") for n in (6, 7, 5))
        put, taken, closed = 8, 5, 1 << 32 | 2 << 16
        state = record([3, put, taken, 0, 0, closed], [], 0)
        expected = {"messages": [[5] * 3, [6] * 3, [7] * 3], "capacity": 3, "closed": True}
        self.assertEqual(decode("Queue", state + ring, "u8", 24), expected)
        # With rows, and numbers about tasks: 4 finished, 1 of these lost.
        state = record([3, put, taken, 4, 1 | 2 << 32, 0], [(4711, 1, 0)], 2)
        joinable = decode("JoinableQueue", state + ring, "u8", 24)
        self.assertEqual(joinable["messages"], expected["messages"])
        self.assertEqual((joinable["unfinished"], joinable["lost"], joinable["in_progress"]), (4, 1, {4711: 1}))

    def test_messages_of_any_length_may_go_on_at_the_start_of_the_ring(self):
        # A ring of 48 bytes. The first message was taken, the second one goes on at the start.
        ring = b"kepada!!" + struct.pack("<Q", 0) + bytes(8) + bytes(8) + struct.pack("<Q", 9) + b"bienveni"
        put, taken = 32 + 24 + 8, 32
        ring = b"d".ljust(8, b"\xee") + ring[8:]
        state = record([40, put, taken, 3, 1, 1 << 32], [], 0)
        expected = {"messages": [list(b"bienvenid"), []], "capacity": 40, "closed": True}
        self.assertEqual(decode("MessageQueue", state + ring, "u8", 48), expected)
        empty = record([40, 7, 7, 1, 1, 0], [], 0)
        self.assertEqual(decode("MessageQueue", empty + ring, "u8", 48)["messages"], [])

    def test_bytes_that_make_no_sense_are_errors(self):
        cases = [
            ("Lock", bytes(63), "u8", 0, None),
            ("Value", bytes(64 + 15), "u64", 1, None),
            ("Value", bytes(64 + 16), "type 99", 1, None),
            ("RawArray", bytes(8), "u64", 2, None),
            ("RawValue", b"", "u64", 0, None),
            ("Event", b"", "u32", 1, None),
            ("Barrier", bytes(64), "u64", 0, None),
            ("Queue", bytes(256) + bytes(24), "u8", 24, None),
            ("Queue", record([2**60], [], 0) + bytes(24), "u8", 24, None),
            ("Queue", bytes(8), "u64", 2**60, None),
            ("MessageQueue", record([40, 48, 0], [], 0) + b"\xff" * 48, "u8", 48, None),
            ("MessageQueue", bytes(8), "u8", 48, None),
            ("Value", bytes(64 + 16), "u8", 8, "{a:u64@4}"),
        ]
        for kind, data, element, length, fields in cases:
            with self.subTest(kind=kind, data=len(data)), self.assertRaises(ValueError):
                decode(kind, data, element, length, fields)

    def test_schemas_that_make_no_sense_are_errors(self):
        for schema in ["", "{", "{}", "{a}", "{a:u64}", "{a:u65@0}", "{a:u64@0", "{a:u64@0}x", "{a:u8*0@0}",
                       "{a:u64@-1}", "{a:u64@²}", "{a:u8*" + "9" * 5000 + "@0}", "{a:" * 100_000]:
            with self.subTest(schema=schema[:20]), self.assertRaises(ValueError):
                decode("Array", lock_block() + bytes(8), "u8", 8, schema)


if __name__ == "__main__":
    unittest.main()
