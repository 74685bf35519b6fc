//! The files that `targets/external-ram` embeds: a base, two tasks for it, signed, and their answers.

use super::{Files, answers};
use anyhow::{Context, Result};
use coda_converter::pack::{PackageBytes, WeightType, pack_base, pack_task};
use coda_converter::sign::{Stamp, sign};
use coda_converter::smooth::smooth;
use coda_converter::source::{FloatTensor, Task};
use coda_runtime::config::HeadKind;
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::model::Model;
use coda_tests::bundled;
use ed25519_dalek::SigningKey;

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

/// `base.coda`; `garments-N.signed` and `kinds-N.signed` of release N; `kinds.coda`, unsigned;
/// `kinds-foreign.signed`, of a key that the device does not trust; `key.bin`, the one it trusts;
/// `images.bin`; `garments.bin` and `kinds.bin`, this machine's logits at r = 4 as little-endian f32.
pub(super) fn files() -> Result<Files> {
    let (source, trained) = bundled::open()?;
    let images = bundled::images()?;
    let base = pack_base(smooth(&source, WeightType::Int8)?.as_ref(), WeightType::Int8, "")?.bytes;
    let pack = |task: &Task| -> Result<PackageBytes> {
        Ok(pack_task(task, &base.parse()?, WeightType::Int8, "")?.bytes)
    };
    let logits = |task: &PackageBytes| -> Result<Vec<u8>> {
        let (base, task) = (base.parse()?, task.parse()?);
        answers(&Model::bind(&base, &task)?, &images, &[REDUCTION])
    };
    let (garments, kinds) = (pack(&trained)?, pack(&kinds(&trained)?)?);
    let (key, foreign) = (SigningKey::from_bytes(&TRUSTED), SigningKey::from_bytes(&FOREIGN));
    let files = [
        ("base.coda", base.to_vec()),
        ("key.bin", key.verifying_key().to_bytes().to_vec()),
        ("images.bin", images.concat()),
        ("garments.bin", logits(&garments)?),
        ("garments-1.signed", sign(&garments, &[&key], Stamp::of(1))?),
        ("garments-3.signed", sign(&garments, &[&key], Stamp::of(3))?),
        ("kinds.bin", logits(&kinds)?),
        ("kinds-1.signed", sign(&kinds, &[&key], Stamp::of(1))?),
        ("kinds-2.signed", sign(&kinds, &[&key], Stamp::of(2))?),
        ("kinds-foreign.signed", sign(&kinds, &[&foreign], Stamp::of(9))?),
        ("kinds.coda", kinds.to_vec()),
    ];
    Ok(files.map(|(name, bytes)| (name.to_owned(), bytes)).to_vec())
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
