//! A task in flash that is replaced while the device runs, and never lost.
//!
//! Two slots of flash hold one payload each, such as a task package: the one in use, and the one
//! before it, which the next update overwrites. A slot is used in place; nothing is copied or
//! swapped at start. At every moment, also if power fails in the middle of a word or of an erase,
//! at least one slot holds a whole payload, and [`Slots::whole`] finds it.
//!
//! # Layout of a slot
//!
//! | offset | length | what |
//! |---|---|---|
//! | 0 | 64 | record |
//! | 64 | 64 | record again: the commit |
//! | 128 | 64 | record again: the confirmation |
//! | 192 | 64 | record again, if the confirmation was cut |
//! | 256 | length | payload, then erased bytes |
//!
//! The record, little-endian:
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 8 | magic: `89 43 6f 44 54 0d 0a 1a`, which is `\x89CoDT\r\n\x1a` |
//! | 8 | 4 | version of this layout, u32: 1 |
//! | 12 | 4 | sequence number, u32: one above the other slot's |
//! | 16 | 4 | length of the payload in bytes, u32, at least 1 |
//! | 20 | 4 | CRC-32 of the payload, as in a package |
//! | 24 | 36 | zero |
//! | 60 | 4 | CRC-32 of the 60 bytes before |
//!
//! # Order of writes
//!
//! 1. The slot in use is confirmed: unless its record stands twice besides the first, it is written
//!    once more. So a commit that power cut off, and whose last bits read now one way and now the
//!    other, is firm before the other slot is touched.
//! 2. The other slot is erased, always and from its record on: an interrupted erase can read as
//!    erased.
//! 3. The payload is written in blocks of 64 bytes, then the record, then both are read back.
//! 4. The caller looks at the payload ([`Written`]) and drops it or commits: the record is written
//!    a second and a third time.
//!
//! A slot counts if its record is right to the bit, stands a second time, and the payload has its
//! length and checksum. A payload cut short has no record, a record cut short is not equal to its
//! copy.
//!
//! What is left to the flash: a write or erase that returned is in the cells, and a cell that
//! nobody writes does not change. A cell that was cut while it changed may read either way, at
//! every start anew.
//!
//! Boot loaders know this as direct execution: the newest of two slots runs where it lies. Sequence
//! number and checksum are those of a littlefs metadata pair; the confirmation is added.

mod error;
mod record;

pub use error::SlotError;
pub use record::{HEADER_BYTES, RECORD_BYTES};

use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;
use record::{BLOCK, COPIES, Record, crc32};

/// A whole payload in flash. It says where, for use in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    index: usize,
    start: u32,
    record: Record,
}

impl Slot {
    /// 0 for the first slot, 1 for the second.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Rises by one with each update.
    #[must_use]
    pub const fn sequence(&self) -> u32 {
        self.record.sequence
    }

    /// Where the payload is, in bytes from the start of the flash; its start is a multiple of 64 if
    /// the slot's is.
    #[must_use]
    pub const fn payload(&self) -> Range<u32> {
        let start = self.start + HEADER_BYTES;
        start..start + self.record.length
    }
}

/// Two slots of one flash.
#[derive(Debug)]
pub struct Slots<F> {
    flash: F,
    starts: [u32; 2],
    bytes: u32,
}

impl<F: NorFlash> Slots<F> {
    /// Slots at `starts`, of `bytes` bytes each: whole sectors, side by side or apart.
    ///
    /// Nothing is read or written.
    ///
    /// # Errors
    /// [`SlotError::Layout`] if the slots are not whole sectors, overlap, lie outside the flash,
    /// have no room for a payload, or if the flash's words do not divide 64 bytes.
    pub fn new(flash: F, starts: [u32; 2], bytes: u32) -> Result<Self, SlotError<F::Error>> {
        let words = [F::WRITE_SIZE, F::READ_SIZE];
        let capacity = u32::try_from(flash.capacity()).unwrap_or(u32::MAX);
        let sectors = F::ERASE_SIZE != 0
            && [starts[0], starts[1], bytes]
                .iter()
                .all(|value| (*value as usize).is_multiple_of(F::ERASE_SIZE));
        let inside =
            starts.iter().all(|start| start.checked_add(bytes).is_some_and(|end| end <= capacity));
        let fits = words.iter().all(|word| *word != 0 && BLOCK.is_multiple_of(*word))
            && F::ERASE_SIZE.is_multiple_of(F::WRITE_SIZE)
            && sectors
            && inside
            && bytes > HEADER_BYTES
            && starts[0].abs_diff(starts[1]) >= bytes;
        if fits { Ok(Self { flash, starts, bytes }) } else { Err(SlotError::Layout) }
    }

