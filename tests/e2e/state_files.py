"""Bytes of a server's state as RocksDB keeps them: records of a write-ahead log are changed where they lie, each with the checksum
that belongs to it, so that nothing but what reads the record can tell.
"""

import struct

BLOCK, HEADER = 32_768, 7
# A record is whole in one piece, or the first, a middle or the last piece of one.
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
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


def pieces(data):
    """Where each piece of a record begins and ends, and what of a record it is."""
    at = 0
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if not length and not kind:
            return
        yield at + HEADER, at + HEADER + length, kind
        at += HEADER + length


def records(data):
    """The pieces of each record, in order."""
    begun = []
    for begin, end, kind in pieces(data):
        begun = [(begin, end)] if kind in (FULL, FIRST) else [*begun, (begin, end)]
        if kind in (FULL, LAST):
            yield begun


def change(shard, wanted, changed):
    """Change each value of the newest log of `shard` whose family and key `wanted` takes: `changed` gives bytes of the same
    length. Returns how many there were."""
    [log] = sorted(shard.glob("*.log"))[-1:]
    data, count = bytearray(log.read_bytes()), 0
    for record in list(records(data)):
        batch = bytearray(b"".join(data[begin:end] for begin, end in record))
        hits = [(first, last) for family, key, first, last in values(batch) if wanted(family, key)]
        if not hits:
            continue
        count, length = count + len(hits), len(batch)
        for first, last in hits:
            batch[first:last] = changed(bytes(batch[first:last]))
        assert len(batch) == length
        for begin, end in record:
            data[begin:end], batch = batch[:end - begin], batch[end - begin:]
            struct.pack_into("<I", data, begin - HEADER, checksum(data[begin - 1:end]))
    log.write_bytes(data)
    return count
