//! What every call returns, and its sentence.

#[cfg(feature = "decoder")]
use coda_runtime::decoder::GenerateError;
use coda_runtime::executor::{ExecutorError, RunError};
use coda_runtime::format::FormatError;
use coda_runtime::memory::PlanError;
use coda_runtime::model::ModelError;
use coda_runtime::routing::DeadlineError;
use core::ffi::CStr;
use core::fmt;

/// What a call returns: 0 for success. Numbers keep their meaning; new ones are added at the end.
/// `coda_status_string` gives a short text, `coda_error_message` the sentence with the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[non_exhaustive]
pub enum Status {
    /// Done.
    Ok = 0,
    /// A pointer that must not be null is null.
    NullPointer = 1,
    /// A pointer is not aligned for its type, or memory wraps around the address space.
    BadPointer = 2,
    /// Two buffers share bytes that must not.
    Overlap = 3,
    /// The context has another size than this library's: header and library are not of one version.
    ContextSize = 4,
    /// The context holds no model: `coda_init` has not succeeded.
    NotInitialized = 5,
    /// The context has no arena: `coda_start` has not succeeded.
    NotStarted = 6,
    /// An index is past the end.
    OutOfRange = 7,
    /// A number outside its enumeration, a margin below 0, or a cost that is not a number.
    BadArgument = 8,
    /// The package is cut, or has a tail.
    PackageTruncated = 9,
    /// The bytes are not a package.
    PackageMagic = 10,
    /// The package has a newer format.
    PackageVersion = 11,
    /// The package is damaged: the checksum differs.
    PackageChecksum = 12,
    /// The package does not start at a multiple of `CODA_PACKAGE_ALIGNMENT`.
    PackageMisaligned = 13,
    /// The package breaks a rule of the format.
    PackageInvalid = 14,
    /// A base where a task belongs, or the like.
    PackageKind = 15,
    /// The task was made for another base.
    AnotherBase = 16,
    /// The packages do not make a model: a tensor is missing or has another shape.
    ModelInvalid = 17,
    /// No token, no selected token, or more selected tokens than tokens.
    Capacity = 18,
    /// The arena would be larger than the address space.
    TooLarge = 19,
    /// The arena has fewer bytes than `coda_plan` says.
    ArenaTooSmall = 20,
    /// The arena does not start at a multiple of `CODA_ARENA_ALIGNMENT`.
    ArenaMisaligned = 21,
    /// The input has no token.
    InputEmpty = 22,
    /// More tokens than the plan or the model holds.
    InputTooLong = 23,
    /// A token id outside the vocabulary.
    InputToken = 24,
    /// A token type that the model does not have.
    InputType = 25,
    /// The image has another size than the model reads.
    InputImage = 26,
    /// Pixels for a model of tokens, or tokens for a model of pixels.
    InputKind = 27,
    /// The package does not say how pixels are normalised.
    NoNormalization = 28,
    /// The budget makes no sense: a reduction below 1, no token, another number of layers.
    Budget = 29,
    /// The budget selects more tokens than the plan holds.
    BudgetAbovePlan = 30,
    /// A deadline needs `coda_set_costs`.
    NoCosts = 31,
    /// Not even one token in each layer meets the deadline.
    DeadlineTooShort = 32,
    /// The package names no labels.
    NoLabels = 33,
    /// The package has no vocabulary.
    NoTokenizer = 34,
    /// The text is not UTF-8.
    Text = 35,
    /// This library or CPU has no kernel table of that name.
    NoKernels = 36,
    /// A fault of this library: please report it.
    Internal = 37,
    /// A value of the answer or of a hidden state is NaN or infinite: activations overflowed f32, or
    /// the weights are damaged. The output is as it was: there is no answer and no label.
    NotFinite = 38,
    /// A structure says another size than this library's, or memory is smaller than was asked for.
    StructureSize = 50,
    /// A package is not signed as the trust says, or is not the one that was signed.
    Signature = 51,
    /// A function of the flash returned an error.
    Flash = 52,
    /// The slots do not fit the flash, a package does not fit a slot, or a slot cannot be kept.
    Slot = 53,
    /// A key has begun as many updates as it may until the next start.
    UpdatesExhausted = 54,
    /// There is no update for this call: it was not offered, not finished, or given up.
    UpdateOrder = 55,
    /// The model does not write: the package has no decoder.
    NoDecoder = 60,
    /// No answer was begun in this generation, or another call with its context has ended it.
    NoAnswer = 61,
    /// A start id outside the decoder's vocabulary.
    StartToken = 62,
    /// Start ids and new tokens are more than was planned.
    AnswerTooLong = 63,
    /// More hypotheses than were planned.
    Beams = 64,
}