    /// Bytes of the largest payload.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.bytes - HEADER_BYTES
    }

    /// The whole slots, newest first: every byte of them has been read and checked.
    ///
    /// Whether a payload is what the device wants (a package, signed, for its base) is for the
    /// caller to say, who takes the first that is.
    ///
    /// # Errors
    /// [`SlotError::Flash`] if the flash cannot be read.
    pub fn whole(&mut self) -> Result<heapless::Vec<Slot, 2>, SlotError<F::Error>> {
        let mut slots = heapless::Vec::new();
        for index in 0..2 {
            if let Some(slot) = self.check(index)? {
                // Two at most.
                let _ = slots.push(slot);
            }
        }
        slots.sort_unstable_by_key(|slot: &Slot| core::cmp::Reverse(slot.sequence()));
        Ok(slots)
    }

    /// Reads bytes of a payload, for flash that is not mapped to memory: as many as `into` holds,
    /// from `offset` in the payload.
    ///
    /// # Errors
    /// [`SlotError::Length`] if they are not all in the payload, [`SlotError::Flash`] if they
    /// cannot be read or are not aligned to the flash's words.
    pub fn read(
        &mut self,
        slot: &Slot,
        offset: u32,
        into: &mut [u8],
    ) -> Result<(), SlotError<F::Error>> {
        let length = slot.record.length;
        let fits = u32::try_from(into.len())
            .is_ok_and(|bytes| offset.checked_add(bytes).is_some_and(|end| end <= length));
        if !fits {
            return Err(SlotError::Length { most: length, found: into.len() });
        }
        Ok(self.flash.read(slot.payload().start + offset, into)?)
    }

    /// Begins an update that overwrites the slot that is not `keep`, the one in use; `None` if the
    /// device has no task yet. `length` is that of the new payload in bytes.
    ///
    /// Until [`Written::commit`] returns, [`Slots::whole`] finds `keep` and not the new payload.
    ///
    /// # Errors
    /// [`SlotError::Length`] for a payload that is empty or above [`capacity`](Self::capacity),
    /// [`SlotError::Stale`] if `keep` is not in the flash, [`SlotError::Sequence`] after 2^32 - 1
    /// updates, [`SlotError::Flash`]. Before the erase nothing but a confirmation has been written.
    pub fn update(
        &mut self,
        keep: Option<&Slot>,
        length: u32,
    ) -> Result<Update<'_, F>, SlotError<F::Error>> {
        if length == 0 || length > self.capacity() {
            return Err(SlotError::Length { most: self.capacity(), found: length as usize });
        }
        let (index, sequence) = match keep {
            Some(slot) => {
                self.confirm(slot)?;
                (1 - slot.index, slot.sequence().checked_add(1).ok_or(SlotError::Sequence)?)
            }
            None => (0, 1),
        };
        let start = self.starts[index];
        self.flash.erase(start, start + self.bytes)?;
        Ok(Update {
            slots: self,
            index,
            sequence,
            length,
            received: 0,
            digest: crc32().digest(),
            block: [ERASED; BLOCK],
        })
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    fn check(&mut self, index: usize) -> Result<Option<Slot>, SlotError<F::Error>> {
        let Some(record) = self.record(index, 0)? else { return Ok(None) };
        if record.length == 0 || record.length > self.capacity() {
            return Ok(None);
        }
        let slot = Slot { index, start: self.starts[index], record };
        if self.copies(&slot)? == 0 || self.payload_crc(&slot)? != record.payload_crc {
            return Ok(None);
        }
        Ok(Some(slot))
    }

    fn block(&mut self, offset: u32) -> Result<[u8; BLOCK], SlotError<F::Error>> {
        let mut block = [0; BLOCK];
        self.flash.read(offset, &mut block)?;
        Ok(block)
    }

    fn record(&mut self, index: usize, copy: u32) -> Result<Option<Record>, SlotError<F::Error>> {
        let block = self.block(self.starts[index] + copy * RECORD_BYTES)?;
        Ok(Record::decode(&block))
    }

    /// How often the record stands besides the first.
    fn copies(&mut self, slot: &Slot) -> Result<u32, SlotError<F::Error>> {
        let mut count = 0;
        for copy in 1..COPIES {
            count += u32::from(self.record(slot.index, copy)? == Some(slot.record));
        }
        Ok(count)
    }

    /// Writes the record once more if it stands only once besides the first.
    fn confirm(&mut self, slot: &Slot) -> Result<(), SlotError<F::Error>> {
        if self.record(slot.index, 0)? != Some(slot.record) || self.copies(slot)? == 0 {
            return Err(SlotError::Stale);
        }
        for copy in 1..COPIES {
            if self.copies(slot)? > 1 {
                break;
            }
            let offset = slot.start + copy * RECORD_BYTES;
            if self.block(offset)? == [ERASED; BLOCK] {
                self.flash.write(offset, &slot.record.encode())?;
            }
        }
        Ok(())
    }

    fn payload_crc(&mut self, slot: &Slot) -> Result<u32, SlotError<F::Error>> {
        let crc = crc32();
        let mut digest = crc.digest();
        let Range { start, end } = slot.payload();
        for offset in (start..end).step_by(BLOCK) {
            let block = self.block(offset)?;
            let used = block.get(..(end - offset) as usize).unwrap_or(&block);
            digest.update(used);
        }
        Ok(digest.finalize())
    }
}

