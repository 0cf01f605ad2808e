"""Makes image data sets of every kind that fastrcaps reads as a user's own, of a few hundred small images each.

    python tests/make_images.py FOLDER          # needs nothing beside Python

A class is a pattern of bright spots; an image of it is the pattern, moved a little, brighter or darker, with noise. So classes can be
told apart, and a small network learns to in a few epochs. What is written:

    letters/    IDX, 28×28, 26 classes with the labels 1 to 26, gzip, as EMNIST letters
    balanced/   IDX, 28×28, 47 classes, as EMNIST balanced
    oblong/     IDX, 20×24, 10 classes, no test part
    pair/       IDX, 28×28, 2 classes, dotted names, in raw/
    colour/     IDX, 32×32×3, 5 classes
    qmnist/     IDX with a prefix, 28×28, 10 classes, labels of eight columns, as QMNIST
    photos/     PNG files in class folders, 64×64×3 and other sizes, 4 classes, no test part
    parts/      PNG files in train/ and test/, 45×45, 6 classes
    kanji.npz   x_train, y_train, x_test, y_test, 16×16, 10 classes, compressed
"""
import argparse
import gzip
import pathlib
import random
import struct
import zipfile
import zlib

random.seed(14)


def pattern(height, width, channels):
    """The spots of a class: place, radius and colour."""
    return [
        (
            random.uniform(0.2, 0.8) * height,
            random.uniform(0.2, 0.8) * width,
            random.uniform(0.08, 0.16) * min(height, width),
            [random.uniform(0.3, 1) for _ in range(channels)],
        )
        for _ in range(5)
    ]


def draw(spots, height, width, channels):
    """An image of a class as bytes, channels last."""
    down, right, bright = random.uniform(-1, 1), random.uniform(-1, 1), random.uniform(0.7, 1)
    pixels = bytearray(height * width * channels)
    for y in range(height):
        for x in range(width):
            near = [(c, (y - sy - down) ** 2 + (x - sx - right) ** 2 <= r * r) for sy, sx, r, c in spots]
            for channel in range(channels):
                value = max([colour[channel] for colour, inside in near if inside], default=0) * bright
                pixels[(y * width + x) * channels + channel] = int(255 * min(1, max(0, value + random.gauss(0, 0.03))))
    return bytes(pixels)


def data(classes, count, height, width, channels=1):
    """Training and test images with their classes: `count` and a quarter of it for each class."""
    spots = [pattern(height, width, channels) for _ in range(classes)]

    def part(count):
        labels = [index % classes for index in range(count * classes)]
        return [draw(spots[label], height, width, channels) for label in labels], labels

    return part(count), part(max(2, count // 4))


def idx(sizes, values, kind=0x08):
    return struct.pack(f">I{len(sizes)}I", kind << 8 | len(sizes), *sizes) + values


def write_idx(folder, parts, sizes, names, first=0, packed=False, columns=None):
    folder.mkdir(parents=True)
    for (images, labels), (image_name, label_name) in zip(parts, names):
        labels = [label + first for label in labels]
        if columns:
            rows = b"".join(struct.pack(">i", label) + bytes(4 * (columns - 1)) for label in labels)
            label_file = idx([len(labels), columns], rows, 0x0C)
        else:
            label_file = idx([len(labels)], bytes(labels))
        for name, content in [(image_name, idx([len(images), *sizes], b"".join(images))), (label_name, label_file)]:
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
            else:
                (folder / name).write_bytes(content)


def png(pixels, height, width, channels):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + pixels[y * width * channels:(y + 1) * width * channels] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write_pictures(folder, part, names, height, width, channels):
    for index, (pixels, label) in enumerate(zip(*part)):
        place = folder / names[label]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index:05}.png").write_bytes(png(pixels, height, width, channels))


def npy(kind, sizes, values):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({', '.join(map(str, sizes))},), }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values


def write_npz(path, parts, height, width):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for (images, labels), part in zip(parts, ["train", "test"]):
            archive.writestr(f"x_{part}.npy", npy("|u1", [len(images), height, width], b"".join(images)))
            values = b"".join(struct.pack("<q", label) for label in labels)
            archive.writestr(f"y_{part}.npy", npy("<i8", [len(labels)], values))


DASHES = [
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
]
DOTS = [tuple(name.replace("-idx", ".idx") for name in names) for names in DASHES]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    write_idx(folder / "letters", data(26, 24, 28, 28), [28, 28], DASHES, first=1, packed=True)
    write_idx(folder / "balanced", data(47, 16, 28, 28), [28, 28], DASHES)
    write_idx(folder / "oblong", data(10, 40, 20, 24)[:1], [20, 24], DASHES)
    write_idx(folder / "pair" / "raw", data(2, 60, 28, 28), [28, 28], DOTS)
    four = [tuple(name.replace("idx3", "idx4") for name in names) for names in DASHES]
    write_idx(folder / "colour", data(5, 40, 32, 32, 3), [32, 32, 3], four)
    prefixed = [
        ("qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int"),
        ("qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"),
    ]
    write_idx(folder / "qmnist", data(10, 30, 28, 28), [28, 28], prefixed, packed=True, columns=8)
    animals = ["ant", "bee", "cat", "dog"]
    sets = data(4, 40, 64, 64, 3)[0]
    write_pictures(folder / "photos", sets, animals, 64, 64, 3)
    # One that is larger than the others: refused without a size to bring all to.
    large = draw(pattern(96, 80, 3), 96, 80, 3)
    (folder / "photos" / "dog" / "large.png").write_bytes(png(large, 96, 80, 3))
    for part, pictures in zip(["train", "test"], data(6, 30, 45, 45)):
        write_pictures(folder / "parts" / part, pictures, [str(number) for number in range(7, 13)], 45, 45, 1)
    write_npz(folder / "kanji.npz", data(10, 40, 16, 16), 16, 16)
    print(f"written to {folder}")


if __name__ == "__main__":
    main()
