//! The embedded model, its images and their answers, as `firmware-files` wrote them.

use coda_runtime::format::Aligned;

include!(concat!(env!("CODA_FIRMWARE"), "/plan.rs"));

/// Exact bytes of the arena.
pub const ARENA_BYTES: usize = PLAN.arena_bytes();
pub(crate) const THE_PLAN: Plan = PLAN;

/// Reductions of the answers, in order.
pub(crate) const REDUCTIONS: [f32; 3] = [1.0, 4.0, 8.0];

const MODEL_BYTES: &[u8] = include_bytes!(concat!(env!("CODA_FIRMWARE"), "/model.coda"));

/// Bytes of the package.
pub const PACKAGE_BYTES: usize = MODEL_BYTES.len();

/// The package, in a section of its own so that a board may place it in any memory.
// SAFETY: the section holds read-only data; the linker scripts of the boards place it in flash.
#[cfg_attr(target_os = "none", unsafe(link_section = ".package"))]
static MODEL: Aligned<[u8; MODEL_BYTES.len()]> =
    Aligned(*include_bytes!(concat!(env!("CODA_FIRMWARE"), "/model.coda")));

/// The package.
pub(crate) fn package() -> &'static [u8] {
    &MODEL.0
}

const IMAGE_BYTES: &[u8] = include_bytes!(concat!(env!("CODA_FIRMWARE"), "/images.bin"));
const ANSWER_BYTES: &[u8] = include_bytes!(concat!(env!("CODA_FIRMWARE"), "/answers.bin"));

/// Pixels, image after image; beside the package, as they are no part of the code.
// SAFETY: as above.
#[cfg_attr(target_os = "none", unsafe(link_section = ".package"))]
pub(crate) static IMAGES: [u8; IMAGE_BYTES.len()] =
    *include_bytes!(concat!(env!("CODA_FIRMWARE"), "/images.bin"));
/// The host's logits, reduction by reduction, image by image.
// SAFETY: as above.
#[cfg_attr(target_os = "none", unsafe(link_section = ".package"))]
pub(crate) static ANSWERS: [u8; ANSWER_BYTES.len()] =
    *include_bytes!(concat!(env!("CODA_FIRMWARE"), "/answers.bin"));
