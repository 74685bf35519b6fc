//! The package format: every numbered rejection, the round trip, every mutation of small packages,
//! the versioning rules, and the golden files.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::{
    self, PackError, PackageBytes, WeightType, follow_base, pack_base, pack_task,
};
use coda_converter::smooth::smooth;
use coda_converter::source::Base;
use coda_runtime::config::{AttentionMode, Config, LayerPlan, Routing};
use coda_runtime::format::{
    Encoding, FormatError, GLOBAL_LAYER, Package, PackageKind, Role, SectionKind, Tensor, VERSION,
    config, head, header, limits, section, speech_fields as speech, task, tensor, text,
};
use coda_runtime::image::InputNormalization;
use coda_runtime::kernels::Kernels;
use coda_runtime::model::{Model, ModelError};
use coda_runtime::routing::Budget;
use coda_runtime::text::layout;
use coda_tests::hostile::fix_checksum;
use coda_tests::seq2seq::Vectors;
use coda_tests::speech::several_languages;
use coda_tests::tiny::edit::Edit;
use coda_tests::tiny::golden;
use coda_tests::tiny::{PROVENANCE, Packages, TOKENS, Tiny};
use coda_tests::tolerance::Tolerance;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

/// Number of rejections in `FORMAT.md`.
const REJECTIONS: u8 = 29;
/// A section kind that no version has.
const UNKNOWN_SECTION: u16 = 60;

const WEIGHTS: [WeightType; 4] =
    [WeightType::Int8, WeightType::Int4, WeightType::F16, WeightType::F32];

const SPECIFICATION: &str = include_str!("../../runtime/FORMAT.md");

fn bert() -> Packages {
    Tiny::bert().pack(WeightType::Int8).unwrap()
}

fn vit() -> Packages {
    Tiny::vit().pack(WeightType::F16).unwrap()
}

fn heads() -> Packages {
    Tiny::bert_heads().pack(WeightType::F32).unwrap()
}

fn with_head(field: Range<usize>, value: u32) -> Vec<u8> {
    with_field(vit_base(), SectionKind::Head, field, value)
}

fn with_token_head(field: Range<usize>, value: u32) -> Vec<u8> {
    let tokens = Tiny::bert_tokens().pack(WeightType::F32).unwrap();
    with_field(Edit::new(&tokens.base), SectionKind::Head, field, value)
}

fn with_text(field: Range<usize>, value: u32) -> Vec<u8> {
    with_field(Edit::new(&heads().base), SectionKind::Text, field, value)
}

/// What a task adds to a decoder: a package in itself, with a shortlist of four ids.
fn listed() -> Edit {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq/seed013/t5");
    let vectors = Vectors::open(&root).unwrap().unwrap();
    let end = vectors.base().decoder.as_ref().unwrap().generation.end;
    let mut task = vectors.any_task().unwrap();
    task.decoder.get_or_insert_default().shortlist = vec![end, end + 1, end + 5, end + 9];
    let base = pack_base(vectors.base(), WeightType::Int8, "").unwrap().bytes;
    let task = pack_task(&task, &base.parse().unwrap(), WeightType::Int8, "").unwrap().bytes;
    Edit::new(task.parse().unwrap().decoder().unwrap().bytes())
}

/// The decoder of a model of speech: a package in itself, with times and languages.
fn spoken() -> Edit {
    let scratch = tempfile::tempdir().unwrap();
    let base = several_languages(scratch.path()).unwrap();
    let base = pack_base(&base, WeightType::Int8, "").unwrap().bytes;
    Edit::new(base.parse().unwrap().decoder().unwrap().bytes())
}

fn with_shortlist(length: u32) -> Vec<u8> {
    with_entry(listed(), SectionKind::Shortlist, section::LENGTH, length)
}

/// What the reader says about `bytes`, at an aligned address.
fn refusal(bytes: &[u8]) -> FormatError {
    PackageBytes::new(bytes).parse().expect_err("the package is accepted")
}

/// A way to make packages that the reader must refuse.
struct Rejection {
    number: u8,
    what: &'static str,
    make: fn() -> Vec<u8>,
}

const fn rejection(number: u8, what: &'static str, make: fn() -> Vec<u8>) -> Rejection {
    Rejection { number, what, make }
}

/// The packed bert base in the hands of an editor.
fn bert_base() -> Edit {
    Edit::new(&bert().base)
}

fn bert_task() -> Edit {
    Edit::new(&bert().task)
}

fn vit_base() -> Edit {
    Edit::new(&vit().base)
}

/// Where the entry of tensor `index` is.
fn tensor_entry(edit: &Edit, index: usize) -> usize {
    edit.section(SectionKind::Tensors) + index * tensor::ENTRY_BYTES
}

/// The base with a field of the entry of tensor `index` replaced.
fn with_tensor_u32(index: usize, field: Range<usize>, value: u32) -> Vec<u8> {
    let edit = bert_base();
    let entry = tensor_entry(&edit, index);
    edit.u32(entry, field, value).sealed()
}

fn with_tensor_u16(index: usize, field: Range<usize>, value: u16) -> Vec<u8> {
    let edit = bert_base();
    let entry = tensor_entry(&edit, index);
    edit.u16(entry, field, value).sealed()
}

/// The package with a field of the section of `kind` replaced.
fn with_field(edit: Edit, kind: SectionKind, field: Range<usize>, value: u32) -> Vec<u8> {
    let start = edit.section(kind);
    edit.u32(start, field, value).sealed()
}

fn with_config(field: Range<usize>, value: u32) -> Vec<u8> {
    with_field(bert_base(), SectionKind::Config, field, value)
}

/// The base with one byte, so many after the start of the section of `kind`, replaced.
fn with_byte(kind: SectionKind, after: isize, value: u8) -> Edit {
    let edit = bert_base();
    let at = edit.section(kind).saturating_add_signed(after);
    edit.byte(at, value)
}

/// The base whose section of tensors is said to begin so many bytes later.
fn with_moved_tensors(by: i32) -> Vec<u8> {
    let edit = bert_base();
    let at = edit.section(SectionKind::Tensors) as u32;
    with_entry(edit, SectionKind::Tensors, section::OFFSET, at.saturating_add_signed(by))
}

/// The package in which a reader of this version may skip the section of `kind`.
fn without(edit: Edit, kind: SectionKind) -> Vec<u8> {
    edit.relabel(kind, UNKNOWN_SECTION, section::SKIPPABLE).sealed()
}

/// The package with a field of the table entry of the section of `kind` replaced.
fn with_entry(edit: Edit, kind: SectionKind, field: Range<usize>, value: u32) -> Vec<u8> {
    let entry = edit.entry(kind);
    edit.u32(entry, field, value).sealed()
}

