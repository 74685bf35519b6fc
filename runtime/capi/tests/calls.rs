//! The exported functions, called as C calls them: answers equal the runtime's to the bit, every misuse
//! comes back as a status, and nothing is allocated.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![expect(unsafe_code, reason = "calls what C calls")]

use coda::*;
use coda_runtime::executor::{Executor, Input};
use coda_runtime::format::{Aligned, Package, Role, checksum, header};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Arena, Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
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

/// What the interface gave: `count` values at an address.
fn given<'a, T>(values: *const T, count: usize) -> &'a [T] {
    // SAFETY: called with addresses of packages and arenas that the calling test keeps, as the interface
    // says, and with static texts.
    unsafe { std::slice::from_raw_parts(values, count) }
}

/// A text of the interface that is valid for ever.
fn static_text(text: *const c_char) -> &'static CStr {
    // SAFETY: called with static texts only, which end with a zero.
    unsafe { CStr::from_ptr(text) }
}

/// An `Info` or `Output` before a function fills it.
fn blank<T>() -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: both begin with their size, a word.
    unsafe { value.as_mut_ptr().cast::<usize>().write(size_of::<T>()) };
    // SAFETY: every other field of `Info` and `Output` may be zero: numbers, null pointers and enumerations
    // that begin at 0.
    unsafe { value.assume_init() }
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
    fn zero(length: usize) -> Self {
        Self::of(&vec![0; length])
    }
    fn golden(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
        Self::of(&std::fs::read(path).unwrap())
    }
    fn get(&self) -> &[u8] {
        given(self.0.as_ptr().cast(), self.1)
    }
    fn at(&self) -> *const c_void {
        self.0.as_ptr().cast()
    }
    fn at_mut(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// Base and task of a bundle, apart.
fn parts(bundle: &Bytes) -> (Bytes, Bytes) {
    let package = Package::parse(bundle.get()).unwrap();
    (Bytes::of(package.base().unwrap().bytes()), Bytes::of(package.task().unwrap().bytes()))
}

fn context() -> Box<Context> {
    Box::new(Context { opaque: [0; CODA_CONTEXT_WORDS] })
}

fn init(context: &mut Context, base: &Bytes, task: Option<&Bytes>) -> Status {
    let (task, bytes) = task.map_or((null(), 0), |task| (task.at(), task.1));
    call!(coda_init(context, size_of::<Context>(), base.at(), base.1, task, bytes))
}

fn planned(context: &mut Context) -> usize {
    let mut bytes = 0;
    assert_eq!(call!(coda_plan(context, 8, 0, &raw mut bytes)), Status::Ok);
    bytes
}

/// A context that can run, with its arena.
fn started(base: &Bytes, task: Option<&Bytes>) -> (Box<Context>, Bytes) {
    let mut context = context();
    assert_eq!(init(&mut context, base, task), Status::Ok);
    let tokens = match info(&context).input {
        InputKind::Tokens => 8,
        InputKind::Pixels => 0,
    };
    let arena = start(&mut context, tokens, 0);
    (context, arena)
}

/// Starts a context with an arena of what it plans.
fn start(context: &mut Context, tokens: usize, selected: usize) -> Bytes {
    let mut bytes = 0;
    assert_eq!(call!(coda_plan(context, tokens, selected, &raw mut bytes)), Status::Ok);
    let mut arena = Bytes::zero(bytes);
    let status = call!(coda_start(context, tokens, selected, arena.at_mut(), bytes));
    assert_eq!(status, Status::Ok);
    arena
}

fn budget(kind: BudgetKind, value: f32) -> Budget {
    Budget {
        bytes: size_of::<Budget>(),
        kind: kind as i32,
        value,
        tokens: 0,
        per_layer: null(),
        tokens_per_layer: null(),
        layers: 0,
        deadline_us: 0,
    }
}

const IDS: [u32; 4] = [2, 5, 6, 3];

fn run_tokens(context: &mut Context, budget: *const Budget) -> (Status, Vec<u32>) {
    let mut output = blank();
    let status = call!(coda_run_tokens(context, IDS.as_ptr(), null(), 4, budget, &raw mut output));
    (status, if status == Status::Ok { bits(&output) } else { Vec::new() })
}

fn bits(output: &Output) -> Vec<u32> {
    given(output.values, output.count).iter().map(|value| value.to_bits()).collect()
}

/// The bits that the runtime gives for the same call.
fn expected(base: &Bytes, task: Option<&Bytes>, budget: routing::Budget<'_>) -> Vec<u32> {
    let package = Package::parse(base.get()).unwrap();
    let base = package.base().unwrap();
    let task = task.map(|task| Package::parse(task.get()).unwrap());
    let model = match &task {
        Some(task) => Model::bind(&base, task).unwrap(),
        None => Model::from_package(&package).unwrap(),
    };
    let plan = Plan::new(&model.dimensions(), Capacity::any_budget(8)).unwrap();
    let mut arena = Box::new(Arena::<{ 1 << 16 }>::new());
    let mut executor = Executor::new(&model, Kernels::best(), plan, &mut arena.0).unwrap();
    let output = executor.run(Input::tokens(&IDS), budget).unwrap();
    output.values.iter().map(|value| value.to_bits()).collect()
}

fn message(context: &Context) -> String {
    let mut needed = 0;
    let status = call!(coda_error_message(context, null_mut(), 0, &raw mut needed));
    assert_eq!(status, Status::Ok);
    let mut text = vec![1u8; needed];
    let at = text.as_mut_ptr().cast();
    assert_eq!(call!(coda_error_message(context, at, needed, null_mut())), Status::Ok);
    CStr::from_bytes_with_nul(&text).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn answers_have_the_bits_of_the_runtime_for_every_kind_of_budget() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (base, task) = parts(&bundle);
    for (first, second) in
        [(&bundle, None), (&base, Some(&task)), (&base, None), (&bundle, Some(&task))]
    {
        let (mut context, _arena) = started(first, second);
        let layers = vec![2.0; info(&context).layers];
        let counts: Vec<usize> = (1..=layers.len()).collect();
        let mut tokens = budget(BudgetKind::Tokens, 0.0);
        tokens.tokens = 3;
        let mut per_layer = budget(BudgetKind::PerLayer, 0.0);
        (per_layer.per_layer, per_layer.layers) = (layers.as_ptr(), layers.len());
        let mut tokens_per_layer = budget(BudgetKind::TokensPerLayer, 0.0);
        tokens_per_layer.tokens_per_layer = counts.as_ptr();
        tokens_per_layer.layers = counts.len();
        for (budget, same) in [
            (budget(BudgetKind::Task, 0.0), routing::Budget::Task),
            (budget(BudgetKind::Reduction, 2.0), routing::Budget::Reduction(2.0)),
            (budget(BudgetKind::Fraction, 0.5), routing::Budget::Fraction(0.5)),
            (tokens, routing::Budget::Selected(3)),
            (per_layer, routing::Budget::PerLayer(&layers)),
            (tokens_per_layer, routing::Budget::SelectedPerLayer(&counts)),
        ] {
            let answer = run_tokens(&mut context, &raw const budget);
            assert_eq!(answer, (Status::Ok, expected(first, second, same)));
        }
        assert_eq!(
            run_tokens(&mut context, null()),
            run_tokens(&mut context, &budget(BudgetKind::Task, 0.0))
        );
    }
}

fn info(context: &Context) -> Info {
    let mut info = blank();
    assert_eq!(call!(coda_get_info(context, &raw mut info)), Status::Ok);
    info
}

#[test]
fn a_task_is_swapped_between_inferences_and_a_refused_one_changes_nothing() {
    let (base, task) = parts(&Bytes::golden("bert-int8-v1.1.coda"));
    let (_, foreign) = parts(&Bytes::golden("bert-int4-v1.1.coda"));
    let (mut context, _arena) = started(&base, Some(&task));
    let with_task = run_tokens(&mut context, null());
    let swap = |context: &mut Context, at, bytes| call!(coda_swap_task(context, at, bytes));
    assert_eq!(swap(&mut context, foreign.at(), foreign.1), Status::AnotherBase);
    assert!(message(&context).contains("made for the base"), "{}", message(&context));
    assert_eq!(swap(&mut context, task.at(), task.1 - 1), Status::PackageTruncated);
    assert_eq!(swap(&mut context, base.at(), base.1), Status::PackageKind);
    assert_eq!(swap(&mut context, null(), 7), Status::NullPointer);
    assert_eq!(run_tokens(&mut context, null()), with_task);
    // Another task of the same base: the base alone, then the task again. A dense layer needs more.
    let plan = |context: &mut Context| planned(context);
    let routed = plan(&mut context);
    let (mut dense, _dense_arena) = started(&base, None);
    let needed = plan(&mut dense).max(routed);
    let mut large = Bytes::zero(needed);
    let start = call!(coda_start(&mut *context, 8, 0, large.at_mut(), needed));
    assert_eq!(start, Status::Ok);
    assert_eq!(swap(&mut context, null(), 0), Status::Ok);
    assert_eq!(run_tokens(&mut context, null()), run_tokens(&mut dense, null()));
    assert_eq!(swap(&mut context, task.at(), task.1), Status::Ok);
    assert_eq!(run_tokens(&mut context, null()), with_task);
}

#[test]
fn a_task_that_needs_a_larger_arena_is_refused_and_the_old_one_goes_on() {
    let (base, task) = parts(&Bytes::golden("bert-int8-v1.1.coda"));
    let mut context = context();
    assert_eq!(init(&mut context, &base, Some(&task)), Status::Ok);
    let _arena = start(&mut context, 8, 1);
    let one = budget(BudgetKind::Fraction, 0.01);
    let before = run_tokens(&mut context, &raw const one);
    assert_eq!(before.0, Status::Ok);
    // Dense layers hold every token's queries: more than one selected token's.
    assert_eq!(call!(coda_swap_task(&mut *context, null(), 0)), Status::ArenaTooSmall);
    assert_eq!(run_tokens(&mut context, &raw const one), before);
}

#[test]
fn a_context_may_be_moved_and_two_share_packages() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (mut first, _a) = started(&bundle, None);
    let (second, _b) = started(&bundle, None);
    let mut moved = Box::new(*second);
    drop(second);
    assert_eq!(run_tokens(&mut first, null()), run_tokens(&mut moved, null()));
}

