//! Models that write: the golden packages of a text model and a picture model answer with the tokens and scores that
//! they give on every machine.

use crate::{Console, Failure, line};
use coda_runtime::decoder::{Generator, Search};
use coda_runtime::executor::Input;
use coda_runtime::format::{Aligned, Package};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{AnswerCapacity, Capacity, GenerationPlan, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use core::fmt;

/// A golden model.
struct Golden {
    name: &'static str,
    package: &'static [u8],
    /// Token ids; empty for a model of pictures.
    ids: &'static [u32],
    /// Values of patches; empty for a model of tokens.
    patches: &'static [f32],
    answers: &'static [Expected],
}

/// A call and its answer.
struct Expected {
    reduction: f32,
    beams: usize,
    longest: usize,
    /// Bits; 0 without one.
    score: u32,
    tokens: &'static [u32],
}

/// A package beside that of the bundled model.
macro_rules! package {
    ($name:ident, $file:literal) => {
        // SAFETY: the section holds read-only data; the linker scripts of the boards place it in flash.
        #[cfg_attr(target_os = "none", unsafe(link_section = ".package"))]
        static $name: Aligned<[u8; include_bytes!($file).len()]> = Aligned(*include_bytes!($file));
    };
}
package!(PACKAGE_0, "../../../tests/golden/writers/t5-int8-v1.2.coda");
package!(PACKAGE_1, "../../../tests/golden/writers/trocr-f16-v1.2.coda");

include!(concat!(env!("CODA_FIRMWARE"), "/writers.rs"));

/// Answers every call of every model, in an arena that is large enough.
///
/// # Errors
/// The first [`Failure`].
pub(crate) fn check(
    arena: &mut [u8],
    kernels: &'static Kernels,
    console: &mut impl Console,
) -> Result<(), Failure> {
    GOLDEN.iter().try_for_each(|golden| check_one(golden, arena, kernels, console))
}

fn check_one(
    golden: &Golden,
    arena: &mut [u8],
    kernels: &'static Kernels,
    console: &mut impl Console,
) -> Result<(), Failure> {
    let package = Package::parse(golden.package).map_err(|_| Failure::Parse)?;
    let model = Model::from_package(&package).map_err(|_| Failure::Bind)?;
    for expected in golden.answers {
        let plan = plan(&model, golden, expected)?;
        let generator = Generator::new(&model, kernels, plan, arena);
        let mut generator = generator.map_err(|_| Failure::Executor)?;
        compare(&mut generator, golden, expected, console)?;
    }
    Ok(())
}

/// For an answer and no more.
fn plan(
    model: &Model<'_>,
    golden: &Golden,
    expected: &Expected,
) -> Result<GenerationPlan, Failure> {
    let tokens = if golden.ids.is_empty() { model.max_tokens() } else { Some(golden.ids.len()) };
    let capacity = Capacity::any_budget(tokens.ok_or(Failure::Bind)?);
    let encoder = Plan::new(&model.dimensions(), capacity).map_err(|_| Failure::Executor)?;
    let decoder = model.decoder().ok_or(Failure::Bind)?.dimensions();
    let answer = AnswerCapacity { positions: expected.longest + 1, beams: expected.beams };
    GenerationPlan::new(encoder, &decoder, answer).map_err(|_| Failure::Executor)
}

/// The answer of one call, to the bit.
fn compare(
    generator: &mut Generator<'_, '_>,
    golden: &Golden,
    expected: &Expected,
    console: &mut impl Console,
) -> Result<(), Failure> {
    let Expected { reduction, beams, longest, score, tokens } = *expected;
    let patches = Input::Patches(golden.patches);
    let input = if golden.ids.is_empty() { patches } else { Input::tokens(golden.ids) };
    let search = Search { longest, beams, ..Search::OF_PACKAGE };
    let before = console.count();
    let found = generator.generate(input, Budget::Reduction(reduction), &search);
    let mut found = found.map_err(|_| Failure::Run)?;
    while found.step().map_err(|_| Failure::Run)? {}
    let (count, found_score) = (console.count() - before, found.score().map_or(0, f32::to_bits));
    line!(
        console,
        "written {} r={reduction} beams={beams} ids{:?} score={found_score:08x}",
        golden.name,
        Ids(found.tokens())
    );
    line!(console, "count {} beams={beams} per-answer={count}", golden.name);
    let same = (found.tokens(), found_score) == (tokens, score);
    if same { Ok(()) } else { Err(Failure::Answer) }
}

/// Ids, for people and for `diff`.
struct Ids<'a>(&'a [u32]);

impl fmt::Debug for Ids<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|id| write!(f, " {id}"))
    }
}