impl Status {
    /// The status of a number; `None` for others.
    pub(crate) fn from_code(code: i32) -> Option<Self> {
        ALL.iter().map(|(status, _)| *status).find(|status| *status as i32 == code)
    }

    /// A short text.
    pub(crate) fn text(self) -> &'static CStr {
        let own = ALL.iter().find(|(status, _)| *status == self);
        own.map_or(c"", |(_, text)| text)
    }
}

/// Every status with its text, by ascending number.
const ALL: &[(Status, &CStr)] = &[
    (Status::Ok, c"ok"),
    (Status::NullPointer, c"a pointer is null"),
    (Status::BadPointer, c"a pointer is misaligned or its memory wraps around"),
    (Status::Overlap, c"two buffers overlap"),
    (Status::ContextSize, c"header and library are of different versions"),
    (Status::NotInitialized, c"the context holds no model: call coda_init"),
    (Status::NotStarted, c"the context has no arena: call coda_start"),
    (Status::OutOfRange, c"an index is past the end"),
    (Status::BadArgument, c"an argument has no meaning"),
    (Status::PackageTruncated, c"the package is cut or has a tail"),
    (Status::PackageMagic, c"the bytes are not a package"),
    (Status::PackageVersion, c"the package has an unsupported format version"),
    (Status::PackageChecksum, c"the package is damaged"),
    (Status::PackageMisaligned, c"the package is misaligned in memory"),
    (Status::PackageInvalid, c"the package breaks a rule of the format"),
    (Status::PackageKind, c"a package of another kind is needed"),
    (Status::AnotherBase, c"the task was made for another base"),
    (Status::ModelInvalid, c"the packages do not make a model"),
    (Status::Capacity, c"the planned numbers of tokens make no sense"),
    (Status::TooLarge, c"the arena would not fit the address space"),
    (Status::ArenaTooSmall, c"the arena is too small"),
    (Status::ArenaMisaligned, c"the arena is misaligned"),
    (Status::InputEmpty, c"the input has no token"),
    (Status::InputTooLong, c"the input has too many tokens"),
    (Status::InputToken, c"a token id is outside the vocabulary"),
    (Status::InputType, c"a token type is unknown to the model"),
    (Status::InputImage, c"the image has the wrong number of bytes"),
    (Status::InputKind, c"the model reads another kind of input"),
    (Status::NoNormalization, c"the package has no normalisation of pixels"),
    (Status::Budget, c"the budget makes no sense"),
    (Status::BudgetAbovePlan, c"the budget selects more tokens than planned"),
    (Status::NoCosts, c"a deadline needs costs"),
    (Status::DeadlineTooShort, c"the deadline is too short"),
    (Status::NoLabels, c"the package has no labels"),
    (Status::NoTokenizer, c"the package has no vocabulary"),
    (Status::Text, c"the text is not UTF-8"),
    (Status::NoKernels, c"there is no kernel table of that name"),
    (Status::Internal, c"internal error"),
    (
        Status::NotFinite,
        c"the answer is not finite: activations overflowed, or weights are damaged",
    ),
    (Status::StructureSize, c"a structure or memory has another size"),
    (Status::Signature, c"the package is not signed as it must be"),
    (Status::Flash, c"the flash reports an error"),
    (Status::Slot, c"the slots do not take the package"),
    (Status::UpdatesExhausted, c"no more updates of this key until the next start"),
    (Status::UpdateOrder, c"there is no update for this call"),
    #[cfg(feature = "decoder")]
    (Status::NoDecoder, c"the model has no decoder: it does not write"),
    #[cfg(feature = "decoder")]
    (Status::NoAnswer, c"no answer is at work: call coda_generate_tokens or coda_generate_pixels"),
    #[cfg(feature = "decoder")]
    (Status::StartToken, c"a start id is outside the vocabulary"),
    #[cfg(feature = "decoder")]
    (Status::AnswerTooLong, c"the answer would be longer than planned"),
    #[cfg(feature = "decoder")]
    (Status::Beams, c"there are more hypotheses than planned"),
];

const _: () = {
    let mut number = 1;
    while number < ALL.len() {
        assert!((ALL[number - 1].0 as i32) < ALL[number].0 as i32);
        number += 1;
    }
};