/// Every way to be refused that the tests know; number 6 is about memory and has its own test.
const REJECTED: &[Rejection] = &[
    rejection(1, "no byte", Vec::new),
    rejection(1, "a cut header", || bert_base().bytes()[..header::LENGTH_BYTES - 1].to_vec()),
    rejection(2, "another first byte", || bert_base().byte(0, b'P').sealed()),
    rejection(2, "line ends of a text transfer", || bert_base().byte(5, b'\n').sealed()),
    rejection(3, "the next major version", || {
        bert_base().u16(0, header::MAJOR, VERSION.major + 1).sealed()
    }),
    rejection(3, "major version 0", || bert_base().u16(0, header::MAJOR, 0).sealed()),
    rejection(4, "one byte less", || {
        let bytes = bert_base().bytes();
        bytes[..bytes.len() - 1].to_vec()
    }),
    rejection(4, "one byte more", || {
        let mut bytes = bert_base().bytes();
        bytes.push(0);
        bytes
    }),
    rejection(5, "another checksum", || {
        let edit = bert_base();
        let sum = edit.get(0, header::CHECKSUM) as u32;
        edit.u32(0, header::CHECKSUM, sum ^ 1).bytes()
    }),
    rejection(5, "a changed weight", || with_byte(SectionKind::Data, 0, 0x55).bytes()),
    rejection(7, "package kind 0", || bert_base().u16(0, header::KIND, 0).sealed()),
    rejection(7, "package kind 4", || bert_base().u16(0, header::KIND, 4).sealed()),
    rejection(8, "one section above the limit", || {
        bert_base().u16(0, header::SECTIONS, limits::SECTIONS as u16 + 1).sealed()
    }),
    rejection(8, "a table longer than the file", || {
        let header = bert_base().bytes()[..header::LENGTH_BYTES].to_vec();
        Edit::new(&header).append(&[]).sealed()
    }),
    rejection(9, "a reserved header byte", || bert_base().byte(header::RESERVED.start, 1).sealed()),
    rejection(9, "a base id in a base", || bert_base().byte(header::BASE_ID.start, 1).sealed()),
    rejection(9, "a reserved byte of a section entry", || {
        with_entry(bert_base(), SectionKind::Config, section::RESERVED, 1)
    }),
    rejection(9, "padding between sections", || with_byte(SectionKind::Tensors, -1, 1).sealed()),
    rejection(9, "padding between tensors", || {
        with_byte(SectionKind::Data, last_offset(&bert_base()) as isize - 1, 1).sealed()
    }),
    rejection(10, "a hole before a section", || with_moved_tensors(64)),
    rejection(10, "an overlap of two sections", || with_moved_tensors(-64)),
    rejection(10, "a misaligned section", || with_moved_tensors(1)),
    rejection(11, "a section longer than the file", || {
        with_entry(bert_base(), SectionKind::Data, section::LENGTH, u32::MAX)
    }),
    rejection(11, "a file longer than its sections", || bert_base().append(&[0; 64]).sealed()),
    rejection(12, "an unknown section", || {
        bert_base().relabel(SectionKind::Vocabulary, UNKNOWN_SECTION, 0).sealed()
    }),
    rejection(12, "an unknown flag", || {
        let code = SectionKind::Vocabulary as u16;
        bert_base().relabel(SectionKind::Vocabulary, code, 2).sealed()
    }),
    rejection(13, "two heads", || {
        let code = SectionKind::Head as u16;
        vit_base().relabel(SectionKind::Image, code, 0).sealed()
    }),
    rejection(14, "a task section in a base", || {
        let code = SectionKind::Task as u16;
        bert_base().relabel(SectionKind::Vocabulary, code, 0).sealed()
    }),
    rejection(14, "tensors in a bundle", || {
        let code = SectionKind::Tensors as u16;
        let edit = Edit::new(&bert().bundle);
        edit.relabel(SectionKind::TaskPackage, code, 0).sealed()
    }),
    rejection(15, "no configuration", || without(bert_base(), SectionKind::Config)),
    rejection(15, "no layers in a task", || without(bert_task(), SectionKind::Layers)),
    rejection(15, "no task in a bundle", || {
        without(Edit::new(&bert().bundle), SectionKind::TaskPackage)
    }),
    rejection(16, "a head as the configuration", || {
        bert_base().exchange(SectionKind::Config, SectionKind::Head).sealed()
    }),
    rejection(16, "half a tensor entry", || {
        let edit = bert_base();
        let length = edit.get(edit.entry(SectionKind::Tensors), section::LENGTH) as u32;
        with_entry(edit, SectionKind::Tensors, section::LENGTH, length - 12)
    }),
    rejection(16, "a layer cut short", || {
        with_entry(bert_task(), SectionKind::Layers, section::LENGTH, 12)
    }),
    rejection(16, "a pinned position cut short", || {
        let edit = Edit::new(&vit().task);
        with_entry(edit, SectionKind::Pinned, section::LENGTH, 7)
    }),
    rejection(17, "no dimension", || with_config(config::HIDDEN, 0)),
    rejection(17, "an unknown activation", || with_config(config::ACTIVATION, 6)),
    rejection(17, "an unknown flag", || with_config(config::FLAGS, 16)),
    rejection(17, "an odd number of turned columns", || turned(config::ROTARY_COLUMNS, 3)),
    rejection(17, "more turned columns than a head has", || turned(config::ROTARY_COLUMNS, 6)),
    rejection(17, "angles of no position", || turned(config::ROTARY_POSITIONS, 0)),
    rejection(17, "positions without turned columns", || turned(config::ROTARY_COLUMNS, 0)),
    rejection(17, "local attention in every layer", || turned(config::LOCAL_PERIOD, 1)),
    rejection(17, "angles of local layers where none is", || with_config(config::FLAGS, 1 << 17)),
    rejection(17, "no norm before attention that has none", || with_config(config::FLAGS, 1 << 16)),
    rejection(17, "another number of angles than patches", || {
        let base = Edit::new(&Tiny::dinov3().pack(WeightType::F32).unwrap().base);
        with_field(base, SectionKind::Config, config::ROTARY_POSITIONS, 12)
    }),
    rejection(17, "frames without mel bins", || frames(config::EMBEDDING_FIELDS[0].clone(), 0)),
    rejection(17, "three frames wider than any map", || {
        frames(config::EMBEDDING_FIELDS[0].clone(), limits::WIDTH as u32 / 3 + 1)
    }),
    rejection(17, "frames without a position", || frames(config::EMBEDDING_FIELDS[1].clone(), 0)),
    rejection(17, "an unused field of frames", || frames(config::EMBEDDING_FIELDS[2].clone(), 1)),
    rejection(17, "frames that are turned", || frames(config::ROTARY_COLUMNS, 2)),
    rejection(17, "tables that are wider than the model", || {
        with_config(config::EMBEDDING_FIELDS[4].clone(), 9)
    }),
    rejection(17, "a norm after patches where there are none", || {
        with_config(config::EMBEDDING_FIELDS[5].clone(), 1)
    }),
    rejection(17, "more prefix tokens than positions", || {
        with_field(vit_base(), SectionKind::Config, config::EMBEDDING_FIELDS[4].clone(), 65_525)
    }),
    rejection(17, "a norm after patches that is neither there nor not", || {
        with_field(vit_base(), SectionKind::Config, config::EMBEDDING_FIELDS[5].clone(), 2)
    }),
    rejection(17, "images of no row", || grid(config::EMBEDDING_FIELDS[0].clone(), 0)),
    rejection(17, "images of more columns than places", || {
        grid(config::EMBEDDING_FIELDS[1].clone(), limits::POSITIONS as u32 + 1)
    }),
    rejection(17, "images of five colours", || grid(config::EMBEDDING_FIELDS[2].clone(), 5)),
    rejection(17, "patches of no pixel", || grid(config::EMBEDDING_FIELDS[3].clone(), 0)),
    rejection(17, "patches that are too wide", || grid(config::EMBEDDING_FIELDS[3].clone(), 210)),
    rejection(17, "no patch of an image", || grid(config::EMBEDDING_FIELDS[4].clone(), 0)),
    rejection(17, "more patches than places", || grid(config::EMBEDDING_FIELDS[4].clone(), 21)),
    rejection(17, "an unused field of a grid", || grid(config::EMBEDDING_FIELDS[5].clone(), 1)),
    rejection(17, "turned columns of a grid", || grid(config::ROTARY_COLUMNS, 2)),
    rejection(17, "an unknown embedding", || grid(config::EMBEDDING, 5)),
    rejection(17, "an epsilon that is not a number", || {
        with_config(config::NORM_EPS, f32::NAN.to_bits())
    }),
    rejection(17, "an unused byte of the configuration", || {
        with_config(config::BYTES - 4..config::BYTES, 1)
    }),
    rejection(17, "pinned positions out of order", || {
        with_field(Edit::new(&vit().task), SectionKind::Pinned, 0..4, 3)
    }),
    rejection(17, "a reduction below 1", || {
        let half = 0.5f32.to_bits();
        with_field(bert_task(), SectionKind::Layers, 4..8, half)
    }),
    rejection(17, "an unknown mode of a layer", || {
        with_field(bert_task(), SectionKind::Layers, 0..4, 5)
    }),
    rejection(17, "a grid with gates", || {
        with_field(bert_task(), SectionKind::Task, task::ROUTER_INPUT, 4)
    }),
    rejection(17, "a head without pooling", || with_head(head::POOLING, 0)),
    rejection(17, "an unknown pooling", || with_head(head::POOLING, 1024)),
    rejection(17, "a norm of two poolings", || with_head(head::POOLING, 1024 + 3)),
    rejection(17, "a bias of a grid that there is not", || {
        with_field(bert_base(), SectionKind::Config, config::FLAGS, 64)
    }),
    rejection(17, "a pooling by attention and another", || with_head(head::POOLING, 513)),
    rejection(17, "an unknown activation of a dense stage", || with_head(head::STAGES, 7)),
    rejection(17, "a second dense stage behind none", || with_head(head::STAGES, 1 << 8)),
    rejection(17, "an unknown reading of logits", || with_head(head::STAGES, 3 << 16)),
    rejection(17, "the last byte of a head", || with_head(head::STAGES, 1 << 24)),
    rejection(17, "a reading of the logits of an embedding", || {
        with_field(bert_base(), SectionKind::Head, head::STAGES, 1 << 16)
    }),
    rejection(17, "an unknown kind of head", || with_head(head::KIND, 4)),
    rejection(17, "a pooling before labels of tokens", || with_token_head(head::POOLING, 1)),
    rejection(17, "a stage before labels of tokens", || with_token_head(head::STAGES, 1)),
    rejection(17, "no label of a token", || with_token_head(head::ARGUMENT, 0)),
    rejection(27, "more names than labels of tokens", || with_token_head(head::ARGUMENT, 2)),
    rejection(17, "a text longer than any position", || {
        with_text(text::LONGEST, limits::POSITIONS as u32 + 1)
    }),
    rejection(17, "a default prompt that is not there", || with_text(text::DEFAULT, 3)),
    rejection(17, "a prompt without a text", || with_text(text::PROMPTS..text::PROMPTS + 4, 3)),
    rejection(16, "a text section cut short", || {
        let edit = Edit::new(&heads().base);
        with_entry(edit, SectionKind::Text, section::LENGTH, text::PROMPTS as u32 - 1)
    }),
    rejection(14, "a speech section in a task", || {
        let code = SectionKind::Speech as u16;
        Edit::new(&bert().task).relabel(SectionKind::Layers, code, 0).sealed()
    }),
    rejection(16, "a speech section cut within a language", || {
        let length = (speech::LANGUAGES + speech::LANGUAGE_BYTES - 1) as u32;
        with_entry(spoken(), SectionKind::Speech, section::LENGTH, length)
    }),
    rejection(16, "a speech section cut short", || {
        let length = speech::LANGUAGES as u32 - 4;
        with_entry(spoken(), SectionKind::Speech, section::LENGTH, length)
    }),
    rejection(17, "no time", || with_field(spoken(), SectionKind::Speech, speech::TIMES, 0)),
    rejection(17, "an id of a time that no table has", || {
        let id = limits::VOCABULARY as u32;
        with_field(spoken(), SectionKind::Speech, speech::FIRST_TIME, id)
    }),
    rejection(17, "a language of one letter", || {
        let code = speech::LANGUAGES + 4..speech::LANGUAGES + 8;
        with_field(spoken(), SectionKind::Speech, code, u32::from(b'e'))
    }),
    rejection(17, "a language of other signs", || {
        let code = speech::LANGUAGES + 4..speech::LANGUAGES + 8;
        with_field(spoken(), SectionKind::Speech, code, u32::from_le_bytes(*b"e\x1b\0\0"))
    }),
    rejection(14, "a shortlist in a base", || {
        let code = SectionKind::Shortlist as u16;
        bert_base().relabel(SectionKind::Vocabulary, code, 0).sealed()
    }),
    rejection(16, "a shortlist cut within an id", || with_shortlist(14)),
    rejection(16, "a shortlist without an id", || with_shortlist(0)),
    rejection(17, "an id of a shortlist twice", || {
        let second = listed().get(listed().section(SectionKind::Shortlist), 4..8) as u32;
        with_field(listed(), SectionKind::Shortlist, 0..4, second)
    }),
    rejection(17, "ids of a shortlist out of order", || {
        with_field(listed(), SectionKind::Shortlist, 4..8, u32::MAX)
    }),
    rejection(18, "role 0", || with_tensor_u16(0, tensor::ROLE, 0)),
    rejection(18, "role 999", || with_tensor_u16(0, tensor::ROLE, 999)),
    rejection(19, "a router in a base", || with_tensor_u16(0, tensor::ROLE, Role::Router.code())),
    rejection(19, "the embedding of a layer", || {
        let index = tensor_index(&bert().base, Role::TokenEmbedding);
        with_tensor_u16(index, tensor::LAYER, 0)
    }),
    rejection(19, "a query of no layer", || with_tensor_u16(0, tensor::LAYER, GLOBAL_LAYER)),
    rejection(20, "encoding 0", || with_tensor_u16(0, tensor::ENCODING, 0)),
    rejection(20, "encoding 8", || with_tensor_u16(0, tensor::ENCODING, 8)),
    rejection(20, "an attribute of the encoding", || with_tensor_u16(0, tensor::RESERVED, 1)),
    rejection(21, "a tensor twice", || with_tensor_u16(1, tensor::ROLE, Role::Query.code())),
    rejection(21, "layers in descending order", || with_tensor_u16(0, tensor::LAYER, 1)),
    rejection(22, "no rows", || with_tensor_u32(0, tensor::ROWS, 0)),
    rejection(22, "no columns", || with_tensor_u32(0, tensor::COLUMNS, 0)),
    rejection(23, "a hole before a tensor", || with_tensor_u32(0, tensor::OFFSET, 64)),
    rejection(23, "two tensors in one place", || with_tensor_u32(1, tensor::OFFSET, 0)),
    rejection(24, "a length that is not the shape's", || with_tensor_u32(0, tensor::LENGTH, 4)),
    rejection(24, "a shape beyond the address space", || {
        with_tensor_u32(0, tensor::ROWS, u32::MAX)
    }),
    rejection(25, "bytes behind the last tensor", || {
        bert_base().grow(SectionKind::Data, &[0; 64]).sealed()
    }),
    rejection(25, "a data section that is cut", || {
        let bytes = bert_base().bytes();
        let cut = Edit::new(&bytes[..bytes.len() - 4]).append(&[]);
        let length = cut.get(cut.entry(SectionKind::Data), section::LENGTH) as u32;
        with_entry(cut, SectionKind::Data, section::LENGTH, length - 4)
    }),
    rejection(26, "a vocabulary without tokens", || {
        with_field(bert_base(), SectionKind::Vocabulary, 0..4, 0)
    }),
    rejection(26, "tokens out of order", || disordered(bert_base()).sealed()),
    rejection(26, "tokens out of order in a bundle", || {
        bundle_of(&disordered(bert_base()).sealed(), &bert().task)
    }),
    rejection(27, "more labels than there are", || {
        with_field(vit_base(), SectionKind::Labels, 0..4, u32::MAX)
    }),
    rejection(27, "labels for an embedding", || {
        // The head's kind and argument: an embedding that is normalised.
        let edit = vit_base();
        let at = edit.section(SectionKind::Head);
        edit.u32(at, 4..8, 2).u32(at, 8..12, 1).sealed()
    }),
    rejection(28, "provenance that is no text", || {
        with_byte(SectionKind::Provenance, 0, 0xff).sealed()
    }),
    rejection(29, "base and task exchanged", || {
        let edit = Edit::new(&bert().bundle);
        edit.exchange(SectionKind::BasePackage, SectionKind::TaskPackage).sealed()
    }),
    rejection(29, "a bundle in a bundle", || bundle_of(&bert().bundle, &bert().task)),
];

