//! Models that write, called as C calls them: answers equal the runtime's to the bit, every misuse comes back as a
//! status, and nothing is allocated.

#![cfg(feature = "decoder")]
#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(unsafe_code, reason = "calls what C calls")]

use coda::*;
use coda_runtime::decoder;
use coda_runtime::executor::Input;
use coda_runtime::format::{Aligned, Package, Role, checksum, header};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{self, AnswerCapacity, GenerationPlan, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing;
use coda_runtime::text::Detokenizer;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

/// Counts the allocations of a thread.
struct Counting;

thread_local!(static ALLOCATIONS: Cell<usize> = const { Cell::new(0) });

// SAFETY: the system's allocator does the work; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's layout is handed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls a function of the interface.
macro_rules! call {
    ($function:ident($($argument:expr),* $(,)?)) => {
        // SAFETY: each pointer is to memory that outlives the call, of as many bytes as are said, or it is
        // one that the function must refuse before it reads or writes there.
        unsafe { $function($($argument),*) }
    };
}

/// Each call gives the status after it.
macro_rules! statuses {
    ($($function:ident($($argument:expr),* $(,)?) => $status:ident,)*) => {
        $(assert_eq!(call!($function($($argument),*)), Status::$status);)*
    };
}

/// Bytes that start at a multiple of 64.
struct Bytes(Vec<Aligned<[u8; 64]>>, usize);

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        let mut blocks = vec![Aligned([0; 64]); bytes.len() / 64 + 2];
        for (block, chunk) in blocks.iter_mut().zip(bytes.chunks(64)) {
            block.0[..chunk.len()].copy_from_slice(chunk);
        }
        Self(blocks, bytes.len())
    }
    fn golden(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
        Self::of(&std::fs::read(path).unwrap())
    }
    fn get(&self) -> &[u8] {
        // SAFETY: so many bytes are in the blocks.
        unsafe { std::slice::from_raw_parts(self.at().cast(), self.1) }
    }
    fn at(&self) -> *const c_void {
        self.0.as_ptr().cast()
    }
    fn at_mut(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }
}

const TEXT_MODEL: &str = "writers/t5-int8-v1.2.coda";
const IMAGE_MODEL: &str = "writers/trocr-f16-v1.2.coda";
/// The input of the golden answers.
const IDS: [u32; 12] = [27, 6, 21, 2, 28, 43, 42, 35, 36, 44, 10, 50];
const LONGEST: usize = 6;
const CAPACITY: Capacity = Capacity {
    bytes: size_of::<Capacity>(),
    max_tokens: 12,
    max_selected: 0,
    max_new_tokens: LONGEST,
    max_beams: 3,
};

fn search(beams: usize) -> Search {
    Search {
        bytes: size_of::<Search>(),
        start: null(),
        start_count: 0,
        max_new_tokens: 0,
        beams,
        has_length_penalty: 0,
        length_penalty: 0.0,
    }
}

fn blank_answer() -> Answer {
    Answer {
        bytes: size_of::<Answer>(),
        tokens: null(),
        count: 77,
        score: 0.0,
        over: 0,
        ended: 0,
        deadline_tokens: 0,
    }
}

/// A program's memory: a context, a generation, an arena.
struct Device {
    context: Box<Context>,
    generation: Box<Generation>,
    arena: Bytes,
    bytes: usize,
}

impl Device {
    fn new(package: &Bytes) -> Self {
        let context = Box::new(Context { opaque: [0; CODA_CONTEXT_WORDS] });
        let generation = Box::new(Generation { opaque: [0; CODA_GENERATION_WORDS] });
        let mut own = Self { context, generation, arena: Bytes::of(&[]), bytes: 0 };
        assert_eq!(own.init(package), Status::Ok);
        own
    }

    fn started(package: &Bytes) -> Self {
        let mut own = Self::new(package);
        assert_eq!(own.plan(&CAPACITY), Status::Ok);
        own.arena = Bytes::of(&vec![0; own.bytes]);
        assert_eq!(own.start(&CAPACITY, own.bytes), Status::Ok);
        own
    }

