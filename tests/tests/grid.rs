//! Images of any size: their patches, whatever way they are given, and what is refused.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::{WeightType, pack_base};
use coda_converter::session::Session;
use coda_runtime::executor::{Input, RunError};
use coda_runtime::image::{PatchGrid, Standardization};
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_tests::tiny::Tiny;

/// Values of a patch of the tiny model.
const INPUTS: usize = 12;
/// Most rows, columns and patches of the tiny model.
const ROWS: usize = 5;
const COLUMNS: usize = 4;
const PATCHES: usize = 12;

fn with_model<T>(weights: WeightType, work: impl FnOnce(&Model<'_>) -> T) -> T {
    let packages = Tiny::pix2struct().pack(weights).unwrap();
    let model = packages.model().unwrap();
    work(&model)
}

fn pixels(rows: usize, columns: usize) -> Vec<u8> {
    (0..rows * columns * INPUTS).map(|index| (index * 53 % 239) as u8).collect()
}

fn standard(pixels: &[u8], columns: usize) -> Vec<f32> {
    let grid = PatchGrid { columns, rows: pixels.len() / INPUTS / columns, side: 2, channels: 3 };
    let mut values = vec![0.0; pixels.len()];
    for (index, slot) in values.chunks_exact_mut(INPUTS).enumerate() {
        Standardization::of(pixels).read(pixels, &grid, index, slot);
    }
    values
}

/// The bits of the answer and of all hidden states.
fn bits(model: &Model<'_>, table: &'static Kernels, input: Input<'_>) -> Vec<u32> {
    let mut session = Session::new(model, Capacity::any_budget(PATCHES)).unwrap();
    session = session.with_kernels(table);
    session
        .run(input, Budget::Reduction(2.0), &mut (), |output| {
            let hidden = output.hidden.iter().flatten();
            output.values.iter().chain(hidden).map(|value| value.to_bits()).collect()
        })
        .unwrap()
}

fn refusal(model: &Model<'_>, capacity: usize, input: Input<'_>) -> RunError {
    let mut session = Session::new(model, Capacity::any_budget(capacity)).unwrap();
    let error = session.run(input, Budget::Task, &mut (), |_| ()).unwrap_err();
    *error.downcast_ref().unwrap()
}

#[test]
fn pixels_and_their_values_have_the_same_bits_on_every_table_and_in_every_grid() {
    for weights in [WeightType::F32, WeightType::Int8] {
        with_model(weights, |model| {
            let grids = (1..=ROWS).flat_map(|rows| (1..=COLUMNS).map(move |own| (rows, own)));
            for (rows, columns) in grids.filter(|(rows, columns)| rows * columns <= PATCHES) {
                let pixels = pixels(rows, columns);
                let values = standard(&pixels, columns);
                let given = Input::Grid { columns, pixels: &pixels };
                let expected = bits(model, Kernels::best(), given);
                for table in Kernels::available() {
                    assert_eq!(bits(model, table, given), expected, "{rows} {columns}");
                    let values = Input::GridPatches { columns, values: &values };
                    assert_eq!(bits(model, table, values), expected, "{rows} {columns}");
                }
            }
        });
    }
}

#[test]
fn the_place_of_a_patch_counts_and_not_its_number() {
    with_model(WeightType::F32, |model| {
        let values = standard(&pixels(2, 3), 3);
        let of =
            |columns| bits(model, Kernels::best(), Input::GridPatches { columns, values: &values });
        assert_ne!(of(3), of(2));
    });
}

#[test]
fn images_that_do_not_fit_are_refused_by_what_is_wrong() {
    with_model(WeightType::F32, |model| {
        let zeros = vec![0; 60 * INPUTS];
        let grid =
            |columns, patches: usize| Input::Grid { columns, pixels: &zeros[..patches * INPUTS] };
        let of = |input| refusal(model, PATCHES, input);
        assert_eq!(of(grid(0, 4)), RunError::Empty);
        assert_eq!(of(grid(2, 0)), RunError::Empty);
        let found = RunError::GridValues { row: 3 * INPUTS, found: 4 * INPUTS };
        assert_eq!(of(grid(3, 4)), found);
        let limit = (ROWS, COLUMNS);
        assert_eq!(of(grid(5, 5)), RunError::GridSize { found: (1, 5), limit });
        assert_eq!(of(grid(1, 6)), RunError::GridSize { found: (6, 1), limit });
        assert_eq!(of(grid(usize::MAX, 6)), RunError::GridValues { row: usize::MAX, found: 72 });
        let found = RunError::TooManyPositions { found: 16, limit: PATCHES };
        assert_eq!(of(grid(4, 16)), found);
        let found = RunError::TooManyTokens { found: 12, capacity: 8 };
        assert_eq!(refusal(model, 8, grid(4, 12)), found);
        assert_eq!(of(Input::Pixels(&zeros)), RunError::WrongInput);
        assert_eq!(of(Input::Patches(&[])), RunError::WrongInput);
        assert_eq!(of(Input::tokens(&[1])), RunError::WrongInput);
    });
    let vit = Tiny::vit();
    let packed = pack_base(&vit.base, WeightType::F32, "").unwrap().bytes;
    let package = packed.parse().unwrap();
    let model = Model::dense(&package).unwrap();
    let input = Input::Grid { columns: 1, pixels: &[0; INPUTS] };
    assert_eq!(refusal(&model, 13, input), RunError::WrongInput);
}