/// The same address and a byte.
fn odd<T>(at: *const T) -> *mut T {
    at.cast_mut().cast::<u8>().wrapping_add(1).cast()
}

#[test]
fn a_context_is_not_made_from_null_or_misaligned_pointers() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (at, bytes) = (bundle.at(), size_of::<Context>());
    let mut fresh = context();
    let fresh = &raw mut *fresh;
    statuses! {
        coda_init(null_mut(), bytes, at, bundle.1, null(), 0) => NullPointer,
        coda_init(odd(fresh), bytes, at, bundle.1, null(), 0) => BadPointer,
        coda_init(fresh, bytes, null(), 4, null(), 0) => NullPointer,
        coda_init(fresh, bytes, null(), 0, null(), 0) => NullPointer,
        coda_init(fresh, bytes, at, usize::MAX, null(), 0) => BadPointer,
        coda_init(fresh, bytes - 8, at, 64, null(), 0) => ContextSize,
    }
}

#[test]
fn null_and_misaligned_pointers_come_back_as_a_status() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (mut ready, _arena) = started(&bundle, None);
    let (context, ids) = (&raw mut *ready, IDS.as_ptr());
    let mut out = blank();
    let out = &raw mut out;
    let mut per_layer = budget(BudgetKind::PerLayer, 0.0);
    per_layer.layers = 2;
    statuses! {
        coda_run_tokens(null_mut(), ids, null(), 4, null(), out) => NullPointer,
        coda_run_tokens(context, null(), null(), 4, null(), out) => NullPointer,
        coda_run_tokens(context, ids, null(), 4, null(), null_mut()) => NullPointer,
        coda_run_tokens(context, ids, null(), 4, &raw const per_layer, out) => NullPointer,
        coda_run_tokens(context, odd(ids), null(), 3, null(), out) => BadPointer,
        coda_run_tokens(context, ids, null(), 4, null(), odd(out)) => BadPointer,
        coda_run_tokens(context, ids, null(), usize::MAX / 2, null(), out) => BadPointer,
        coda_run_pixels(context, null(), 1, null(), out) => NullPointer,
        coda_get_info(context, null_mut()) => NullPointer,
        coda_plan(context, 8, 0, null_mut()) => NullPointer,
        coda_start(context, 8, 0, null_mut(), 1 << 20) => NullPointer,
        coda_set_costs(context, null()) => NullPointer,
        coda_label(context, 0, null_mut(), null_mut()) => NullPointer,
        coda_kernels(context, null_mut(), null_mut()) => NullPointer,
        coda_use_kernels(context, null(), 3) => NullPointer,
        coda_error_message(context, null_mut(), 3, null_mut()) => NullPointer,
    }
    assert_eq!(run_tokens(&mut ready, null()).0, Status::Ok);
}

