//! The modules of a crate, and which file uses what another one defines.
//!
//! Names are resolved as the compiler does: through `crate`, `self`, `super`, imports, globs and
//! re-exports, in code, in types and in the tokens of macros. A method that is called leads nowhere:
//! its type was named where the value came from.

use crate::source::is_test;
use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use syn::visit::{self, Visit};

/// Files of a crate: path below its `src`, text.
pub type Files = BTreeMap<String, String>;

/// The modules of one crate. Paths of modules and items begin with `crate`.
#[derive(Debug, Default)]
pub struct Crate {
    /// The file of each module.
    modules: BTreeMap<String, String>,
    /// The file of each item, and of each macro by its name with `!` alone: these need no path.
    items: BTreeMap<String, String>,
    /// What each module writes.
    paths: BTreeMap<String, Vec<Written>>,
}

/// One file uses an item, or names a module, of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The file that uses.
    pub from: String,
    /// The file that defines.
    pub to: String,
    /// As it is written.
    pub path: String,
    /// An item is used; else a module is named, or an item passed on by a public `use`.
    pub item: bool,
}

#[derive(Debug)]
struct Written {
    path: String,
    /// The name that a `use` gives it; `*` for all names in it.
    name: Option<String>,
    /// Passed on by a public `use`.
    passed: bool,
}

/// The file where a path leads.
struct Target<'c> {
    file: &'c str,
    item: bool,
}

impl Crate {
    /// Follows `mod` from the file `root`. Modules of unit tests are left out: they look at a file
    /// from outside, and no program has them.
    ///
    /// # Errors
    /// A file is no Rust, or one that `mod` names is missing.
    pub fn read(files: &Files, root: &str) -> Result<Self> {
        let mut read = Self::default();
        let mut declared = vec!["crate".to_owned()];
        while let Some(module) = declared.pop() {
            let place = module.trim_start_matches("crate::").replace("::", "/");
            let names = match &*place {
                "crate" => [root.to_owned(), String::new()],
                _ => [format!("{place}.rs"), format!("{place}/mod.rs")],
            };
            let found = names.iter().find_map(|name| files.get_key_value(name));
            let (file, text) = found.with_context(|| format!("no file of {module}"))?;
            let syntax = syn::parse_file(text).with_context(|| file.clone())?;
            read.modules.insert(module.clone(), file.clone());
            Reader { read: &mut read, module, file, declared: &mut declared }.visit_file(&syntax);
        }
        Ok(read)
    }

    /// The files that are part of the crate.
    pub fn files(&self) -> BTreeSet<&str> {
        self.modules.values().map(String::as_str).collect()
    }

    /// Every use of one file by another.
    #[must_use]
    pub fn uses(&self) -> BTreeSet<Use> {
        let modules = self.paths.iter();
        modules
            .flat_map(|(module, paths)| paths.iter().filter_map(|path| self.used(module, path)))
            .collect()
    }

    fn used(&self, module: &str, Written { path, passed, .. }: &Written) -> Option<Use> {
        let Target { file, item } = self.resolve(module, path, 0)?;
        let (from, to) = (self.modules[module].clone(), file.to_owned());
        (from != to).then(|| Use { from, to, path: path.clone(), item: item && !passed })
    }

    fn resolve(&self, module: &str, path: &str, depth: usize) -> Option<Target<'_>> {
        let (first, rest) = path.split_once("::").unwrap_or((path, ""));
        let parent = || module.rsplit_once("::").map(|(parent, _)| parent);
        match first {
            "crate" => self.find(path, depth),
            "self" => self.find(&joined(module, rest), depth),
            "super" if rest.starts_with("super") => self.resolve(parent()?, rest, depth),
            "super" => self.find(&joined(parent()?, rest), depth),
            _ => match self.items.get(path).filter(|_| path.ends_with('!')) {
                Some(file) => Some(Target { file, item: true }),
                None => self.find(&joined(module, path), depth),
            },
        }
    }

    /// Follows a path from the root to an item or a module, or to what an import there names.
    fn find(&self, path: &str, depth: usize) -> Option<Target<'_>> {
        let ends = path.match_indices("::").map(|(end, _)| end).chain([path.len()]);
        for end in ends.collect::<Vec<_>>().into_iter().rev() {
            let (whole, rest) = (&path[..end], path[end..].trim_start_matches("::"));
            let module = self.modules.get(whole);
            if let Some(file) = self.items.get(whole)
                && (rest.is_empty() || module.is_none())
            {
                return Some(Target { file, item: true });
            }
            match module {
                Some(file) if rest.is_empty() => return Some(Target { file, item: false }),
                Some(_) => return self.imported(whole, rest, depth),
                None => {}
            }
        }
        None
    }

    fn imported(&self, module: &str, path: &str, depth: usize) -> Option<Target<'_>> {
        if depth > 8 {
            return None; // a name of another crate
        }
        let (first, rest) = path.split_once("::").unwrap_or((path, ""));
        let imports = |name: &str, rest: &str| -> Vec<String> {
            let written = self.paths.get(module).into_iter().flatten();
            let found = written.filter(|import| import.name.as_deref() == Some(name));
            found.map(|import| joined(&import.path, rest)).collect()
        };
        let mut paths = imports(first, rest).into_iter().chain(imports("*", path));
        paths.find_map(|path| self.resolve(module, &path, depth + 1))
    }
}

