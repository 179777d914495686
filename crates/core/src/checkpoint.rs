//! The frame of a checkpoint: state that can be built anew from the archive, kept so that a start
//! reads only what came after. Layout: kind (4 bytes), version (1), digest of the definition that
//! the state is of (16, little endian), checksum of the payload (8, XXH3-64, little endian),
//! payload.
//!
//! A frame is never misread: another kind, version or definition, or a byte that changed, opens as
//! the reason why the state has to be built anew. Where the bytes lie is the port's,
//! [`crate::ports::Checkpoints`].

use xxhash_rust::xxh3::xxh3_64;

/// Version of every payload. Raise it with any change of any of them: the states are built anew.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 4 + 1 + 16 + 8;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened<'a> {
    /// The payload, as it was written.
    Payload(&'a [u8]),
    /// State of another definition, or in another version's bytes.
    Other(&'static str),
    /// Bytes that were not written so.
    Damaged,
}

/// Frame `payload`, a state of kind `kind` of the definition with digest `definition`.
#[must_use]
pub fn seal(kind: [u8; 4], definition: u128, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES + payload.len());
    frame.extend_from_slice(&kind);
    frame.push(VERSION);
    frame.extend_from_slice(&definition.to_le_bytes());
    frame.extend_from_slice(&xxh3_64(payload).to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Open what [`seal`] made.
#[must_use]
pub fn open(kind: [u8; 4], definition: u128, frame: &[u8]) -> Opened<'_> {
    let Some((header, payload)) = frame.split_at_checked(HEADER_BYTES) else {
        return Opened::Damaged;
    };
    let expected = seal(kind, definition, &[]);
    let differs = |range: std::ops::Range<usize>| header[range.clone()] != expected[range];
    if differs(0..4) {
        Opened::Damaged
    } else if differs(4..5) {
        Opened::Other("it is of another version of Forebay")
    } else if differs(5..21) {
        Opened::Other("its definition has changed")
    } else if header[21..] != xxh3_64(payload).to_le_bytes() {
        Opened::Damaged
    } else {
        Opened::Payload(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: [u8; 4] = *b"TEST";

    #[test]
    fn golden_bytes_of_a_frame_and_one_of_another_version_is_made_anew() {
        // The checksum is that of the C implementation of XXH3.
        let definition = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
        let golden = [
            "54455354 01 100f0e0d0c0b0a090807060504030201",
            "15ce7787927db295 636f756e7473",
        ];
        let mut frame = seal(KIND, definition, b"counts");
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.concat().replace(' ', ""));
        for version in [0, VERSION + 1, u8::MAX] {
            frame[4] = version;
            let other = Opened::Other("it is of another version of Forebay");
            assert_eq!(open(KIND, definition, &frame), other);
        }
    }

    #[test]
    fn a_frame_opens_as_what_it_is_and_a_changed_byte_never_as_payload() {
        let frame = seal(KIND, 7, b"counts");
        assert_eq!(open(KIND, 7, &frame), Opened::Payload(b"counts"));
        assert!(matches!(open(KIND, 8, &frame), Opened::Other(_)));
        assert_eq!(open(*b"ELSE", 7, &frame), Opened::Damaged);
        for length in 0..frame.len() {
            assert_eq!(open(KIND, 7, &frame[..length]), Opened::Damaged);
        }
        for byte in 0..frame.len() {
            let mut changed = frame.clone();
            changed[byte] ^= 1;
            let opened = open(KIND, 7, &changed);
            assert!(!matches!(opened, Opened::Payload(_)), "byte {byte}");
        }
    }
}
