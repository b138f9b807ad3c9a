# SPDX-License-Identifier: ISC
"""The partition of a key as Java's producer computes it (org.apache.kafka.common.utils.Utils.murmur2)."""

M = 0x5BD1E995
MASK = 0xFFFFFFFF


def murmur2(data):
    """The 32-bit hash, as an unsigned number."""
    h = (0x9747B28C ^ len(data)) & MASK
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i:i + 4], "little")
        k = k * M & MASK
        k ^= k >> 24
        k = k * M & MASK
        h = (h * M & MASK) ^ k
    tail = data[whole:]
    if tail:
        h ^= int.from_bytes(tail, "little")
        h = h * M & MASK
    h ^= h >> 13
    h = h * M & MASK
    return h ^ (h >> 15)


def partition(key, partitions):
    return (murmur2(key) & 0x7FFFFFFF) % partitions