/// A path and a name in it, which may be `self`.
fn joined(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.to_owned(),
        (path, "" | "self") => path.to_owned(),
        _ => format!("{path}::{name}"),
    }
}

struct Reader<'c> {
    read: &'c mut Crate,
    module: String,
    file: &'c String,
    /// Modules in files of their own.
    declared: &'c mut Vec<String>,
}

impl Reader<'_> {
    fn define(&mut self, path: String) {
        self.read.items.insert(path, self.file.clone());
    }

    fn write(&mut self, path: String, name: Option<String>, passed: bool) {
        let module = self.module.clone();
        self.read.paths.entry(module).or_default().push(Written { path, name, passed });
    }

    fn import(&mut self, tree: &syn::UseTree, path: &str, passed: bool) {
        let with = |name: &syn::Ident| joined(path, &name.to_string());
        let (path, name) = match tree {
            syn::UseTree::Path(inner) => {
                return self.import(&inner.tree, &with(&inner.ident), passed);
            }
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, path, passed));
            }
            syn::UseTree::Name(name) => (with(&name.ident), last(&with(&name.ident))),
            syn::UseTree::Rename(name) => (with(&name.ident), name.rename.to_string()),
            syn::UseTree::Glob(_) => (path.to_owned(), "*".to_owned()),
        };
        self.write(path, Some(name), passed);
    }
}

/// The name of what an item defines, if it is no module and no macro.
const fn name_of(item: &syn::Item) -> Option<&syn::Ident> {
    use syn::Item::{Const, Enum, Fn, Static, Struct, Trait, Type, Union};
    Some(match item {
        Const(item) => &item.ident,
        Enum(item) => &item.ident,
        Fn(item) => &item.sig.ident,
        Static(item) => &item.ident,
        Struct(item) => &item.ident,
        Trait(item) => &item.ident,
        Type(item) => &item.ident,
        Union(item) => &item.ident,
        _ => return None,
    })
}

fn last(path: &str) -> String {
    path.rsplit("::").next().unwrap_or(path).to_owned()
}

/// The tokens of a macro as text, without literals.
fn spelled(tokens: TokenStream) -> String {
    let words = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(name) => format!(" {name}"),
        TokenTree::Punct(mark) => mark.to_string(),
        TokenTree::Group(group) => format!(" {} ", spelled(group.stream())),
        TokenTree::Literal(_) => " ".to_owned(),
    });
    words.collect()
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if let Some(name) = name_of(item) {
            self.define(joined(&self.module, &name.to_string()));
        }
        if let syn::Item::Macro(syn::ItemMacro { ident: Some(name), .. }) = item {
            self.define(joined(&self.module, &name.to_string()));
            self.define(format!("{name}!"));
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let module = joined(&self.module, &item.ident.to_string());
        match &item.content {
            _ if item.attrs.iter().any(is_test) => {}
            None => self.declared.push(module),
            Some((_, items)) => {
                self.read.modules.insert(module.clone(), self.file.clone());
                let parent = std::mem::replace(&mut self.module, module);
                items.iter().for_each(|item| self.visit_item(item));
                self.module = parent;
            }
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, "", !matches!(item.vis, syn::Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.write(names.join("::"), None, false);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        match call.path.get_ident() {
            Some(name) => self.write(format!("{name}!"), None, false),
            None => self.visit_path(&call.path),
        }
        let text = spelled(call.tokens.clone());
        let text = text.replace("..", " ").replace(":: ", "::").replace(". ", ".");
        let within = |c: char| c.is_alphanumeric() || "_:.!".contains(c);
        for word in text.split(|c| !within(c)) {
            // What comes after a full stop is a field or a method.
            let path = word.split('.').next().unwrap_or(word).trim_matches(':');
            // `crate` alone is of `pub(crate)`.
            if !["", "crate", "self", "super"].contains(&path) {
                self.write(path.to_owned(), None, false);
            }
        }
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}
