//! Text out: the page writes a text, calls [`begin`], and calls [`next`] for each token until there is none. Between
//! two calls the answer is set aside, so the page may do what it likes.

use atomic_refcell::AtomicRefCell;
use coda_runtime::decoder::{Generator, PausedGeneration, Search};
use coda_runtime::executor::Input;
use coda_runtime::format::Package;
use coda_runtime::include_package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Arena;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::text::Detokenizer;
use core::fmt;

include!(concat!(env!("CODA_FIRMWARE"), "/texts.rs"));

/// Room for a question, and for the text of one token.
const QUESTION: usize = 1024;
const PIECE: usize = 64;
/// The search of the page: greedy, whose tokens only grow.
const LONGEST: usize = ANSWER.positions - 1;

/// What the page writes and reads, and an answer at work.
struct State {
    arena: Arena<{ PLAN.arena_bytes() }>,
    question: [u8; QUESTION],
    piece: Piece,
    answer: Option<Answer>,
}

struct Answer {
    paused: PausedGeneration,
    detokenizer: Detokenizer<'static>,
    /// Tokens whose text the page has.
    shown: usize,
}

/// UTF-8 for the page; what does not fit is left out.
struct Piece {
    bytes: [u8; PIECE],
    length: usize,
}

impl fmt::Write for Piece {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let rest = self.bytes.get_mut(self.length..).unwrap_or_default();
        rest.iter_mut().zip(text.bytes()).for_each(|(slot, byte)| *slot = byte);
        self.length = (self.length + text.len()).min(PIECE);
        Ok(())
    }
}

static STATE: AtomicRefCell<State> = AtomicRefCell::new(State {
    arena: Arena::new(),
    question: [0; QUESTION],
    piece: Piece { bytes: [0; PIECE], length: 0 },
    answer: None,
});

fn model_bytes() -> &'static [u8] {
    include_package!(concat!(env!("CODA_FIRMWARE"), "/texts.coda"))
}

/// Where the page writes the UTF-8 of a question, of up to [`question_room`] bytes.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn question() -> *mut u8 {
    STATE.borrow_mut().question.as_mut_ptr()
}

/// Bytes of a question, at most.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn question_room() -> usize {
    QUESTION
}

/// Begins an answer to the question of `length` bytes at reduction `reduction`: 0, or which step failed (1 parse,
/// 2 bind, 3 generator, 4 run, 5 the text is not UTF-8).
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn begin(length: usize, reduction: f32) -> i32 {
    let state = &mut *STATE.borrow_mut();
    state.answer = None;
    match answer(state, length, reduction) {
        Ok(answer) => {
            state.answer = Some(answer);
            0
        }
        Err(step) => step,
    }
}

fn answer(state: &mut State, length: usize, reduction: f32) -> Result<Answer, i32> {
    let package = Package::parse(model_bytes()).map_err(|_| 1)?;
    let model = Model::from_package(&package).map_err(|_| 2)?;
    let tokenizer = model.tokenizer().ok_or(2)?;
    let text = state.question.get(..length).and_then(|text| core::str::from_utf8(text).ok());
    let mut ids = [0; CAPACITY.tokens];
    let encoding = tokenizer.encode(text.ok_or(5)?, &mut ids);
    let mut generator =
        Generator::new(&model, Kernels::best(), PLAN, &mut state.arena.0).map_err(|_| 3)?;
    let input = Input::tokens(ids.get(..encoding.len).unwrap_or(&ids));
    let search = Search { longest: LONGEST, ..Search::GREEDY };
    let begun = generator.generate(input, Budget::Reduction(reduction), &search);
    let paused = begun.map_err(|_| 4)?.pause();
    Ok(Answer { paused, detokenizer: Detokenizer::new(tokenizer), shown: 0 })
}

/// One more token: how many bytes of text are new at [`piece`], or -1 if the answer is over, -2 if it is not finite.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn next() -> i32 {
    let State { arena, piece, answer, .. } = &mut *STATE.borrow_mut();
    let Some(Answer { paused, mut detokenizer, shown }) = answer.take() else { return -1 };
    let Ok(package) = Package::parse_unverified(model_bytes()) else { return -1 };
    let Ok(model) = Model::from_package(&package) else { return -1 };
    let generator = Generator::new(&model, Kernels::best(), PLAN, &mut arena.0);
    let Ok(mut generator) = generator else { return -1 };
    let Some(mut grown) = generator.resume(paused) else { return -1 };
    let Ok(more) = grown.step() else { return -2 };
    piece.length = 0;
    // It never fails: what does not fit is left out.
    let fresh = grown.tokens().get(shown..).unwrap_or(&[]);
    let _ = fresh.iter().try_for_each(|id| detokenizer.write(*id, piece));
    let shown = shown + fresh.len();
    if more {
        *answer = Some(Answer { paused: grown.pause(), detokenizer, shown });
        return piece.length as i32;
    }
    let _ = detokenizer.finish(piece);
    if piece.length > 0 { piece.length as i32 } else { -1 }
}

/// Where the text of the last token is.
// SAFETY: no other symbol of this module has this name.
#[unsafe(no_mangle)]
pub extern "C" fn piece() -> *const u8 {
    STATE.borrow().piece.bytes.as_ptr()
}
