//! NOR flash in memory, as strict as a real one, whose power can be cut in any write or erase, whose
//! calls can fail and whose cells wear.
//!
//! Writes only clear bits and take erased words only; an erase sets a whole sector. What a cut leaves
//! is one of several [`Tear`]s; cells that were changing may be left unstable, and then read 0 or 1 by
//! chance after every power-up. A word is also the unit of the error correction: a torn one may not
//! read at all until it is erased.

use core::ops::Range;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// What the flash answers without power, when a call fails, and of words that do not read.
pub const OFF: NorFlashErrorKind = NorFlashErrorKind::Other;

/// What a cut leaves of the word or sector that was being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// Nothing was changed yet.
    Before,
    /// Everything was changed.
    After,
    /// The first half of the bytes.
    Half,
    /// Each bit by chance, for good.
    Bits,
    /// Every bit that should change is unstable.
    Unstable,
    /// All but one bit, which is unstable.
    AllButOne,
    /// An erase that had only come to clear every bit, as flash does first; of a write the last half
    /// of the bytes.
    Cleared,
    /// Words that report an error when they are read, as error correction does of torn ones.
    Unreadable,
}

impl Tear {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Before,
        Self::After,
        Self::Half,
        Self::Bits,
        Self::Unstable,
        Self::AllButOne,
        Self::Cleared,
        Self::Unreadable,
    ];
}

/// When power fails: in step `step` (words written and sectors erased since power-up), with what
/// result.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The step, from 0.
    pub step: u64,
    /// What it leaves.
    pub tear: Tear,
}

/// Calls that fail while power is on: reads, writes and erases since power-up, counted together.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which calls, from 0.
    pub calls: Range<u64>,
    /// What a write or an erase that fails leaves of its first word or sector.
    pub tear: Tear,
}

/// What the unstable bits of a word may read as: all set, all cleared, every other one.
const READINGS: [u8; 3] = [0xff, 0, 0x55];

/// Flash with words of `WORD` and sectors of `SECTOR` bytes.
#[derive(Clone, Debug)]
pub struct Nor<const WORD: usize, const SECTOR: usize> {
    cells: Vec<u8>,
    unstable: Vec<u8>,
    /// Bits that stay 0.
    low: Vec<u8>,
    /// Bits that stay 1.
    high: Vec<u8>,
    /// Of each word.
    unreadable: Vec<bool>,
    /// Erases of each sector.
    erases: Vec<u64>,
    /// Erases that a sector takes before its bits begin to stay 0, one with each erase.
    endurance: u64,
    steps: u64,
    calls: u64,
    /// Calls that change cells.
    changes: Vec<u64>,
    cut: Option<Cut>,
    failure: Option<Failure>,
    off: bool,
    random: u64,
}

impl<const WORD: usize, const SECTOR: usize> Nor<WORD, SECTOR> {
    /// Flash of `sectors` sectors with bits by chance in it, as before its first use.
    #[must_use]
    pub fn new(sectors: usize, seed: u64) -> Self {
        let mut nor = Self::of(vec![0; sectors * SECTOR], seed);
        for index in 0..nor.cells.len() {
            nor.cells[index] = nor.chance();
        }
        nor
    }

    /// Flash with these bytes in it.
    #[must_use]
    pub fn of(cells: Vec<u8>, seed: u64) -> Self {
        let (bytes, words) = (cells.len(), cells.len() / WORD);
        Self {
            cells,
            unstable: vec![0; bytes],
            low: vec![0; bytes],
            high: vec![0; bytes],
            unreadable: vec![false; words],
            erases: vec![0; bytes / SECTOR],
            endurance: u64::MAX,
            steps: 0,
            calls: 0,
            changes: Vec::new(),
            cut: None,
            failure: None,
            off: false,
            random: seed,
        }
    }

    /// The same whose sectors wear out after so many erases.
    #[must_use]
    pub fn with_endurance(self, erases: u64) -> Self {
        Self { endurance: erases, ..self }
    }

