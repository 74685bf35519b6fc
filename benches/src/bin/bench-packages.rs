//! Writes what `targets/bench` measures: a base and a task of each attention mode.
//!
//!     bench-packages OUT             the bundled model
//!     bench-packages OUT MINILM      all-MiniLM-L6-v2 of the directory that `tests/fetch.sh` writes
//!
//! OUT receives `base.coda`, `k-to-k.coda`, `k-to-all.coda`, `k-to-low-rank.coda` (int8), `arena.rs` (the
//! bytes that any of them needs), and for MiniLM `base-f32.coda`. The bundled task is k-to-all; the other
//! two are the same adapters, routers and head, for k-to-low-rank with random low-rank keys of rank d / 8.
//! For MiniLM the tasks have the sizes of `benches/peers/make_task.py` and random weights: no count
//! depends on them.

use anyhow::{Context, Result, bail};
use coda_converter::output::write_whole;
use coda_converter::pack::{WeightType, pack_base, pack_task};
use coda_converter::smooth::smooth;
use coda_converter::source::{Base, FloatTensor, Place, Task};
use coda_runtime::config::{
    Activation, AttentionMode, Gate, Head, HeadKind, LayerPlan, Pooling, RouterInput, Routing,
    TaskConfig,
};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::memory::{Capacity, Plan};
use coda_runtime::model::Model;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

type Tensors = BTreeMap<Place, FloatTensor>;

const MODES: [(&str, AttentionMode); 3] = [
    ("k-to-k", AttentionMode::KToK),
    ("k-to-all", AttentionMode::KToAll),
    ("k-to-low-rank", AttentionMode::KToLowRank),
];

/// Longest input of MiniLM that is measured.
const MINILM_TOKENS: usize = 256;

const MINILM_TASK: TaskConfig = TaskConfig {
    adapter_activation: Activation::Relu,
    router_input: RouterInput::Rms,
    gate: Gate::Ones,
    reduction: 4.0,
    max_tokens: MINILM_TOKENS,
};

const PROVENANCE: &str = "benches/src/bin/bench-packages.rs";

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match &arguments[..] {
        [out] => bundled(out),
        [out, minilm] => self::minilm(out, minilm),
        _ => bail!("usage: bench-packages OUT [MINILM]"),
    }
}

fn bundled(out: &Path) -> Result<()> {
    let (base, trained) = coda_tests::bundled::open()?;
    write(out, &base, |mode| with_attention(&trained, &base, mode))
}

/// The same task in another attention mode.
fn with_attention(task: &Task, base: &Base, mode: AttentionMode) -> Task {
    let mut task = task.clone();
    let routings = task.layers.iter_mut().filter_map(|layer| layer.routing.as_mut());
    routings.for_each(|routing| routing.attention = mode);
    if mode == AttentionMode::KToLowRank {
        let mut random = Random(1);
        for layer in 0..base.config.layers as u16 {
            random.add_low_rank_keys(&mut task.tensors, base, layer, base.config.hidden / 8);
        }
    }
    task
}

/// Values on which no count depends.
struct Random(u64);

impl Random {
    fn tensor(&mut self, rows: usize, columns: usize) -> FloatTensor {
        let mut value = || {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0) * 0.02
        };
        let values = (0..rows * columns).map(|_| value()).collect();
        FloatTensor { shape: vec![rows, columns], values }
    }

    /// Adds tensors of a layer: role, rows and columns of each.
    fn add(&mut self, tensors: &mut Tensors, layer: u16, shapes: &[(Role, usize, usize)]) {
        for (role, rows, columns) in shapes {
            tensors.insert((layer, *role), self.tensor(*rows, *columns));
        }
    }

    fn add_low_rank_keys(&mut self, tensors: &mut Tensors, base: &Base, layer: u16, rank: usize) {
        let (d, width) = (base.config.hidden, base.config.attention_width());
        let shapes = [
            (Role::LowRankDown, rank, d),
            (Role::LowRankKey, width, rank),
            (Role::LowRankKeyBias, 1, width),
            (Role::LowRankValue, width, rank),
            (Role::LowRankValueBias, 1, width),
        ];
        self.add(tensors, layer, &shapes);
    }
}

fn minilm(out: &Path, directory: &Path) -> Result<()> {
    let base = Base::open(directory, None)?;
    write(out, &base, |mode| random_task(&base, mode))?;
    save(&out.join("base-f32.coda"), &pack_base(&base, WeightType::F32, PROVENANCE)?.bytes)
}

/// A task with adapters of 64, a router in every layer, and low-rank keys of 48 where they are used.
fn random_task(base: &Base, mode: AttentionMode) -> Task {
    const ADAPTER: usize = 64;
    const RANK: usize = 48;
    const LABELS: usize = 2;
    let d = base.config.hidden;
    let mut random = Random(1);
    let mut tensors = BTreeMap::new();
    let adapter = [
        (Role::Router, 1, d),
        (Role::AdapterDown, ADAPTER, d),
        (Role::AdapterDownBias, 1, ADAPTER),
        (Role::AdapterUp, d, ADAPTER),
        (Role::AdapterUpBias, 1, d),
    ];
    for layer in 0..base.config.layers as u16 {
        random.add(&mut tensors, layer, &adapter);
        if mode == AttentionMode::KToLowRank {
            random.add_low_rank_keys(&mut tensors, base, layer, RANK);
        }
    }
    let head = [(Role::HeadWeight, LABELS, d), (Role::HeadBias, 1, LABELS)];
    random.add(&mut tensors, GLOBAL_LAYER, &head);
    let routing = Some(Routing { attention: mode, reduction: None });
    Task {
        config: MINILM_TASK,
        layers: vec![LayerPlan { routing }; base.config.layers],
        pinned: Vec::new(),
        head: Some(Head::new(Pooling::Mean, HeadKind::Classification { labels: LABELS })),
        labels: Vec::new(),
        tensors,
        names: BTreeMap::new(),
        decoder: None,
    }
}

fn write(out: &Path, base: &Base, task: impl Fn(AttentionMode) -> Task) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let packed =
        pack_base(smooth(base, WeightType::Int8)?.as_ref(), WeightType::Int8, PROVENANCE)?.bytes;
    let package = packed.parse()?;
    save(&out.join("base.coda"), &packed)?;
    let mut arena = 0;
    for (name, mode) in MODES {
        let task = pack_task(&task(mode), &package, WeightType::Int8, PROVENANCE)?.bytes;
        save(&out.join(name).with_extension("coda"), &task)?;
        let task = task.parse()?;
        let model = Model::bind(&package, &task)?;
        let tokens = model.max_tokens().context("the model bounds its inputs")?;
        let plan = Plan::new(&model.dimensions(), Capacity::any_budget(tokens))?;
        arena = arena.max(plan.arena_bytes());
    }
    save(&out.join("arena.rs"), format!("const ARENA_BYTES: usize = {arena};\n").as_bytes())
}

fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
