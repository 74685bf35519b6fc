//! The exported functions of models that write. Their documentation is that of `coda.h`.
#![expect(unsafe_code, reason = "exported symbols, pointers of C")]
#![expect(clippy::missing_safety_doc, reason = "one contract for all, at the top of coda.h")]

use crate::abi::{Sentence, checked_budget, on, plain};
use crate::answers::{Answer, Capacity, Generation, Search};
use crate::pointers::{
    check_size, held_mut, hold, optional, region_of, slice, slice_mut, state, writable, write,
};
use crate::state::{Region, State};
use crate::status::{Error, Status};
use crate::types::{Budget, Context};
use crate::writer::{Largest, Writer};
use coda_runtime::decoder;
use coda_runtime::executor::Input;
use coda_runtime::routing::Budget as Tokens;
use coda_runtime::text::Detokenizer;
use core::ffi::{c_char, c_void};
use core::fmt;

/// Everything as the package says.
const OF_PACKAGE: Capacity = Capacity {
    bytes: size_of::<Capacity>(),
    max_tokens: 0,
    max_selected: 0,
    max_new_tokens: 0,
    max_beams: 0,
};

fn largest(state: &State, capacity: *const Capacity) -> Result<Largest, Error> {
    let asked = match optional(capacity)? {
        Some(asked) => {
            check_size(capacity)?;
            *asked
        }
        None => OF_PACKAGE,
    };
    Ok(Largest::of(state.model()?, &asked)?)
}

/// Bytes of a generation in this library: `sizeof(coda_generation)`.
#[unsafe(no_mangle)]
pub extern "C" fn coda_generation_bytes() -> usize {
    size_of::<Generation>()
}

/// Bytes of the arena of answers, exactly; `capacity` may be null, which is all as the package says.
/// `CODA_STATUS_NO_DECODER` if the model does not write.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_plan_generation(
    context: *mut Context,
    capacity: *const Capacity,
    arena_bytes: *mut usize,
) -> Status {
    on(context, |state| {
        writable(arena_bytes)?;
        let plan = largest(state, capacity)?.plan(state.model()?)?;
        Ok(write(arena_bytes, plan.arena_bytes())?)
    })
}

/// Prepares `generation` for answers of a context's model in `arena`, planned as by `coda_plan_generation` with
/// the same capacity. `generation_bytes` is `sizeof *generation`. The arena is its own until another start; it may
/// be that of `coda_start`, as a run of the context ends an answer. After a swap of tasks it is planned anew:
/// `CODA_STATUS_ARENA_TOO_SMALL` of a generate if the new task needs more.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_start_generation(
    context: *mut Context,
    generation: *mut Generation,
    generation_bytes: usize,
    capacity: *const Capacity,
    arena: *mut c_void,
    arena_bytes: usize,
) -> Status {
    on(context, |state| {
        writable(generation)?;
        if generation_bytes != size_of::<Generation>() {
            return Err(Status::ContextSize.into());
        }
        let _: &mut [u8] = slice_mut(arena.cast(), arena_bytes)?;
        let writer = Writer::new(largest(state, capacity)?, arena.cast(), arena_bytes);
        writer.plan(state)?;
        apart(context, generation, &writer)?;
        state.is_apart_from_packages(Region::at(generation))?;
        state.end_answer();
        Ok(hold(generation, writer)?)
    })
}

/// Arena, context and generation share no bytes.
fn apart(
    context: *const Context,
    generation: *const Generation,
    writer: &Writer,
) -> Result<(), Error> {
    let (own, place) = (region_of(context), Region::at(generation));
    place.apart_from(own, "the generation and the context")?;
    writer.region().apart_from(own, "the arena and the context")?;
    writer.region().apart_from(place, "the arena and the generation")
}

/// Begins an answer to `count` token ids; arguments as of `coda_run_tokens`. `coda_step` adds to it. The encoder
/// runs here, under `budget`; null is the task's own. `search` may be null: the package's.
///
/// Everything is checked before any work, but for `CODA_STATUS_NOT_FINITE`. A context is at one answer: another
/// one, a run, a start and a swap end it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_generate_tokens(
    context: *mut Context,
    generation: *mut Generation,
    ids: *const u32,
    types: *const u8,
    count: usize,
    budget: *const Budget,
    search: *const Search,
) -> Status {
    on(context, |state| {
        let ids = slice(ids, count)?;
        let types: &[u8] = if types.is_null() { &[] } else { slice(types, count)? };
        let inputs = [Region::of(ids), Region::of(types)];
        let call = Call { context, generation, budget, search };
        generate(state, &call, Input::Tokens { ids, types, length: count }, inputs)
    })
}

/// Begins an answer to an image; arguments as of `coda_run_pixels` and `coda_generate_tokens`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_generate_pixels(
    context: *mut Context,
    generation: *mut Generation,
    pixels: *const u8,
    bytes: usize,
    budget: *const Budget,
    search: *const Search,
) -> Status {
    on(context, |state| {
        let pixels = slice(pixels, bytes)?;
        let inputs = [Region::of(pixels), Region::NONE];
        let call = Call { context, generation, budget, search };
        generate(state, &call, Input::Pixels(pixels), inputs)
    })
}

/// What both kinds of inputs come with.
struct Call {
    context: *mut Context,
    generation: *mut Generation,
    budget: *const Budget,
    search: *const Search,
}

