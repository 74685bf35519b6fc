//! Bad input on the device: damaged packages, packages that do not belong together, packages that are not
//! signed as a key demands, inputs and arenas of other sizes. Each comes back as a status with its sentence,
//! and nothing faults.

use crate::{Console, Failure, line};
use coda_runtime::executor::{Executor, Input};
use coda_runtime::format::{Aligned, Package, checksum, header};
use coda_runtime::include_package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Arena, Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::signature::{Scope, SignedKind, Trust, envelope};
use core::fmt::Display;

/// Small packages of the tests: a base and a task of tokens, and of pixels.
static WORDS: &[u8] = include_package!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/golden/bert-int8-v1.1.coda"
));
static PICTURES: &[u8] =
    include_package!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/vit-int8-v1.1.coda"));

/// A signed package of the tests, its key and its release.
static SIGNED: &[u8] = include_package!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/golden/bert-int8-v1.0-named.signed"
));
const KEY: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];
const RELEASE: u64 = 7;
/// What the device takes.
const SCOPE: Scope =
    Scope { kind: SignedKind::Bundle, product: 1, component: 0, base: None, minimum: RELEASE };
/// Another key: that of RFC 8032, section 7.1, test 2.
const OTHER_KEY: [u8; 32] = [
    0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc,
    0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c,
];

/// Bytes of a package that is damaged in RAM, and those around it.
const PACKAGE_BYTES: usize = 12 * 1024;
const ARENA_BYTES: usize = 16 * 1024;
/// Every so many bytes one is changed and the checksum renewed.
const STEP: usize = 5;

/// A copy of a package to damage, and an arena.
pub struct Memory {
    package: Aligned<[u8; PACKAGE_BYTES]>,
    arena: Arena<ARENA_BYTES>,
}

impl Memory {
    /// All zero.
    #[must_use]
    pub const fn new() -> Self {
        Self { package: Aligned([0; PACKAGE_BYTES]), arena: Arena::new() }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs every check.
///
/// # Errors
/// [`Failure::BadInput`] for the first that is not refused.
pub fn check(
    memory: &mut Memory,
    kernels: &Kernels,
    console: &mut impl Console,
) -> Result<(), Failure> {
    damaged_packages(memory, console)?;
    foreign_packages(console)?;
    signatures(memory, console)?;
    every_byte(memory, kernels, console)?;
    arenas(memory, kernels, console)?;
    token_inputs(memory, kernels, console)?;
    pixel_inputs(memory, kernels, console)
}

/// `result` must be an error, whose sentence is printed.
fn refused<T, E: Display>(
    console: &mut impl Console,
    what: &str,
    result: Result<T, E>,
) -> Result<(), Failure> {
    match result {
        Err(error) => {
            line!(console, "refused {what}: {error}");
            Ok(())
        }
        Ok(_) => {
            line!(console, "accepted {what}");
            Err(Failure::BadInput)
        }
    }
}

/// A copy of `source` in RAM, `before` bytes behind an aligned address, with `behind` zeros.
fn copy<'m>(memory: &'m mut Memory, source: &[u8], before: usize, behind: usize) -> &'m mut [u8] {
    memory.package.0.fill(0);
    let bytes = memory.package.0.get_mut(before..before + source.len() + behind);
    let bytes = bytes.unwrap_or_default();
    bytes.iter_mut().zip(source).for_each(|(slot, byte)| *slot = *byte);
    bytes
}

/// Makes the checksum that of the bytes.
fn renew_checksum(bytes: &mut [u8]) {
    let sum = checksum(bytes).to_le_bytes();
    let slots = bytes.get_mut(header::CHECKSUM).unwrap_or_default();
    slots.iter_mut().zip(sum).for_each(|(slot, byte)| *slot = byte);
}