#[test]
fn a_context_without_a_model_or_arena_does_nothing() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    for word in [0, u64::MAX, 0x1234_5678_9abc_def0] {
        let mut context = Context { opaque: [word; CODA_CONTEXT_WORDS] };
        assert_eq!(run_tokens(&mut context, null()).0, Status::NotInitialized);
        assert_eq!(call!(coda_swap_task(&raw mut context, null(), 0)), Status::NotInitialized);
    }
    let mut context = context();
    let cut = Bytes::of(&bundle.get()[..100]);
    assert_eq!(init(&mut context, &cut, None), Status::PackageTruncated);
    assert_eq!(run_tokens(&mut context, null()).0, Status::NotInitialized);
    assert_eq!(init(&mut context, &bundle, None), Status::Ok);
    assert_eq!(run_tokens(&mut context, null()).0, Status::NotStarted);
}

#[test]
fn damaged_packages_come_back_as_a_status_with_a_reason() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let mut context = context();
    for length in (0..bundle.1).step_by(997).chain([1, 63, 64, bundle.1 - 1]) {
        let cut = Bytes::of(&bundle.get()[..length]);
        assert_eq!(init(&mut context, &cut, None), Status::PackageTruncated, "{length}");
    }
    for position in (0..bundle.1).step_by(101) {
        let mut bytes = bundle.get().to_vec();
        bytes[position] ^= 0x10;
        let flipped = Bytes::of(&bytes);
        assert_ne!(init(&mut context, &flipped, None), Status::Ok, "{position}");
    }
    let mut bytes = bundle.get().to_vec();
    bytes[bundle.1 - 1] ^= 1;
    assert_eq!(init(&mut context, &Bytes::of(&bytes), None), Status::PackageChecksum);
    assert!(message(&context).starts_with("the base: the checksum is"), "{}", message(&context));
    bytes[0] ^= 1;
    assert_eq!(init(&mut context, &Bytes::of(&bytes), None), Status::PackageMagic);
    let shifted = Bytes::of(&[&[0][..], bundle.get()].concat());
    let at = shifted.at().cast::<u8>().wrapping_add(1).cast();
    let bytes = size_of::<Context>();
    let status = call!(coda_init(&mut *context, bytes, at, bundle.1, null(), 0));
    assert_eq!(status, Status::PackageMisaligned);
}

