//! Buffers that lie one after the other, each said once: its name, its type and its length.

use crate::tensor::Part;
use bytemuck::{AnyBitPattern, NoUninit, try_cast_slice_mut};

/// Declares a struct of buffers for a shape. From the one list come the sizes ([`Cutter`] cuts them off
/// in this order), and the names by which a plan shows them.
macro_rules! buffers {
    (
        $(#[$meta:meta])*
        pub(crate) struct $name:ident for $shape:ident: $Shape:ty {
            $($(#[$doc:meta])* $field:ident: $type:ty = $length:expr $(, $shown:literal)?;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) struct $name<'a> {
            $($(#[$doc])* pub(crate) $field: &'a mut [$type],)*
        }

        impl<'a> $name<'a> {
            /// What the buffers hold, where a plan shows them.
            #[allow(dead_code, reason = "a plan shows those of an inference, not those of a stage")]
            pub(super) const NAMES: [&'static str; 0 $($(+ { let _ = $shown; 1 })?)*] =
                [$($($shown,)?)*];

            /// Bytes of each buffer.
            pub(super) const fn bytes(
                $shape: &$Shape,
            ) -> [usize; [$(stringify!($field)),*].len()] {
                [$(usize::saturating_mul($length, size_of::<$type>())),*]
            }

            /// Cuts the buffers off, of so many bytes each.
            pub(super) fn cut(
                cutter: &mut Cutter<'a>,
                bytes: [usize; [$(stringify!($field)),*].len()],
            ) -> Self {
                let [$($field),*] = bytes;
                Self { $($field: typed(cutter.cut($field)),)* }
            }
        }
    };
}
pub(super) use buffers;

/// Cuts buffers off the front of others.
pub(super) struct Cutter<'a> {
    rest: &'a mut [u8],
    position: usize,
    alignment: usize,
}

impl<'a> Cutter<'a> {
    /// Cuts `bytes` into buffers that start at multiples of `alignment` from its start.
    pub(super) const fn new(bytes: &'a mut [u8], alignment: usize) -> Self {
        Self { rest: bytes, position: 0, alignment }
    }

    /// The next `bytes` bytes; none if so many are not left, which a plan rules out.
    // Every buffer calls it, and code is scarce on a Cortex-M.
    #[inline(never)]
    pub(super) fn cut(&mut self, bytes: usize) -> &'a mut [u8] {
        let start = self.position.next_multiple_of(self.alignment.max(1));
        let padding = start - self.position;
        let rest = core::mem::take(&mut self.rest);
        let Some((taken, rest)) = rest.split_at_mut_checked(padding + bytes) else {
            return &mut [];
        };
        (self.rest, self.position) = (rest, start + bytes);
        taken.parts_mut(padding).1
    }
}

/// A byte slice as values of another type; a rest shorter than a value is left out.
pub(crate) fn typed<T: AnyBitPattern + NoUninit>(bytes: &mut [u8]) -> &mut [T] {
    let whole = bytes.len() / size_of::<T>() * size_of::<T>();
    let bytes = bytes.part_mut(0..whole);
    let empty = bytes.is_empty();
    let values = try_cast_slice_mut(bytes);
    debug_assert!(empty || values.is_ok(), "buffers start at multiples of their values' alignment");
    values.unwrap_or_default()
}

/// The bytes of some floats.
pub(crate) fn bytes_of(values: &mut [f32]) -> &mut [u8] {
    bytemuck::must_cast_slice_mut(values)
}
