//! NOR flash in memory, as strict as a real one, whose power can be cut in any write or erase.
//!
//! Writes only clear bits and take erased words only; an erase sets a whole sector. What a cut leaves
//! is one of several [`Tear`]s; cells that were changing may be left unstable, and then read 0 or 1 by
//! chance after every power-up.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// What the flash answers without power.
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
}

impl Tear {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Before,
        Self::After,
        Self::Half,
        Self::Bits,
        Self::Unstable,
        Self::AllButOne,
        Self::Cleared,
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

/// Flash with words of `WORD` and sectors of `SECTOR` bytes.
#[derive(Clone, Debug)]
pub struct Nor<const WORD: usize, const SECTOR: usize> {
    cells: Vec<u8>,
    unstable: Vec<u8>,
    steps: u64,
    cut: Option<Cut>,
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
        let unstable = vec![0; cells.len()];
        Self { cells, unstable, steps: 0, cut: None, off: false, random: seed }
    }

    /// Words written and sectors erased since power-up.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
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
        (self.steps, self.cut, self.off) = (0, cut, false);
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
            self.cells[start..start + to.len()].copy_from_slice(to);
            self.unstable[start..start + to.len()].fill(0);
            return Ok(());
        };
        self.off = true;
        self.tear(start, to, cut.tear);
        Err(OFF)
    }

    /// What a change leaves when power fails in it.
    fn tear(&mut self, start: usize, to: &[u8], tear: Tear) {
        let erase = to.len() == SECTOR && to.iter().all(|byte| *byte == 0xff);
        if erase && tear == Tear::Cleared {
            self.cells[start..start + to.len()].fill(0);
            self.unstable[start..start + to.len()].fill(0);
            return;
        }
        let mut spared = false;
        for (index, value) in to.iter().enumerate() {
            let cell = start + index;
            let changing = (self.cells[cell] ^ value) | self.unstable[cell];
            let first_half = index < to.len() / 2;
            let (done, unstable) = match tear {
                Tear::Before => (0, 0),
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
            self.cells[cell] = self.cells[cell] & !done | value & done;
            self.unstable[cell] = self.unstable[cell] & !done | unstable;
        }
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
        if self.off {
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
        (from as usize..to as usize)
            .step_by(SECTOR)
            .try_for_each(|sector| self.step(sector, &[0xff; SECTOR]))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        for (start, word) in (offset as usize..).step_by(WORD).zip(bytes.chunks(WORD)) {
            let erased = self.cells[start..start + WORD].iter().all(|byte| *byte == 0xff);
            assert!(erased || self.off, "a word that is not erased is written");
            self.step(start, word)?;
        }
        Ok(())
    }
}