#[test]
fn packages_that_do_not_belong_together_come_back_as_a_status() {
    let (base, task) = parts(&Bytes::golden("bert-int8-v1.1.coda"));
    let (_, foreign) = parts(&Bytes::golden("bert-int4-v1.1.coda"));
    let mut context = context();
    assert_eq!(init(&mut context, &base, Some(&foreign)), Status::AnotherBase);
    assert_eq!(init(&mut context, &task, None), Status::PackageKind);
    assert_eq!(init(&mut context, &base, Some(&base)), Status::PackageKind);
    assert_eq!(
        init(&mut context, &base, Some(&Bytes::of(&task.get()[..90]))),
        Status::PackageTruncated
    );
    assert!(message(&context).starts_with("the task: "), "{}", message(&context));
}

#[test]
fn an_arena_must_be_large_enough_aligned_and_apart() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let mut context = context();
    assert_eq!(init(&mut context, &bundle, None), Status::Ok);
    let needed = planned(&mut context);
    let mut arena = Bytes::zero(needed + 64);
    let mut start = |at: *mut c_void, bytes| call!(coda_start(&mut *context, 8, 0, at, bytes));
    assert_eq!(start(arena.at_mut(), needed - 1), Status::ArenaTooSmall);
    assert_eq!(start(null_mut(), 0), Status::ArenaTooSmall);
    let odd = arena.at_mut().cast::<u8>().wrapping_add(8).cast();
    assert_eq!(start(odd, needed), Status::ArenaMisaligned);
    assert_eq!(start(bundle.at().cast_mut(), bundle.1), Status::Overlap);
    assert_eq!(start(arena.at_mut(), needed), Status::Ok);
    assert_eq!(start(arena.at_mut(), needed - 1), Status::ArenaTooSmall);
    let text = format!("the arena has {} bytes, the plan needs {needed}", needed - 1);
    assert_eq!(message(&context), text);
    // The one before is still there.
    assert_eq!(run_tokens(&mut context, null()).0, Status::Ok);
    for (tokens, selected, status) in
        [(8, 9, Status::Capacity), (usize::MAX / 64, 0, Status::TooLarge)]
    {
        let mut bytes = 7;
        let plan = call!(coda_plan(&mut *context, tokens, selected, &raw mut bytes));
        assert_eq!((plan, bytes), (status, 7));
    }
}

