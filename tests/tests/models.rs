//! The bundled model against its trainer's own answers, and against the oracle.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::dataset::SampleInput;
use coda_converter::grid::Patches;
use coda_converter::pack::{WeightType, pack_base};
use coda_converter::session::Session;
use coda_converter::verify::{Pair, against_float, against_oracle, cosine};
use coda_runtime::format::Role;
use coda_runtime::image::{PatchGrid, Standardization};
use coda_runtime::kernels::INT8_PRODUCTS;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_tests::bundled;
use coda_tests::tiny::{Packages, Tiny, TinyInput};
use coda_tests::tolerance::{OTHER_F32, Tolerance};
use serde_json::Value;
use std::path::Path;

/// int8 logits against the trainer's f32 ones where every token passes every layer.
const INT8_COSINE: f64 = 0.997;
/// The same where int8 rounding may select another token than f32 at the margin.
const INT8_ROUTED_COSINE: f64 = 0.995;
/// The float path against tract, whose erf is good to 2e-6.
const ORACLE: Tolerance = Tolerance::Relative(1e-4);

/// The trainer's f32 logits of the bundled images.
fn expected(name: &str) -> Vec<Vec<f64>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/fashion_vit_expected.json");
    let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    serde_json::from_value(json[name].clone()).unwrap()
}

fn logits(model: &Model<'_>, reduction: f32) -> Vec<Vec<f32>> {
    let mut session = Session::new(model, Capacity::any_budget(50)).unwrap();
    let mut run = |pixels: Vec<u8>| {
        let input = SampleInput::Pixels(pixels);
        let budget = Budget::Reduction(reduction);
        session.run(input.as_input(), budget, &mut (), |out| out.values.to_vec()).unwrap()
    };
    bundled::images().unwrap().into_iter().map(&mut run).collect()
}

fn assert_close(found: &[Vec<f32>], expected: &[Vec<f64>], what: &str) {
    let found = found.iter().flatten().copied().map(f64::from);
    assert_eq!(OTHER_F32.first_miss(found, expected.iter().flatten().copied()), None, "{what}");
}

#[test]
fn the_dense_base_gives_the_trainers_logits() {
    let (base, _) = bundled::open().unwrap();
    let packed = pack_base(&base, WeightType::F32, "").unwrap().bytes;
    let package = packed.parse().unwrap();
    let model = Model::dense(&package).unwrap();
    assert_close(&logits(&model, 1.0), &expected("dense"), "dense");
}

#[test]
fn the_routed_task_gives_the_trainers_logits_at_every_reduction() {
    let (base, task) = bundled::open().unwrap();
    let packages = Packages::of(&base, &task, WeightType::F32, "").unwrap();
    let model = packages.model().unwrap();
    for reduction in [1, 2, 3, 4, 6, 8] {
        let name = format!("r{reduction}");
        let found = logits(&model, reduction as f32);
        assert_close(&found, &expected(&name), &name);
    }
}

#[test]
fn int8_weights_keep_the_direction_of_the_trainers_logits() {
    let packages = bundled::pack(WeightType::Int8).unwrap();
    let model = packages.model().unwrap();
    for reduction in [1, 2, 3, 4, 6, 8] {
        let found = logits(&model, reduction as f32);
        let expected = expected(&format!("r{reduction}"));
        for (found, expected) in found.iter().zip(&expected) {
            let expected: Vec<f32> = expected.iter().map(|x| *x as f32).collect();
            let similarity = cosine(found, &expected);
            let bound = if reduction == 1 { INT8_COSINE } else { INT8_ROUTED_COSINE };
            assert!(similarity > bound, "r = {reduction}: {similarity}");
        }
    }
}

