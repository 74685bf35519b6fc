//! The record of a slot, 64 bytes.

use core::ops::Range;

/// Bytes of a record.
pub const RECORD_BYTES: u32 = 64;

/// Bytes before the payload of a slot.
pub const HEADER_BYTES: u32 = COPIES * RECORD_BYTES;

/// Records of a slot, with notes.
const COPIES: u32 = 10;

/// The copies of a slot's record.
pub(super) const RECORDS: [u32; 4] = [0, 1, 2, 3];

/// Notes about the other slot, each with its mark and the mark of that.
pub(super) const NOTES: [[u32; 3]; 2] = [[4, 5, 6], [7, 8, 9]];

/// The copy that is begun only when the record and another copy are firm.
pub(super) const MARK: u32 = 2;

/// The copies that may be that other one, in the order in which they are used.
pub(super) const SPARES: [u32; 2] = [1, 3];

/// Bytes of a write.
pub(super) const BLOCK: usize = RECORD_BYTES as usize;

const MAGIC: [u8; 8] = *b"\x89CoDT\r\n\x1a";
const VERSION: u32 = 1;

const MAGIC_AT: Range<usize> = 0..8;
const VERSION_AT: Range<usize> = 8..12;
const SEQUENCE_AT: Range<usize> = 12..16;
const LENGTH_AT: Range<usize> = 16..20;
const PAYLOAD_CRC_AT: Range<usize> = 20..24;
const CRC_AT: Range<usize> = 60..64;

/// The checksum of packages, in pieces.
pub(super) fn crc32() -> &'static crc::Crc<u32, crc::Table<1>> {
    static CRC: crc::Crc<u32, crc::Table<1>> =
        crc::Crc::<u32, crc::Table<1>>::new(&crc::CRC_32_ISO_HDLC);
    &CRC
}

/// What a slot says of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) sequence: u32,
    pub(super) length: u32,
    pub(super) payload_crc: u32,
}

impl Record {
    pub(super) fn encode(&self) -> [u8; BLOCK] {
        let mut bytes = [0; BLOCK];
        let mut put = |at: Range<usize>, value: &[u8]| bytes[at].copy_from_slice(value);
        put(MAGIC_AT, &MAGIC);
        put(VERSION_AT, &VERSION.to_le_bytes());
        put(SEQUENCE_AT, &self.sequence.to_le_bytes());
        put(LENGTH_AT, &self.length.to_le_bytes());
        put(PAYLOAD_CRC_AT, &self.payload_crc.to_le_bytes());
        let sum = crc32().checksum(&bytes[..CRC_AT.start]);
        bytes[CRC_AT].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` unless `bytes` are what [`encode`](Self::encode) gives.
    pub(super) fn decode(bytes: &[u8; BLOCK]) -> Option<Self> {
        let word = |at: Range<usize>| {
            u32::from_le_bytes([
                bytes[at.start],
                bytes[at.start + 1],
                bytes[at.start + 2],
                bytes[at.start + 3],
            ])
        };
        let record = Self {
            sequence: word(SEQUENCE_AT),
            length: word(LENGTH_AT),
            payload_crc: word(PAYLOAD_CRC_AT),
        };
        (bytes.starts_with(&MAGIC) && record.encode() == *bytes).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_its_layout_says_and_no_bit_of_it_may_change() {
        let record = Record { sequence: 7, length: 0x0102_0304, payload_crc: 0xdead_beef };
        let bytes = record.encode();
        assert_eq!(bytes[..8], [0x89, 0x43, 0x6f, 0x44, 0x54, 0x0d, 0x0a, 0x1a]);
        assert_eq!(bytes[8..24], [1, 0, 0, 0, 7, 0, 0, 0, 4, 3, 2, 1, 0xef, 0xbe, 0xad, 0xde]);
        assert_eq!(bytes[24..60], [0; 36]);
        assert_eq!(Record::decode(&bytes), Some(record));
        for bit in 0..8 * BLOCK {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&damaged), None, "bit {bit}");
        }
        assert_eq!(Record::decode(&[0; BLOCK]), None);
        assert_eq!(Record::decode(&[0xff; BLOCK]), None);
    }
}