/// What erased flash reads as.
const ERASED: u8 = 0xff;

/// A payload that arrives in pieces. Dropped, it leaves the slot unused.
pub struct Update<'s, F> {
    slots: &'s mut Slots<F>,
    index: usize,
    sequence: u32,
    length: u32,
    received: u32,
    digest: crc::Digest<'static, u32, crc::Table<1>>,
    block: [u8; BLOCK],
}

impl<F: NorFlash> Update<'_, F> {
    /// Bytes that are still to come.
    #[must_use]
    pub const fn missing(&self) -> u32 {
        self.length - self.received
    }

    /// Takes the next piece, of any length; it is written in whole blocks of 64 bytes.
    ///
    /// # Errors
    /// [`SlotError::Length`] for more bytes than are missing, of which none is taken;
    /// [`SlotError::Flash`], after which the update must be begun again.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), SlotError<F::Error>> {
        if !u32::try_from(piece.len()).is_ok_and(|bytes| bytes <= self.missing()) {
            return Err(SlotError::Length { most: self.missing(), found: piece.len() });
        }
        self.digest.update(piece);
        let mut rest = piece;
        while !rest.is_empty() {
            let used = self.received as usize % BLOCK;
            let (now, later) = rest.split_at(rest.len().min(BLOCK - used));
            for (to, from) in self.block.iter_mut().skip(used).zip(now) {
                *to = *from;
            }
            self.received += now.len() as u32;
            rest = later;
            if used + now.len() == BLOCK || self.received == self.length {
                let payload = self.slots.starts[self.index] + HEADER_BYTES;
                let written = (self.received - 1) / RECORD_BYTES * RECORD_BYTES;
                self.slots.flash.write(payload + written, &self.block)?;
                self.block = [ERASED; BLOCK];
            }
        }
        Ok(())
    }
}

impl<'s, F: NorFlash> Update<'s, F> {
    /// Writes the record and reads everything back.
    ///
    /// # Errors
    /// [`SlotError::Length`] if bytes are missing, [`SlotError::Verify`] if the flash does not hold
    /// what was written, [`SlotError::Flash`].
    pub fn finish(self) -> Result<Written<'s, F>, SlotError<F::Error>> {
        if self.missing() != 0 {
            return Err(SlotError::Length { most: self.length, found: self.received as usize });
        }
        let payload_crc = self.digest.finalize();
        let record = Record { sequence: self.sequence, length: self.length, payload_crc };
        let slot = Slot { index: self.index, start: self.slots.starts[self.index], record };
        self.slots.flash.write(slot.start, &record.encode())?;
        let reads = self.slots.record(slot.index, 0)? == Some(record)
            && self.slots.payload_crc(&slot)? == payload_crc;
        if reads { Ok(Written { slots: self.slots, slot }) } else { Err(SlotError::Verify) }
    }
}

