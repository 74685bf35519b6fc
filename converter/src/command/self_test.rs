//! `coda self-test`: inputs and their answers into a package, for devices that try before they trust.

use super::run::read_image;
use super::shared::{PackageFiles, reads};
use super::table::grouped;
use anyhow::{Context, Result, bail, ensure};
use coda_converter::dataset::{Encoder, SampleInput, reads_images};
use coda_converter::output::{check_output, write_whole};
use coda_converter::pack::{PackageBytes, bundle, with_self_test};
use coda_converter::say;
use coda_converter::session::Session;
use coda_runtime::format::{CaseInput, Package, PackageKind, SelfTestCase};
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use std::path::{Path, PathBuf};

/// Put a self-test into a task: inputs and this machine's answers, which devices compare to the bit
///
/// A device runs it on a new task before it trusts it. Every CPU gives the same bits, so there is no
/// tolerance. Of a bundle its task gets the self-test; a base alone gets it itself, and is another base then.
#[derive(Debug, clap::Args)]
pub(crate) struct SelfTestCommand {
    #[command(flatten)]
    files: PackageFiles,
    /// A text; may be given again
    #[arg(long, required_unless_present_any = ["image", "ids"])]
    text: Vec<String>,
    /// An image file: PNG, JPEG or PGM; may be given again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "ids"])]
    image: Vec<PathBuf>,
    /// Token ids; may be given again
    #[arg(long, value_name = "ID,ID,...", conflicts_with = "text")]
    ids: Vec<String>,
    /// k: so many tokens pass each routed layer; the task's own budget if not given
    #[arg(long, value_name = "K", default_value_t = 0, hide_default_value = true)]
    selected: u32,
    /// The package to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl SelfTestCommand {
    pub(super) fn run(&self) -> Result<()> {
        let packages = self.files.packages.iter().chain(&self.image).map(PathBuf::as_path);
        check_output(&self.output, &packages.collect::<Vec<&Path>>())?;
        let files = self.files.read()?;
        let model = self.files.bind(&files)?;
        ensure!(model.head().is_some(), "the package has no head, so it has no answer");
        let inputs = self.inputs(&model)?;
        let answers = self.answers(&model, &inputs)?;
        let cases: Vec<SelfTestCase<'_>> = inputs
            .iter()
            .zip(&answers)
            .map(|(input, values)| {
                let (input, selected) = (case_input(input)?, self.selected as usize);
                Ok(SelfTestCase { input, selected, values })
            })
            .collect::<Result<_>>()?;
        let written = add(&files, &cases)?;
        write_whole(&self.output, &written)
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        let (count, bytes) = (cases.len(), grouped(written.len()));
        say!("wrote {}: a self-test of {count} inputs, {bytes} bytes", self.output.display());
        Ok(())
    }

    fn inputs(&self, model: &Model<'_>) -> Result<Vec<SampleInput>> {
        ensure!(self.image.is_empty() != reads_images(model), "{}", reads(model));
        if !self.image.is_empty() {
            let images = self.image.iter().map(|path| read_image(path, model, None));
            return images.map(|pixels| Ok(SampleInput::Pixels(pixels?))).collect();
        }
        if !self.ids.is_empty() {
            return self.ids.iter().map(|ids| token_ids(ids)).collect();
        }
        let encoder = Encoder::of(model)?;
        self.text.iter().map(|text| Ok(encoder.encode(text, None)?.0)).collect()
    }

    /// The bits of each answer.
    fn answers(&self, model: &Model<'_>, inputs: &[SampleInput]) -> Result<Vec<Vec<u32>>> {
        let tokens = || inputs.iter().map(|input| input.tokens(model));
        let (shortest, longest) = (tokens().min().unwrap_or(1), tokens().max().unwrap_or(1));
        ensure!(
            self.selected as usize <= shortest,
            "--selected {} must be between 1 and the {shortest} tokens of the input",
            self.selected
        );
        let mut session = Session::new(model, Capacity::any_budget(longest))?;
        let budget = match self.selected {
            0 => Budget::Task,
            k => Budget::Selected(k as usize),
        };
        let answers = inputs.iter().map(|input| {
            session.run(input.as_input(), budget, &mut (), |output| {
                output.values.iter().map(|value| value.to_bits()).collect()
            })
        });
        answers.collect()
    }
}

fn token_ids(ids: &str) -> Result<SampleInput> {
    let ids = ids.split(',').map(|id| id.trim().parse().with_context(|| format!("--ids {ids}")));
    Ok(SampleInput::Tokens(ids.collect::<Result<_>>()?))
}

/// A self-test has ids of type 0 only, which those of one text are.
fn case_input(input: &SampleInput) -> Result<CaseInput<'_>> {
    Ok(match input {
        SampleInput::Tokens(ids) | SampleInput::Typed { ids, .. } => CaseInput::Tokens(ids),
        SampleInput::Pixels(pixels) => CaseInput::Pixels(pixels),
        SampleInput::Patches(_) | SampleInput::Features(_) | SampleInput::Grid(_) => {
            bail!("a self-test has token ids, or images of one size")
        }
    })
}

/// The package that carries the self-test: the task, a bundle with it, or a base that runs alone.
fn add(files: &[PackageBytes], cases: &[SelfTestCase<'_>]) -> Result<PackageBytes> {
    let parsed = files.iter().map(PackageBytes::parse).collect::<Result<Vec<Package<'_>>, _>>()?;
    let carrier = parsed.iter().find(|package| package.kind() == PackageKind::Task);
    let carrier = carrier.or(parsed.first()).context("there is no package")?;
    if carrier.kind() != PackageKind::Bundle {
        return Ok(with_self_test(carrier, cases)?);
    }
    let (base, task) = (carrier.base(), carrier.task());
    let (base, task) = (base.context("a bundle has a base")?, task.context("a bundle has a task")?);
    Ok(bundle(&base, &with_self_test(&task, cases)?.parse()?)?)
}
