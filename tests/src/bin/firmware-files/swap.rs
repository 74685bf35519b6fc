//! The files that `targets/external-ram` embeds: a base, two tasks for it, signed, and their answers.

use super::{Files, answers};
use anyhow::{Context, Result};
use coda_converter::pack::{PackageBytes, WeightType, pack_base, pack_task, with_self_test};
use coda_converter::session::Session;
use coda_converter::sign::{Stamp, sign};
use coda_converter::smooth::smooth;
use coda_converter::source::{FloatTensor, Task};
use coda_runtime::config::HeadKind;
use coda_runtime::executor::Input;
use coda_runtime::format::{CaseInput, GLOBAL_LAYER, Role, SelfTestCase};
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::signature::envelope;
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
/// The number of the product that `targets/external-ram` is.
const PRODUCT: u64 = 7;

/// `base.coda`; `garments-N.signed` and `kinds-N.signed` of release N, with a self-test; of
/// `garments-bad-4.signed` one bit of the self-test's answer differs; `base-1000.envelope`, that of the base;
/// `kinds.coda`, unsigned;
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
    let tested = |task: &PackageBytes, flip| tested(&base, task, &images[0], flip);
    let (bad, garments) = (tested(&garments, 1)?, tested(&garments, 0)?);
    let kinds = tested(&kinds, 0)?;
    let mut files = vec![
        ("base.coda", base.to_vec()),
        ("images.bin", images.concat()),
        ("garments.bin", logits(&garments)?),
        ("kinds.bin", logits(&kinds)?),
        ("kinds.coda", kinds.to_vec()),
    ];
    files.extend(signed(&base, [&garments, &kinds, &bad])?);
    Ok(files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect())
}

/// The base and the tasks as they are sent, and the key that is trusted.
fn signed(
    base: &PackageBytes,
    [garments, kinds, bad]: [&PackageBytes; 3],
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let (key, foreign) = (SigningKey::from_bytes(&TRUSTED), SigningKey::from_bytes(&FOREIGN));
    let of_base = sign(base, &[&key], stamp(1000))?;
    let mut files = vec![
        ("key.bin", key.verifying_key().to_bytes().to_vec()),
        ("base-1000.envelope", of_base[..envelope::LENGTH_BYTES].to_vec()),
        ("kinds-foreign.signed", sign(kinds, &[&foreign], stamp(9))?),
    ];
    for (name, task, release) in [
        ("garments-1.signed", garments, 1),
        ("garments-2.signed", garments, 2),
        ("garments-3.signed", garments, 3),
        ("garments-bad-4.signed", bad, 4),
        ("kinds-2.signed", kinds, 2),
        ("kinds-5.signed", kinds, 5),
    ] {
        files.push((name, sign(task, &[&key], stamp(release))?));
    }
    Ok(files)
}

const fn stamp(release: u64) -> Stamp {
    Stamp { release, product: PRODUCT, component: 0 }
}

/// The task with a self-test of one image, whose first value has `flip` as its last bit changed.
fn tested(
    base: &PackageBytes,
    task: &PackageBytes,
    image: &[u8],
    flip: u32,
) -> Result<PackageBytes> {
    let (base, task) = (base.parse()?, task.parse()?);
    let model = Model::bind(&base, &task)?;
    let mut session = Session::new(&model, Capacity::any_budget(model.max_tokens().unwrap_or(1)))?;
    let mut values: Vec<u32> =
        session.run(Input::Pixels(image), Budget::Task, &mut (), |output| {
            output.values.iter().map(|value| value.to_bits()).collect()
        })?;
    values[0] ^= flip;
    let case = SelfTestCase { input: CaseInput::Pixels(image), selected: 0, values: &values };
    Ok(with_self_test(&task, &[case])?)
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
