//! `coda inspect`: what a package holds.

use super::head::{describe, describe_texts};
use super::table::{grouped, hex, table};
use anyhow::{Context, Result};
use coda_converter::pack::{PackageBytes, content_id, ids_only, provenance, similarity};
use coda_converter::say;
use coda_converter::say::escaped;
use coda_runtime::config::{
    Config, Embedding, Gate, HeadKind, LocalAttention, Named, Norm, NormPlacement, TaskConfig,
};
use coda_runtime::format::{GLOBAL_LAYER, GenerationRules, Package, PackageKind, Tensor};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Show what a package holds
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// A base, a task or a bundle
    package: PathBuf,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(&self) -> Result<()> {
        let path = &self.package;
        let bytes = PackageBytes::read(path);
        let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
        let package = bytes.parse().with_context(|| format!("{}", path.display()))?;
        let parts = parts_of(&package);
        if self.json {
            let parts: Vec<Value> = parts.iter().map(part_json).collect();
            let kind = package.kind().name();
            say!("{}", json!({ "kind": kind, "bytes": bytes.len(), "parts": parts }));
            return Ok(());
        }
        say!("{}: a {}, {} bytes", path.display(), package.kind().name(), grouped(bytes.len()));
        let mut told = Vec::new();
        for part in &parts {
            self.print_part(part, &mut told);
        }
        if package.kind() != PackageKind::Task {
            let path = path.display();
            say!("`coda run {path}` runs it, `coda plan {path}` shows the memory it needs");
        }
        Ok(())
    }

    /// What of `told` was already told of another part is not told again.
    fn print_part(&self, part: &Package<'_>, told: &mut Vec<Fact>) {
        let version = part.version();
        say!("\n{} package, format {}.{}", part.kind().name(), version.major, version.minor);
        for fact in facts(part) {
            let (name, value) = &fact;
            let known = *name == PROVENANCE && told.contains(&fact);
            say!("  {name:<14} {}", if known { "as above".to_owned() } else { escaped(value) });
            told.push(fact);
        }
        let tensors: Vec<Tensor<'_>> = part.tensors().collect();
        let text = if self.tensors {
            let rows = tensors.iter().map(tensor_row).collect();
            table(["layer", "tensor", "shape", "stored as", "bytes"], rows)
        } else {
            table(["stored as", "tensors", "weights", "bytes"], by_encoding(&tensors))
        };
        say!("{text}");
    }
}

fn tensor_row(tensor: &Tensor<'_>) -> [String; 5] {
    [
        layer_name(tensor.layer),
        tensor.role.name().to_owned(),
        format!("{} x {}", tensor.rows, tensor.columns),
        tensor.encoding.name().to_owned(),
        grouped(tensor.bytes.len()),
    ]
}

fn parts_of<'a>(package: &Package<'a>) -> Vec<Package<'a>> {
    let parts = package.base().into_iter().chain(package.task());
    parts.flat_map(|part| [Some(part), part.decoder()]).flatten().collect()
}