    /// Words written and sectors erased since power-up.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Calls since power-up.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.calls
    }

    /// Which calls since power-up were writes and erases.
    #[must_use]
    pub fn changes(&self) -> &[u64] {
        &self.changes
    }

    /// Erases of a sector.
    #[must_use]
    pub fn erases(&self, sector: usize) -> u64 {
        self.erases[sector]
    }

    /// Lets calls fail, until the next power-up.
    pub fn fail(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }

    /// Holds the bits of `mask` in a byte at 0, or at 1, from now on.
    pub fn stick(&mut self, offset: usize, mask: u8, one: bool) {
        let bits = if one { &mut self.high } else { &mut self.low };
        bits[offset] |= mask;
        self.set(offset, self.cells[offset]);
    }

    /// Makes a word unreadable until it is erased.
    pub fn spoil(&mut self, offset: usize) {
        self.unreadable[offset / WORD] = true;
    }

    /// Every byte, as it reads now.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.cells
    }

    /// Flips the bits of `mask` in a byte.
    pub fn flip(&mut self, offset: usize, mask: u8) {
        self.cells[offset] ^= mask;
    }

    /// Cells that are unstable.
    #[must_use]
    pub fn unstable_cells(&self) -> u32 {
        self.unstable.iter().map(|mask| mask.count_ones()).sum()
    }

    /// Turns power on; unstable cells read anew. Power fails at `cut`.
    pub fn power_up(&mut self, cut: Option<Cut>) {
        for index in 0..self.cells.len() {
            let mask = self.unstable[index];
            if mask != 0 {
                let bits = self.chance();
                self.cells[index] = self.cells[index] & !mask | bits & mask;
            }
        }
        self.start(cut);
    }

    /// Counts steps and calls anew, with the bits as they read now. Power fails at `cut`.
    pub fn start(&mut self, cut: Option<Cut>) {
        (self.steps, self.calls, self.failure) = (0, 0, None);
        (self.cut, self.off) = (cut, false);
        self.changes.clear();
    }

    /// What these bytes may read as at a start, one after the other: the unstable bits all set, all
    /// cleared, every other one. `None` if some do not read.
    #[must_use]
    pub fn readings(&self, part: Range<usize>) -> Option<[Vec<u8>; 3]> {
        let words = &self.unreadable[part.start / WORD..part.end.div_ceil(WORD)];
        let read = |bits| {
            let (cells, masks) = (&self.cells[part.clone()], &self.unstable[part.clone()]);
            cells.iter().zip(masks).map(|(cell, mask)| cell & !mask | bits & mask).collect()
        };
        (!words.contains(&true)).then(|| READINGS.map(read))
    }

    /// The flash after every power-up that matters: the unstable bits of each word are all set, all
    /// cleared, or every other one. In a sector that was torn, the words read alike.
    #[must_use]
    pub fn power_ups(&self) -> Vec<Self> {
        let mut found = vec![self.clone()];
        for sector in (0..self.cells.len()).step_by(SECTOR) {
            let words =
                (sector..sector + SECTOR).step_by(WORD).filter(|word| self.moves(*word, WORD));
            let words: Vec<usize> = words.collect();
            let torn = words.len() == SECTOR / WORD;
            let parts = if torn { vec![sector] } else { words };
            let length = if torn { SECTOR } else { WORD };
            for part in parts {
                let read = |bits| {
                    found.iter().map(move |flash: &Self| flash.reading(part..part + length, bits))
                };
                found = READINGS.into_iter().flat_map(read).collect();
            }
        }
        found.iter_mut().for_each(|flash| flash.start(None));
        found
    }

    fn moves(&self, start: usize, length: usize) -> bool {
        self.unstable[start..start + length].iter().any(|mask| *mask != 0)
    }

    /// The same with the unstable bits of a part as in `bits`.
    fn reading(&self, part: Range<usize>, bits: u8) -> Self {
        let mut flash = self.clone();
        for at in part {
            flash.cells[at] = flash.cells[at] & !flash.unstable[at] | bits & flash.unstable[at];
        }
        flash
    }

    /// Whether this call fails.
    fn fails(&mut self) -> bool {
        self.calls += 1;
        self.off
            || self
                .failure
                .as_ref()
                .is_some_and(|failure| failure.calls.contains(&(self.calls - 1)))
    }

    /// Changes a cell, as far as it still changes.
    fn set(&mut self, cell: usize, value: u8) {
        self.cells[cell] = value & !self.low[cell] | self.high[cell];
    }

    fn chance(&mut self) -> u8 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 56) as u8
    }

    /// Changes the cells from `start` on to `to`, or tears it.
    fn step(&mut self, start: usize, to: &[u8]) -> Result<(), NorFlashErrorKind> {
        if self.off {
            return Err(OFF);
        }
        let cut = self.cut.filter(|cut| cut.step == self.steps);
        self.steps += 1;
        let Some(cut) = cut else {
            to.iter().enumerate().for_each(|(index, value)| self.set(start + index, *value));
            self.settle(start, to.len());
            return Ok(());
        };
        self.off = true;
        self.tear(start, to, cut.tear);
        Err(OFF)
    }

    /// What a call that fails leaves and returns.
    fn failed(&mut self, start: usize, to: &[u8]) -> Result<(), NorFlashErrorKind> {
        if let (false, Some(failure)) = (self.off, &self.failure) {
            self.tear(start, to, failure.tear);
        }
        Err(OFF)
    }

    /// One more erase of a sector; a worn one keeps one more bit at 0.
    fn wear(&mut self, sector: usize) {
        let erases = &mut self.erases[sector / SECTOR];
        *erases += u64::from(!self.off);
        if *erases > self.endurance {
            let (low, high) = (usize::from(self.chance()), usize::from(self.chance()));
            let at = sector + (low + 256 * high) % SECTOR;
            let bit = self.chance() % 8;
            self.stick(at, 1 << bit, false);
        }
    }

    /// No cell of these is unstable or unreadable any more.
    fn settle(&mut self, start: usize, length: usize) {
        self.unstable[start..start + length].fill(0);
        self.unreadable[start / WORD..(start + length) / WORD].fill(false);
    }

    /// What a change leaves when power fails in it.
    fn tear(&mut self, start: usize, to: &[u8], tear: Tear) {
        let erase = to.len() == SECTOR && to.iter().all(|byte| *byte == 0xff);
        if erase && tear == Tear::Cleared {
            self.cells[start..start + to.len()].fill(0);
            return self.settle(start, to.len());
        }
        if tear == Tear::Unreadable {
            return self.unreadable[start / WORD..(start + to.len()) / WORD].fill(true);
        }
        let mut spared = false;
        for (index, value) in to.iter().enumerate() {
            let cell = start + index;
            let changing = (self.cells[cell] ^ value) | self.unstable[cell];
            let first_half = index < to.len() / 2;
            let (done, unstable) = match tear {
                Tear::Before | Tear::Unreadable => (0, 0),
                Tear::After => (0xff, 0),
                Tear::Half => (if first_half { 0xff } else { 0 }, 0),
                Tear::Bits => (self.chance(), 0),
                Tear::Unstable => (0, changing),
                Tear::AllButOne => {
                    let last = if spared { 0 } else { changing & changing.wrapping_neg() };
                    spared |= last != 0;
                    (!last, last)
                }
                Tear::Cleared => (if first_half { 0 } else { 0xff }, 0),
            };
            self.set(cell, self.cells[cell] & !done | value & done);
            self.unstable[cell] = self.unstable[cell] & !done | unstable;
        }
    }
}