/// Why a call failed, with its numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Error {
    /// Nothing to add to the status.
    Plain(Status),
    /// Two buffers that share bytes: which two.
    Overlap(&'static str),
    /// The base or the bundle does not parse.
    Base(FormatError),
    /// The task does not parse.
    Task(FormatError),
    /// The packages do not bind.
    Model(ModelError),
    /// There is no plan.
    Plan(PlanError),
    /// The arena is refused.
    Executor(ExecutorError),
    /// The run is refused.
    Run(RunError),
    /// The answer is refused.
    #[cfg(feature = "decoder")]
    Generate(GenerateError),
}

macro_rules! from {
    ($($variant:ident($error:ident)),*) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        })*
    };
}
from!(Plain(Status), Model(ModelError), Plan(PlanError), Executor(ExecutorError), Run(RunError));
#[cfg(feature = "decoder")]
from!(Generate(GenerateError));

impl Error {
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Plain(status) => *status,
            Self::Overlap(..) => Status::Overlap,
            Self::Base(error) | Self::Task(error) => of_format(error),
            Self::Model(error) => of_model(error),
            Self::Plan(PlanError::TooLarge) => Status::TooLarge,
            Self::Plan(_) => Status::Capacity,
            Self::Executor(ExecutorError::ArenaTooSmall { .. }) => Status::ArenaTooSmall,
            Self::Executor(ExecutorError::ArenaMisaligned) => Status::ArenaMisaligned,
            Self::Executor(_) => Status::Internal,
            Self::Run(error) => of_run(error),
            #[cfg(feature = "decoder")]
            Self::Generate(error) => of_generate(error),
        }
    }
}

fn of_format(error: &FormatError) -> Status {
    match error {
        FormatError::TooShort { .. } | FormatError::WrongLength { .. } => Status::PackageTruncated,
        FormatError::BadMagic => Status::PackageMagic,
        FormatError::UnsupportedVersion { .. } => Status::PackageVersion,
        FormatError::BadChecksum { .. } => Status::PackageChecksum,
        FormatError::Misaligned => Status::PackageMisaligned,
        _ => Status::PackageInvalid,
    }
}

fn of_model(error: &ModelError) -> Status {
    match error {
        ModelError::WrongKind { .. } => Status::PackageKind,
        ModelError::AnotherBase { .. } => Status::AnotherBase,
        _ => Status::ModelInvalid,
    }
}

fn of_run(error: &RunError) -> Status {
    match error {
        RunError::Empty => Status::InputEmpty,
        RunError::TooManyTokens { .. } | RunError::TooManyPositions { .. } => Status::InputTooLong,
        RunError::TokenOutOfRange { .. } => Status::InputToken,
        RunError::TokenTypes { .. } => Status::InputType,
        RunError::ImageBytes { .. } => Status::InputImage,
        RunError::NoNormalization => Status::NoNormalization,
        RunError::WrongInput => Status::InputKind,
        RunError::Budget(_) => Status::Budget,
        RunError::SelectedAboveCapacity { .. } => Status::BudgetAbovePlan,
        RunError::NotFinite => Status::NotFinite,
        RunError::Deadline(DeadlineError::NoCostModel) => Status::NoCosts,
        RunError::Deadline(DeadlineError::TooShort { .. }) => Status::DeadlineTooShort,
        _ => Status::Internal,
    }
}

#[cfg(feature = "decoder")]
fn of_generate(error: &GenerateError) -> Status {
    match error {
        GenerateError::Run(error) => of_run(error),
        GenerateError::StartOutOfRange { .. } => Status::StartToken,
        GenerateError::TooManyPositions { .. } => Status::AnswerTooLong,
        GenerateError::Beams { .. } => Status::Beams,
        GenerateError::LengthPenalty | GenerateError::Times { .. } => Status::BadArgument,
        _ => Status::Internal,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(status) => f.write_str(status.text().to_str().unwrap_or_default()),
            Self::Overlap(two) => write!(f, "{two} overlap"),
            Self::Base(error) => write!(f, "the base: {error}"),
            Self::Task(error) => write!(f, "the task: {error}"),
            Self::Model(error) => error.fmt(f),
            Self::Plan(error) => error.fmt(f),
            Self::Executor(error) => error.fmt(f),
            Self::Run(error) => error.fmt(f),
            #[cfg(feature = "decoder")]
            Self::Generate(error) => error.fmt(f),
        }
    }
}
