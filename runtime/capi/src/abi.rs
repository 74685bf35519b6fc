//! The exported functions. Their documentation is that of `coda.h`.
#![expect(unsafe_code, reason = "exported symbols, pointers of C")]
#![expect(clippy::missing_safety_doc, reason = "one contract for all, at the top of coda.h")]

use crate::pointers::{
    self, check_size, new_state, optional, region_of, slice, slice_mut, state, state_mut, writable,
    write,
};
use crate::state::{Region, Started, State, fits};
use crate::status::{Error, Status};
use crate::types::{Budget, BudgetKind, Context, Costs, HeadType, Info, Output};
use coda_runtime::executor::{Executor, Input, RunError};
use coda_runtime::kernels::Kernels;
use coda_runtime::routing::Budget as Tokens;
use core::ffi::{c_char, c_void};
use core::fmt::Write;

/// Raised when a structure or a function changes so that old programs must be compiled again.
pub const CODA_ABI: u32 = 1;
/// An arena starts at a multiple of this many bytes.
pub const CODA_ARENA_ALIGNMENT: usize = 16;
/// A package starts at a multiple of this many bytes in memory; 64 is best for vector loads.
pub const CODA_PACKAGE_ALIGNMENT: usize = 4;

const _: () = assert!(CODA_ARENA_ALIGNMENT == coda_runtime::memory::ARENA_ALIGNMENT);
const _: () = assert!(CODA_PACKAGE_ALIGNMENT == coda_runtime::format::MEMORY_ALIGNMENT);

/// The status of a call without a context, or whose context is no good.
pub(crate) fn plain(result: Result<(), Status>) -> Status {
    result.err().unwrap_or(Status::Ok)
}

/// Runs a call and keeps its error in the context.
pub(crate) fn on(
    context: *mut Context,
    call: impl FnOnce(&mut State) -> Result<(), Error>,
) -> Status {
    let state = match state_mut(context) {
        Ok(state) => state,
        Err(status) => return status,
    };
    match call(state) {
        Ok(()) => Status::Ok,
        Err(error) => {
            state.error = error;
            error.status()
        }
    }
}

/// The version of this library, as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn coda_version() -> *const c_char {
    const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    TEXT.as_ptr().cast()
}

/// The `CODA_ABI` of this library; a program compares it with the header's when the library is
/// shared.
#[unsafe(no_mangle)]
pub extern "C" fn coda_abi() -> u32 {
    CODA_ABI
}

/// Bytes of a context in this library: `sizeof(coda_context)`.
#[unsafe(no_mangle)]
pub extern "C" fn coda_context_bytes() -> usize {
    size_of::<Context>()
}

/// Alignment of a context in this library.
#[unsafe(no_mangle)]
pub extern "C" fn coda_context_alignment() -> usize {
    align_of::<Context>()
}

/// A short text for a status, never null: "unknown status" for other numbers.
#[unsafe(no_mangle)]
pub extern "C" fn coda_status_string(status: i32) -> *const c_char {
    Status::from_code(status).map_or(c"unknown status", Status::text).as_ptr()
}

/// The last error of a context as a sentence with its numbers, such as "the arena has 100 bytes,
/// the plan needs 170520". A call that succeeds leaves it as it was.
///
/// Writes at most `bytes` bytes to `text`, the last a zero, and to `needed` the bytes of the whole
/// sentence with its zero. `text` may be null if `bytes` is 0; `needed` may be null.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_error_message(
    context: *const Context,
    text: *mut c_char,
    bytes: usize,
    needed: *mut usize,
) -> Status {
    plain(message(context, text, bytes, needed))
}

fn message(
    context: *const Context,
    text: *mut c_char,
    bytes: usize,
    needed: *mut usize,
) -> Result<(), Status> {
    put_sentence(format_args!("{}", state(context)?.error), text, bytes, needed)
}

/// Writes as much of a sentence as fits, and how long it is.
pub(crate) fn put_sentence(
    sentence: core::fmt::Arguments<'_>,
    text: *mut c_char,
    bytes: usize,
    needed: *mut usize,
) -> Result<(), Status> {
    let mut writer = Sentence::new(text, bytes)?;
    // It never fails: what does not fit is counted only.
    let _ = writer.write_fmt(sentence);
    writer.finish(needed)
}

/// Text into a caller's buffer; what does not fit is counted.
pub(crate) struct Sentence<'a> {
    text: &'a mut [u8],
    length: usize,
}

