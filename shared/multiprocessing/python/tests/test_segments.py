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

    def test_a_closed_segment_leaves_the_entry_of_the_next_one(self):
        first = WrittenSegment(NAME, PLAN)
        os.unlink(f"/dev/shm/{NAME}")
        with WrittenSegment(NAME, PLAN) as second, Segment(NAME) as seen:
            first.close()
            second["next"][0] = 1
            self.assertEqual((os.path.exists(f"/dev/shm/{NAME}"), seen.removed), (True, False))
            self.assertEqual(seen["next"], 1)

    def test_a_segment_is_removed_when_its_process_exits_and_has_mode_600_whatever_the_umask(self):
        script = (
            "import os, sys; from shm_multiprocessing import WrittenSegment; os.umask(0o777);"
            "kept = WrittenSegment(sys.argv[1], [('a', 'RawValue', 'u8', 1)]);"
            "print(oct(os.stat(f'/dev/shm/{sys.argv[1]}').st_mode))"
        )
        printed = subprocess.run([sys.executable, "-c", script, NAME], capture_output=True, text=True)
        self.assertEqual((printed.stdout, printed.stderr), ("0o100600\n", ""))
        self.assertFalse(os.path.exists(f"/dev/shm/{NAME}"))

    def test_a_segment_of_a_killed_process_is_replaced_and_that_of_a_living_one_is_not(self):
        script = (
            "import sys; from shm_multiprocessing import WrittenSegment;"
            "kept = WrittenSegment(sys.argv[1], [('a', 'RawValue', 'u8', 1)]);"
            "print('made', flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", script, NAME]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as creator:
            self.assertEqual(creator.stdout.readline(), b"made\n")
            with self.assertRaisesRegex(FileExistsError, "in use"):
                WrittenSegment(NAME, PLAN)
            creator.kill()
            creator.wait()
            with Segment(NAME) as seen, WrittenSegment(NAME, PLAN):
                self.assertTrue(seen.removed)
        self.assertFalse(os.path.exists(f"/dev/shm/{NAME}"))
        with open(f"/dev/shm/{NAME}", "w"):
            self.assertRaises(FileExistsError, WrittenSegment, NAME, PLAN)
        os.unlink(f"/dev/shm/{NAME}")

    def test_a_name_that_leaves_the_directory_is_refused(self):
        for name in ("", "../tmp/x", "a/b"):
            with self.assertRaises(ValueError):
                WrittenSegment(name, PLAN)

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
