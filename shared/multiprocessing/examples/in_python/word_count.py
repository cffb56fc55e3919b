import sys
from collections import Counter
from multiprocessing import Pool


def count(path):
    with open(path) as file:
        return Counter(file.read().split())


if __name__ == "__main__":
    total = Counter()
    with Pool(4) as pool:
        for words in pool.imap_unordered(count, sys.argv[1:]):
            total.update(words)
    for word, times in sorted(total.items(), key=lambda item: (-item[1], item[0]))[:3]:
        print(times, word)
