//! The workspace's own sources, read as Rust: which files git tracks, and what their functions
//! look like.

use anyhow::{Context, Result, ensure};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::path::{Path, PathBuf};
use std::process::Command;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The workspace's root.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Every file below `root` that git tracks and whose name ends so, relative to `root`.
///
/// # Errors
/// git does not run, or `root` is in no repository.
pub fn tracked(root: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let output = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout)?;
    let names = names.split_terminator('\0').filter(|name| name.ends_with(ending));
    Ok(names.map(PathBuf::from).filter(|path| root.join(path).is_file()).collect())
}

/// A function with a body, wherever it is written: in an impl, in a function, in a macro.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of its signature.
    pub line: usize,
    /// From the signature to the closing brace, both included; attributes and documentation are not.
    pub lines: usize,
    /// How many of its parameters are tuples, by pattern or by type.
    pub tuples: usize,
}

/// What one file says.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Lines of text.
    pub lines: usize,
    /// Every function.
    pub functions: Vec<Function>,
}

impl Source {
    /// Reads a file's text.
    ///
    /// # Errors
    /// It is no Rust.
    pub fn parse(text: &str) -> Result<Self> {
        let mut source = Self { lines: text.lines().count(), ..Self::default() };
        source.visit_file(&syn::parse_file(text)?);
        Ok(source)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is no Rust.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn function(&mut self, signature: &syn::Signature, end: usize) {
        let line = signature.span().start().line;
        let tuples = signature.inputs.iter().filter(|input| match input {
            syn::FnArg::Receiver(_) => false,
            syn::FnArg::Typed(typed) => {
                matches!(*typed.pat, syn::Pat::Tuple(_)) || is_tuple(&typed.ty)
            }
        });
        let tuples = tuples.count();
        let name = signature.ident.to_string();
        self.functions.push(Function { name, line, lines: end + 1 - line, tuples });
    }

    /// Tokens of a macro are no syntax tree: `fn NAME .. (PARAMETERS) .. { BODY }` is a function.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (index, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(word) if *word == "fn" => self.macro_function(&tokens[index..]),
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
        }
    }

    fn macro_function(&mut self, tokens: &[TokenTree]) {
        let mut groups = tokens.iter().skip(1).map_while(|token| match token {
            TokenTree::Punct(mark) if mark.as_char() == ';' => None,
            other => Some(other),
        });
        let is = |token: &&TokenTree, delimiter| match token {
            TokenTree::Group(group) => group.delimiter() == delimiter,
            _ => false,
        };
        let name = groups.next().filter(|token| !matches!(token, TokenTree::Group(_)));
        let parameters = groups.find(|token| is(token, Delimiter::Parenthesis));
        let body = groups.find(|token| is(token, Delimiter::Brace));
        if let (Some(name), Some(_), Some(body)) = (name, parameters, body) {
            let line = tokens[0].span().start().line;
            let lines = body.span().end().line + 1 - line;
            self.functions.push(Function { name: name.to_string(), line, lines, tuples: 0 });
        }
    }
}

fn is_tuple(ty: &syn::Type) -> bool {
    match ty {
        syn::Type::Tuple(tuple) => !tuple.elems.is_empty(),
        syn::Type::Reference(reference) => is_tuple(&reference.elem),
        syn::Type::Paren(inner) => is_tuple(&inner.elem),
        _ => false,
    }
}

/// `#[cfg(test)]`
#[must_use]
pub fn is_test(attribute: &syn::Attribute) -> bool {
    let test = |list: &syn::MetaList| list.tokens.to_string() == "test";
    attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(test)
}

impl<'ast> Visit<'ast> for Source {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, item.block.span().end().line);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, item.block.span().end().line);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, body.span().end().line);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // Unit tests beside the code they test are not measured with it.
        if !item.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
    }
}