fn damaged_packages(memory: &mut Memory, console: &mut impl Console) -> Result<(), Failure> {
    let length = WORDS.len();
    for (what, end) in [("no byte", 0), ("half a header", 32), ("half a package", length / 2)] {
        refused(console, what, Package::parse(WORDS.get(..end).unwrap_or(WORDS)))?;
    }
    let bytes = copy(memory, WORDS, 0, 1);
    refused(console, "a package with a byte behind it", Package::parse(bytes))?;
    for (what, place, renewed) in [
        ("a flipped bit in the header", header::CONTENT_ID.start, false),
        ("a flipped bit in the weights", length - 100, false),
        ("another magic", 0, true),
        ("a later major version", header::MAJOR.start, true),
        ("a length that is not the file's", header::LENGTH.start, true),
    ] {
        let bytes = copy(memory, WORDS, 0, 0);
        bytes.get_mut(place).into_iter().for_each(|byte| *byte ^= 2);
        if renewed {
            renew_checksum(bytes);
        }
        refused(console, what, Package::parse(bytes))?;
    }
    let bytes = copy(memory, WORDS, 1, 0);
    match Package::parse(bytes) {
        Ok(package) => {
            refused(console, "a misaligned package", Model::from_package(&package).map(drop))
        }
        Err(error) => refused(console, "a misaligned package", Err::<(), _>(error)),
    }
}

fn parts(bytes: &'static [u8]) -> Result<(Package<'static>, Package<'static>), Failure> {
    let package = Package::parse(bytes).map_err(|_| Failure::Parse)?;
    package.base().zip(package.task()).ok_or(Failure::Bind)
}

fn foreign_packages(console: &mut impl Console) -> Result<(), Failure> {
    let (base, task) = parts(PICTURES)?;
    let (_, foreign) = parts(WORDS)?;
    refused(console, "a task for another base", Model::bind(&base, &foreign))?;
    refused(console, "a base in place of a task", Model::bind(&base, &base))?;
    refused(console, "a task in place of a base", Model::dense(&task))?;
    refused(console, "a task alone", Model::from_package(&task))
}

/// A device with a key takes what is signed with it and nothing else.
fn signatures(memory: &mut Memory, console: &mut impl Console) -> Result<(), Failure> {
    let trust = Trust::new(&KEY, SCOPE).map_err(|_| Failure::Parse)?;
    let signed = trust.open(SIGNED).map_err(|_| Failure::Parse)?;
    Package::parse(signed.package()).map_err(|_| Failure::Parse)?;
    line!(console, "opened a signed package of release {}", signed.release());
    refused(console, "a package without a signature", trust.open(WORDS))?;
    let of = |end| SIGNED.get(..end).unwrap_or(SIGNED);
    refused(console, "half an envelope", trust.open(of(envelope::LENGTH_BYTES / 2)))?;
    refused(console, "a signed package that is cut", trust.open(of(SIGNED.len() - 1)))?;
    for (what, place) in [
        ("neither an envelope nor a package", envelope::MAGIC.start),
        ("a later version of the envelope", envelope::MAJOR.start),
        ("a flipped bit in the envelope's reserve", envelope::RESERVED.start),
        ("a release that was not signed", envelope::RELEASE.start),
        ("a flipped bit in the signature", envelope::SIGNATURE.start),
        ("a flipped bit in the signed package", SIGNED.len() - 100),
    ] {
        let bytes = copy(memory, SIGNED, 0, 0);
        bytes.get_mut(place).into_iter().for_each(|byte| *byte ^= 8);
        refused(console, what, trust.open(bytes))?;
    }
    let newer = trust.clone().at_least(RELEASE + 1);
    refused(console, "an older release", newer.open(SIGNED))?;
    let product = Scope { product: 2, ..SCOPE };
    let elsewhere = Trust::new(&KEY, product).map_err(|_| Failure::Parse)?;
    refused(console, "a package for another product", elsewhere.open(SIGNED))?;
    let other = Trust::new(&OTHER_KEY, SCOPE).map_err(|_| Failure::Parse)?;
    refused(console, "a package that is signed with another key", other.open(SIGNED))?;
    refused(console, "a key that is none", Trust::new(&[0; 32], SCOPE))
}

