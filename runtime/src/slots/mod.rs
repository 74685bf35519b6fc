//! A task in flash that is replaced while the device runs, and never lost.
//!
//! Two slots of flash hold one payload each, such as a task package: the one in use, and the one
//! before it, which the next update overwrites. A slot is used in place; nothing is copied or
//! swapped at start. At every moment, also if power fails in the middle of a word or of an erase, or
//! the flash reports errors, at least one slot holds a whole payload, and [`Slots::whole`] finds it.
//!
//! # Layout of a slot
//!
//! | offset | length | what |
//! |---|---|---|
//! | 0 | 64 | record |
//! | 64 | 64 | record again: the commit |
//! | 128 | 64 | record again: the mark, that the record and another copy are firm |
//! | 192 | 64 | record again, if the commit was cut or does not read back |
//! | 256 | 64 | note, if an update of the other slot was cut in its commit |
//! | 320 | 64 | note again: the mark of the note |
//! | 384 | 64 | note again: the mark of this mark |
//! | 448 | 192 | the same, if that happens once more |
//! | 640 | length | payload, then erased bytes |
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
//! A note is a record of length 0. If its mark is not blank, the other slot does not count with a
//! sequence number from above this slot's to the note's.
//!
//! # Order of writes
//!
//! 1. The slot in use is confirmed. If its mark is blank, power may have failed in its commit, whose
//!    last bits then read now one way and now the other: the last copy is written, and then the mark.
//!    If that copy is not blank either, nothing says whether it is firm: [`SlotError::Unconfirmed`].
//! 2. If the other slot has a record that is newer, a commit of it was cut. It could count at a later
//!    start, of which an erase that is cut leaves parts: a note is written that it does not, the
//!    note's mark, and the mark of that. If no place is left: [`SlotError::Unconfirmed`].
//! 3. The other slot is erased, always and from its record on: an interrupted erase can read as
//!    erased. Its mark must read as erased then.
//! 4. The payload is written in blocks of 64 bytes and read back.
//! 5. The caller looks at the payload ([`Written`]) and drops it or commits: the record is written,
//!    then a second time, read back, and written as the mark.
//!
//! A slot counts if any two copies of its record are right to the bit and equal, and the payload has
//! its length and checksum. A payload cut short has no record, a record cut short is not equal to a
//! copy. A mark is begun only when the write of what it marks has returned, since the same start of the
//! device; so a mark that is not blank says that this is firm, also if it was cut itself. A note that
//! is not firm has no mark, and a slot is erased only when the mark of the note is firm; a new
//! sequence number is above those of all notes.
//!
//! A block that does not read is read once more; then it counts as a copy that is not there, and a
//! slot with a payload that does not read does not count.
//!
//! # What is shown
//!
//! `tests/tests/slot_search.rs` follows all orders of up to three faults on a small flash (of more if
//! `CODA_FAULTS` says so, which was not run to its end): power cuts in every step with every result, errors of every write and
//! erase, and three values of every unstable word at every start. `tests/tests/slots.rs` does it once
//! in every step of real updates, with other words, with words that do not read, with reads that
//! fail, with stuck bits and with worn sectors.
//!
//! What is left to the flash: a write or erase that returned is in the cells, a cell that nobody
//! writes does not change, and a block that fails to read twice in a row was changed. A cell that was
//! cut while it changed may read either way, at every start anew. One bit of a record may flip; one
//! of a payload takes its slot away.
//!
//! Boot loaders know this as direct execution: the newest of two slots runs where it lies. Sequence
//! number and checksum are those of a littlefs metadata pair; the confirmation is added.

mod error;
mod record;

pub use error::SlotError;
pub use record::{HEADER_BYTES, RECORD_BYTES};