/// A payload that is in flash and does not count yet. Dropped, it never will.
pub struct Written<'s, F> {
    slots: &'s mut Slots<F>,
    slot: Slot,
}

impl<F: NorFlash> Written<'_, F> {
    /// Where it is: look at it before [`commit`](Self::commit).
    #[must_use]
    pub const fn payload(&self) -> Range<u32> {
        self.slot.payload()
    }

    /// [`Slots::read`] of the new payload.
    ///
    /// # Errors
    /// As there.
    pub fn read(&mut self, offset: u32, into: &mut [u8]) -> Result<(), SlotError<F::Error>> {
        self.slots.read(&self.slot, offset, into)
    }

    /// Makes it the newest slot.
    ///
    /// # Errors
    /// [`SlotError::Flash`] if the record cannot be written, [`SlotError::Verify`] if it does not
    /// read back. [`Slots::whole`] says what counts then.
    pub fn commit(self) -> Result<Slot, SlotError<F::Error>> {
        let bytes = self.slot.record.encode();
        for copy in 1..3 {
            self.slots.flash.write(self.slot.start + copy * RECORD_BYTES, &bytes)?;
        }
        if self.slots.copies(&self.slot)? < 2 {
            return Err(SlotError::Verify);
        }
        Ok(self.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_storage::nor_flash::{ErrorType, NorFlashErrorKind, ReadNorFlash};

    const SLOT: u32 = 512;

    /// Flash with two slots of two sectors.
    struct Ram([u8; 2 * SLOT as usize]);

    impl ErrorType for Ram {
        type Error = NorFlashErrorKind;
    }

    impl ReadNorFlash for Ram {
        const READ_SIZE: usize = 1;

        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
            let found = self.0.get(offset as usize..).and_then(|rest| rest.get(..bytes.len()));
            bytes.copy_from_slice(found.ok_or(NorFlashErrorKind::OutOfBounds)?);
            Ok(())
        }

        fn capacity(&self) -> usize {
            self.0.len()
        }
    }

    impl NorFlash for Ram {
        const WRITE_SIZE: usize = 8;
        const ERASE_SIZE: usize = 256;

        fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
            self.0[from as usize..to as usize].fill(0xff);
            Ok(())
        }

        fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
            self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
    }

    /// Two slots, the first with `record` in all its places and a payload of zeros.
    fn holding(record: Record) -> Slots<Ram> {
        let mut bytes = [0; 2 * SLOT as usize];
        for copy in bytes[..HEADER_BYTES as usize].chunks_mut(BLOCK) {
            copy.copy_from_slice(&record.encode());
        }
        Slots::new(Ram(bytes), [0, SLOT], SLOT).unwrap()
    }

    #[test]
    fn a_record_that_a_hostile_hand_wrote_never_leads_out_of_its_slot() {
        let most = SLOT - HEADER_BYTES;
        let payload_crc = crc32().checksum(&std::vec![0; most as usize]);
        for length in [0, 1, most - 1, most + 1, SLOT, u32::MAX - HEADER_BYTES, u32::MAX] {
            let mut slots = holding(Record { sequence: 1, length, payload_crc });
            assert!(slots.whole().unwrap().is_empty(), "{length}");
        }
        let mut slots = holding(Record { sequence: 1, length: most, payload_crc });
        let whole = slots.whole().unwrap();
        assert_eq!(whole.first().map(Slot::payload), Some(HEADER_BYTES..SLOT));
        for (offset, length) in [(0, most + 1), (most, 1), (u32::MAX, 1)] {
            let mut into = std::vec![0; length as usize];
            let error = slots.read(&whole[0], offset, &mut into).unwrap_err();
            assert_eq!(error, SlotError::Length { most, found: length as usize });
        }
    }

    #[test]
    fn the_last_sequence_number_is_an_error_and_not_a_wrap() {
        let payload_crc = crc32().checksum(&[0]);
        let mut slots = holding(Record { sequence: u32::MAX, length: 1, payload_crc });
        let whole = slots.whole().unwrap();
        assert_eq!(slots.update(whole.first(), 1).err(), Some(SlotError::Sequence));
        assert_eq!(slots.whole().unwrap(), whole);
    }
}
