//! `coda demo`: packs the bundled model and runs it on bundled images.

use super::head::label_name;
use super::pack::pack;
use super::run::{drawing, read_image};
use super::shared::{check_reduction, cpu_name, progress, removed};
use super::table::{grouped, table};
use anyhow::{Context, Result};
use coda_converter::dataset::{Sample, SampleInput};
use coda_converter::draw::Trace;
use coda_converter::evaluate::{Evaluation, Settings, evaluate};
use coda_converter::output::{check_output, write_whole};
use coda_converter::pack::{PackageBytes, WeightType, bundle};
use coda_converter::say;
use coda_converter::session::Session;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::{Budget, tokens_for_reduction};
use std::convert::Infallible;
use std::path::{Path, PathBuf};

/// Pack the bundled model and run it on bundled images: labels, routed patches, latency, RAM, flash
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Reduction factor of the routed runs
    #[arg(long, default_value_t = 4.0, value_name = "R", allow_negative_numbers = true)]
    reduction: f32,
    /// How the frozen weights are stored
    #[arg(long, value_enum, default_value_t = WeightType::Int8)]
    weights: WeightType,
    /// Keep the packed bundle
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "REMOVED", value_parser = removed(FIXTURES))]
    firmware: Option<Infallible>,
    #[arg(long, hide = true, value_name = "REMOVED", value_parser = removed(FIXTURES))]
    swap: Option<Infallible>,
}

/// What replaces `--firmware` and `--swap`.
const FIXTURES: &str = "the files that targets/ embeds are written by \
     `cargo run --release -p coda-tests --bin firmware-files -- [--swap] DIR`; for a firmware of your \
     own use `coda pack` and `coda plan --rust`";

/// The bundled model; `converter/default/PROVENANCE.md` says where it comes from.
const MODEL: [(&str, &[u8]); 4] = [
    ("config.json", include_bytes!("../../default/fashion-vit/config.json")),
    ("model.safetensors", include_bytes!("../../default/fashion-vit/model.safetensors")),
    (
        "preprocessor_config.json",
        include_bytes!("../../default/fashion-vit/preprocessor_config.json"),
    ),
    ("task.safetensors", include_bytes!("../../default/fashion-vit/coda.safetensors")),
];

/// Says in every package where its weights come from.
const PROVENANCE: &str = include_str!("../../default/PROVENANCE.md");

/// Bundled images of the Fashion-MNIST test set, one of each class in order.
const IMAGES: [&[u8]; 10] = [
    include_bytes!("../../default/images/0.png"),
    include_bytes!("../../default/images/1.png"),
    include_bytes!("../../default/images/2.png"),
    include_bytes!("../../default/images/3.png"),
    include_bytes!("../../default/images/4.png"),
    include_bytes!("../../default/images/5.png"),
    include_bytes!("../../default/images/6.png"),
    include_bytes!("../../default/images/7.png"),
    include_bytes!("../../default/images/8.png"),
    include_bytes!("../../default/images/9.png"),
];

/// Images drawn in full.
const DRAWN: [usize; 2] = [7, 8];

/// How often the images are timed.
const ROUNDS: usize = 40;

impl Demo {
    pub(super) fn run(&self) -> Result<()> {
        self.output.iter().try_for_each(|path| check_output(path, &[]))?;
        let bundled = self.pack()?;
        if let Some(path) = &self.output {
            write_whole(path, &bundled)
                .with_context(|| format!("cannot write {}", path.display()))?;
            say!("wrote {}", path.display());
        }
        let package = bundled.parse()?;
        let model = Model::from_package(&package)?;
        let tokens = model.max_tokens().context("the bundled model reads images")?;
        check_reduction(self.reduction, tokens)?;
        let samples = samples(&model)?;
        self.print_answers(&model, &samples, tokens)?;
        print_latency(&self.time(&model, &samples)?);
        self.print_memory(&model, &bundled, tokens)
    }

    /// Packs the bundled model by way of a temporary directory.
    fn pack(&self) -> Result<PackageBytes> {
        let directory = write_model()?;
        let task = directory.path().join("task.safetensors");
        let packed = pack(directory.path(), Some(&task), self.weights, None, PROVENANCE)?;
        let task = packed.task.context("no task was packed")?;
        Ok(bundle(&packed.base.parse()?, &task.parse()?)?)
    }

