//! The files that the firmware of `targets` embeds.

use super::plan::constants;
use anyhow::{Context, Result, bail};
use coda_converter::dataset::{Sample, SampleInput};
use coda_converter::output::write_whole;
use coda_converter::pack::PackageBytes;
use coda_converter::session::Session;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use std::fmt::Write;
use std::path::Path;

/// Reductions whose answers the firmware must give to the bit.
const REDUCTIONS: [f32; 3] = [1.0, 4.0, 8.0];

/// Writes `model.coda`, `images.bin` (pixels, image after image), `answers.bin` (this machine's
/// logits as little-endian f32: reduction by reduction, image by image) and `plan.rs`.
pub(super) fn write(
    directory: &Path,
    bundle: &PackageBytes,
    model: &Model<'_>,
    samples: &[Sample],
) -> Result<()> {
    let tokens = model.max_tokens().context("the model does not bound its inputs")?;
    let session = Session::new(model, Capacity::any_budget(tokens))?;
    let mut session = session.with_kernels(Kernels::from_environment()?);
    let mut answers = Vec::new();
    for reduction in REDUCTIONS {
        for sample in samples {
            let budget = Budget::Reduction(reduction);
            let values =
                session.run(sample.input.as_input(), budget, &mut (), |o| o.values.to_vec())?;
            answers.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
    let mut images = Vec::new();
    for sample in samples {
        let SampleInput::Pixels(pixels) = &sample.input else {
            bail!("a firmware reads pixels");
        };
        images.extend_from_slice(pixels);
    }
    let mut plan = constants(session.plan());
    writeln!(plan, "/// Reductions of the answers, in order.")?;
    writeln!(plan, "const REDUCTIONS: [f32; {}] = {REDUCTIONS:?};", REDUCTIONS.len())?;
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let files: [(&str, &[u8]); 4] = [
        ("model.coda", bundle),
        ("images.bin", &images),
        ("answers.bin", &answers),
        ("plan.rs", plan.as_bytes()),
    ];
    for (name, bytes) in files {
        let path = directory.join(name);
        write_whole(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("wrote {}", directory.display());
    Ok(())
}