#[test]
fn inputs_and_results_in_the_arena_are_refused() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (mut context, mut arena) = started(&bundle, None);
    let mut out = blank();
    let (inside, own, ids) = (arena.at_mut(), &raw mut *context, IDS.as_ptr());
    statuses! {
        coda_run_tokens(own, inside.cast(), null(), 4, null(), &raw mut out) => Overlap,
        coda_run_tokens(own, ids, null(), 4, null(), inside.cast()) => Overlap,
        coda_run_tokens(own, ids, null(), 4, null(), own.cast()) => Overlap,
    }
    assert_eq!(message(&context), "the output and the context overlap");
    statuses! {
        coda_run_tokens(own, inside.cast(), null(), 4, null(), &raw mut out) => Overlap,
    }
    assert_eq!(message(&context), "the input and the arena overlap");
    statuses! {
        coda_run_tokens(own, ids, null(), 4, null(), &raw mut out) => Ok,
        coda_init(own, size_of::<Context>(), own.cast(), 64, null(), 0) => Overlap,
    }
}

#[test]
fn a_budget_in_the_arena_is_refused() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (mut context, mut arena) = started(&bundle, None);
    let (inside, own) = (arena.at_mut(), &raw mut *context);
    let layers = info(&context).layers;
    let listed = |kind| Budget { layers, ..budget(kind, 0.0) };
    let tokens = Budget { tokens_per_layer: inside.cast(), ..listed(BudgetKind::TokensPerLayer) };
    let reductions = Budget { per_layer: inside.cast(), ..listed(BudgetKind::PerLayer) };
    let (ids, mut out) = (IDS.as_ptr(), blank());
    for budget in [&raw const tokens, &raw const reductions, inside.cast()] {
        statuses! { coda_run_tokens(own, ids, null(), 4, budget, &raw mut out) => Overlap, }
        assert_eq!(message(&context), "the budget and the arena overlap");
    }
    statuses! { coda_run_tokens(own, ids, null(), 4, null(), &raw mut out) => Ok, }
}

#[test]
fn an_answer_that_is_not_finite_is_a_status_and_no_label() {
    let (base, _) = parts(&Bytes::golden("bert-int8-v1.1.coda"));
    for bad in [f32::NAN, f32::INFINITY] {
        let mut damaged = base.get().to_vec();
        let package = Package::parse(base.get()).unwrap();
        let place =
            package.tensors().find(|tensor| tensor.role == Role::EmbeddingNormWeight).unwrap();
        let at = place.bytes.as_ptr().addr() - base.at().addr();
        damaged[at..at + 4].copy_from_slice(&bad.to_le_bytes());
        let sum = checksum(&damaged).to_le_bytes();
        damaged[header::CHECKSUM].copy_from_slice(&sum);
        let damaged = Bytes::of(&damaged);
        let (mut context, _arena) = started(&damaged, None);
        let mut output: Output = blank();
        output.label = 7;
        let own = &raw mut *context;
        let status = call!(coda_run_tokens(own, IDS.as_ptr(), null(), 4, null(), &raw mut output));
        assert_eq!((status, output.label, output.count), (Status::NotFinite, 7, 0));
        assert!(message(&context).contains("not finite"), "{}", message(&context));
        let text = static_text(coda_status_string(Status::NotFinite as i32)).to_str().unwrap();
        assert!(text.contains("not finite"), "{text}");
    }
}

#[test]
fn senseless_inputs_come_back_as_a_status() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (mut context, _arena) = started(&bundle, None);
    let known = info(&context);
    assert_eq!((known.input, known.image_bytes), (InputKind::Tokens, 0));
    let mut out = blank();
    let (context, out) = (&raw mut *context, &raw mut out);
    let (long, foreign) = ([2; 9], [known.vocabulary as u32]);
    let (pixels, types) = ([0u8; 16], [200u8]);
    statuses! {
        coda_run_tokens(context, [].as_ptr(), null(), 0, null(), out) => InputEmpty,
        coda_run_tokens(context, long.as_ptr(), null(), 9, null(), out) => InputTooLong,
        coda_run_tokens(context, foreign.as_ptr(), null(), 1, null(), out) => InputToken,
        coda_run_tokens(context, IDS.as_ptr(), types.as_ptr(), 1, null(), out) => InputType,
        coda_run_pixels(context, pixels.as_ptr(), 16, null(), out) => InputKind,
    }
}