fn generate(
    state: &mut State,
    call: &Call,
    input: Input<'_>,
    inputs: [Region; 2],
) -> Result<(), Error> {
    // A model that reads other inputs or does not write is the better reason.
    if state.model()?.decoder().is_none() {
        return Err(Status::NoDecoder.into());
    }
    let writer: &mut Writer = held_mut(call.generation)?;
    let (budget, search) = checked(call, writer, inputs)?;
    let place = Region::at(call.generation);
    let before = core::mem::take(&mut state.answering);
    match writer.generate(state, input, budget, &search) {
        Ok(()) => {
            state.answering = place.start;
            Ok(())
        }
        Err(error) => {
            // What is refused ends nothing.
            if error.status() != Status::NotFinite {
                state.answering = before;
            }
            Err(error)
        }
    }
}

/// Budget and search of a call, of which nothing lies in the arena, as of the inputs.
fn checked<'a>(
    call: &Call,
    writer: &Writer,
    inputs: [Region; 2],
) -> Result<(Tokens<'a>, decoder::Search<'a>), Error> {
    apart(call.context, call.generation, writer)?;
    for input in inputs {
        input.apart_from(writer.region(), "the input and the arena")?;
        input.apart_from(Region::at(call.generation), "the input and the generation")?;
    }
    let budget = checked_budget(call.budget, writer.region())?;
    Ok((budget, checked_search(call.search, writer.region())?))
}

/// The search of a call; what it points at does not lie in the arena, where the encoder would change it.
fn checked_search<'a>(search: *const Search, arena: Region) -> Result<decoder::Search<'a>, Error> {
    let Some(own) = optional(search)? else { return Ok(decoder::Search::OF_PACKAGE) };
    check_size(search)?;
    let start = slice(own.start, own.start_count)?;
    for region in [Region::at(search), Region::of(start)] {
        region.apart_from(arena, "the search and the arena")?;
    }
    let length_penalty = (own.has_length_penalty != 0).then_some(own.length_penalty);
    let (longest, beams) = (own.max_new_tokens, own.beams);
    let own = decoder::Search::OF_PACKAGE;
    Ok(decoder::Search { start, longest, beams, length_penalty, ..own })
}

/// One more token for every hypothesis, and the answer with it. When there is none, `over` of the answer is
/// nonzero: the answer has ended, or is as long as was asked for; a further step does nothing.
/// `CODA_STATUS_NO_ANSWER` if none was begun, or another call has ended it. After `CODA_STATUS_NOT_FINITE` the
/// answer is over and has no token more.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_step(
    context: *mut Context,
    generation: *mut Generation,
    answer: *mut Answer,
) -> Status {
    shown(context, generation, answer, true)
}

/// The answer as it is.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_get_answer(
    context: *mut Context,
    generation: *mut Generation,
    answer: *mut Answer,
) -> Status {
    shown(context, generation, answer, false)
}

fn shown(
    context: *mut Context,
    generation: *mut Generation,
    answer: *mut Answer,
    step: bool,
) -> Status {
    on(context, |state| {
        check_size(answer)?;
        let writer: &mut Writer = held_mut(generation)?;
        let result = Region::at(answer);
        apart(context, generation, writer)?;
        result.apart_from(region_of(context), "the answer and the context")?;
        result.apart_from(Region::at(generation), "the answer and the generation")?;
        result.apart_from(writer.region(), "the answer and the arena")?;
        if state.answering != generation.addr() {
            return Err(Status::NoAnswer.into());
        }
        Ok(write(answer, writer.answer(state, step)?)?)
    })
}

/// The text that ids from `from` on add to that of the ids before them: with `from` 0 the text of all, with
/// `from` = `count` - 1 what the last one adds. A character whose bytes are spread over several tokens is
/// written when its last byte is there; with `last` nonzero one that is not whole becomes U+FFFD, as nothing
/// follows. Special tokens are passed over.
///
/// Writes at most `bytes` bytes of UTF-8 to `text`, the last a zero, and to `needed` the bytes of the whole text
/// with its zero: if that is more, the text was cut. `text` may be null if `bytes` is 0; `needed` may be null.
/// `CODA_STATUS_NO_TOKENIZER` if the package has no vocabulary, `CODA_STATUS_OUT_OF_RANGE` if `from` is above
/// `count`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn coda_detokenize(
    context: *const Context,
    ids: *const u32,
    count: usize,
    from: usize,
    last: i32,
    text: *mut c_char,
    bytes: usize,
    needed: *mut usize,
) -> Status {
    plain(state(context).and_then(State::model).and_then(|model| {
        let tokenizer = model.tokenizer().ok_or(Status::NoTokenizer)?;
        let ids = slice(ids, count)?;
        let (before, ids) = ids.split_at_checked(from).ok_or(Status::OutOfRange)?;
        let place = Region { start: text.addr(), bytes };
        let whole = Region { start: before.as_ptr().addr(), bytes: count * size_of::<u32>() };
        if place.overlaps(whole) || place.overlaps(region_of(context)) {
            return Err(Status::Overlap);
        }
        let (mut sentence, mut own) = (Sentence::new(text, bytes)?, Detokenizer::new(tokenizer));
        // Neither writer fails: what does not fit is counted only.
        let _ = before.iter().try_for_each(|id| own.write(*id, &mut Nowhere));
        let _ = ids.iter().try_for_each(|id| own.write(*id, &mut sentence));
        if last != 0 {
            let _ = own.finish(&mut sentence);
        }
        sentence.finish(needed)
    }))
}

/// Where text goes that was written before.
struct Nowhere;

impl fmt::Write for Nowhere {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        Ok(())
    }
}