impl Sentence<'_> {
    pub(crate) fn new(text: *mut c_char, bytes: usize) -> Result<Self, Status> {
        Ok(Self { text: slice_mut(text.cast::<u8>(), bytes)?, length: 0 })
    }

    /// Ends the text with a zero, and says how many bytes it has with it.
    pub(crate) fn finish(self, needed: *mut usize) -> Result<(), Status> {
        let Self { text, length } = self;
        let last = text.len().saturating_sub(1);
        text.iter_mut().skip(length.min(last)).take(1).for_each(|byte| *byte = 0);
        if needed.is_null() { Ok(()) } else { write(needed, length + 1) }
    }
}

impl Write for Sentence<'_> {
    fn write_str(&mut self, part: &str) -> core::fmt::Result {
        let rest = self.text.get_mut(self.length..).unwrap_or_default();
        rest.iter_mut().zip(part.bytes()).for_each(|(slot, byte)| *slot = byte);
        self.length += part.len();
        Ok(())
    }
}

/// Binds packages to a model. `context_bytes` is `sizeof *context`.
///
/// `base` is a base or a bundle. `task` is a task made for that base, in place of the bundle's own;
/// null with 0 bytes for the bundle's task, or to run a base alone. Both are checked whole, which
/// reads every byte once; nothing is copied. They stay the caller's and must stay where they are,
/// unchanged, while the context is used; any number of contexts may share them.
///
/// On an error the context keeps the reason for `coda_error_message`, and nothing else. There is
/// nothing to free: a context is dropped by not using it, and may be initialised again at any time.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_init(
    context: *mut Context,
    context_bytes: usize,
    base: *const c_void,
    base_bytes: usize,
    task: *const c_void,
    task_bytes: usize,
) -> Status {
    if context.is_null() {
        return Status::NullPointer;
    }
    if context_bytes != size_of::<Context>() {
        return Status::ContextSize;
    }
    let packages = [(base, base_bytes), (task, task_bytes)];
    let regions = packages.map(|(at, bytes)| Region { start: at.addr(), bytes });
    // Before the context is written to: it may lie in a package.
    if let Err(status) = apart(regions, region_of(context)).and_then(|()| new_state(context)) {
        return status;
    }
    on(context, |state| {
        let base = pointers::package(base, base_bytes)?;
        state.open(base, task_bytes_of(task, task_bytes)?)
    })
}

/// No package lies in the context.
fn apart(packages: [Region; 2], context: Region) -> Result<(), Status> {
    // A length that wraps around reaches everything, the context too: it is what is wrong.
    if packages.into_iter().any(|region| region.start.checked_add(region.bytes).is_none()) {
        return Err(Status::BadPointer);
    }
    if packages.into_iter().any(|region| region.overlaps(context)) {
        return Err(Status::Overlap);
    }
    Ok(())
}

/// A task, or none: null with 0 bytes.
fn task_bytes_of(task: *const c_void, bytes: usize) -> Result<Option<&'static [u8]>, Status> {
    match (task.is_null(), bytes) {
        (true, 0) => Ok(None),
        _ => pointers::package(task, bytes).map(Some),
    }
}

/// What the model reads and answers.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_get_info(context: *const Context, info: *mut Info) -> Status {
    plain(state(context).and_then(State::model).and_then(|model| {
        check_size(info)?;
        write(info, Info::of(model))
    }))
}

/// Bytes of the arena, exactly, for inputs of up to `max_tokens` tokens of which up to
/// `max_selected` pass a routed layer. 0 stands for the longest input of the model, and for any
/// budget. The same number as `coda plan` prints.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_plan(
    context: *mut Context,
    max_tokens: usize,
    max_selected: usize,
    arena_bytes: *mut usize,
) -> Status {
    on(context, |state| {
        writable(arena_bytes)?;
        let plan = state.plan(max_tokens, max_selected)?;
        Ok(write(arena_bytes, plan.arena_bytes())?)
    })
}

/// Gives the context its arena, planned as by `coda_plan` with the same numbers. `arena` starts at
/// a multiple of `CODA_ARENA_ALIGNMENT`. It is the context's until another start; what it held is
/// lost. May be called again, with another arena or other numbers.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_start(
    context: *mut Context,
    max_tokens: usize,
    max_selected: usize,
    arena: *mut c_void,
    arena_bytes: usize,
) -> Status {
    on(context, |state| {
        let plan = state.plan(max_tokens, max_selected)?;
        let _: &mut [u8] = slice_mut(arena.cast(), arena_bytes)?;
        let started = Started { plan, arena: arena.cast(), bytes: arena_bytes };
        fits(&plan, started.region())?;
        state.is_apart_from_packages(started.region())?;
        started.region().apart_from(region_of(context), "the arena and the context")?;
        state.started = Some(started);
        state.end_answer();
        Ok(())
    })
}

