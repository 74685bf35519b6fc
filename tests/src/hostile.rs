//! What a hostile sender does to a package, and a look at all that one holds. It needs the runtime
//! alone: the fuzz targets include this file.

use coda_runtime::format::{Package, PackageKind, checksum, header};
use coda_runtime::text::{Detokenizer, PieceTokenizer, Tokenizer};

/// Makes length and checksum of `bytes` right, if there is a header.
pub fn fix_checksum(bytes: &mut [u8]) {
    let length = bytes.len() as u32;
    if let Some(field) = bytes.get_mut(header::LENGTH) {
        field.copy_from_slice(&length.to_le_bytes());
    }
    let sum = checksum(bytes);
    if let Some(field) = bytes.get_mut(header::CHECKSUM) {
        field.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Reads everything a package holds.
///
/// # Panics
/// Two ways to it disagree.
pub fn read_everything(package: &Package<'_>) {
    for tensor in package.tensors() {
        let length = tensor.encoding.bytes(tensor.rows, tensor.columns);
        assert_eq!(length, Some(tensor.bytes.len()), "{tensor:?}");
        let found = package.tensor(tensor.role, tensor.layer).map(|found| found.bytes);
        assert_eq!(found, Some(tensor.bytes), "{tensor:?}");
    }
    if let Some(labels) = package.labels() {
        assert_eq!(labels.iter().count(), labels.len());
    }
    if let Some(vocabulary) = package.vocabulary() {
        for id in 0..vocabulary.len() as u32 {
            // An added token may be written like another.
            let Some(token) = vocabulary.token(id) else { continue };
            let found = vocabulary.id(token).expect("a token is found");
            assert!(found == id || vocabulary.token(found) == Some(token));
        }
    }
    if let Some(pieces) = package.pieces() {
        let own = Tokenizer::Pieces(PieceTokenizer::new(pieces));
        let (mut ids, mut text) = ([0; 32], String::new());
        let encoding = own.encode("it's a\u{301}ll <mask> ▁the \u{fb01} 中", &mut ids);
        let mut detokenizer = Detokenizer::new(own);
        for id in &ids[..encoding.len] {
            assert!((*id as usize) < own.len(), "{id}");
            detokenizer.write(*id, &mut text).expect("a text");
        }
    }
    assert!(package.pinned().is_sorted());
    assert_eq!(package.layers().count(), package.layers().len());
    let _ = (package.provenance(), package.image(), package.head(), package.task_config());
    if let Some(rules) = package.generation() {
        assert!(!rules.start.is_empty() && rules.ids().count() > rules.start.len());
    }
    assert!(package.shortlist().iter().is_sorted());
    if let Some(decoder) = package.decoder() {
        read_everything(&decoder);
    }
    if package.kind() == PackageKind::Bundle {
        read_everything(&package.base().expect("a bundle has a base"));
        read_everything(&package.task().expect("a bundle has a task"));
    }
}