/// A base with rotary positions and local attention, with a changed u32 of its configuration.
fn frames(field: Range<usize>, value: u32) -> Vec<u8> {
    let base = Tiny::whisper().pack(WeightType::F32).unwrap().base;
    with_field(Edit::new(&base), SectionKind::Config, field, value)
}

fn turned(field: Range<usize>, value: u32) -> Vec<u8> {
    let base = Tiny::modernbert().pack(WeightType::F32).unwrap().base;
    with_field(Edit::new(&base), SectionKind::Config, field, value)
}

/// A base of images of any size, with a changed u32 of its configuration.
fn grid(field: Range<usize>, value: u32) -> Vec<u8> {
    let base = Tiny::pix2struct().pack(WeightType::F32).unwrap().base;
    with_field(Edit::new(&base), SectionKind::Config, field, value)
}

/// The first two of the sorted ids exchanged.
fn disordered(edit: Edit) -> Edit {
    let offsets = 4 * (TOKENS.len() + 1);
    let sorted = edit.section(SectionKind::Vocabulary) + layout::HEADER_BYTES + offsets;
    let (first, second) = (edit.get(sorted, 0..4), edit.get(sorted, 4..8));
    edit.u32(sorted, 0..4, second as u32).u32(sorted, 4..8, first as u32)
}

