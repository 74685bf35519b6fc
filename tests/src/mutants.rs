//! A mutator that knows the format: one field of a package changes, the checksum is right again. Random bytes
//! rarely come past the checks; one wrong field of a right package does. It needs the runtime alone: the fuzz
//! target includes this file.

use coda_runtime::Generator;
use coda_runtime::decoder::Search;
use coda_runtime::executor::{Executor, Input};
use coda_runtime::format::{
    Encoding, Package, PackageKind, SectionKind, checksum, header, section, tensor,
};
use coda_runtime::image::PatchGrid;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{ARENA_ALIGNMENT, AnswerCapacity, Capacity, GenerationPlan, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use core::ops::Range;

/// Bytes of an arena or an image above which a mutant is not run.
const MOST_BYTES: usize = 4 << 20;
/// Most tokens of an input.
const TOKENS: usize = 6;
/// Start ids and new tokens of an answer, and its hypotheses.
const POSITIONS: usize = 4;
const BEAMS: usize = 2;

/// Numbers by which mutants are chosen.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Which field.
    pub field: u32,
    /// Which value.
    pub value: u32,
}

impl Choice {
    /// The next of a series.
    pub fn next(seed: &mut u64) -> Self {
        let mut step = || {
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            (*seed >> 16) as u32
        };
        Self { field: step(), value: step() }
    }

    /// Small numbers, powers of two and one beside them, the ends of the range, floats; or what was there
    /// with one bit changed.
    fn number(self, before: u32) -> u32 {
        const FLOATS: [f32; 6] = [0.0, -1.0, 1e-40, 3e38, f32::INFINITY, f32::NAN];
        let (kind, rest) = (self.value % 8, self.value >> 3);
        match kind {
            0 => rest % 80,
            1 => 1 << (rest % 32),
            2 => (1 << (rest % 32)) - 1,
            3 => (1 << (rest % 32)) + 1,
            4 => u32::MAX - rest % 4,
            5 => FLOATS[rest as usize % FLOATS.len()].to_bits(),
            6 => before ^ 1 << (rest % 32),
            _ => before.wrapping_add([1, u32::MAX, 8, 64][rest as usize % 4]),
        }
    }
}