    fn init(&mut self, package: &Bytes) -> Status {
        let (context, bytes) = (&raw mut *self.context, size_of::<Context>());
        call!(coda_init(context, bytes, package.at(), package.1, null(), 0))
    }

    fn plan(&mut self, capacity: *const Capacity) -> Status {
        let (context, bytes) = (&raw mut *self.context, &raw mut self.bytes);
        call!(coda_plan_generation(context, capacity, bytes))
    }

    fn start(&mut self, capacity: *const Capacity, bytes: usize) -> Status {
        let (context, generation) = (&raw mut *self.context, &raw mut *self.generation);
        let (size, arena) = (size_of::<Generation>(), self.arena.at_mut());
        call!(coda_start_generation(context, generation, size, capacity, arena, bytes))
    }

    fn generate(&mut self, search: *const Search) -> Status {
        self.generate_ids(&IDS, search)
    }

    fn generate_ids(&mut self, ids: &[u32], search: *const Search) -> Status {
        let (context, generation) = (&raw mut *self.context, &raw mut *self.generation);
        let (ids, count) = (ids.as_ptr(), ids.len());
        call!(coda_generate_tokens(context, generation, ids, null(), count, null(), search))
    }

    fn step(&mut self, answer: &mut Answer) -> Status {
        call!(coda_step(&raw mut *self.context, &raw mut *self.generation, answer))
    }

    /// Every token to the end.
    fn finish(&mut self) -> (Vec<u32>, u32, bool) {
        let mut answer = blank_answer();
        loop {
            assert_eq!(self.step(&mut answer), Status::Ok);
            if answer.over != 0 {
                return (tokens(&answer), answer.score.to_bits(), answer.ended != 0);
            }
        }
    }

    fn message(&self) -> String {
        let (mut text, mut needed) = ([1u8; 200], 0);
        let at = text.as_mut_ptr().cast();
        let status = call!(coda_error_message(&*self.context, at, text.len(), &raw mut needed));
        assert_eq!(status, Status::Ok);
        CStr::from_bytes_until_nul(&text).unwrap().to_str().unwrap().to_owned()
    }
}

fn tokens(answer: &Answer) -> Vec<u32> {
    // SAFETY: the interface says that so many ids are there, in the arena that the test keeps.
    unsafe { std::slice::from_raw_parts(answer.tokens, answer.count) }.to_vec()
}

/// What the runtime answers to the same call.
fn expected(package: &Bytes, search: &decoder::Search<'_>) -> (Vec<u32>, u32, bool) {
    let package = Package::parse(package.get()).unwrap();
    let model = Model::from_package(&package).unwrap();
    let encoder = Plan::new(&model.dimensions(), memory::Capacity::any_budget(12)).unwrap();
    let decoder = model.decoder().unwrap();
    let positions = decoder.rules().start.len() + LONGEST;
    let answer = AnswerCapacity { positions, beams: 3 };
    let plan = GenerationPlan::new(encoder, &decoder.dimensions(), answer).unwrap();
    let mut blocks = vec![0u128; plan.arena_bytes().div_ceil(16)];
    // SAFETY: any bits are bytes, and so many are there.
    let arena = unsafe {
        std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast::<u8>(), plan.arena_bytes())
    };
    let mut generator = decoder::Generator::new(&model, Kernels::best(), plan, arena).unwrap();
    let answer = generator.generate(Input::tokens(&IDS), routing::Budget::Task, search);
    let mut answer = answer.unwrap();
    while answer.step().unwrap() {}
    let score = answer.score().unwrap_or(f32::NAN).to_bits();
    (answer.tokens().to_vec(), score, answer.has_ended())
}

