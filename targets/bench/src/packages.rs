//! The bundled base and its tasks, as `bench-packages` wrote them.

use coda_runtime::format::Aligned;

include!(concat!(env!("CODA_BENCH"), "/arena.rs"));

/// Bytes of the arena that fits every task at any reduction.
pub(crate) const ARENA: usize = ARENA_BYTES;
/// Bytes of an image of the bundled model.
#[cfg_attr(target_os = "linux", expect(dead_code, reason = "Linux sizes its buffers when it runs"))]
pub(crate) const IMAGE: usize = 28 * 28;

macro_rules! package {
    ($name:ident, $file:literal) => {
        // SAFETY: the section holds read-only data; the linker script of the boards places it in
        // flash.
        #[cfg_attr(target_os = "none", unsafe(link_section = ".package"))]
        static $name: Aligned<[u8; include_bytes!(concat!(env!("CODA_BENCH"), $file)).len()]> =
            Aligned(*include_bytes!(concat!(env!("CODA_BENCH"), $file)));
    };
}

package!(BASE, "/base.coda");
package!(K_TO_K, "/k-to-k.coda");
package!(K_TO_ALL, "/k-to-all.coda");
package!(K_TO_LOW_RANK, "/k-to-low-rank.coda");

/// Names of the attention modes, and of the files that hold a task of each.
pub(crate) const MODES: [&str; 3] = ["k-to-k", "k-to-all", "k-to-low-rank"];

/// The base.
pub(crate) fn base() -> &'static [u8] {
    &BASE.0
}

/// A task of each attention mode.
pub(crate) fn tasks() -> [(&'static str, &'static [u8]); 3] {
    let tasks: [&[u8]; 3] = [&K_TO_K.0, &K_TO_ALL.0, &K_TO_LOW_RANK.0];
    core::array::from_fn(|index| (MODES[index], tasks[index]))
}
