//! Whole models: golden packages and the bits they must answer.

use coda_runtime::executor::{Executor, Input};
use coda_runtime::format::Package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;

/// Longest input of a golden model, in tokens or bytes of an image.
const LONGEST: usize = 1024;

/// What went wrong with a golden model.
#[derive(Clone, Copy, Debug)]
pub struct GoldenError {
    /// The kernel table.
    pub table: &'static str,
    /// The model.
    pub model: &'static str,
    /// What.
    pub problem: &'static str,
}

/// A golden package with the text of its answers.
pub(crate) type Golden = (&'static str, &'static [u8], &'static str);

/// A package, with the text of its answers; on a board beside the code, where there is more room.
macro_rules! golden {
    ($name:literal) => {{
        use coda_runtime::format::Aligned;
        const BYTES: &[u8] = include_bytes!(concat!("../../golden/", $name, ".coda"));
        #[cfg_attr(target_os = "none", unsafe(link_section = ".package"))]
        static PACKAGE: Aligned<[u8; BYTES.len()]> =
            Aligned(*include_bytes!(concat!("../../golden/", $name, ".coda")));
        #[cfg_attr(target_os = "none", unsafe(link_section = ".package"))]
        static TEXT: [u8; include_bytes!(concat!("../../golden/", $name, ".json")).len()] =
            *include_bytes!(concat!("../../golden/", $name, ".json"));
        ($name, &PACKAGE.0, core::str::from_utf8(&TEXT).unwrap_or_default())
    }};
}
pub(crate) use golden;

pub(crate) fn all() -> [Golden; 12] {
    [
        golden!("bert-int8-v1.0"),
        golden!("bert-int8-scaled-v1.0"),
        golden!("vit-f16-v1.0"),
        golden!("t5-f32-v1.0"),
        golden!("bert-int8-v1.1"),
        golden!("bert-int4-v1.1"),
        golden!("vit-int8-v1.1"),
        golden!("vit-int8-low-rank-v1.1"),
        golden!("vit-f16-v1.1"),
        golden!("t5-int8-v1.1"),
        golden!("t5-f32-v1.1"),
        golden!("bert-heads-f32-v1.2"),
    ]
}

/// Runs every golden model with `table`; returns the number of answers.
pub(crate) fn check(table: &'static Kernels, arena: &mut [u8]) -> Result<usize, GoldenError> {
    let mut answers = 0;
    for (model, package, text) in all() {
        let problem = |problem| GoldenError { table: table.name, model, problem };
        answers += check_one(table, package, text, arena).map_err(problem)?;
    }
    Ok(answers)
}

fn check_one(
    table: &'static Kernels,
    bytes: &'static [u8],
    text: &'static str,
    arena: &mut [u8],
) -> Result<usize, &'static str> {
    let package = Package::parse(bytes).map_err(|_| "the package does not parse")?;
    let model = Model::from_package(&package).map_err(|_| "the package does not bind")?;
    let (mut ids, mut types, mut pixels) = ([0u32; LONGEST], [0u8; LONGEST], [0u8; LONGEST]);
    let ids = read_list(text, "\"ids\"", &mut ids).ok_or("no token ids")?;
    let types = read_list(text, "\"types\"", &mut types).ok_or("no token types")?;
    let pixels = read_pixels(text, &mut pixels).ok_or("no pixels")?;
    let input = match (pixels, types) {
        ([], []) => Input::tokens(ids),
        ([], types) => Input::typed(ids, types),
        (pixels, _) => match number(text, "\"columns\":") {
            Some(columns) => Input::Grid { columns, pixels },
            None => Input::Pixels(pixels),
        },
    };
    let tokens = if pixels.is_empty() { Some(ids.len()) } else { model.max_tokens() };
    let capacity = Capacity::any_budget(tokens.ok_or("no length")?);
    let plan = Plan::new(&model.dimensions(), capacity).map_err(|_| "no plan")?;
    let mut executor =
        Executor::new(&model, table, plan, arena).map_err(|_| "the arena does not fit")?;
    let mut answers = 0;
    for answer in text.split("\"reduction\":").skip(1) {
        let reduction = answer.split(',').next().and_then(|r| r.trim().parse().ok());
        let budget = Budget::Reduction(reduction.ok_or("no reduction")?);
        let output = executor.run(input, budget).map_err(|_| "the run is refused")?;
        let hidden = output.hidden.iter().flatten();
        same(output.values.iter(), words(answer, "\"values\":")).ok_or("other answer bits")?;
        same(hidden, words(answer, "\"hidden\":")).ok_or("other hidden bits")?;
        answers += 1;
    }
    if answers == 0 { Err("no answers") } else { Ok(answers) }
}

/// The whole number after `name`.
fn number(text: &str, name: &str) -> Option<usize> {
    text.split_once(name)?.1.split([',', '\n']).next()?.trim().parse().ok()
}

/// The numbers of `[1, 2, 3]` after `name`.
pub(crate) fn read_list<'b, T: core::str::FromStr>(
    text: &str,
    name: &str,
    buffer: &'b mut [T],
) -> Option<&'b [T]> {
    let (_, list) = text.split_once(name)?;
    let (list, _) = list.split_once('[')?.1.split_once(']')?;
    let mut count = 0;
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        *buffer.get_mut(count)? = word.parse().ok()?;
        count += 1;
    }
    buffer.get(..count)
}

/// The text between quotation marks after `name`.
pub(crate) fn quoted<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, value) = text.split_once(name)?;
    Some(value.split_once('"')?.1.split_once('"')?.0)
}

/// Bytes of two hexadecimal digits each.
fn read_pixels<'b>(text: &str, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let digits = quoted(text, "\"pixels\":")?;
    let slots = buffer.get_mut(..digits.len() / 2)?;
    for (index, slot) in slots.iter_mut().enumerate() {
        *slot = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(slots)
}

/// Bits of floats, in hexadecimal, separated by spaces.
pub(crate) fn words<'t>(text: &'t str, name: &str) -> impl Iterator<Item = Option<u32>> + use<'t> {
    let list = quoted(text, name).unwrap_or("");
    list.split(' ').map(|word| u32::from_str_radix(word, 16).ok())
}

fn same<'v>(
    found: impl Iterator<Item = &'v f32>,
    expected: impl Iterator<Item = Option<u32>>,
) -> Option<()> {
    found.map(|value| Some(value.to_bits())).eq(expected).then_some(())
}