#[test]
fn answers_have_the_bits_of_the_runtime_for_every_search() {
    let package = Bytes::golden(TEXT_MODEL);
    let mut device = Device::started(&package);
    let start = [0, 5];
    for (beams, longest, begin, penalty) in
        [(1, 0, &[][..], None), (3, 0, &[], None), (2, 4, &[], Some(0.0)), (1, 5, &start, None)]
    {
        let own = Search {
            start: if begin.is_empty() { null() } else { begin.as_ptr() },
            start_count: begin.len(),
            max_new_tokens: longest,
            has_length_penalty: i32::from(penalty.is_some()),
            length_penalty: penalty.unwrap_or(7.0),
            ..search(beams)
        };
        assert_eq!(device.generate(&raw const own), Status::Ok, "{}", device.message());
        let (own, length_penalty) = (decoder::Search::OF_PACKAGE, penalty);
        let same = decoder::Search { start: begin, longest, beams, length_penalty, ..own };
        let found = device.finish();
        assert!(!found.0.is_empty());
        assert_eq!(found, expected(&package, &same));
    }
    assert_eq!(device.generate(null()), Status::Ok);
    assert_eq!(device.finish(), expected(&package, &decoder::Search::OF_PACKAGE));
}

#[test]
fn an_answer_grows_by_one_token_and_a_step_after_the_end_does_nothing() {
    let mut device = Device::started(&Bytes::golden(TEXT_MODEL));
    let greedy = search(1);
    assert_eq!(device.generate(&raw const greedy), Status::Ok);
    let (mut answer, mut before) = (blank_answer(), Vec::new());
    let (context, generation) = (&raw mut *device.context, &raw mut *device.generation);
    statuses! { coda_get_answer(context, generation, &raw mut answer) => Ok, }
    assert_eq!((answer.count, answer.over, answer.score.is_nan()), (0, 0, true));
    while answer.over == 0 {
        assert_eq!(device.step(&mut answer), Status::Ok);
        let now = tokens(&answer);
        assert!(now.starts_with(&before) && now.len() <= before.len() + 1);
        before = now;
    }
    let mut again = blank_answer();
    assert_eq!(device.step(&mut again), Status::Ok);
    assert_eq!((again.over, tokens(&again)), (1, before));
}

#[test]
fn a_step_without_an_answer_is_a_status() {
    let package = Bytes::golden(TEXT_MODEL);
    let mut device = Device::new(&package);
    let mut answer = blank_answer();
    assert_eq!(device.step(&mut answer), Status::NotInitialized);
    assert_eq!(device.generate(null()), Status::NotInitialized);
    let mut device = Device::started(&package);
    assert_eq!(device.step(&mut answer), Status::NoAnswer);
    assert!(device.message().contains("coda_generate_tokens"), "{}", device.message());
    // Another context with the same package is at no answer.
    let mut other = Device::new(&package);
    let greedy = search(1);
    assert_eq!(device.generate(&raw const greedy), Status::Ok);
    let (context, generation) = (&raw mut *other.context, &raw mut *device.generation);
    statuses! { coda_step(context, generation, &raw mut answer) => NoAnswer, }
    assert_eq!((device.step(&mut answer), answer.count), (Status::Ok, 1));
}

#[test]
fn what_runs_starts_or_swaps_ends_an_answer_and_what_is_refused_does_not() {
    let package = Bytes::golden(TEXT_MODEL);
    let mut device = Device::started(&package);
    let own = &raw mut *device.context;
    // One arena for both: it is the larger one.
    let arena = device.arena.at_mut();
    let (mut bytes, ids) = (0, IDS.as_ptr());
    statuses! {
        coda_plan(own, 12, 0, &raw mut bytes) => Ok,
        coda_start(own, 12, 0, arena, device.bytes) => Ok,
    }
    assert!(bytes <= device.bytes);
    let mut answer = blank_answer();
    // SAFETY: a structure of numbers and pointers, all of which may be zero.
    let mut output: Output = unsafe { std::mem::zeroed() };
    output.bytes = size_of::<Output>();
    let output = &raw mut output;
    for (status, call) in [
        (Status::Ok, 0),
        (Status::InputEmpty, 1),
        (Status::Ok, 2),
        (Status::ArenaTooSmall, 3),
        (Status::PackageTruncated, 4),
        (Status::Beams, 5),
        (Status::Ok, 6),
    ] {
        assert_eq!(device.generate(null()), Status::Ok);
        assert_eq!(device.step(&mut answer), Status::Ok);
        let many = search(4);
        let found = match call {
            0 => call!(coda_run_tokens(own, ids, null(), IDS.len(), null(), output)),
            1 => call!(coda_run_tokens(own, ids, null(), 0, null(), output)),
            2 => call!(coda_start(own, 12, 0, arena, device.bytes)),
            3 => call!(coda_start(own, 12, 0, arena, 64)),
            4 => call!(coda_swap_task(own, package.at(), 100)),
            5 => device.generate(&raw const many),
            _ => device.start(&CAPACITY, device.bytes),
        };
        assert_eq!(found, status, "{}", device.message());
        let goes_on = if status == Status::Ok { Status::NoAnswer } else { Status::Ok };
        assert_eq!(device.step(&mut answer), goes_on, "{call}");
    }
    assert_eq!(device.generate(null()), Status::Ok);
    assert_eq!(device.init(&package), Status::Ok);
    assert_eq!(device.step(&mut answer), Status::NoAnswer);
}