#[test]
fn the_dense_path_of_the_bundled_model_agrees_with_the_oracle_after_every_layer() {
    let (base, _) = bundled::open().unwrap();
    let packed = pack_base(&base, WeightType::F32, "").unwrap().bytes;
    let package = packed.parse().unwrap();
    let model = Model::dense(&package).unwrap();
    let inputs: Vec<SampleInput> =
        bundled::images().unwrap().into_iter().map(SampleInput::Pixels).take(3).collect();
    let comparison = against_oracle(&base, &model, &inputs, || ()).unwrap();
    // Embedding, each layer, final norm, answer.
    assert_eq!(comparison.stages.len(), base.config.layers + 3);
    for stage in comparison.stages {
        assert!(ORACLE.accepts(stage.worst / stage.scale, 0.0), "{stage:?}");
    }
}

/// An image of any size as normalised patches.
fn patches(model: &Model<'_>, columns: usize, pixels: &[u8]) -> Patches {
    let most = PatchGrid::largest(&model.config().embedding).unwrap();
    let grid = PatchGrid { columns, rows: pixels.len() / most.inputs() / columns, ..most };
    let mut values = vec![0.0; pixels.len()];
    for (index, slot) in values.chunks_exact_mut(grid.inputs()).enumerate() {
        Standardization::of(pixels).read(pixels, &grid, index, slot);
    }
    Patches { rows: grid.rows, columns, values }
}

#[test]
fn every_family_agrees_with_the_oracle() {
    for tiny in Tiny::all() {
        let packed = pack_base(&tiny.base, WeightType::F32, "").unwrap().bytes;
        let package = packed.parse().unwrap();
        let model = Model::dense(&package).unwrap();
        let input = match &tiny.input {
            TinyInput::Tokens { ids, .. } => SampleInput::Tokens(ids.clone()),
            TinyInput::Pixels(pixels) => SampleInput::Pixels(pixels.clone()),
            TinyInput::Features(values) => SampleInput::Features(values.clone()),
            TinyInput::Grid { columns, pixels } => {
                SampleInput::Grid(patches(&model, *columns, pixels))
            }
        };
        let comparison = against_oracle(&tiny.base, &model, &[input], || ()).unwrap();
        assert_eq!(comparison.stages.len(), tiny.base.config.layers + 3);
        for stage in comparison.stages.iter().filter(|stage| stage.scale > 0.0) {
            let share = stage.worst / stage.scale.max(1e-3);
            assert!(ORACLE.accepts(share, 0.0), "{}: {stage:?}", tiny.name);
        }
    }
}

#[test]
fn a_model_compared_with_itself_has_no_error() {
    let tiny = Tiny::bert();
    let packages = tiny.pack(WeightType::F32).unwrap();
    let model = packages.model().unwrap();
    let TinyInput::Tokens { ids, .. } = &tiny.input else { panic!("bert reads tokens") };
    let inputs = [SampleInput::Tokens(ids.clone())];
    let budget = Budget::Reduction(2.0);
    let same = against_float("same", Pair { model: &model, float: &model }, &inputs, budget, || ())
        .unwrap();
    assert!(same.stages.iter().all(|stage| stage.worst == 0.0));
    assert_eq!(same.agreement, Some(100.0));
}

/// A model whose task has adapters of this width.
fn with_adapters(width: usize) -> anyhow::Result<Packages> {
    let mut tiny = Tiny::bert();
    for ((_, role), tensor) in &mut tiny.task.tensors {
        match role {
            Role::AdapterDown => tensor.shape[0] = width,
            Role::AdapterUp => tensor.shape[1] = width,
            Role::AdapterDownBias => tensor.shape = vec![1, width],
            _ => continue,
        }
        tensor.values = vec![0.5; tensor.shape.iter().product()];
    }
    tiny.pack(WeightType::Int8)
}

#[test]
fn int8_maps_take_as_many_inputs_as_their_sums_hold() {
    let packages = with_adapters(INT8_PRODUCTS).unwrap();
    let model = packages.model().unwrap();
    let adapter = model.layer(0).block.adapter.unwrap();
    assert!(adapter.up.is_integer() && adapter.up.inputs == INT8_PRODUCTS);
    let wider = with_adapters(INT8_PRODUCTS + 1).and_then(|packages| packages.model().map(drop));
    let error = format!("{:#}", wider.unwrap_err());
    assert!(error.contains("adapter up weight"), "{error}");
}