/// Offset in the data section of the last tensor.
fn last_offset(edit: &Edit) -> usize {
    let entry = edit.entry(SectionKind::Tensors);
    let end = edit.get(entry, section::OFFSET) + edit.get(entry, section::LENGTH);
    edit.get(end - tensor::ENTRY_BYTES, tensor::OFFSET)
}

fn tensor_index(bytes: &PackageBytes, role: Role) -> usize {
    bytes.parse().unwrap().tensors().position(|tensor| tensor.role == role).unwrap()
}

/// A sealed bundle of any two byte strings.
fn bundle_of(base: &[u8], task: &[u8]) -> Vec<u8> {
    let start = |end: usize| end.next_multiple_of(coda_runtime::format::ALIGNMENT);
    let first = start(header::LENGTH_BYTES + 2 * section::ENTRY_BYTES);
    let second = start(first + base.len());
    let mut bytes = bert().bundle[..first].to_vec();
    bytes.extend(base);
    bytes.resize(second, 0);
    let places = [(first, base.len()), (second, task.len())];
    let mut edit = Edit::new(&bytes).append(task);
    for (index, (offset, length)) in places.into_iter().enumerate() {
        let entry = header::LENGTH_BYTES + index * section::ENTRY_BYTES;
        edit = edit.u32(entry, section::OFFSET, offset as u32);
        edit = edit.u32(entry, section::LENGTH, length as u32);
    }
    edit.sealed()
}