#[test]
fn a_model_without_a_decoder_and_inputs_of_another_kind_come_back_as_a_status() {
    let mut device = Device::new(&Bytes::golden("bert-int8-v1.1.coda"));
    assert_eq!(device.plan(&CAPACITY), Status::NoDecoder);
    assert_eq!(device.start(&CAPACITY, 0), Status::NoDecoder);
    assert_eq!(device.generate(null()), Status::NoDecoder);
    assert!(device.message().contains("does not write"), "{}", device.message());
    let package = Bytes::golden(IMAGE_MODEL);
    let mut device = Device::new(&package);
    let capacity = Capacity { max_tokens: 0, ..CAPACITY };
    assert_eq!(device.plan(&raw const capacity), Status::Ok);
    device.arena = Bytes::of(&vec![0; device.bytes]);
    assert_eq!(device.start(&raw const capacity, device.bytes), Status::Ok);
    assert_eq!(device.generate(null()), Status::InputKind);
    let (context, generation) = (&raw mut *device.context, &raw mut *device.generation);
    let pixels = [7u8; 12 * 12 * 3];
    let at = pixels.as_ptr();
    statuses! {
        coda_generate_pixels(context, generation, at, pixels.len() - 1, null(), null()) => InputImage,
        coda_generate_pixels(context, generation, at, pixels.len(), null(), null()) => NoNormalization,
        coda_generate_pixels(context, generation, null(), 432, null(), null()) => NullPointer,
    }
}

#[test]
fn plans_and_arenas_that_do_not_fit_come_back_as_a_status() {
    let mut device = Device::started(&Bytes::golden(TEXT_MODEL));
    let needed = device.bytes;
    for (capacity, status) in [
        (Capacity { max_beams: 17, ..CAPACITY }, Status::Capacity),
        (Capacity { max_new_tokens: usize::MAX, ..CAPACITY }, Status::Capacity),
        (Capacity { max_tokens: usize::MAX / 64, ..CAPACITY }, Status::TooLarge),
        (Capacity { max_selected: 13, ..CAPACITY }, Status::Capacity),
        (Capacity { bytes: 8, ..CAPACITY }, Status::StructureSize),
    ] {
        assert_eq!(device.plan(&raw const capacity), status, "{}", device.message());
        assert_eq!(device.start(&raw const capacity, needed), status);
    }
    assert_eq!(device.start(&CAPACITY, needed - 1), Status::ArenaTooSmall);
    let text = format!("the arena has {} bytes, the plan needs {needed}", needed - 1);
    assert_eq!(device.message(), text);
    // What was refused has changed nothing.
    assert_eq!(device.generate(null()), Status::Ok);
    let size = size_of::<Generation>();
    let (context, generation) = (&raw mut *device.context, &raw mut *device.generation);
    let arena = device.arena.at_mut();
    let odd = arena.cast::<u8>().wrapping_add(8).cast();
    statuses! {
        coda_start_generation(context, generation, size - 8, &CAPACITY, arena, needed) => ContextSize,
        coda_start_generation(context, null_mut(), size, &CAPACITY, arena, needed) => NullPointer,
        coda_start_generation(context, generation, size, &CAPACITY, null_mut(), needed) => NullPointer,
        coda_start_generation(context, generation, size, &CAPACITY, odd, needed) => ArenaMisaligned,
        coda_start_generation(context, arena.cast(), size, &CAPACITY, arena, needed) => Overlap,
        coda_start_generation(context, context.cast(), size, &CAPACITY, arena, needed) => Overlap,
        coda_start_generation(context, generation, size, &CAPACITY, context.cast(), needed) => Overlap,
    }
    let mut answer = blank_answer();
    assert_eq!(device.step(&mut answer), Status::Ok);
}

