"""Bytes of a server's state as RocksDB keeps them: records of a write-ahead log are changed where they lie, each with the checksum
that belongs to it, so that nothing but what reads the record can tell.
"""

import struct

BLOCK, HEADER = 32_768, 7
FULL = 1
FAMILY_DELETION, FAMILY_VALUE, FAMILY_RANGE_DELETION = 4, 5, 14
FAMILIES = ("default", "meta", "tile", "presence", "pending", "outbox", "unscored")


def _table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _table()


def checksum(data):
    """CRC-32C as RocksDB masks it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(data, at):
    value, shift = 0, 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def values(batch):
    """Of each value that a write batch puts: its family, its key, where it begins and where it ends. Passes what it deletes, and
    ends at another kind."""
    at = 12
    while at < len(batch) and batch[at] in (FAMILY_DELETION, FAMILY_VALUE, FAMILY_RANGE_DELETION):
        kind = batch[at]
        family, at = varint(batch, at + 1)
        length, at = varint(batch, at)
        key, at = bytes(batch[at:at + length]), at + length
        if kind == FAMILY_DELETION:
            continue
        length, at = varint(batch, at)
        if kind == FAMILY_VALUE:
            yield FAMILIES[family], key, at, at + length
        at += length


def change(shard, wanted, changed):
    """Change each value of the newest log of `shard` whose family and key `wanted` takes: `changed` gives bytes of the same
    length. Returns how many there were."""
    [log] = sorted(shard.glob("*.log"))[-1:]
    data, at, count = bytearray(log.read_bytes()), 0, 0
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        begin, end = at + HEADER, at + HEADER + length
        if not length and not kind:
            break
        if kind == FULL:
            batch = data[begin:end]
            for family, key, first, last in values(batch):
                if wanted(family, key):
                    batch[first:last] = changed(bytes(batch[first:last]))
                    count += 1
            assert len(batch) == length
            data[begin:end] = batch
            struct.pack_into("<I", data, at, checksum(data[at + 6:end]))
        at = end
    log.write_bytes(data)
    return count