/// A name and what is said under it.
type Fact = (&'static str, String);

/// Where a part comes from.
const PROVENANCE: &str = "provenance";

fn input_words(config: &Config) -> String {
    let with_norm = |norm| if norm { ", with a norm" } else { "" };
    match config.embedding {
        Embedding::Tokens { vocabulary, token_types, norm, projected, .. } => {
            let length = match config.max_tokens() {
                None => "of any length".to_owned(),
                Some(positions) => format!("up to {positions}"),
            };
            let width = match projected {
                0 => String::new(),
                columns => format!(", in tables of {columns} columns"),
            };
            let norm = with_norm(norm);
            format!("tokens {length}, {vocabulary} ids, {token_types} token types{width}{norm}")
        }
        Embedding::Patches { height, width, channels, patch, prefix_tokens, norm } => {
            let prefix = match prefix_tokens {
                0 => String::new(),
                1 => ", with a class token".to_owned(),
                tokens => format!(", with {tokens} learned tokens before them"),
            };
            let (plural, norm) = (if channels == 1 { "" } else { "s" }, with_norm(norm));
            format!(
                "images of {width} by {height} pixels, {channels} channel{plural}, in patches of {patch} \
                 by {patch}{prefix}{norm}"
            )
        }
        Embedding::Frames { bins, positions } => {
            format!("sound of up to {} frames of {bins} mel bins, two a token", 2 * positions)
        }
        Embedding::Grid { channels, patch, patches, .. } => {
            let plural = if channels == 1 { "" } else { "s" };
            format!(
                "images of any size, {channels} channel{plural}, as up to {patches} patches of {patch} by \
                 {patch}"
            )
        }
    }
}

fn numerics_words(config: &Config) -> String {
    let placement = match config.placement {
        NormPlacement::Pre => "before",
        NormPlacement::Post => "after",
    };
    let norm = match config.norm {
        Norm::LayerNorm => "layer norm",
        Norm::RmsNorm => "RMS norm",
    };
    let (eps, activation) = (config.norm_eps, config.activation.name());
    let attention = if config.int8_attention { "int8" } else { "f32" };
    let places = place_words(config);
    format!(
        "{norm} {placement} each half of a layer, eps {eps:e}, {activation}, {attention} \
         attention{places}"
    )
}

/// What attention asks of where tokens stand.
fn place_words(config: &Config) -> String {
    let rotary = match config.rotary.columns {
        0 => String::new(),
        columns => format!(" with rotary positions of {columns} columns"),
    };
    let LocalAttention { distance, period } = config.local;
    match distance {
        0 => rotary,
        _ => format!("{rotary}, within {distance} tokens except in one of {period} layers"),
    }
}

/// What a part says of itself.
fn facts(part: &Package<'_>) -> Vec<Fact> {
    let mut facts = vec![("content id", hex(&part.content_id()))];
    if content_id(part.bytes()) != part.content_id() {
        facts.push(("warning", "the content id is not that of the content".to_owned()));
    }
    let half = if part.generation().is_some() { "decoder" } else { "encoder" };
    facts.extend(part.config().into_iter().flat_map(|config| config_facts(config, half)));
    facts.extend(part.task_config().into_iter().flat_map(|task| task_facts(part, task)));
    if let Some(rules) = part.generation() {
        let GenerationRules { end, longest, beams, .. } = rules;
        let start: Vec<String> = rules.start.iter().map(|id| id.to_string()).collect();
        let start = start.join(" ");
        facts.push((
            "answers",
            format!(
                "begin with {start}, end with {end}, up to {longest} tokens, {beams} hypotheses"
            ),
        ));
    }
    let shortlist = part.shortlist();
    if !shortlist.is_empty() {
        facts.push(("shortlist", format!("an answer holds {} ids alone", shortlist.len())));
    }
    if let Some(head) = part.head() {
        facts.push(("head", describe(&head)));
    }
    if let Some(labels) = part.labels() {
        facts.push(("labels", labels.iter().collect::<Vec<_>>().join(", ")));
    }
    if let Some(image) = part.image() {
        let list = |values: &[f32]| {
            values[..image.channels].iter().map(f32::to_string).collect::<Vec<_>>().join(", ")
        };
        let (mean, std) = (list(&image.mean), list(&image.std));
        facts.push(("pixels", format!("times {}, less {mean}, over {std}", image.rescale)));
    }
    let parameters = part.tensors().map(|tensor| tensor.rows * tensor.columns).sum();
    facts.push(("parameters", grouped(parameters)));
    if let Some(pieces) = part.pieces() {
        let kind = if pieces.is_unigram() { "Unigram" } else { "byte-level BPE" };
        facts.push(("tokenizer", format!("{} pieces, {kind}", pieces.len())));
    }
    if let Some(words) = part.vocabulary() {
        facts.push(("vocabulary", format!("{} WordPiece tokens", words.len())));
    }
    facts.extend(describe_texts(&part.text()));
    if part.head().is_some_and(|head| matches!(head.kind, HeadKind::Embedding { .. })) {
        facts.push(("compared by", similarity(part).name().to_owned()));
    }
    if let Some(why) = ids_only(part) {
        facts.push(("texts", format!("give token ids instead: {why}")));
    }
    if let Some(test) = part.self_test() {
        facts.push(("self-test", format!("{} inputs with their answers", test.cases().count())));
    }
    let provenance = provenance(part);
    if !provenance.is_empty() {
        facts.push((PROVENANCE, provenance));
    }
    facts
}

/// `half` is what the layers are.
fn config_facts(config: &Config, half: &'static str) -> [Fact; 3] {
    let gated = if config.gated { " gated" } else { "" };
    let causal = if config.causal { ", each token sees those before it" } else { "" };
    let layers = format!(
        "{} layers, d {}, {} heads of {}, feed-forward {}{gated}{causal}",
        config.layers, config.hidden, config.heads, config.head_dim, config.feed_forward
    );
    let input = input_words(config);
    [("input", input), (half, layers), ("numerics", numerics_words(config))]
}

fn gate_words(gate: Gate) -> String {
    match gate {
        Gate::Exact { eps } => format!("exact, eps {eps}"),
        Gate::Iterated { sweeps, eps, eps_start, decay } => {
            format!("iterated, {sweeps} sweeps, eps {eps} from {eps_start}, decay {decay}")
        }
        Gate::Sigmoid => "sigmoid".to_owned(),
        Gate::Ones => "ones".to_owned(),
    }
}

fn task_facts(part: &Package<'_>, task: &TaskConfig) -> Vec<Fact> {
    let modes = part.layers().map(|plan| match plan.routing {
        None => "dense".to_owned(),
        Some(routing) => match routing.reduction {
            None => routing.attention.name().to_owned(),
            Some(own) => format!("{} at {own}", routing.attention.name()),
        },
    });
    let mut facts = vec![
        ("for base", hex(&part.base_id())),
        ("router", format!("reads {}, gate {}", task.router_input.name(), gate_words(task.gate))),
        ("adapter", task.adapter_activation.name().to_owned()),
        ("reduction", format!("{} unless a call says otherwise", task.reduction)),
        ("layers", modes.collect::<Vec<_>>().join(", ")),
    ];
    let pinned: Vec<String> = part.pinned().map(|position| position.to_string()).collect();
    if !pinned.is_empty() {
        facts.push(("pinned", pinned.join(", ")));
    }
    facts
}

/// Tensors, weights and bytes by encoding.
fn by_encoding(tensors: &[Tensor<'_>]) -> Vec<[String; 4]> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.encoding.name()).collect();
    names.sort_unstable();
    names.dedup();
    let line = |name: &str| {
        let of_name = || tensors.iter().filter(|tensor| tensor.encoding.name() == name);
        [
            name.to_owned(),
            of_name().count().to_string(),
            grouped(of_name().map(|tensor| tensor.rows * tensor.columns).sum()),
            grouped(of_name().map(|tensor| tensor.bytes.len()).sum()),
        ]
    };
    names.into_iter().map(line).collect()
}

fn layer_name(layer: u16) -> String {
    if layer == GLOBAL_LAYER { "-".to_owned() } else { layer.to_string() }
}

fn part_json(part: &Package<'_>) -> Value {
    let facts = facts(part).into_iter().map(|(name, value)| (name.replace(' ', "_"), json!(value)));
    let tensors = part.tensors().map(|tensor| {
        json!({
            "layer": (tensor.layer != GLOBAL_LAYER).then_some(tensor.layer),
            "role": tensor.role.name(),
            "shape": [tensor.rows, tensor.columns],
            "encoding": tensor.encoding.name(),
            "bytes": tensor.bytes.len(),
        })
    });
    json!({
        "kind": part.kind().name(),
        "bytes": part.bytes().len(),
        "facts": facts.collect::<serde_json::Map<_, _>>(),
        "tensors": tensors.collect::<Vec<_>>(),
    })
}