#[test]
fn senseless_searches_come_back_as_a_status() {
    let mut device = Device::started(&Bytes::golden(TEXT_MODEL));
    let outside = [61u32];
    let long = [1u32; LONGEST + 2];
    let start = |ids: &[u32]| Search { start: ids.as_ptr(), start_count: ids.len(), ..search(1) };
    for (own, status) in [
        (search(4), Status::Beams),
        (Search { max_new_tokens: LONGEST + 1, ..search(1) }, Status::AnswerTooLong),
        (start(&outside), Status::StartToken),
        (start(&long), Status::AnswerTooLong),
        (Search { start: null(), ..start(&long) }, Status::NullPointer),
        (Search { start_count: usize::MAX, ..start(&long) }, Status::BadPointer),
        (Search { start: device.arena.at().cast(), ..start(&[0]) }, Status::Overlap),
        (Search { bytes: 4, ..search(1) }, Status::StructureSize),
        (
            Search { has_length_penalty: 1, length_penalty: f32::NAN, ..search(1) },
            Status::BadArgument,
        ),
    ] {
        assert_eq!(device.generate(&raw const own), status, "{}", device.message());
    }
}

#[test]
fn senseless_inputs_and_pointers_come_back_as_a_status() {
    let mut device = Device::started(&Bytes::golden(TEXT_MODEL));
    assert_eq!(device.generate_ids(&[], null()), Status::InputEmpty);
    assert_eq!(device.generate_ids(&[1; 13], null()), Status::InputTooLong);
    assert_eq!(device.generate_ids(&[61], null()), Status::InputToken);
    assert_eq!(device.generate(null()), Status::Ok);
    let (context, generation) = (&raw mut *device.context, &raw mut *device.generation);
    let (mut answer, inside) = (blank_answer(), device.arena.at_mut());
    let answer = &raw mut answer;
    let ids = IDS.as_ptr();
    statuses! {
        coda_step(context, null_mut(), answer) => NullPointer,
        coda_step(null_mut(), generation, answer) => NullPointer,
        coda_step(context, generation, null_mut()) => NullPointer,
        coda_step(context, generation, answer.cast::<u8>().wrapping_add(1).cast()) => BadPointer,
        coda_generate_tokens(context, generation, null(), null(), 5, null(), null()) => NullPointer,
        coda_generate_tokens(context, null_mut(), ids, null(), 5, null(), null()) => NullPointer,
        coda_generate_tokens(context, generation, inside.cast(), null(), 5, null(), null()) => Overlap,
        coda_generate_tokens(context, generation, ids, null(), 5, null(), inside.cast()) => StructureSize,
        coda_plan_generation(context, &CAPACITY, null_mut()) => NullPointer,
    }
    let mut short = blank_answer();
    short.bytes -= 1;
    assert_eq!((device.step(&mut short), short.count), (Status::StructureSize, 77));
    let mut answer = blank_answer();
    assert_eq!(device.step(&mut answer), Status::Ok);
}

