"""Mutated files through every reader: each must end in records or in a DataError that names a file.

    python tests/fuzz_readers.py [--cases 10000] [--formats coco yolo ...]

Half of the cases change the structure of a JSON or YAML file (a value becomes something odd, a key goes, a
part is doubled), the others its bytes. A case that takes longer than LIMIT seconds of CPU time fails too.
Prints a line for each format, with the peak memory of the process.
"""

import argparse
import copy
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml
from annotated import WRITERS, write

from yoloseg.data.datafile import load_datasets
from yoloseg.errors import DataError
from yoloseg.memory import peak_memory

LIMIT = 1.0
ODD = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, 10**400, 0.5, -0.0, 1e308, -1e308, float("nan"),
    float("inf"), "", " ", "0", "a", "../../x", "/etc/passwd", "a\0b", "\ud800", "é" * 300, "0" * 5000,
    "nan", [], {}, [[]], [None], [1], [[1, 2]], [[1e9] * 6], [[0, 0, 0, 0, 0, 0]], [["x"] * 6],
    [[[1, 2], [3, 4], [5, 6]]], {"size": [40, 60], "counts": "x"}, {"size": [40, 60], "counts": [2400]},
    {"size": [10**9, 10**9], "counts": "0"}, {"size": [40, 60], "counts": [-1, 2401]},
    {"size": "x", "counts": None}, {"id": 1}, [{"id": 1}] * 3, {"a": {"b": []}}, list(range(50)),
]  # fmt: skip

BYTES = [b"0", b"9" * 20, b"-", b"e999", b"nan", b"{", b"[" * 3000, b"\xff\xfe", b"\0"]


def places(value, path=()):
    """Paths of every value inside."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(document, rng):
    """A copy with one to three values replaced, removed, doubled or exchanged."""
    document = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        found = list(places(document))
        path = rng.choice(found)
        if not path:
            return copy.deepcopy(rng.choice(ODD))
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        what = rng.randrange(5)
        if what == 0:
            del holder[path[-1]]
        elif what == 1 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[path[-1]]))
        elif what == 2 and isinstance(holder, dict):
            key = rng.choice(["id", "images", "x", "", "segmentation", "format"])
            holder[key] = copy.deepcopy(rng.choice(ODD))
        else:
            holder[path[-1]] = copy.deepcopy(rng.choice(ODD))
    return document


def damaged(content, rng):
    """Bytes cut, changed, doubled or put in."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        what, at = rng.randrange(5), rng.randrange(len(content) + 1)
        if what == 0:
            del content[at:]
        elif what == 1:
            content[at : at + rng.randint(1, 8)] = rng.randbytes(rng.randint(1, 8))
        elif what == 2:
            content[at:at] = content[at : at + 40]
        elif what == 3:
            content[at:at] = rng.choice(BYTES)
        elif content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def mutated(content, suffix, rng):
    """The bytes of a file, changed."""
    if suffix in (".json", ".yaml") and rng.random() < 0.5:
        document = changed(json.loads(content) if suffix == ".json" else yaml.safe_load(content), rng)
        if suffix == ".json":
            return json.dumps(document).encode("utf-8", "surrogatepass")
        try:
            return yaml.safe_dump(document, allow_unicode=True).encode()
        except (yaml.YAMLError, UnicodeError):
            return b"train: \xff"
    return damaged(content, rng)


def fuzz(format, cases, folder, seed=0):
    """Counter of "records" and "refused". Raises AssertionError with the case that ended otherwise."""
    path = write(format, folder)
    files = [file for file in sorted(folder.rglob("*")) if file.suffix in (".json", ".txt", ".yaml")]
    files += [file for file in sorted(folder.rglob("*.png")) if format in ("label-images", "davis", "wad")]
    originals = {file: file.read_bytes() for file in files}
    ends = Counter()
    for case in range(cases):
        rng = random.Random(f"{format} {seed} {case}")
        file = rng.choice(files)
        file.write_bytes(mutated(originals[file], file.suffix, rng))
        begun = time.process_time()
        try:
            for dataset in load_datasets(path).values():
                for record in dataset.records:
                    assert record.height > 0 and record.width > 0
                    for annotation in record.annotations:
                        assert 0 <= annotation.class_index < len(dataset.classes)
            ends["records"] += 1
        except DataError as error:
            assert "/" in str(error), f"{format} case {case}: names no file: {error}"
            ends["refused"] += 1
        except Exception as error:
            error.add_note(f"{format} case {case}, {file}")
            raise
        seconds = time.process_time() - begun
        assert seconds < LIMIT, f"{format} case {case}: {seconds:.1f} s"
        file.write_bytes(originals[file])
    return ends


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--formats", nargs="*", default=list(WRITERS), choices=list(WRITERS))
    options = parser.parse_args()
    for format in options.formats:
        with tempfile.TemporaryDirectory() as folder:
            ends = fuzz(format, options.cases, Path(folder))
        memory = peak_memory() / 1e6
        print(f"{format}: {ends['records']:,} read, {ends['refused']:,} refused, {memory:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