#[test]
fn every_damage_is_refused_with_its_number() {
    for case in REJECTED {
        let error = refusal(&(case.make)());
        assert_eq!(error.number(), case.number, "{}: {error}", case.what);
    }
}

#[test]
fn what_is_parsed_unverified_is_refused_when_it_is_verified() {
    let mut damaged = bert().base.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let disordered = disordered(bert_base()).sealed();
    let bundle = bundle_of(&disordered, &bert().task);
    for bytes in [damaged, disordered, bundle].map(|bytes| PackageBytes::new(&bytes)) {
        let package = Package::parse_unverified(&bytes).unwrap();
        assert_eq!(package.verify(), Err(bytes.parse().unwrap_err()));
    }
    let whole = bert().bundle;
    assert_eq!(Package::parse_unverified(&whole).unwrap().verify(), Ok(()));
}

#[test]
fn a_package_at_an_odd_address_is_refused_with_number_6() {
    let bytes = bert().base;
    let mut shifted = vec![0u64; bytes.len() / 8 + 2];
    let shifted: &mut [u8] = bytemuck::cast_slice_mut(&mut shifted);
    for offset in 1..4 {
        let place = &mut shifted[offset..offset + bytes.len()];
        place.copy_from_slice(&bytes);
        let error = Package::parse(place).unwrap_err();
        assert_eq!((error, error.number()), (FormatError::Misaligned, 6));
    }
    let place = &mut shifted[4..4 + bytes.len()];
    place.copy_from_slice(&bytes);
    assert!(Package::parse(place).is_ok(), "4 bytes are alignment enough");
}

#[test]
fn every_number_has_a_damage_that_shows_it() {
    let mut shown: BTreeSet<u8> = REJECTED.iter().map(|case| case.number).collect();
    shown.insert(FormatError::Misaligned.number());
    assert_eq!(shown, (1..=REJECTIONS).collect());
}

#[test]
fn the_specification_lists_every_number_with_its_variant() {
    let kinds = REJECTED.iter().map(|case| refusal(&(case.make)()));
    for error in kinds.chain([FormatError::Misaligned]) {
        let debug = format!("{error:?}");
        let name: String = debug.chars().take_while(char::is_ascii_alphanumeric).collect();
        let row = format!("| {} | `{name}` |", error.number());
        assert!(SPECIFICATION.contains(&row), "FORMAT.md has no row \"{row}\"");
    }
    let rows = SPECIFICATION.lines().filter(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let number = cells.next().is_some_and(|cell| cell.parse::<u8>().is_ok());
        number && cells.next().is_some_and(|cell| cell.starts_with('`') && cell.ends_with('`'))
    });
    assert_eq!(rows.count(), usize::from(REJECTIONS), "FORMAT.md lists another number of rows");
}

#[test]
fn the_specification_lists_every_role_section_and_encoding() {
    for role in Role::ALL {
        let row = format!("| {} | {} |", role.code(), role.name());
        let mut rows = SPECIFICATION.lines().filter(|line| line.starts_with(&row));
        let line = rows.next().unwrap_or_else(|| panic!("FORMAT.md has no row \"{row}\""));
        let task = line.split('|').nth(5).unwrap().trim();
        assert_eq!(role.belongs_to_base(), task != "task only", "{line}");
        assert_eq!(role.belongs_to_task(), !task.is_empty(), "{line}");
        assert_eq!(role.is_per_layer(), (32..90).contains(&role.code()), "{line}");
    }
    let sections = (0..u16::MAX).filter_map(SectionKind::from_code);
    let sections = sections.map(|kind| (kind as u16, kind.name()));
    let encodings = (0..u16::MAX).filter_map(Encoding::from_code);
    let encodings = encodings.map(|encoding| (encoding as u16, encoding.name()));
    for (code, name) in sections.chain(encodings) {
        let row = format!("| {code} | {name} |");
        assert!(SPECIFICATION.contains(&row), "FORMAT.md has no row \"{row}\"");
    }
}

/// The bytes of the annotated dump in `FORMAT.md`.
fn dumped_package() -> Vec<u8> {
    let mut bytes = Vec::new();
    let dump = SPECIFICATION.split("const DUMP: &str = \"").nth(1).unwrap();
    for line in dump.split('"').next().unwrap().lines() {
        let Some((address, line)) = line.trim().split_once(':') else { continue };
        bytes.resize(usize::from_str_radix(address, 16).unwrap(), 0);
        let digits = line.split(';').next().unwrap().split_whitespace();
        bytes.extend(digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()));
    }
    bytes
}

#[test]
fn the_package_in_the_specification_has_the_content_id_it_shows() {
    let bytes = PackageBytes::new(&dumped_package());
    let package = bytes.parse().unwrap();
    assert_eq!(package.kind(), PackageKind::Task);
    assert_eq!(package.content_id(), pack::content_id(&bytes));
}

#[test]
fn what_a_base_says_comes_back() {
    for tiny in Tiny::all() {
        for weights in WEIGHTS {
            let packed = tiny.pack(weights).unwrap();
            let package = packed.base.parse().unwrap();
            assert_eq!(package.kind(), PackageKind::Base);
            assert_eq!(package.version(), VERSION);
            assert_eq!(package.content_id(), pack::content_id(&packed.base));
            assert_eq!(package.base_id(), [0; 16]);
            assert_eq!(package.config(), Some(&packed_config(&tiny, weights)));
            assert_eq!(package.head(), tiny.base.head);
            assert_eq!(package.image(), tiny.base.image);
            assert_eq!(package.provenance(), PROVENANCE);
            assert_eq!(labels(&package), tiny.base.labels);
            assert_eq!(package.layers().len(), 0);
            assert_eq!(package.pinned().count(), 0);
            assert!(package.task_config().is_none());
            // int8 bases are evened out before they are quantised.
            let mut tensors = smooth(&tiny.base, weights).unwrap().tensors.clone();
            // Of layers that share their weights, the first is stored.
            let shared = tiny.base.config.shared_layers;
            tensors.retain(|(layer, _), _| !shared || matches!(*layer, 0 | GLOBAL_LAYER));
            check_tensors(&package, &tensors);
        }
    }
}

#[test]
fn what_a_task_says_comes_back() {
    for tiny in Tiny::all() {
        for weights in WEIGHTS {
            let packed = tiny.pack(weights).unwrap();
            let (base, package) = (packed.base.parse().unwrap(), packed.task.parse().unwrap());
            assert_eq!(package.kind(), PackageKind::Task);
            assert_eq!(package.base_id(), base.content_id());
            assert_eq!(package.task_config(), Some(&tiny.task.config));
            assert_eq!(package.layers().collect::<Vec<LayerPlan>>(), tiny.task.layers);
            let pinned: Vec<u32> = package.pinned().map(|position| position as u32).collect();
            assert_eq!(pinned, tiny.task.pinned);
            assert_eq!(package.head(), tiny.task.head);
            assert_eq!(labels(&package), tiny.task.labels);
            assert!(package.config().is_none());
            match weights.is_integer() {
                true => check_tensors(&package, &follow_base(&tiny.task, &base)),
                false => check_tensors(&package, &tiny.task.tensors),
            }
        }
    }
}