fn word(bytes: &[u8], at: Range<usize>) -> usize {
    let bytes = bytes.get(at).unwrap_or_default();
    bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// Most packages inside one another: a decoder in a base in a bundle.
const DEEPEST: usize = 2;

/// Every field of a right package, in bytes from its start; those of the parts of a bundle too. Of a wrong
/// one those of sections that follow one another: each byte is of few fields.
#[must_use]
pub fn fields(bytes: &[u8]) -> Vec<Range<usize>> {
    fields_within(bytes, DEEPEST)
}

fn fields_within(bytes: &[u8], deepest: usize) -> Vec<Range<usize>> {
    let mut fields = vec![header::MAJOR, header::MINOR, header::KIND, header::SECTIONS];
    fields.extend([header::CONTENT_ID, header::BASE_ID].iter().map(|at| at.start..at.start + 4));
    let mut end = header::LENGTH_BYTES;
    for index in 0..word(bytes, header::SECTIONS) {
        let start = header::LENGTH_BYTES + index * section::ENTRY_BYTES;
        let Some(entry) = bytes.get(start..start + section::ENTRY_BYTES) else { break };
        for at in [section::KIND, section::FLAGS, section::OFFSET, section::LENGTH] {
            fields.push(start + at.start..start + at.end);
        }
        let (offset, length) = (word(entry, section::OFFSET), word(entry, section::LENGTH));
        let Some(body) = bytes.get(offset..offset.saturating_add(length)) else { continue };
        if offset < end {
            continue;
        }
        end = offset + body.len();
        let kind = SectionKind::from_code(word(entry, section::KIND) as u16);
        let found = of_section(kind, body, deepest);
        fields.extend(found.into_iter().map(|at| at.start + offset..at.end + offset));
    }
    fields
}

fn of_section(kind: Option<SectionKind>, body: &[u8], deepest: usize) -> Vec<Range<usize>> {
    match kind {
        Some(SectionKind::BasePackage | SectionKind::TaskPackage | SectionKind::Decoder) => {
            deepest.checked_sub(1).map_or_else(Vec::new, |deepest| fields_within(body, deepest))
        }
        Some(SectionKind::Data | SectionKind::Provenance) => Vec::new(),
        Some(SectionKind::Tensors) => {
            let starts = (0..body.len()).step_by(tensor::ENTRY_BYTES);
            let parts = [
                tensor::ROLE,
                tensor::LAYER,
                tensor::ENCODING,
                tensor::ROWS,
                tensor::COLUMNS,
                tensor::OFFSET,
                tensor::LENGTH,
            ];
            let parts = |start| parts.clone().map(|at| start + at.start..start + at.end);
            starts.flat_map(parts).collect()
        }
        _ => (0..body.len() / 4).map(|index| 4 * index..4 * index + 4).collect(),
    }
}

/// Makes the mutant of a choice; `false` if there is none.
pub fn mutate(bytes: &mut [u8], choice: Choice) -> bool {
    let places = if choice.field.is_multiple_of(8) { floats(bytes) } else { fields(bytes) };
    let Some(at) = places.get((choice.field >> 3) as usize % places.len().max(1)) else {
        return false;
    };
    let before = word(bytes, at.clone()) as u32;
    let value = choice.number(before).to_le_bytes();
    let Some(field) = bytes.get_mut(at.clone()) else { return false };
    field.iter_mut().zip(value).for_each(|(to, from)| *to = from);
    let sum = checksum(bytes);
    if let Some(field) = bytes.get_mut(header::CHECKSUM) {
        field.copy_from_slice(&sum.to_le_bytes());
    }
    true
}

/// The values of f32 tensors.
fn floats(bytes: &[u8]) -> Vec<Range<usize>> {
    let Ok(package) = Package::parse(bytes) else { return Vec::new() };
    let parts = match package.kind() {
        PackageKind::Bundle => [package.base(), package.task()],
        _ => [Some(package), None],
    };
    let halves = parts.iter().flatten().flat_map(|part| [Some(*part), part.decoder()]);
    let tensors = halves.flatten().flat_map(|half| half.tensors());
    let floats =
        tensors.filter(|own| matches!(own.encoding, Encoding::RowsF32 | Encoding::Panel8F32));
    let places = floats.flat_map(|own| {
        let start = own.bytes.as_ptr().addr() - bytes.as_ptr().addr();
        (0..own.bytes.len() / 4).map(move |index| start + 4 * index..start + 4 * index + 4)
    });
    places.collect()
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is refused.
    Refused,
    /// It is a model that needs more memory than is spent here.
    Large,
    /// It ran, on every table with the same bits or the same error.
    Ran,
}

/// Parses, binds and runs a package on every table.
///
/// # Panics
/// Two tables answer otherwise.
#[must_use]
pub fn exercise(bytes: &[u8]) -> Fate {
    let Ok(package) = Package::parse(bytes) else { return Fate::Refused };
    let model = match package.kind() {
        PackageKind::Bundle => Model::from_package(&package),
        _ => Model::dense(&package),
    };
    let Ok(model) = model else { return Fate::Refused };
    let free = PatchGrid::largest(&model.config().embedding);
    let one = free.map(|most| most.inputs());
    let pixels = model.patch_grid().map(|grid| grid.image_bytes()).or(one);
    let longest = if free.is_some() { 1 } else { model.max_tokens().unwrap_or(TOKENS) };
    let tokens = if pixels.is_some() { longest } else { longest.min(TOKENS) };
    let Ok(plan) = Plan::new(&model.dimensions(), Capacity::any_budget(tokens)) else {
        return Fate::Refused;
    };
    if plan.arena_bytes().max(pixels.unwrap_or(0)) > MOST_BYTES {
        return Fate::Large;
    }
    let image: Vec<u8> = (0..pixels.unwrap_or(0)).map(|index| (index * 37) as u8).collect();
    let ids: Vec<u32> = (0..tokens as u32).map(|index| index % 4).collect();
    let input = match pixels {
        None => Input::tokens(&ids),
        Some(_) if free.is_some() => Input::Grid { columns: 1, pixels: &image },
        Some(_) => Input::Pixels(&image),
    };
    if let Some(decoder) = model.decoder() {
        let answer = AnswerCapacity { positions: POSITIONS, beams: BEAMS };
        let plan = GenerationPlan::new(plan, &decoder.dimensions(), answer);
        match plan {
            Ok(plan) if plan.arena_bytes() <= MOST_BYTES => {
                let mut answers =
                    Kernels::available().map(|table| write(&model, table, plan, input));
                let first = answers.next();
                let same = answers.all(|other| Some(other) == first);
                assert!(same, "two tables write otherwise");
            }
            Ok(_) => return Fate::Large,
            Err(_) => {}
        }
    }
    for budget in [Budget::Task, Budget::Selected(1)] {
        let mut answers = Kernels::available().map(|table| run(&model, table, plan, input, budget));
        let first = answers.next();
        assert!(answers.all(|other| Some(other) == first), "two tables answer otherwise");
    }
    Fate::Ran
}

/// What a model writes with several hypotheses, or why there is none.
fn write(
    model: &Model<'_>,
    table: &'static Kernels,
    plan: GenerationPlan,
    input: Input<'_>,
) -> Result<(Vec<u32>, Option<u32>), String> {
    let mut arena = vec![0xa5u8; plan.arena_bytes() + ARENA_ALIGNMENT];
    let start = arena.as_ptr().align_offset(ARENA_ALIGNMENT);
    let mut generator = Generator::new(model, table, plan, &mut arena[start..])
        .map_err(|error| error.to_string())?;
    let search = Search { beams: BEAMS, ..Search::OF_PACKAGE };
    let answer = generator.generate(input, Budget::Task, &search);
    let mut answer = answer.map_err(|error| error.to_string())?;
    while answer.step().map_err(|error| error.to_string())? {}
    Ok((answer.tokens().to_vec(), answer.score().map(f32::to_bits)))
}

/// The bits of an answer, or why there is none.
fn run(
    model: &Model<'_>,
    table: &'static Kernels,
    plan: Plan,
    input: Input<'_>,
    budget: Budget<'_>,
) -> Result<Vec<u32>, String> {
    let mut arena = vec![0xa5u8; plan.arena_bytes() + ARENA_ALIGNMENT];
    let start = arena.as_ptr().align_offset(ARENA_ALIGNMENT);
    let mut executor = Executor::new(model, table, plan, &mut arena[start..])
        .map_err(|error| error.to_string())?;
    let output = executor.run(input, budget).map_err(|error| error.to_string())?;
    let hidden = output.hidden.iter().flatten();
    Ok(output.values.iter().chain(hidden).map(|value| value.to_bits()).collect())
}
