//! The first bytes of texts, to pass over what none of them begins with.

/// The first bytes of texts, a bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FirstBytes([u32; 8]);

impl FirstBytes {
    pub(super) fn insert(&mut self, text: &str) {
        let Some(byte) = text.bytes().next() else { return };
        if let Some(bits) = self.0.get_mut(usize::from(byte / 32)) {
            *bits |= 1 << (byte % 32);
        }
    }

    pub(super) fn contains(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte / 32)).is_some_and(|bits| bits & 1 << (byte % 32) != 0)
    }

    pub(super) fn contains_first(&self, c: char) -> bool {
        c.encode_utf8(&mut [0; 4]).bytes().next().is_some_and(|byte| self.contains(byte))
    }
}
