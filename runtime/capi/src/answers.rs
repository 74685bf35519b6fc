//! Structures of models that write.

use coda_runtime::decoder::Generation as Growing;

/// Words of a generation.
#[cfg(target_pointer_width = "64")]
pub const CODA_GENERATION_WORDS: usize = 160;
/// Words of a generation.
#[cfg(not(target_pointer_width = "64"))]
pub const CODA_GENERATION_WORDS: usize = 88;

/// Memory of an answer between two calls; what is large lies in the arena. It stays in place while an answer
/// grows; before `coda_start_generation` and after an answer it may be moved.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Generation {
    /// Not to be touched.
    pub opaque: [u64; CODA_GENERATION_WORDS],
}

/// The largest call and answer that an arena must hold. What is 0 is as the package says.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Capacity {
    /// `sizeof` of this structure.
    pub bytes: usize,
    /// Longest input in tokens; 0 for the longest of the model.
    pub max_tokens: usize,
    /// Tokens that pass a routed layer; 0 for any budget.
    pub max_selected: usize,
    /// Most new tokens of an answer, behind the package's start ids; start ids of a call beyond so many count as
    /// new tokens. 0 for the package's number.
    pub max_new_tokens: usize,
    /// Most hypotheses of a search, up to 16; 0 for the package's number.
    pub max_beams: usize,
}

/// How an answer is searched for. What is 0 or null is as the package says, and a null pointer in place of this
/// structure is all of it as the package says.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Search {
    /// `sizeof` of this structure.
    pub bytes: usize,
    /// Ids that the answer begins with, in place of the package's.
    pub start: *const u32,
    /// How many.
    pub start_count: usize,
    /// Most new tokens.
    pub max_new_tokens: usize,
    /// Hypotheses; 1 is greedy, and its text may be shown as it comes.
    pub beams: usize,
    /// Nonzero if `length_penalty` is to be used.
    pub has_length_penalty: i32,
    /// A hypothesis' log-probability is divided by its length to this power.
    pub length_penalty: f32,
}

/// An answer so far. The pointer leads into the arena: it holds until the next call with the same generation or
/// context that steps, generates, runs, starts or swaps.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Answer {
    /// `sizeof` of this structure, set before the call.
    pub bytes: usize,
    /// New tokens of the best hypothesis, `[count]`; start ids and the end left out. With one hypothesis they only
    /// grow.
    pub tokens: *const u32,
    /// How many.
    pub count: usize,
    /// The log-probability of the best hypothesis that has ended, over its length to the power of the penalty; NaN
    /// before one has, and with one hypothesis, which needs none.
    pub score: f32,
    /// Nonzero if there is no further token.
    pub over: i32,
    /// Nonzero if the answer has ended by its end id, and not by its length.
    pub ended: i32,
    /// k of the encoder's routed layers under a deadline, at least; 0 under another budget.
    pub deadline_tokens: usize,
}

impl Answer {
    pub(crate) fn of(answer: &Growing<'_>) -> Self {
        let tokens = answer.tokens();
        Self {
            bytes: size_of::<Self>(),
            tokens: tokens.as_ptr(),
            count: tokens.len(),
            score: answer.score().unwrap_or(f32::NAN),
            over: i32::from(answer.is_over()),
            ended: i32::from(answer.has_ended()),
            deadline_tokens: answer.choice().map_or(0, |choice| choice.tokens),
        }
    }
}