#[test]
fn senseless_budgets_come_back_as_a_status() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (mut context, _arena) = started(&bundle, None);
    assert!(info(&context).layers > 1);
    let layers = [1.0f32; 1];
    let mut short = budget(BudgetKind::PerLayer, 0.0);
    (short.per_layer, short.layers) = (layers.as_ptr(), 1);
    let mut unknown = budget(BudgetKind::Task, 0.0);
    unknown.kind = 77;
    let mut deadline = budget(BudgetKind::Deadline, 0.0);
    deadline.deadline_us = 1;
    for (given, status) in [
        (budget(BudgetKind::Reduction, 0.5), Status::Budget),
        (budget(BudgetKind::Reduction, f32::NAN), Status::Budget),
        (budget(BudgetKind::Fraction, 0.0), Status::Budget),
        (budget(BudgetKind::Tokens, 0.0), Status::Budget),
        (short, Status::Budget),
        (budget(BudgetKind::TokensPerLayer, 0.0), Status::Budget),
        (unknown, Status::BadArgument),
        (deadline, Status::NoCosts),
    ] {
        assert_eq!(run_tokens(&mut context, &raw const given).0, status, "{given:?}");
    }
    let _arena = start(&mut context, 8, 1);
    let all = budget(BudgetKind::Reduction, 1.0);
    assert_eq!(run_tokens(&mut context, &raw const all).0, Status::BudgetAbovePlan);
}

#[test]
fn a_deadline_needs_costs_and_time() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (mut context, _arena) = started(&bundle, None);
    let costs = Costs {
        bytes: size_of::<Costs>(),
        fixed: 5e3,
        token: 0.0,
        frozen: 1e-3,
        attention: 1e-3,
        task: 1e-3,
        margin: 0.1,
    };
    for broken in [Costs { fixed: f32::NAN, ..costs }, Costs { margin: -1.0, ..costs }] {
        let status = call!(coda_set_costs(&mut *context, &raw const broken));
        assert_eq!(status, Status::BadArgument);
    }
    assert_eq!(call!(coda_set_costs(&mut *context, &raw const costs)), Status::Ok);
    let mut deadline = budget(BudgetKind::Deadline, 0.0);
    assert_eq!(run_tokens(&mut context, &raw const deadline).0, Status::DeadlineTooShort);
    deadline.deadline_us = 1_000_000;
    let mut out = blank();
    let status = call!(coda_run_tokens(
        &mut *context,
        IDS.as_ptr(),
        null(),
        4,
        &raw const deadline,
        &raw mut out
    ));
    assert_eq!((status, out.deadline_tokens), (Status::Ok, 4));
}

#[test]
fn images_run_and_images_of_another_size_do_not() {
    let bundle = Bytes::golden("vit-int8-v1.1.coda");
    let (mut context, _arena) = started(&bundle, None);
    let known = info(&context);
    assert_eq!(known.input, InputKind::Pixels);
    assert_eq!(known.image_bytes, known.image_height * known.image_width * known.image_channels);
    let pixels: Vec<u8> = (0..known.image_bytes).map(|i| (i * 7 % 251) as u8).collect();
    let mut out = blank();
    let mut run =
        |bytes| call!(coda_run_pixels(&mut *context, pixels.as_ptr(), bytes, null(), &raw mut out));
    assert_eq!(run(known.image_bytes - 1), Status::InputImage);
    assert_eq!(run(0), Status::InputImage);
    assert_eq!(run(known.image_bytes), Status::Ok);
    assert_eq!((out.count, out.tokens, out.width), (known.outputs, known.max_tokens, known.hidden));
    assert_eq!(run_tokens(&mut context, null()).0, Status::InputKind);
}

