"""Segments that are really there: created here, read here, refused where they must be."""
import os
import subprocess
import sys
import unittest

from shm_multiprocessing import Segment, WrittenSegment

NAME = f"{os.environ.get('TEST_SEGMENT', 'mp-python')}.{os.getpid()}"
PLAN = [("next", "RawValue", "u64", 1), ("busy", "RawArray", "i16", 3)]


class Segments(unittest.TestCase):
    def test_a_created_segment_is_read_by_name(self):
        with WrittenSegment(NAME, PLAN) as written, Segment(NAME) as seen:
            written["next"][0] = 2**64 - 1
            written["busy"][2] = -5
            self.assertEqual((seen["next"], seen["busy"]), (2**64 - 1, [0, 0, -5]))
            self.assertEqual((list(seen), len(seen), seen.lock("next")), (["next", "busy"], 2, None))
            self.assertEqual((seen.creator, seen.removed), (os.getpid(), False))
            first = seen.generation
        with WrittenSegment(NAME, PLAN), Segment(NAME) as seen:
            self.assertGreater(seen.generation, first)
        self.assertFalse(os.path.exists(f"/dev/shm/{NAME}"))

    def test_a_reader_learns_that_the_segment_is_removed(self):
        written = WrittenSegment(NAME, PLAN)
        with Segment(NAME) as seen:
            written.close()
            self.assertTrue(seen.removed)
            self.assertEqual(seen["busy"], [0, 0, 0])
        with self.assertRaises(FileNotFoundError):
            Segment(NAME)

    def test_a_reader_cannot_write(self):
        with WrittenSegment(NAME, PLAN), Segment(NAME) as seen:
            with self.assertRaises(TypeError):
                seen._buffer[0] = 1

    def test_a_segment_that_others_may_open_is_refused_unless_the_group_is_named(self):
        with WrittenSegment(NAME, PLAN):
            path, group = f"/dev/shm/{NAME}", os.getegid()
            for mode in (0o640, 0o660, 0o604, 0o602):
                os.chmod(path, mode)
                with self.assertRaisesRegex(PermissionError, f"mode {mode:o}"):
                    Segment(NAME)
                if mode == 0o660:
                    Segment(NAME, group=group).close()
                else:
                    with self.assertRaises(PermissionError):
                        Segment(NAME, group=group)

    def test_an_entry_without_content_is_refused(self):
        path = f"/dev/shm/{NAME}"
        for content in (b"", b"short", bytes(4096), b"SHMPROC\0" + bytes(200)):
            with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as entry:
                entry.write(content)
            with self.assertRaises(ValueError):
                Segment(NAME)
        os.unlink(path)

    def test_the_command_prints_one_line_per_object(self):
        with WrittenSegment(NAME, PLAN) as written:
            written["busy"][1] = 7
            command = [sys.executable, "-m", "shm_multiprocessing", NAME]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            self.assertEqual(done.stdout, "next\tRawValue\tu64\t1\t0\nbusy\tRawArray\ti16\t3\t[0, 7, 0]\n")
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1))


if __name__ == "__main__":
    unittest.main()