#[test]
fn a_bundle_holds_both_packages_byte_for_byte() {
    for tiny in Tiny::all() {
        let packed = tiny.pack(WeightType::Int8).unwrap();
        let bundle = packed.bundle.parse().unwrap();
        assert_eq!(bundle.kind(), PackageKind::Bundle);
        assert_eq!(bundle.base().unwrap().bytes(), &*packed.base);
        assert_eq!(bundle.task().unwrap().bytes(), &*packed.task);
        let model = Model::from_package(&bundle).unwrap();
        assert_eq!(model.config(), &packed_config(&tiny, WeightType::Int8));
        assert_eq!(model.task_config(), Some(&tiny.task.config));
    }
}

/// The configuration that a base is packed with.
fn packed_config(tiny: &Tiny, weights: WeightType) -> Config {
    Config { int8_attention: weights.is_integer() && !tiny.base.config.causal, ..tiny.base.config }
}

#[test]
fn attention_stays_in_floats_where_that_is_asked_for() {
    let base = Base { float_attention: true, ..Tiny::bert().base };
    let packed = pack_base(&base, WeightType::Int8, PROVENANCE).unwrap().bytes;
    assert!(!packed.parse().unwrap().config().unwrap().int8_attention);
}

#[test]
fn the_vocabulary_comes_back_token_by_token() {
    let packed = bert();
    let vocabulary = packed.base.parse().unwrap().vocabulary().unwrap();
    assert_eq!(vocabulary.len(), TOKENS.len());
    for (id, token) in (0..).zip(TOKENS) {
        assert_eq!(vocabulary.token(id), Some(token));
        assert_eq!(vocabulary.id(token), Some(id));
    }
    assert_eq!(*vocabulary.options(), Tiny::bert().base.tokenizer.unwrap().options);
}

fn labels(package: &Package<'_>) -> Vec<String> {
    package.labels().into_iter().flat_map(|labels| labels.iter()).map(str::to_owned).collect()
}

type Source = std::collections::BTreeMap<(u16, Role), coda_converter::source::FloatTensor>;

/// Every tensor is there once, and its values are the source's within the step of its encoding.
fn check_tensors(package: &Package<'_>, source: &Source) {
    assert_eq!(package.tensors().len(), source.len());
    for tensor in package.tensors() {
        let expected = &source[&(tensor.layer, tensor.role)];
        assert_eq!(expected.shape, [tensor.rows, tensor.columns]);
        for row in 0..tensor.rows {
            for column in 0..tensor.columns {
                let step = step(&tensor, row, column);
                let (found, expected) =
                    (value(&tensor, row, column), expected.values[row * tensor.columns + column]);
                assert!(
                    step.accepts(f64::from(found), f64::from(expected)),
                    "{:?} [{row}][{column}] is {found} instead of {expected}",
                    tensor.role
                );
            }
        }
    }
}

/// How far a stored value may be from its source.
fn step(tensor: &Tensor<'_>, row: usize, column: usize) -> Tolerance {
    match tensor.encoding {
        Encoding::RowsF32 | Encoding::Panel8F32 => Tolerance::Exact,
        // Half a unit of the last of 11 bits, of values whose size is at most 1 to 2.
        Encoding::RowsF16 | Encoding::Panel8F16 => Tolerance::Relative(1.0 / 2048.0),
        // Half a step, and the rounding of the scale itself.
        Encoding::RowsInt8 | Encoding::Panel8x8Int8 => {
            Tolerance::Absolute(f64::from(scale(tensor, row)) * 0.501)
        }
        // A scale of 0.7 of the full one cuts the largest value by 0.3 of it: 3 of its steps.
        Encoding::Panel8x8Int4 => {
            Tolerance::Absolute(f64::from(int4(tensor, row, column).0) * 3.01)
        }
    }
}

/// `W[row][column]` by the formulas of `FORMAT.md`, written independently of the kernels.
fn value(tensor: &Tensor<'_>, row: usize, column: usize) -> f32 {
    let columns = tensor.columns;
    let blocks = columns.div_ceil(8);
    let in_panel = (row / 8 * columns + column) * 8 + row % 8;
    let in_block = ((row / 8 * blocks + column / 8) * 8 + row % 8) * 8 + column % 8;
    match tensor.encoding {
        Encoding::RowsF32 => f32_at(tensor.bytes, row * columns + column),
        Encoding::RowsF16 => f16_at(tensor.bytes, row * columns + column),
        Encoding::Panel8F32 => f32_at(tensor.bytes, in_panel),
        Encoding::Panel8F16 => f16_at(tensor.bytes, in_panel),
        Encoding::RowsInt8 => {
            f32::from(tensor.bytes[row * columns + column] as i8) * scale(tensor, row)
        }
        Encoding::Panel8x8Int8 => f32::from(tensor.bytes[in_block] as i8) * scale(tensor, row),
        Encoding::Panel8x8Int4 => {
            let (scale, q) = int4(tensor, row, column);
            f32::from(q) * scale
        }
    }
}

/// Scale and value of an int4 weight.
fn int4(tensor: &Tensor<'_>, row: usize, column: usize) -> (f32, i8) {
    let group = row / 8 * tensor.columns.div_ceil(32) + column / 32;
    let group = &tensor.bytes[group * 144..(group + 1) * 144];
    let byte = group[16 + column % 32 / 16 * 64 + row % 8 * 8 + column % 8];
    let half = if column % 16 < 8 { byte & 15 } else { byte >> 4 };
    (f16_at(group, row % 8), if half < 8 { half as i8 } else { half as i8 - 16 })
}

/// The scale of a row of a quantised tensor.
fn scale(tensor: &Tensor<'_>, row: usize) -> f32 {
    let values = match tensor.encoding {
        Encoding::RowsInt8 => tensor.rows * tensor.columns,
        _ => tensor.rows.next_multiple_of(8) * tensor.columns.next_multiple_of(8),
    };
    f32_at(&tensor.bytes[values.next_multiple_of(64)..], row)
}

fn f32_at(bytes: &[u8], index: usize) -> f32 {
    f32::from_le_bytes(bytes.as_chunks().0[index])
}

fn f16_at(bytes: &[u8], index: usize) -> f32 {
    half::f16::from_le_bytes(bytes.as_chunks().0[index]).to_f32()
}

