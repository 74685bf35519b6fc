//! The files that `targets/external-ram` embeds: a base, two tasks for it, signed, and their answers.

use anyhow::{Context, Result, ensure};
use coda_converter::dataset::{Sample, SampleInput};
use coda_converter::output::write_whole;
use coda_converter::pack::{PackageBytes, WeightType, pack_base, pack_task};
use coda_converter::session::Session;
use coda_converter::sign::sign;
use coda_converter::source::{Base, FloatTensor, Task};
use coda_runtime::config::HeadKind;
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use ed25519_dalek::SigningKey;
use std::path::Path;

/// The private keys of RFC 8032, section 7.1, tests 1 and 2: nobody's secret. Sign nothing else
/// with them.
const TRUSTED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
    0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
const FOREIGN: [u8; 32] = [
    0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
    0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb,
];

/// What the second task tells apart, and the classes of the first that each name stands for. Its
/// head is the mean of their rows: made, not trained.
const KINDS: [(&str, &[usize]); 4] =
    [("upper body", &[0, 2, 3, 4, 6]), ("trousers", &[1]), ("shoes", &[5, 7, 9]), ("bag", &[8])];

const REDUCTION: f32 = 4.0;

/// Writes `base.coda`; `garments-N.signed` and `kinds-N.signed` of release N; `kinds.coda`, unsigned;
/// `kinds-foreign.signed`, of a key that the device does not trust; `key.bin`, the one it trusts;
/// `images.bin`; `garments.bin` and `kinds.bin`, this machine's logits at r = 4 as little-endian f32.
pub(super) fn write(
    directory: &Path,
    source: &Path,
    task: &Path,
    weights: WeightType,
    samples: &[Sample],
) -> Result<()> {
    let source = Base::open(source, None)?;
    let base = pack_base(&source, weights, "")?.bytes;
    let garments = Task::open(task, &source)?;
    let kinds = kinds(&garments)?;
    let (key, foreign) = (SigningKey::from_bytes(&TRUSTED), SigningKey::from_bytes(&FOREIGN));
    let mut files = vec![
        ("base.coda".to_owned(), base.to_vec()),
        ("key.bin".to_owned(), key.verifying_key().to_bytes().to_vec()),
        ("images.bin".to_owned(), images(samples)?),
    ];
    for (name, task, releases) in
        [("garments", &garments, &[1, 3][..]), ("kinds", &kinds, &[1, 2][..])]
    {
        let packed = pack_task(task, &base.parse()?, weights, "")?.bytes;
        files.push((format!("{name}.bin"), answers(&base, &packed, samples)?));
        for release in releases {
            files.push((format!("{name}-{release}.signed"), sign(&packed, &key, *release)?));
        }
        if name == "kinds" {
            files.push(("kinds-foreign.signed".to_owned(), sign(&packed, &foreign, 9)?));
            files.push(("kinds.coda".to_owned(), packed.to_vec()));
        }
    }
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    for (name, bytes) in &files {
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

/// The task with the head of [`KINDS`].
fn kinds(garments: &Task) -> Result<Task> {
    let mut task = garments.clone();
    for role in [Role::HeadWeight, Role::HeadBias] {
        let tensor = task.tensors.get_mut(&(GLOBAL_LAYER, role)).context("the task has a head")?;
        let columns = if role == Role::HeadBias { 1 } else { tensor.shape[1] };
        let rows: Vec<&[f32]> = tensor.values.chunks(columns).collect();
        let mut values = Vec::new();
        for (_, members) in KINDS {
            let mean = |column: usize| {
                let sum: f32 = members.iter().map(|row| rows[*row][column]).sum();
                sum / members.len() as f32
            };
            values.extend((0..columns).map(mean));
        }
        let labels = KINDS.len();
        let shape = if role == Role::HeadBias { vec![1, labels] } else { vec![labels, columns] };
        *tensor = FloatTensor { shape, values };
    }
    let head = task.head.as_mut().context("the task has a head")?;
    head.kind = HeadKind::Classification { labels: KINDS.len() };
    task.labels = KINDS.map(|(name, _)| name.to_owned()).to_vec();
    Ok(task)
}

fn images(samples: &[Sample]) -> Result<Vec<u8>> {
    let mut images = Vec::new();
    for sample in samples {
        let SampleInput::Pixels(pixels) = &sample.input else {
            anyhow::bail!("a firmware reads pixels");
        };
        images.extend_from_slice(pixels);
    }
    Ok(images)
}

/// This machine's logits, image by image.
fn answers(base: &PackageBytes, task: &PackageBytes, samples: &[Sample]) -> Result<Vec<u8>> {
    let (base, task) = (base.parse()?, task.parse()?);
    let model = Model::bind(&base, &task)?;
    let tokens = model.max_tokens().context("the model does not bound its inputs")?;
    let session = Session::new(&model, Capacity::any_budget(tokens))?;
    let mut session = session.with_kernels(Kernels::from_environment()?);
    let mut answers = Vec::new();
    for sample in samples {
        let (input, budget) = (sample.input.as_input(), Budget::Reduction(REDUCTION));
        let values = session.run(input, budget, &mut (), |output| output.values.to_vec())?;
        ensure!(values.iter().all(|value| value.is_finite()), "an answer that is no number");
        answers.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    Ok(answers)
}
