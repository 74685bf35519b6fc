//! The bundled model as a WebAssembly module: the page writes pixels, calls [`run`], and reads scores
//! and routed patches. It imports nothing and allocates nothing.
#![no_std]

mod write;

use atomic_refcell::AtomicRefCell;
use coda_runtime::executor::{Executor, Input, Observer};
use coda_runtime::format::Package;
use coda_runtime::include_package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Arena;
use coda_runtime::model::Model;
use coda_runtime::routing::{Budget, Selection};

include!(concat!(env!("CODA_FIRMWARE"), "/plan.rs"));

/// Bytes of an image, and patches in it.
const IMAGE: usize = 28 * 28;
const PATCHES: usize = 49;
/// Room for scores and layers.
const SCORES: usize = DIMENSIONS.outputs;
const LAYERS: usize = 4;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// What the page writes and reads.
struct State {
    arena: Arena<{ PLAN.arena_bytes() }>,
    pixels: [u8; IMAGE],
    scores: [f32; SCORES],
    routed: Routed,
    labels: [u8; 256],
}

/// For each layer, 1 where a patch passes the frozen layer.
struct Routed([[u8; PATCHES]; LAYERS]);

impl Observer for Routed {
    fn selected(&mut self, layer: usize, selection: &Selection<'_>) {
        let Some(patches) = self.0.get_mut(layer) else { return };
        patches.fill(0);
        // Token 0 is the class token.
        let selected =
            selection.selected.iter().filter_map(|token| (*token as usize).checked_sub(1));
        for patch in selected {
            if let Some(slot) = patches.get_mut(patch) {
                *slot = 1;
            }
        }
    }
}

static STATE: AtomicRefCell<State> = AtomicRefCell::new(State {
    arena: Arena::new(),
    pixels: [0; IMAGE],
    scores: [0.0; SCORES],
    routed: Routed([[0; PATCHES]; LAYERS]),
    labels: [0; 256],
});

/// Classifies the image at [`pixels`] at reduction `reduction`: 0, or which step failed (1 parse,
/// 2 bind, 3 executor, 4 run).
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn run(reduction: f32) -> i32 {
    classify(reduction).map_or_else(|step| step, |()| 0)
}

fn classify(reduction: f32) -> Result<(), i32> {
    let State { arena, pixels, scores, routed, .. } = &mut *STATE.borrow_mut();
    let package = Package::parse(model_bytes()).map_err(|_| 1)?;
    let model = Model::from_package(&package).map_err(|_| 2)?;
    let mut executor = Executor::new(&model, Kernels::best(), PLAN, &mut arena.0).map_err(|_| 3)?;
    let (input, budget) = (Input::Pixels(pixels), Budget::Reduction(reduction));
    let output = executor.run_observed(input, budget, routed).map_err(|_| 4)?;
    scores.iter_mut().zip(output.values).for_each(|(slot, value)| *slot = *value);
    Ok(())
}

fn model_bytes() -> &'static [u8] {
    include_package!(concat!(env!("CODA_FIRMWARE"), "/model.coda"))
}

/// Where the page writes 28 x 28 bytes, rows from the top, 0 black.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn pixels() -> *mut u8 {
    STATE.borrow_mut().pixels.as_mut_ptr()
}

/// Logits of the last run, one f32 a class.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn scores() -> *const f32 {
    STATE.borrow().scores.as_ptr()
}

/// Number of classes.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn classes() -> usize {
    SCORES
}

/// Routed patches of the last run: for each layer 7 x 7 bytes, rows from the top, 1 where the patch
/// passes the frozen layer.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn routed() -> *const u8 {
    STATE.borrow().routed.0.as_flattened().as_ptr()
}

/// Number of layers.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn layers() -> usize {
    LAYERS
}

/// Class names as UTF-8, a line each, ended by a zero byte.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn labels() -> *const u8 {
    let State { labels, .. } = &mut *STATE.borrow_mut();
    labels.fill(0);
    let package = Package::parse(model_bytes());
    let model = package.as_ref().ok().and_then(|package| Model::from_package(package).ok());
    if let Some(names) = model.and_then(|model| model.labels()) {
        let text = names.iter().flat_map(|name| name.bytes().chain([b'\n']));
        let room = labels.len() - 1;
        labels.iter_mut().take(room).zip(text).for_each(|(slot, byte)| *slot = byte);
    }
    labels.as_ptr()
}