/// Cuts a package at every byte and flips a bit in every byte, each of which the length or the
/// checksum finds. Then flips bits with the checksum renewed, as no accident does: whatever such a
/// package is, it is refused or it runs.
fn every_byte(
    memory: &mut Memory,
    kernels: &Kernels,
    console: &mut impl Console,
) -> Result<(), Failure> {
    let Memory { package, arena } = memory;
    for (name, source) in [("tokens", WORDS), ("pixels", PICTURES)] {
        let bytes = package.0.get_mut(..source.len()).unwrap_or_default();
        bytes.copy_from_slice(source);
        cut_and_flipped(bytes)?;
        line!(
            console,
            "refused {name}: cut at each of {0} bytes, a bit flipped in each",
            bytes.len()
        );
        let [parse, bind, run, ran] = renewed(bytes, kernels, &mut arena.0);
        line!(
            console,
            "renewed checksums, {name}: parse refused {parse}, bind {bind}, run {run}, answered {ran}"
        );
    }
    Ok(())
}

fn cut_and_flipped(bytes: &mut [u8]) -> Result<(), Failure> {
    for end in 0..bytes.len() {
        if Package::parse(bytes.get(..end).unwrap_or(&[])).is_ok() {
            return Err(Failure::BadInput);
        }
    }
    for place in 0..bytes.len() {
        flip(bytes, place);
        if Package::parse(bytes).is_ok() {
            return Err(Failure::BadInput);
        }
        flip(bytes, place);
    }
    Ok(())
}

/// How many packages with a flipped bit and the checksum renewed end where.
fn renewed(bytes: &mut [u8], kernels: &Kernels, arena: &mut [u8]) -> [u32; 4] {
    let mut counts = [0; 4];
    for place in (0..bytes.len()).step_by(STEP) {
        flip(bytes, place);
        renew_checksum(bytes);
        let end = reach(bytes, kernels, arena);
        counts.get_mut(end as usize).into_iter().for_each(|count| *count += 1);
        flip(bytes, place);
    }
    counts
}

fn flip(bytes: &mut [u8], place: usize) {
    bytes.get_mut(place).into_iter().for_each(|byte| *byte ^= 1 << (place % 8));
}

/// What refused a package, or that nothing did.
#[derive(Clone, Copy)]
enum End {
    Parse,
    Bind,
    Run,
    Answered,
}

fn reach(bytes: &[u8], kernels: &Kernels, arena: &mut [u8]) -> End {
    let Ok(package) = Package::parse(bytes) else { return End::Parse };
    let Ok(model) = Model::from_package(&package) else { return End::Bind };
    let pixels = model.patch_grid().map(|grid| grid.image_bytes());
    let tokens = model.max_tokens().unwrap_or(4).min(64);
    let plan = Plan::new(&model.dimensions(), Capacity::any_budget(tokens));
    let Ok(plan) = plan else { return End::Run };
    let Ok(mut executor) = Executor::new(&model, kernels, plan, arena) else { return End::Run };
    let image = pixels.and_then(|bytes| PICTURES.get(..bytes));
    let input = image.map_or(Input::tokens(&[2, 5, 6, 3]), Input::Pixels);
    match executor.run(input, Budget::Reduction(2.0)) {
        Ok(_) => End::Answered,
        Err(_) => End::Run,
    }
}

fn arenas(
    memory: &mut Memory,
    kernels: &Kernels,
    console: &mut impl Console,
) -> Result<(), Failure> {
    let package = Package::parse(WORDS).map_err(|_| Failure::Parse)?;
    let model = Model::from_package(&package).map_err(|_| Failure::Bind)?;
    let capacity = Capacity { tokens: 8, selected: 4 };
    let plan = Plan::new(&model.dimensions(), capacity).map_err(|_| Failure::Executor)?;
    let needed = plan.arena_bytes();
    let arena = &mut memory.arena.0;
    let short = arena.get_mut(..needed - 1).unwrap_or_default();
    let result = Executor::new(&model, kernels, plan, short).map(drop);
    refused(console, "an arena without its last byte", result)?;
    let shifted = arena.get_mut(1..).unwrap_or_default();
    let result = Executor::new(&model, kernels, plan, shifted).map(drop);
    refused(console, "an arena at an odd address", result)?;
    let pictures = Package::parse(PICTURES).map_err(|_| Failure::Parse)?;
    let pictures = Model::from_package(&pictures).map_err(|_| Failure::Bind)?;
    let result = Executor::new(&pictures, kernels, plan, arena).map(drop);
    refused(console, "the plan of another model", result)?;
    let none = Plan::new(&model.dimensions(), Capacity { tokens: 0, selected: 0 });
    refused(console, "a plan for no token", none)
}

