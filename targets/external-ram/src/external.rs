//! The heap in external RAM. A board that has to set up its memory controller does so before
//! [`start`].
#![allow(unsafe_code, reason = "hands memory that no one else uses to the allocator")]

use alloc::vec::Vec;
use coda_runtime::memory::ARENA_ALIGNMENT;
use embedded_alloc::LlffHeap;

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

unsafe extern "C" {
    static _external_start: u8;
    static _external_end: u8;
}

/// Gives all external RAM to the heap. To be called once, before anything is allocated.
pub(crate) fn start() {
    let start = (&raw const _external_start).addr();
    let bytes = (&raw const _external_end).addr() - start;
    // SAFETY: the linker script puts nothing into this region, and `main` calls this once.
    unsafe { HEAP.init(start, bytes) };
}

/// Bytes of the heap in use.
pub(crate) fn used() -> usize {
    HEAP.used()
}

/// An arena on the heap.
pub(crate) struct HeapArena {
    memory: Vec<u8>,
    offset: usize,
    bytes: usize,
}

impl HeapArena {
    /// An arena of `bytes` bytes, aligned for an executor; `None` if the heap has not so much.
    pub(crate) fn new(bytes: usize) -> Option<Self> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(bytes + ARENA_ALIGNMENT).ok()?;
        memory.resize(bytes + ARENA_ALIGNMENT, 0);
        let offset = memory.as_ptr().align_offset(ARENA_ALIGNMENT);
        Some(Self { memory, offset, bytes })
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.offset..self.offset + self.bytes).unwrap_or_default()
    }
}