/// Puts another task on the same base between two inferences: the base is neither read again nor
/// copied, the arena stays. Null with 0 bytes runs the base alone. On any error the task before
/// goes on. `CODA_STATUS_ARENA_TOO_SMALL` if the new task needs more: start with the largest of all
/// tasks.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_swap_task(
    context: *mut Context,
    task: *const c_void,
    task_bytes: usize,
) -> Status {
    on(context, |state| {
        let task = task_bytes_of(task, task_bytes)?;
        let region = Region::of(task.unwrap_or_default());
        region_of(context).apart_from(region, "the task and the context")?;
        state.swap(task)
    })
}

/// What an inference costs on this machine, for `coda_deadline_us`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_set_costs(context: *mut Context, costs: *const Costs) -> Status {
    on(context, |state| {
        let costs = optional(costs)?.ok_or(Status::NullPointer)?;
        state.costs = Some(costs.checked()?);
        Ok(())
    })
}

/// The name of the kernel table in use, such as "mve": not zero-terminated, `bytes` long, valid for
/// ever.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_kernels(
    context: *const Context,
    name: *mut *const c_char,
    bytes: *mut usize,
) -> Status {
    plain(state(context).and_then(|state| write_text(state.kernels.name, name, bytes)))
}

/// Uses another kernel table than the fastest of this CPU. Every table gives the same bits.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_use_kernels(
    context: *mut Context,
    name: *const c_char,
    bytes: usize,
) -> Status {
    on(context, |state| {
        let name = text_of(name, bytes)?;
        state.kernels = Kernels::by_name(name).ok_or(Status::NoKernels)?;
        Ok(())
    })
}

/// Runs one inference on `count` token ids, each below the vocabulary. `types` has a token type for
/// each id, or is null for type 0 throughout. `budget` may be null: the task's own.
///
/// At one number of tokens and one budget the work does not depend on the data. Everything is
/// checked before any work, but for `CODA_STATUS_NOT_FINITE`, which comes in place of an answer.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_run_tokens(
    context: *mut Context,
    ids: *const u32,
    types: *const u8,
    count: usize,
    budget: *const Budget,
    output: *mut Output,
) -> Status {
    let id_region = Region { start: ids.addr(), bytes: count.saturating_mul(size_of::<u32>()) };
    on(context, |state| {
        let ids = slice(ids, count)?;
        let types: &[u8] = if types.is_null() { &[] } else { slice(types, count)? };
        let inputs = [id_region, Region::of(types)];
        writable_apart(output, context)?;
        run(state, Input::Tokens { ids, types, length: count }, inputs, budget, output)
    })
}

/// Runs one inference on an image: rows of interleaved channels, one byte a value,
/// `coda_info.image_bytes` in all. The package says how pixels are normalised. `budget` may be
/// null: the task's own.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_run_pixels(
    context: *mut Context,
    pixels: *const u8,
    bytes: usize,
    budget: *const Budget,
    output: *mut Output,
) -> Status {
    on(context, |state| {
        let pixels = slice(pixels, bytes)?;
        let inputs = [Region::of(pixels), Region::NONE];
        writable_apart(output, context)?;
        run(state, Input::Pixels(pixels), inputs, budget, output)
    })
}

/// A place for an answer, which is not in the context.
fn writable_apart(output: *mut Output, context: *const Context) -> Result<(), Error> {
    writable(output)?;
    let place = Region { start: output.addr(), bytes: size_of::<Output>() };
    place.apart_from(region_of(context), "the output and the context")
}

fn run(
    state: &mut State,
    input: Input<'_>,
    inputs: [Region; 2],
    budget: *const Budget,
    output: *mut Output,
) -> Result<(), Error> {
    // Not a copy: a model is large, and stacks are small.
    let model = state.model()?;
    let started = state.started.ok_or(Status::NotStarted)?;
    let result = Region { start: output.addr(), bytes: size_of::<Output>() };
    for input in inputs {
        input.apart_from(started.region(), "the input and the arena")?;
    }
    result.apart_from(started.region(), "the output and the arena")?;
    check_size(output)?;
    let budget = checked_budget(budget, started.region())?;
    let arena = slice_mut(started.arena, started.bytes)?;
    let mut executor = Executor::new(model, state.kernels, started.plan, arena)?;
    if let Some(costs) = state.costs {
        executor = executor.with_costs(costs);
    }
    let answer = executor.run(input, budget);
    // What is refused has not touched the arena.
    let touched = matches!(answer, Ok(_) | Err(RunError::NotFinite | RunError::NotRun));
    let classifies = Info::of(model).head == HeadType::Classification;
    let answer = answer.map(|answer| Output::of(&answer, classifies));
    if touched {
        state.end_answer();
    }
    Ok(write(output, answer?)?)
}