#[test]
fn an_answer_that_is_not_finite_is_a_status_and_over() {
    let package = Bytes::golden(TEXT_MODEL);
    let mut damaged = package.get().to_vec();
    let parsed = Package::parse(package.get()).unwrap();
    // The norm before the logits, of the decoder alone.
    let decoder = parsed.base().unwrap().decoder().unwrap();
    let norm = decoder.tensors().find(|tensor| tensor.role == Role::FinalNormWeight).unwrap();
    let at = norm.bytes.as_ptr().addr() - package.at().addr();
    damaged[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let sum = checksum(&damaged).to_le_bytes();
    damaged[header::CHECKSUM].copy_from_slice(&sum);
    let damaged = Bytes::of(&damaged);
    let mut device = Device::started(&damaged);
    assert_eq!(device.generate(null()), Status::Ok);
    let mut answer = blank_answer();
    assert_eq!((device.step(&mut answer), answer.count), (Status::NotFinite, 77));
    assert_eq!((device.step(&mut answer), answer.count, answer.over), (Status::Ok, 0, 1));
}

/// The text that ids from `from` on add.
fn text(context: &Context, ids: &[u32], from: usize, last: i32) -> (Status, String) {
    let (mut buffer, mut needed) = ([1u8; 120], 0);
    let (at, bytes) = (buffer.as_mut_ptr().cast(), buffer.len());
    let (start, count) = (ids.as_ptr(), ids.len());
    let size = &raw mut needed;
    let status = call!(coda_detokenize(context, start, count, from, last, at, bytes, size));
    let text = CStr::from_bytes_until_nul(&buffer).unwrap_or_default().to_str().unwrap();
    assert!(status != Status::Ok || needed == text.len() + 1);
    (status, text.to_owned())
}

#[test]
fn texts_come_piece_by_piece_as_the_runtime_writes_them() {
    let package = Bytes::golden("bert-int8-v1.1.coda");
    let device = Device::new(&package);
    let parsed = Package::parse(package.get()).unwrap();
    let tokenizer = Model::from_package(&parsed).unwrap().tokenizer().unwrap();
    let ids = [2, 5, 6, 8, 7, 9, 5, 10, 11, 3, 99];
    let (mut whole, mut own) = (String::new(), Detokenizer::new(tokenizer));
    ids.iter().try_for_each(|id| own.write(*id, &mut whole)).unwrap();
    own.finish(&mut whole).unwrap();
    assert_eq!(text(&device.context, &ids, 0, 1), (Status::Ok, whole.clone()));
    let parts = (1..=ids.len()).map(|count| text(&device.context, &ids[..count], count - 1, 0).1);
    assert_eq!(parts.collect::<String>() + &text(&device.context, &ids, ids.len(), 1).1, whole);
    assert_eq!(text(&device.context, &ids, ids.len() + 1, 0).0, Status::OutOfRange);
    assert_eq!(text(&device.context, &[], 0, 1), (Status::Ok, String::new()));
    let (mut buffer, mut needed) = ([1u8; 8], 0);
    let (context, size) = (&raw const *device.context, &raw mut needed);
    let (at, start) = (buffer.as_mut_ptr().cast(), ids.as_ptr());
    statuses! {
        coda_detokenize(context, start, 11, 0, 1, null_mut(), 0, size) => Ok,
        coda_detokenize(context, start, 11, 0, 1, at, 4, null_mut()) => Ok,
        coda_detokenize(context, null(), 11, 0, 1, at, 4, size) => NullPointer,
        coda_detokenize(context, start, 11, 0, 1, null_mut(), 4, size) => NullPointer,
        coda_detokenize(context, start, 11, 0, 1, start.cast_mut().cast(), 4, size) => Overlap,
    }
    assert_eq!((needed, &buffer[..3], buffer[3]), (whole.len() + 1, &whole.as_bytes()[..3], 0));
    let device = Device::new(&Bytes::golden(TEXT_MODEL));
    assert_eq!(text(&device.context, &ids, 0, 1).0, Status::NoTokenizer);
}

#[test]
fn nothing_is_allocated() {
    let package = Bytes::golden(TEXT_MODEL);
    let mut device = Device::started(&package);
    let before = ALLOCATIONS.get();
    let mut answer = blank_answer();
    assert_eq!(device.generate(null()), Status::Ok);
    for _ in 0..=LONGEST {
        assert_eq!(device.step(&mut answer), Status::Ok);
    }
    assert_eq!((answer.over, ALLOCATIONS.get()), (1, before));
}

#[test]
fn every_status_of_generation_has_a_text() {
    let statuses = [
        Status::NoDecoder,
        Status::NoAnswer,
        Status::StartToken,
        Status::AnswerTooLong,
        Status::Beams,
    ];
    for status in statuses {
        let text = coda_status_string(status as i32);
        // SAFETY: static texts, which end with a zero.
        let text = unsafe { CStr::from_ptr(text) };
        assert!(!text.is_empty() && text != c"unknown status");
    }
    assert_eq!(coda_generation_bytes(), size_of::<Generation>());
}
