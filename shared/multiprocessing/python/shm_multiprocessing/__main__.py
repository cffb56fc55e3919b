"""Prints one line per object of a segment: name, kind, type, length, value."""
import argparse
import json
import sys

from .segment import Segment


def main():
    parser = argparse.ArgumentParser(prog="python3 -m shm_multiprocessing", description=__doc__)
    parser.add_argument("name", help="the name of a segment in /dev/shm")
    parser.add_argument("--group", type=int, help="accept a segment that this group (a number) shares")
    arguments = parser.parse_args()
    try:
        with Segment(arguments.name, arguments.group) as segment:
            for of in segment.objects.values():
                print(of.name, of.kind, of.type, of.length, json.dumps(segment[of.name]), sep="\t")
    except (OSError, ValueError) as error:
        sys.exit(f"{arguments.name}: {error}")


if __name__ == "__main__":
    main()