fn token_inputs(
    memory: &mut Memory,
    kernels: &Kernels,
    console: &mut impl Console,
) -> Result<(), Failure> {
    let package = Package::parse(WORDS).map_err(|_| Failure::Parse)?;
    let model = Model::from_package(&package).map_err(|_| Failure::Bind)?;
    let capacity = Capacity { tokens: 6, selected: 4 };
    let plan = Plan::new(&model.dimensions(), capacity).map_err(|_| Failure::Executor)?;
    let executor = Executor::new(&model, kernels, plan, &mut memory.arena.0);
    let mut executor = executor.map_err(|_| Failure::Executor)?;
    let (short, long) = (&[2, 5, 6, 3][..], &[2; 4096][..]);
    let task = Budget::Task;
    for (what, input, budget) in [
        ("no token", Input::tokens(&[]), task),
        ("more tokens than the plan has", Input::tokens(&[2; 7]), task),
        ("more tokens than the model has positions", Input::tokens(long), task),
        ("a token that is no token", Input::tokens(&[2, u32::MAX]), task),
        ("a length beyond the tokens", Input::padded(short, 5), task),
        ("token types for half of the tokens", Input::typed(short, &[0, 0]), task),
        ("a token type that is none", Input::typed(short, &[0, 0, 0, 255]), task),
        ("pixels in place of tokens", Input::Pixels(&[0; 64]), task),
        ("a budget above the plan", Input::tokens(&[2; 6]), Budget::Reduction(1.0)),
        ("a budget of no token", Input::tokens(short), Budget::Selected(0)),
        ("a reduction that is no number", Input::tokens(short), Budget::Reduction(f32::NAN)),
        ("a reduction below one", Input::tokens(short), Budget::Reduction(0.5)),
        ("a fraction above one", Input::tokens(short), Budget::Fraction(1.5)),
        ("reductions for no layer", Input::tokens(short), Budget::PerLayer(&[])),
    ] {
        refused(console, what, executor.run(input, budget).map(drop))?;
    }
    executor.run(Input::tokens(short), task).map_err(|_| Failure::Run)?;
    line!(console, "answered after all these: four tokens");
    Ok(())
}

fn pixel_inputs(
    memory: &mut Memory,
    kernels: &Kernels,
    console: &mut impl Console,
) -> Result<(), Failure> {
    let package = Package::parse(PICTURES).map_err(|_| Failure::Parse)?;
    let model = Model::from_package(&package).map_err(|_| Failure::Bind)?;
    let tokens = model.max_tokens().ok_or(Failure::Bind)?;
    let plan = Plan::new(&model.dimensions(), Capacity::any_budget(tokens));
    let plan = plan.map_err(|_| Failure::Executor)?;
    let executor = Executor::new(&model, kernels, plan, &mut memory.arena.0);
    let mut executor = executor.map_err(|_| Failure::Executor)?;
    let bytes = model.patch_grid().ok_or(Failure::Bind)?.image_bytes();
    for (what, input) in [
        ("an image without its last byte", Input::Pixels(PICTURES.get(..bytes - 1).unwrap_or(&[]))),
        ("an image of too many patches", Input::Pixels(PICTURES)),
        ("no image", Input::Pixels(&[])),
        ("tokens in place of an image", Input::tokens(&[2, 5, 6, 3])),
    ] {
        refused(console, what, executor.run(input, Budget::Task).map(drop))?;
    }
    let image = Input::Pixels(PICTURES.get(..bytes).unwrap_or(&[]));
    executor.run(image, Budget::Task).map_err(|_| Failure::Run)?;
    line!(console, "answered after all these: an image");
    Ok(())
}