/// Flips every bit of `original`: refused as it is, and harmless with a right checksum.
fn flip_every_bit(tiny: &Tiny, packages: &Packages, original: &[u8]) -> (usize, usize) {
    let (mut refused, mut harmless) = (0, 0);
    for at in 0..original.len() {
        for bit in 0..8 {
            let mut bytes = original.to_vec();
            bytes[at] ^= 1 << bit;
            assert!(PackageBytes::new(&bytes).parse().is_err(), "byte {at} bit {bit} is accepted");
            fix_checksum(&mut bytes);
            match tiny.exercise(&bytes, packages) {
                Ok(()) => harmless += 1,
                Err(_) => refused += 1,
            }
        }
    }
    (refused, harmless)
}

/// The same for every package of a model; both outcomes must occur.
fn flip_every_bit_of(tiny: &Tiny, weights: WeightType) {
    let packages = tiny.pack(weights).unwrap();
    for (name, bytes) in
        [("base", &packages.base), ("task", &packages.task), ("bundle", &packages.bundle)]
    {
        let (refused, harmless) = flip_every_bit(tiny, &packages, bytes);
        println!(
            "{} {name}, {} bytes: {refused} flips refused, {harmless} harmless",
            tiny.name,
            bytes.len()
        );
        assert!(refused > 0 && harmless > 0);
    }
}

#[test]
fn every_flipped_bit_of_a_bert_is_refused_or_harmless() {
    flip_every_bit_of(&Tiny::bert(), WeightType::Int8);
}

#[test]
fn every_flipped_bit_of_a_vit_is_refused_or_harmless() {
    flip_every_bit_of(&Tiny::vit(), WeightType::F16);
}

#[test]
fn every_flipped_bit_of_a_bert_with_dense_stages_is_refused_or_harmless() {
    flip_every_bit_of(&Tiny::bert_heads(), WeightType::F32);
}

#[test]
fn every_flipped_bit_of_a_bert_that_labels_tokens_is_refused_or_harmless() {
    flip_every_bit_of(&Tiny::bert_tokens(), WeightType::F32);
}

#[test]
fn every_flipped_bit_of_a_vit_that_pools_by_attention_is_refused_or_harmless() {
    flip_every_bit_of(&Tiny::siglip(), WeightType::F32);
}

#[test]
fn every_flipped_bit_of_a_gated_t5_is_refused_or_harmless() {
    flip_every_bit_of(&Tiny::t5(), WeightType::F32);
}

#[test]
fn every_flipped_bit_of_a_plain_t5_is_refused_or_harmless() {
    flip_every_bit_of(&Tiny::t5_plain(), WeightType::Int4);
}

#[test]
fn every_flipped_bit_of_a_reader_of_any_image_is_refused_or_harmless() {
    flip_every_bit_of(&Tiny::pix2struct(), WeightType::F32);
}

#[test]
fn a_file_cut_at_any_length_is_refused_even_with_a_right_header() {
    for tiny in Tiny::all() {
        let packages = tiny.pack(WeightType::Int8).unwrap();
        for bytes in [&packages.base, &packages.task, &packages.bundle] {
            for length in 0..bytes.len() {
                assert!(PackageBytes::new(&bytes[..length]).parse().is_err());
                let mut cut = bytes[..length].to_vec();
                fix_checksum(&mut cut);
                assert!(PackageBytes::new(&cut).parse().is_err(), "{length} bytes are accepted");
            }
        }
    }
}

#[test]
fn appended_bytes_are_refused_even_with_a_right_header() {
    for bytes in [bert().base, bert().task, bert().bundle] {
        for count in 1..130 {
            let mut longer = bytes.to_vec();
            longer.resize(bytes.len() + count, 0);
            assert!(PackageBytes::new(&longer).parse().is_err());
            fix_checksum(&mut longer);
            assert!(PackageBytes::new(&longer).parse().is_err(), "{count} bytes more are accepted");
        }
    }
}

#[test]
fn an_unknown_section_is_skipped_if_it_says_so() {
    let bytes = PackageBytes::new(&without(bert_base(), SectionKind::Vocabulary));
    let package = bytes.parse().unwrap();
    assert!(package.vocabulary().is_none());
    assert!(Model::dense(&package).is_ok());
    let bytes = bert_base().relabel(SectionKind::Vocabulary, UNKNOWN_SECTION, 0).sealed();
    assert_eq!(refusal(&bytes), FormatError::UnknownSection { found: UNKNOWN_SECTION });
}

#[test]
fn a_newer_minor_version_is_read_and_another_major_is_not() {
    let bytes = bert_base().u16(0, header::MINOR, VERSION.minor + 7).sealed();
    let bytes = PackageBytes::new(&bytes);
    let package = bytes.parse().unwrap();
    assert_eq!(package.version().minor, VERSION.minor + 7);
    assert!(Model::dense(&package).is_ok());
    let bytes = bert_base().u16(0, header::MAJOR, VERSION.major + 1).sealed();
    let expected =
        FormatError::UnsupportedVersion { major: VERSION.major + 1, minor: VERSION.minor };
    assert_eq!(refusal(&bytes), expected);
}

#[test]
fn a_task_for_another_base_is_refused() {
    let other = Tiny::bert().pack(WeightType::F32).unwrap();
    let base = bert().base;
    let (base, task) = (base.parse().unwrap(), other.task.parse().unwrap());
    let expected = ModelError::AnotherBase { expected: task.base_id(), found: base.content_id() };
    assert_eq!(Model::bind(&base, &task).unwrap_err(), expected);
}

#[test]
fn a_changed_base_has_another_content_id_so_its_tasks_are_refused() {
    let packed = bert();
    let changed = PackageBytes::new(&with_byte(SectionKind::Data, 0, 0x55).sealed());
    let (base, task) = (changed.parse().unwrap(), packed.task.parse().unwrap());
    assert!(matches!(Model::bind(&base, &task), Err(ModelError::AnotherBase { .. })));
}

#[test]
fn packages_of_the_wrong_kind_are_not_bound() {
    let packed = bert();
    let (base, task) = (packed.base.parse().unwrap(), packed.task.parse().unwrap());
    let kind = |result: Result<Model<'_>, ModelError>| match result {
        Err(ModelError::WrongKind { expected, found }) => Some((expected, found)),
        _ => None,
    };
    let (of_base, of_task) = (PackageKind::Base, PackageKind::Task);
    assert_eq!(kind(Model::bind(&base, &base)), Some((of_task, of_base)));
    assert_eq!(kind(Model::from_package(&task)), Some((of_base, of_task)));
    assert_eq!(kind(Model::dense(&task)), Some((of_base, of_task)));
}