#[test]
fn labels_of_tokens_are_rows_of_logits_and_no_label_of_the_whole() {
    let bundle = Bytes::golden("bert-tokens-f32-v1.2.coda");
    let (mut context, _arena) = started(&bundle, None);
    let known = info(&context);
    assert_eq!((known.head, known.outputs, known.labels), (HeadType::TokenClassification, 3, 3));
    let (ids, mut out) = ([2u32, 5, 6, 3], blank::<Output>());
    let status = call!(coda_run_tokens(
        &mut *context,
        ids.as_ptr(),
        null(),
        ids.len(),
        null(),
        &raw mut out
    ));
    assert_eq!((status, out.tokens, out.count, out.label), (Status::Ok, 4, 4 * 3, usize::MAX));
}

#[test]
fn labels_are_found_or_said_to_be_missing() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (context, _arena) = started(&bundle, None);
    let (mut text, mut bytes) = (null(), 0);
    let package = Package::parse(bundle.get()).unwrap();
    let model = Model::from_package(&package).unwrap();
    let names: Vec<&str> = model.labels().map(|list| list.iter().collect()).unwrap_or_default();
    assert_eq!(info(&context).labels, names.len());
    let past = if names.is_empty() { Status::NoLabels } else { Status::OutOfRange };
    let status = call!(coda_label(&*context, names.len(), &raw mut text, &raw mut bytes));
    assert_eq!(status, past);
    for (index, name) in names.iter().enumerate() {
        let status = call!(coda_label(&*context, index, &raw mut text, &raw mut bytes));
        assert_eq!((status, given(text.cast::<u8>(), bytes)), (Status::Ok, name.as_bytes()));
    }
}

#[test]
fn kernels_are_found_or_said_to_be_missing() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (mut context, _arena) = started(&bundle, None);
    let (mut text, mut bytes) = (null(), 0);
    let answer = run_tokens(&mut context, null());
    let own = &raw mut *context;
    statuses! {
        coda_use_kernels(own, c"scalar".as_ptr(), 6) => Ok,
        coda_kernels(own, &raw mut text, &raw mut bytes) => Ok,
        coda_use_kernels(own, c"abacus".as_ptr(), 6) => NoKernels,
        coda_use_kernels(own, [0xffu8].as_ptr().cast(), 1) => Text,
    }
    assert_eq!(given(text.cast::<u8>(), bytes), b"scalar");
    assert_eq!(run_tokens(&mut context, null()), answer);
}

#[test]
fn a_model_of_images_has_no_words() {
    let bundle = Bytes::golden("vit-int8-v1.1.coda");
    let (context, _arena) = started(&bundle, None);
    let (mut count, mut needed) = (0, 0);
    let (count, needed, text) = (&raw mut count, &raw mut needed, c"a".as_ptr());
    statuses! {
        coda_tokenize(&*context, text, 1, null_mut(), 0, count, needed) => NoTokenizer,
    }
}

#[test]
fn a_text_becomes_the_ids_of_the_tokenizer() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (context, _arena) = started(&bundle, None);
    let package = Package::parse(bundle.get()).unwrap();
    let model = Model::from_package(&package).unwrap();
    let Some(tokenizer) = model.tokenizer() else {
        assert_eq!(info(&context).tokenizer, 0);
        return;
    };
    let text = "a b, c";
    let (mut same, mut ids) = ([0; 8], [0; 8]);
    let encoding = tokenizer.encode(text, &mut same);
    let (mut count, mut needed) = (0, 0);
    let at = text.as_ptr().cast();
    let status = call!(coda_tokenize(
        &*context,
        at,
        6,
        ids.as_mut_ptr(),
        8,
        &raw mut count,
        &raw mut needed
    ));
    assert_eq!((status, count, needed), (Status::Ok, encoding.len, encoding.total));
    assert_eq!(ids[..count], same[..count]);
    // The size first, without a place for the ids.
    let status =
        call!(coda_tokenize(&*context, at, 6, null_mut(), 0, &raw mut count, &raw mut needed));
    assert_eq!((status, count, needed), (Status::Ok, 0, encoding.total));
    let mut types = [9; 8];
    let (to, kinds) = (ids.as_mut_ptr(), types.as_mut_ptr());
    let (counted, needed) = (&raw mut count, &raw mut needed);
    statuses! {
        coda_tokenize_pair(&*context, at, 1, at, 1, to, kinds, 8, counted, needed) => Ok,
    }
    assert_eq!((types[0], types[count - 1]), (0, 1));
}