/// The same flash, read in blocks of 64 bytes at multiples of 64 only.
#[derive(Clone, Debug)]
pub struct Coarse<F>(pub F);

impl<F: NorFlash> ErrorType for Coarse<F> {
    type Error = F::Error;
}

impl<F: NorFlash<Error = NorFlashErrorKind>> ReadNorFlash for Coarse<F> {
    const READ_SIZE: usize = 64;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        self.0.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<F: NorFlash<Error = NorFlashErrorKind>> NorFlash for Coarse<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        self.0.erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.0.write(offset, bytes)
    }
}

impl<const WORD: usize, const SECTOR: usize> ErrorType for Nor<WORD, SECTOR> {
    type Error = NorFlashErrorKind;
}

impl<const WORD: usize, const SECTOR: usize> ReadNorFlash for Nor<WORD, SECTOR> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        let offset = offset as usize;
        let words = &self.unreadable[offset / WORD..(offset + bytes.len()).div_ceil(WORD)];
        let unreadable = words.contains(&true);
        if self.fails() || unreadable {
            return Err(OFF);
        }
        bytes.copy_from_slice(&self.cells[offset..offset + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.cells.len()
    }
}

impl<const WORD: usize, const SECTOR: usize> NorFlash for Nor<WORD, SECTOR> {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.changes.push(self.calls);
        if self.fails() {
            return self.failed(from as usize, &[0xff; SECTOR]);
        }
        (from as usize..to as usize).step_by(SECTOR).try_for_each(|sector| {
            self.wear(sector);
            self.step(sector, &[0xff; SECTOR])
        })
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        self.changes.push(self.calls);
        if self.fails() {
            return self.failed(offset as usize, &bytes[..WORD]);
        }
        for (start, word) in (offset as usize..).step_by(WORD).zip(bytes.chunks(WORD)) {
            let erased = (start..start + WORD).all(|at| self.cells[at] | self.low[at] == 0xff);
            assert!(erased || self.off, "a word that is not erased is written");
            if self.unreadable[start / WORD] {
                return Err(OFF);
            }
            self.step(start, word)?;
        }
        Ok(())
    }
}
