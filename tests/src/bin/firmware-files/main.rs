//! Writes what the programs of `targets` embed: the bundled model, its images, and this machine's answers.
//!
//!     firmware-files DIR          for `targets/firmware` and every board: package, images, answers, plan
//!     firmware-files --swap DIR   for `targets/external-ram`: a base, two signed tasks, images, answers

mod swap;
mod writer;

use anyhow::{Context, Result, bail, ensure};
use coda_converter::firmware::rust_constants;
use coda_converter::output::write_whole;
use coda_converter::pack::WeightType;
use coda_converter::session::Session;
use coda_runtime::executor::Input;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_tests::bundled;
use std::path::{Path, PathBuf};

/// Reductions whose answers the firmware must give to the bit; `targets/firmware` lists them too.
const REDUCTIONS: [f32; 3] = [1.0, 4.0, 8.0];

/// `model.coda`, `images.bin` (pixels, image after image), `answers.bin` (logits as little-endian f32:
/// reduction by reduction, image by image) and `plan.rs`; and those of models that write.
fn files() -> Result<Files> {
    let packages = bundled::pack(WeightType::Int8)?;
    let model = packages.model()?;
    let images = bundled::images()?;
    let plan = Plan::new(&model.dimensions(), capacity(&model)?)?;
    let own = vec![
        ("model.coda".to_owned(), packages.bundle.to_vec()),
        ("images.bin".to_owned(), images.concat()),
        ("answers.bin".to_owned(), answers(&model, &images, &REDUCTIONS)?),
        ("plan.rs".to_owned(), rust_constants(&plan).into_bytes()),
    ];
    Ok(own.into_iter().chain(writer::files()?).collect())
}

/// Names and contents.
type Files = Vec<(String, Vec<u8>)>;

/// Any budget, for the model's longest input.
fn capacity(model: &Model<'_>) -> Result<Capacity> {
    let tokens = model.max_tokens().context("the model does not bound its inputs")?;
    Ok(Capacity::any_budget(tokens))
}

/// This machine's logits, reduction by reduction, image by image.
fn answers(model: &Model<'_>, images: &[Vec<u8>], reductions: &[f32]) -> Result<Vec<u8>> {
    let session = Session::new(model, capacity(model)?)?;
    let mut session = session.with_kernels(Kernels::from_environment()?);
    let mut answers = Vec::new();
    for reduction in reductions {
        for image in images {
            let budget = Budget::Reduction(*reduction);
            let values =
                session.run(Input::Pixels(image), budget, &mut (), |o| o.values.to_vec())?;
            ensure!(values.iter().all(|value| value.is_finite()), "an answer that is no number");
            answers.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
    Ok(answers)
}

fn write(directory: &Path, files: &Files) -> Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    for (name, bytes) in files {
        let path = directory.join(name);
        // A file that is as it was lets a build that embeds it be.
        if std::fs::read(&path).is_ok_and(|found| found == *bytes) {
            continue;
        }
        write_whole(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("wrote {}", directory.display());
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match &arguments[..] {
        [option, directory] if option == Path::new("--swap") => write(directory, &swap::files()?),
        [directory] => write(directory, &files()?),
        _ => bail!("usage: firmware-files [--swap] DIR"),
    }
}