/// The budget of a call; null is the task's own. What it points at stays the caller's, and does not lie
/// in the arena, where a run would change it under way.
pub(crate) fn checked_budget<'a>(
    budget: *const Budget,
    arena: Region,
) -> Result<Tokens<'a>, Error> {
    let Some(budget) = optional(budget)? else { return Ok(Tokens::Task) };
    let layers = |kind| if budget.kind == kind as i32 { budget.layers } else { 0 };
    let reductions = slice(budget.per_layer, layers(BudgetKind::PerLayer))?;
    let tokens = slice(budget.tokens_per_layer, layers(BudgetKind::TokensPerLayer))?;
    let own = core::slice::from_ref(budget);
    for region in [Region::of(own), Region::of(reductions), Region::of(tokens)] {
        region.apart_from(arena, "the budget and the arena")?;
    }
    Ok(budget.checked(reductions, tokens)?)
}

/// The name of class `index`: UTF-8, not zero-terminated, `bytes` long, in the package.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_label(
    context: *const Context,
    index: usize,
    text: *mut *const c_char,
    bytes: *mut usize,
) -> Status {
    plain(state(context).and_then(State::model).and_then(|model| {
        let labels = model.labels().ok_or(Status::NoLabels)?;
        write_text(labels.get(index).ok_or(Status::OutOfRange)?, text, bytes)
    }))
}

/// Token ids of a UTF-8 text, as Hugging Face tokenizers makes them, with the special ones around
/// it.
///
/// Writes up to `capacity` ids, to `count` how many it wrote, and to `needed` how many the whole
/// text has: if that is more, the text was cut and the last id is still the separator. With a
/// capacity of 0 `ids` may be null.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_tokenize(
    context: *const Context,
    text: *const c_char,
    text_bytes: usize,
    ids: *mut u32,
    capacity: usize,
    count: *mut usize,
    needed: *mut usize,
) -> Status {
    plain(state(context).and_then(State::model).and_then(|model| {
        let tokenizer = model.tokenizer().ok_or(Status::NoTokenizer)?;
        writable(count)?;
        writable(needed)?;
        let capacity = capacity.min(model.max_tokens().unwrap_or(capacity));
        let encoding = tokenizer.encode(text_of(text, text_bytes)?, slice_mut(ids, capacity)?);
        write(count, encoding.len)?;
        write(needed, encoding.total)
    }))
}

/// Token ids and types of a pair of texts: as `coda_tokenize`, with type 0 up to the first
/// separator and 1 after it. If both do not fit, the longer one is cut.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_tokenize_pair(
    context: *const Context,
    first: *const c_char,
    first_bytes: usize,
    second: *const c_char,
    second_bytes: usize,
    ids: *mut u32,
    types: *mut u8,
    capacity: usize,
    count: *mut usize,
    needed: *mut usize,
) -> Status {
    plain(state(context).and_then(State::model).and_then(|model| {
        let tokenizer = model.tokenizer().ok_or(Status::NoTokenizer)?;
        writable(count)?;
        writable(needed)?;
        let capacity = capacity.min(model.max_tokens().unwrap_or(capacity));
        let (first, second) = (text_of(first, first_bytes)?, text_of(second, second_bytes)?);
        let (ids, types) = (slice_mut(ids, capacity)?, slice_mut(types, capacity)?);
        let encoding = tokenizer.encode_pair(first, second, ids, types);
        write(count, encoding.len)?;
        write(needed, encoding.total)
    }))
}

fn text_of<'a>(text: *const c_char, bytes: usize) -> Result<&'a str, Status> {
    core::str::from_utf8(slice(text.cast::<u8>(), bytes)?).map_err(|_| Status::Text)
}

fn write_text(value: &str, text: *mut *const c_char, bytes: *mut usize) -> Result<(), Status> {
    writable(text)?;
    writable(bytes)?;
    write(text, value.as_ptr().cast())?;
    write(bytes, value.len())
}