    fn print_answers(&self, model: &Model<'_>, samples: &[Sample], tokens: usize) -> Result<()> {
        let budgets = [Budget::Reduction(1.0), Budget::Reduction(self.reduction)];
        let kernels = Kernels::from_environment()?;
        let mut session = Session::new(model, Capacity::any_budget(tokens))?.with_kernels(kernels);
        let (mut rows, mut drawings) = (Vec::new(), Vec::new());
        for (index, sample) in samples.iter().enumerate() {
            let mut names = Vec::new();
            let mut trace = Trace::default();
            for budget in budgets {
                trace = Trace::default();
                let input = sample.input.as_input();
                let found = session.run(input, budget, &mut trace, |output| output.label())?;
                let mark = if found == Some(sample.label) { "" } else { " (wrong)" };
                let name = found.map_or_else(String::new, |label| label_name(model, label));
                names.push(format!("{name}{mark}"));
            }
            let truth = label_name(model, sample.label);
            if DRAWN.contains(&index) {
                drawings.push(format!("{truth}\n{}", drawing(model, &sample.input, &trace)));
            }
            rows.push([truth, names.remove(0), names.remove(0)]);
        }
        let routed = format!("r = {}", self.reduction);
        say!(
            "ten images of the Fashion-MNIST test set (the README has the accuracy on all 10,000):"
        );
        say!("{}", table(["image", "r = 1 (every patch)", &routed], rows));
        let count = tokens_for_reduction(tokens, self.reduction);
        say!("patches that pass the frozen layers at {routed} ({count} of {tokens} tokens):\n");
        drawings.iter().for_each(|drawing| say!("{drawing}"));
        Ok(())
    }

    fn time(&self, model: &Model<'_>, samples: &[Sample]) -> Result<Evaluation> {
        let repeated = vec![samples; ROUNDS].concat();
        let settings = Settings {
            reductions: &[1.0, self.reduction, 8.0].map(Some),
            layer_factors: &[],
            kernels: Kernels::from_environment()?,
            threads: 1,
        };
        let bar = progress("timing", repeated.len() as u64);
        let result = evaluate(model, &repeated, settings, || bar.inc(1))?;
        bar.finish_and_clear();
        Ok(result)
    }

    fn print_memory(&self, model: &Model<'_>, bundle: &PackageBytes, tokens: usize) -> Result<()> {
        let arena = |capacity| -> Result<usize> {
            Ok(Plan::new(&model.dimensions(), capacity)?.arena_bytes())
        };
        let selected = tokens_for_reduction(tokens, self.reduction);
        let (any, routed) =
            (arena(Capacity::any_budget(tokens))?, arena(Capacity { tokens, selected })?);
        say!("flash: {} bytes (base and task in one bundle)", grouped(bundle.len()));
        say!("RAM:   {} bytes of arena for any budget, exactly", grouped(any));
        say!(
            "       {} bytes if no call asks for less than r = {}",
            grouped(routed),
            self.reduction
        );
        Ok(())
    }
}

/// The bundled model as files.
fn write_model() -> Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    for (name, bytes) in MODEL {
        std::fs::write(directory.path().join(name), bytes)?;
    }
    Ok(directory)
}

fn samples(model: &Model<'_>) -> Result<Vec<Sample>> {
    let directory = tempfile::tempdir()?;
    let read = |(label, bytes): (usize, &&[u8])| {
        let path: &Path = &directory.path().join(format!("{label}.png"));
        std::fs::write(path, bytes)?;
        Ok(Sample {
            input: SampleInput::Pixels(read_image(path, model, None)?),
            label,
            tokenizing: 0.0,
        })
    };
    IMAGES.iter().enumerate().map(read).collect()
}

fn print_latency(result: &Evaluation) {
    let rows = result.reductions.iter().map(|line| {
        [line.name(), format!("{:.3} ms", line.median_ms), format!("{:.2}x", line.speed_up)]
    });
    say!("{}", table(["reduction", "median latency", "speed-up"], rows.collect()));
    let runs = result.samples;
    say!("{runs} runs each, side by side, {} kernels on {}\n", result.kernels, cpu_name());
}