use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;
use record::{BLOCK, MARK, NOTES, RECORDS, Record, SPARES, crc32};

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
            && words.iter().all(|word| F::ERASE_SIZE.is_multiple_of(*word))
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
    /// A slot that cannot be read does not count: a cut leaves words that some flash reports so.
    ///
    /// # Errors
    /// [`SlotError::Flash`] if neither slot can be read.
    pub fn whole(&mut self) -> Result<heapless::Vec<Slot, 2>, SlotError<F::Error>> {
        let found = match (self.check(0), self.check(1)) {
            (Err(error), Err(_)) => return Err(error),
            (first, second) => [first, second],
        };
        let [first, second] = found.map(|slot| slot.ok().flatten());
        let mut slots = heapless::Vec::new();
        for (slot, other) in [(first, second), (second, first)] {
            let counts = |slot: &Slot| other.is_none_or(|other| !self.voids(&other, slot));
            if let Some(slot) = slot.filter(counts) {
                // Two at most.
                let _ = slots.push(slot);
            }
        }
        slots.sort_unstable_by_key(|slot: &Slot| core::cmp::Reverse(slot.sequence()));
        Ok(slots)
    }

    /// Reads bytes of a payload, for flash that is not mapped to memory: as many as `into` holds,
    /// from `offset` in the payload. The flash is read in whole blocks of 64 bytes, so any offset and
    /// length will do; a block that does not read is read once more.
    ///
    /// # Errors
    /// [`SlotError::Length`] if they are not all in the payload, [`SlotError::Flash`] if they
    /// cannot be read.
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
        let mut skip = offset as usize % BLOCK;
        let mut at = slot.payload().start + (offset - skip as u32);
        let mut rest = into;
        while !rest.is_empty() {
            let block = self.block(at)?;
            let (now, later) = rest.split_at_mut(rest.len().min(BLOCK - skip));
            for (to, from) in now.iter_mut().zip(block.iter().skip(skip)) {
                *to = *from;
            }
            (rest, skip, at) = (later, 0, at + BLOCK as u32);
        }
        Ok(())
    }

    /// Begins an update that overwrites the slot that is not `keep`, the one in use; the first if there
    /// is `None`. Either way it will be the newest. `length` is that of the new payload in bytes.
    ///
    /// Until [`Written::commit`] returns, [`Slots::whole`] finds `keep` and not the new payload.
    ///
    /// # Errors
    /// [`SlotError::Length`] for a payload that is empty or above [`capacity`](Self::capacity),
    /// [`SlotError::Stale`] if `keep` is not in the flash, [`SlotError::Sequence`] after 2^32 - 1
    /// updates, or if a record says so, [`SlotError::Unconfirmed`] if `keep` may be lost at a later start,
    /// [`SlotError::Verify`] if the flash does not erase, [`SlotError::Flash`]. Before the erase
    /// nothing but a confirmation has been written.
    pub fn update(
        &mut self,
        keep: Option<&Slot>,
        length: u32,
    ) -> Result<Update<'_, F>, SlotError<F::Error>> {
        if length == 0 || length > self.capacity() {
            return Err(SlotError::Length { most: self.capacity(), found: length as usize });
        }
        let (index, sequence) = match keep {
            Some(slot) => (1 - slot.index, self.keep(slot)?),
            None => (0, self.highest().checked_add(1).ok_or(SlotError::Sequence)?),
        };
        let start = self.starts[index];
        self.flash.erase(start, start + self.bytes)?;
        // A mark that is there before the commit would say that a cut commit is firm.
        if self.begun(start, MARK) {
            return Err(SlotError::Verify);
        }
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
        let Some(record) = self.record(index)? else { return Ok(None) };
        if record.length == 0 || record.length > self.capacity() {
            return Ok(None);
        }
        let slot = Slot { index, start: self.starts[index], record };
        let whole = self.payload_crc(&slot)? == record.payload_crc;
        Ok(whole.then_some(slot))
    }

    /// 64 bytes; a read that fails is tried once more, so that an error in passing hides nothing.
    fn block(&mut self, offset: u32) -> Result<[u8; BLOCK], SlotError<F::Error>> {
        let mut block = [0; BLOCK];
        if self.flash.read(offset, &mut block).is_err() {
            self.flash.read(offset, &mut block)?;
        }
        Ok(block)
    }

    fn copy(&mut self, start: u32, copy: u32) -> Result<Option<Record>, SlotError<F::Error>> {
        Ok(Record::decode(&self.block(start + copy * RECORD_BYTES)?))
    }

    /// The record that stands at least twice in a slot; an error if none does and a copy does not
    /// read.
    fn record(&mut self, index: usize) -> Result<Option<Record>, SlotError<F::Error>> {
        let start = self.starts[index];
        let copies = RECORDS.map(|copy| self.copy(start, copy));
        let mut records = copies.iter().flatten().flatten();
        while let Some(record) = records.next() {
            if records.clone().any(|other| other == record) {
                return Ok(Some(*record));
            }
        }
        copies.into_iter().find_map(Result::err).map_or(Ok(None), Err)
    }

    /// Whether a copy does not read as erased. One that does not read at all was begun, too.
    fn begun(&mut self, start: u32, copy: u32) -> bool {
        self.block(start + copy * RECORD_BYTES).ok() != Some([ERASED; BLOCK])
    }

    /// Whether the record stands twice besides the mark.
    fn stands(&mut self, slot: &Slot) -> bool {
        let copies = [0, 1, 3].map(|copy| self.copy(slot.start, copy));
        copies.iter().flatten().filter(|found| **found == Some(slot.record)).count() >= 2
    }

    /// Writes a record and looks whether it reads back.
    fn put(&mut self, start: u32, copy: u32, record: Record) -> Result<(), SlotError<F::Error>> {
        self.flash.write(start + copy * RECORD_BYTES, &record.encode())?;
        if self.copy(start, copy)? == Some(record) { Ok(()) } else { Err(SlotError::Verify) }
    }

    /// Makes a slot one that is found whatever happens to the other. Gives the next sequence number.
    fn keep(&mut self, slot: &Slot) -> Result<u32, SlotError<F::Error>> {
        if self.record(slot.index)? != Some(slot.record) {
            return Err(SlotError::Stale);
        }
        self.confirm(slot)?;
        self.retire(slot)?.checked_add(1).ok_or(SlotError::Sequence)
    }

    /// The highest sequence number in either slot, of a record or a note; 0 for none.
    fn highest(&mut self) -> u32 {
        let mut highest = 0;
        for start in self.starts {
            for copy in 0..HEADER_BYTES / RECORD_BYTES {
                let record = self.copy(start, copy).ok().flatten();
                highest = highest.max(record.map_or(0, |record| record.sequence));
            }
        }
        highest
    }

    /// Sees to it that two copies of the record are firm and that the mark says so.
    fn confirm(&mut self, slot: &Slot) -> Result<(), SlotError<F::Error>> {
        if self.begun(slot.start, MARK) && self.stands(slot) {
            return Ok(());
        }
        let mut error = SlotError::Unconfirmed;
        for copy in SPARES {
            if self.begun(slot.start, copy) {
                continue;
            }
            match self.put(slot.start, copy, slot.record) {
                Ok(()) if !self.stands(slot) => error = SlotError::Verify,
                Ok(()) if self.begun(slot.start, MARK) => return Ok(()),
                Ok(()) => return self.mark(slot),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    /// Begins the mark: that bits of it do not hold does not matter.
    fn mark(&mut self, slot: &Slot) -> Result<(), SlotError<F::Error>> {
        match self.put(slot.start, MARK, slot.record) {
            Err(SlotError::Verify) if self.begun(slot.start, MARK) => Ok(()),
            result => result,
        }
    }

    /// The highest sequence number that a note of a slot speaks of; 0 for none.
    fn void(&mut self, slot: &Slot, counts: impl Fn(&mut Self, [u32; 3]) -> bool) -> u32 {
        let sequence = |places: [u32; 3]| match self.copy(slot.start, places[0]) {
            Ok(Some(note)) if note.length == 0 && counts(self, places) => note.sequence,
            _ => 0,
        };
        NOTES.map(sequence).into_iter().fold(0, u32::max)
    }

    /// A slot says that the newer one does not count.
    fn voids(&mut self, older: &Slot, newer: &Slot) -> bool {
        let marked = |slots: &mut Self, places: [u32; 3]| slots.begun(older.start, places[1]);
        newer.sequence() > older.sequence() && newer.sequence() <= self.void(older, marked)
    }

    /// Sees to it that a newer record in the other slot does not count, once the erase of that slot
    /// has begun. Gives the last sequence number that is taken.
    fn retire(&mut self, keep: &Slot) -> Result<u32, SlotError<F::Error>> {
        let other = self.starts[1 - keep.index];
        let records = RECORDS.map(|copy| self.copy(other, copy).ok().flatten());
        let newest = records.iter().flatten().map(|record| record.sequence).max().unwrap_or(0);
        let last = keep.sequence().max(self.void(keep, |_, _| true));
        let firm = |slots: &mut Self, places: [u32; 3]| slots.begun(keep.start, places[2]);
        if newest <= keep.sequence() || newest <= self.void(keep, firm) {
            return Ok(last);
        }
        let note = Record { sequence: newest.max(last), length: 0, payload_crc: 0 };
        for places in NOTES {
            if !places.iter().any(|place| self.begun(keep.start, *place)) {
                places.iter().try_for_each(|place| self.put(keep.start, *place, note))?;
                return Ok(note.sequence);
            }
        }
        Err(SlotError::Unconfirmed)
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
    /// Reads the payload back.
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
        let reads = self.slots.payload_crc(&slot)? == payload_crc;
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
        self.slots.put(self.slot.start, 0, self.slot.record)?;
        self.slots.confirm(&self.slot)?;
        Ok(self.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_storage::nor_flash::{ErrorType, NorFlashErrorKind, ReadNorFlash};

    const SLOT: u32 = 1024;

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
        assert_eq!(slots.update(None, 1).err(), Some(SlotError::Sequence));
        assert_eq!(slots.whole().unwrap(), whole);
    }
}
