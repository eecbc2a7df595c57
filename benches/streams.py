"""fmflow's random streams, reimplemented in numpy: the same numbers as `stages/src/rng.rs`.

A stream is identified by (seed, purpose, three coordinates). Its key is the BLAKE3 digest of these five little-endian 64-bit
words; its output is ChaCha with 8 rounds. (BLAKE3: O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020. ChaCha: Bernstein, 2008.)
"""

import struct

import numpy as np

INIT, TIME, CORRUPT = 1, 4, 5
MASK = 0xFFFFFFFF
BLAKE3_IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
BLAKE3_ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
CHUNK_START, CHUNK_END, ROOT = 1, 2, 8
COLUMNS_AND_DIAGONALS = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]


def blake3_of_one_block(data):
    """The BLAKE3 digest of at most 64 bytes, as eight words."""
    assert len(data) <= 64
    words = list(struct.unpack("<16I", data.ljust(64, b"\0")))
    v = BLAKE3_IV + BLAKE3_IV[:4] + [0, 0, len(data), CHUNK_START | CHUNK_END | ROOT]
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(COLUMNS_AND_DIAGONALS):
            for word, turn_d, turn_b in ((words[2 * i], 16, 12), (words[2 * i + 1], 8, 7)):
                v[a] = (v[a] + v[b] + word) & MASK
                v[d] = (v[d] ^ v[a]) >> turn_d | (v[d] ^ v[a]) << (32 - turn_d) & MASK
                v[c] = (v[c] + v[d]) & MASK
                v[b] = (v[b] ^ v[c]) >> turn_b | (v[b] ^ v[c]) << (32 - turn_b) & MASK
        words = [words[i] for i in BLAKE3_ORDER]
    return [v[i] ^ v[i + 8] for i in range(8)]


def chacha8(key, first, count):
    """Words of blocks `first` .. `first + count` of ChaCha8 with a 64-bit counter and no nonce, as uint32."""
    counter = np.arange(first, first + count, dtype=np.uint64)
    start = [np.full(count, word, np.uint32) for word in (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key)]
    start += [counter.astype(np.uint32), (counter >> np.uint64(32)).astype(np.uint32)]
    start += [np.zeros(count, np.uint32)] * 2
    x = list(start)
    turn = lambda word, n: word << np.uint32(n) | word >> np.uint32(32 - n)
    for _ in range(4):
        for a, b, c, d in COLUMNS_AND_DIAGONALS:
            for turn_d, turn_b in ((16, 12), (8, 7)):
                x[a] = x[a] + x[b]
                x[d] = turn(x[d] ^ x[a], turn_d)
                x[c] = x[c] + x[d]
                x[b] = turn(x[b] ^ x[c], turn_b)
    return np.stack([a + b for a, b in zip(x, start)], axis=1).reshape(-1)


class Stream:
    """The stream of (seed, purpose, at)."""

    def __init__(self, seed, purpose, at):
        self.key = blake3_of_one_block(struct.pack("<5Q", seed, purpose, *at))
        self.used = 0

    def bits(self, n):
        """The next n 64-bit numbers."""
        first, last = self.used // 8, -(-(self.used + n) // 8)
        words = chacha8(self.key, first, last - first).astype(np.uint64)
        numbers = words[0::2] | words[1::2] << np.uint64(32)
        start = self.used - 8 * first
        self.used += n
        return numbers[start:start + n]

    def uniform(self, n):
        """n numbers in [0, 1) with 53 random bits."""
        return (self.bits(n) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, n):
        """An integer in 0..n without bias (Lemire, 2019)."""
        while True:
            product = int(self.bits(1)[0]) * n
            if product & (2**64 - 1) >= -n % 2**64 % n:
                return product >> 64

    def normal(self, n):
        """n standard normal numbers (Box and Muller, 1958)."""
        u = self.uniform(2 * n)
        return np.sqrt(-2 * np.log(1 - u[0::2])) * np.cos(2 * np.pi * u[1::2])