#[test]
fn every_status_has_a_text() {
    let text = |status: i32| static_text(coda_status_string(status));
    let known: Vec<_> = (0..39).map(text).collect();
    for (index, one) in known.iter().enumerate() {
        assert!(!one.is_empty() && *one != c"unknown status", "{index}");
        assert!(!known[..index].contains(one), "{one:?} twice");
    }
    for unknown in [-1, 39, i32::MAX] {
        assert_eq!(text(unknown), c"unknown status");
    }
}

#[test]
fn the_library_says_which_version_it_is() {
    assert_eq!(static_text(coda_version()).to_str().unwrap(), env!("CARGO_PKG_VERSION"));
    assert_eq!(coda_abi(), CODA_ABI);
    assert_eq!(coda_context_bytes(), size_of::<Context>());
    assert_eq!(coda_context_alignment(), align_of::<Context>());
}

#[test]
fn a_message_is_cut_to_its_buffer() {
    let mut context = context();
    assert_eq!(init(&mut context, &Bytes::of(&[0; 64]), None), Status::PackageMagic);
    let whole = message(&context);
    let mut short = [1u8; 9];
    let mut needed = 0;
    let at = short.as_mut_ptr().cast();
    let status = call!(coda_error_message(&*context, at, 8, &raw mut needed));
    assert_eq!((status, needed), (Status::Ok, whole.len() + 1));
    assert_eq!((&short[..7], short[7], short[8]), (&whole.as_bytes()[..7], 0, 1));
}

#[test]
fn nothing_is_allocated() {
    let (base, task) = parts(&Bytes::golden("bert-int8-v1.1.coda"));
    let mut context = context();
    let mut arena = Bytes::zero(1 << 20);
    let mut out = blank();
    let mut text = [0u8; 100];
    // Whether this CPU has an instruction set is found out once.
    let _ = Kernels::best();
    let before = ALLOCATIONS.get();
    let (own, ids) = (&raw mut *context, IDS.as_ptr());
    let mut bytes = 0;
    statuses! {
        coda_init(own, size_of::<Context>(), base.at(), base.1, task.at(), task.1) => Ok,
        coda_plan(own, 8, 0, &raw mut bytes) => Ok,
        coda_start(own, 8, 0, arena.at_mut(), 1 << 20) => Ok,
        coda_swap_task(own, null(), 0) => Ok,
        coda_swap_task(own, task.at(), task.1) => Ok,
        coda_run_tokens(own, ids, null(), 4, null(), &raw mut out) => Ok,
        coda_swap_task(own, base.at(), base.1) => PackageKind,
        coda_error_message(own, text.as_mut_ptr().cast(), 100, null_mut()) => Ok,
    }
    assert_eq!(ALLOCATIONS.get(), before);
}

#[test]
fn a_structure_of_another_size_is_refused_before_anything_is_written() {
    let bundle = Bytes::golden("bert-int8-v1.1.coda");
    let (mut context, _arena) = started(&bundle, None);
    for change in [1usize, usize::MAX, 0usize.wrapping_sub(size_of::<Info>())] {
        let (mut info, mut out): (Info, Output) = (blank(), blank());
        info.bytes = info.bytes.wrapping_add(change);
        out.bytes = out.bytes.wrapping_add(change);
        let (at, ids) = (&raw mut *context, IDS.as_ptr());
        let costs = Costs {
            bytes: size_of::<Costs>().wrapping_add(change),
            fixed: 1.0,
            token: 1.0,
            frozen: 1.0,
            attention: 1.0,
            task: 1.0,
            margin: 0.0,
        };
        let mut odd = budget(BudgetKind::Reduction, 2.0);
        odd.bytes = odd.bytes.wrapping_add(change);
        let mut right = blank();
        statuses! {
            coda_get_info(at, &raw mut info) => StructureSize,
            coda_run_tokens(at, ids, null(), 4, null(), &raw mut out) => StructureSize,
            coda_run_tokens(at, ids, null(), 4, &raw const odd, &raw mut right) => StructureSize,
            coda_set_costs(at, &raw const costs) => StructureSize,
        }
        assert_eq!((info.layers, out.count, right.count), (0, 0, 0));
    }
    // A budget that is all zero is the task's own.
    let zero = Budget { bytes: 0, ..budget(BudgetKind::Task, 0.0) };
    assert_eq!(run_tokens(&mut context, &raw const zero), run_tokens(&mut context, null()));
    let odd = Budget { bytes: 0, ..budget(BudgetKind::Reduction, 2.0) };
    assert_eq!(run_tokens(&mut context, &raw const odd).0, Status::StructureSize);
}