/// Why a base with a changed u32 of its configuration is no model.
fn error_with_config(field: Range<usize>, value: u32) -> ModelError {
    let bytes = PackageBytes::new(&with_config(field, value));
    Model::dense(&bytes.parse().unwrap()).unwrap_err()
}

/// Why the packer's own reading of a base says that it is no model.
fn error_of_base(tiny: &Tiny) -> ModelError {
    match pack_base(&tiny.base, WeightType::F32, "") {
        Err(PackError::Model(error)) => error,
        other => panic!("the base is not refused by the model: {other:?}"),
    }
}

#[test]
fn a_configuration_without_its_tensors_is_refused_with_the_reason() {
    let layers = ModelError::LayerCount { expected: 1, found: 2 };
    assert_eq!(error_with_config(config::LAYERS, 1), layers);

    let final_norm = 2;
    let missing = ModelError::MissingTensor { role: Role::FinalNormWeight, layer: GLOBAL_LAYER };
    assert_eq!(error_with_config(config::FLAGS, final_norm), missing);

    let missing = ModelError::MissingTensor { role: Role::ProjectionWeight, layer: GLOBAL_LAYER };
    assert_eq!(error_with_config(config::EMBEDDING_FIELDS[4].clone(), 8), missing);

    let (role, layer) = (Role::FeedForwardInBias, 0);
    let shape = ModelError::Shape { role, layer, expected: (1, 13), found: (1, 12) };
    assert_eq!(error_with_config(config::FEED_FORWARD, 13), shape);
}

#[test]
fn tensors_in_another_layout_are_refused() {
    // An f32 panel of 8 rows has the length of 8 f32 rows, so only the model can tell.
    let t5 = Tiny::t5().pack(WeightType::F32).unwrap();
    let (role, edit) = (Role::AttentionOutput, Edit::new(&t5.base));
    let index = tensor_index(&t5.base, role);
    let entry = tensor_entry(&edit, index);
    let bytes = edit.u16(entry, tensor::ENCODING, Encoding::RowsF32 as u16).sealed();
    let bytes = PackageBytes::new(&bytes);
    let error = Model::dense(&bytes.parse().unwrap()).unwrap_err();
    assert_eq!(error, ModelError::Encoding { role, layer: 0 });
}

#[test]
fn a_pinned_position_past_the_longest_input_is_refused() {
    let vit = vit();
    let task = with_field(Edit::new(&vit.task), SectionKind::Pinned, 4..8, 13);
    let (base, task) = (vit.base.parse().unwrap(), PackageBytes::new(&task));
    let error = Model::bind(&base, &task.parse().unwrap()).unwrap_err();
    assert_eq!(error, ModelError::PinnedPosition { position: 13, limit: 13 });
}

#[test]
fn bases_that_contradict_themselves_are_refused() {
    let mut tiny = Tiny::bert();
    if let Some(tokenizer) = &mut tiny.base.tokenizer {
        tokenizer.tokens.push("one too many".to_owned());
    }
    let size = ModelError::VocabularySize { expected: 12, found: 13 };
    assert_eq!(error_of_base(&tiny), size);

    let mut tiny = Tiny::vit();
    let (mean, std) = ([0.5, 0.0, 0.0, 0.0], [0.5, 1.0, 1.0, 1.0]);
    tiny.base.image = Some(InputNormalization { channels: 1, rescale: 1.0, mean, std });
    assert_eq!(error_of_base(&tiny), ModelError::Channels { expected: 3, found: 1 });
}

#[test]
fn low_rank_keys_have_no_place() {
    let mut tiny = Tiny::modernbert();
    let routing = Routing { attention: AttentionMode::KToLowRank, reduction: None };
    tiny.task.layers[1].routing = Some(routing);
    let base = pack_base(&tiny.base, WeightType::F32, "").unwrap().bytes;
    match pack_task(&tiny.task, &base.parse().unwrap(), WeightType::F32, "") {
        Err(PackError::Model(error)) => {
            assert_eq!(error, ModelError::PlacesOfLowRank { layer: 1 });
        }
        other => panic!("the task is not refused by the model: {other:?}"),
    }
}

#[test]
fn the_specification_lists_every_reason_why_packages_are_no_model() {
    let names = [
        "WrongKind",
        "AnotherBase",
        "LayerCount",
        "MissingTensor",
        "Shape",
        "Encoding",
        "PlacesOfLowRank",
        "PinnedPosition",
        "VocabularySize",
        "Channels",
    ];
    for name in names {
        let row = format!("| `{name}` |");
        assert!(SPECIFICATION.contains(&row), "FORMAT.md has no row \"{row}\"");
    }
}

#[test]
fn the_golden_packages_give_their_answers_to_the_bit_with_every_kernel_table() {
    let golden = golden::read_all().unwrap();
    assert!(golden.len() >= golden::sources().len());
    let mut tables = 0;
    for kernels in Kernels::available() {
        tables += 1;
        for file in &golden {
            let found = golden::compute(&file.package, &file.input().unwrap(), kernels).unwrap();
            assert_eq!(found, file.expected, "{} with {}", file.name, kernels.name);
        }
        println!("{} golden packages with {}", golden.len(), kernels.name);
    }
    assert!(tables > 0);
}

#[test]
fn packing_the_float_golden_models_again_gives_the_golden_bytes() {
    let golden = golden::read_all().unwrap();
    // How int8 weights are rounded is the converter's affair, not the format's.
    let stored_exactly = golden::sources()
        .into_iter()
        .filter(|(.., w)| !matches!(w, WeightType::Int8 | WeightType::Int4));
    for (name, tiny, weights) in stored_exactly {
        let name = format!("{name}-v{}.{}", VERSION.major, VERSION.minor);
        let file = golden.iter().find(|file| file.name == name).unwrap();
        let package = tiny.pack(weights).unwrap().bundle;
        assert!(package == file.package, "{name} has changed: raise the version instead");
    }
}

#[test]
fn every_tiny_model_runs_under_every_budget() {
    for tiny in Tiny::all() {
        let packed = tiny.pack(WeightType::Int8).unwrap();
        let model = packed.model().unwrap();
        let reductions = [1.5, 3.0];
        let budgets = [
            Budget::Task,
            Budget::Reduction(4.0),
            Budget::Selected(3),
            Budget::Fraction(0.3),
            Budget::PerLayer(&reductions),
        ];
        for budget in budgets {
            let values = tiny.run(&model, Kernels::best(), budget, |out| out.values.to_vec());
            let values = values.unwrap();
            assert_eq!(values.len(), 3);
            assert!(values.iter().all(|value| value.is_finite()), "{} {values:?}", tiny.name);
        }
    }
}
