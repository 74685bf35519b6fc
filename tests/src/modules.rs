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

/// The modules of one crate.
#[derive(Debug, Default)]
pub struct Crate {
    modules: Vec<Module>,
    /// Files of macros, by their names with `!`: they are seen without a path.
    macros: BTreeMap<String, String>,
}

/// One file uses an item, or names a module, of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The file that uses.
    pub from: String,
    /// The file that defines.
    pub to: String,
    /// As it is written, with its line.
    pub path: String,
    /// An item is used; else a module is named, or an item passed on by a public `use`.
    pub item: bool,
}

#[derive(Debug, Default)]
struct Module {
    file: String,
    parent: usize,
    children: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    imports: Vec<Import>,
    paths: BTreeSet<Vec<String>>,
}

#[derive(Debug)]
struct Import {
    /// `None` for a glob.
    name: Option<String>,
    path: Vec<String>,
    public: bool,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Module(usize),
    /// An item of the module.
    Item(usize),
}

impl Target {
    const fn module(self) -> usize {
        match self {
            Self::Module(module) | Self::Item(module) => module,
        }
    }
}

impl Crate {
    /// Follows `mod` from the file `root`. Modules of unit tests are left out: they look at a file
    /// from outside, and no program has them.
    ///
    /// # Errors
    /// A file is missing or is not Rust.
    pub fn read(files: &Files, root: &str) -> Result<Self> {
        let mut modules = Self::default();
        modules.add(files, root, 0)?;
        Ok(modules)
    }

    /// The files that are part of the crate.
    #[must_use]
    pub fn files(&self) -> BTreeSet<&str> {
        self.modules.iter().map(|module| module.file.as_str()).collect()
    }

    /// Every use of one file by another.
    #[must_use]
    pub fn uses(&self) -> BTreeSet<Use> {
        (0..self.modules.len()).flat_map(|module| self.uses_of(module)).collect()
    }

    fn uses_of(&self, module: usize) -> impl Iterator<Item = Use> {
        let Module { file, imports, paths, .. } = &self.modules[module];
        let imports = imports.iter().map(|import| (&import.path, !import.public));
        let all = imports.chain(paths.iter().map(|path| (path, true)));
        all.filter_map(move |(path, used)| {
            let (to, item) = match self.resolve(module, path, 0) {
                Some(target) => {
                    let item = matches!(target, Target::Item(_));
                    (&self.modules[target.module()].file, item && used)
                }
                None => (self.macros.get(path.first()?)?, used),
            };
            let path = path.join("::");
            (to != file).then(|| Use { from: file.clone(), to: to.clone(), path, item })
        })
    }

    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.descend(0, rest, depth),
            "self" => self.descend(from, rest, depth),
            "super" => {
                let parent = self.modules[from].parent;
                match rest.first().map(String::as_str) {
                    Some("super") => self.resolve(parent, rest, depth),
                    _ => self.descend(parent, rest, depth),
                }
            }
            _ => self.descend(from, path, depth),
        }
    }

    fn descend(&self, module: usize, path: &[String], depth: usize) -> Option<Target> {
        let Some((first, rest)) = path.split_first() else { return Some(Target::Module(module)) };
        let Module { children, items, imports, .. } = &self.modules[module];
        if let Some(child) = children.get(first)
            && (!rest.is_empty() || !items.contains(first))
        {
            return self.descend(*child, rest, depth);
        }
        if items.contains(first) {
            return Some(Target::Item(module));
        }
        if depth > 8 {
            return None; // a name of another crate
        }
        let named = imports.iter().filter(|import| import.name.as_ref() == Some(first));
        let named = named.map(|import| [&import.path, rest].concat());
        let globs = imports.iter().filter(|import| import.name.is_none());
        let globs = globs.map(|import| [&import.path, path].concat());
        named.chain(globs).find_map(|path| self.resolve(module, &path, depth + 1))
    }

    fn add(&mut self, files: &Files, file: &str, parent: usize) -> Result<usize> {
        let text = files.get(file).with_context(|| format!("no file {file}"))?;
        let syntax = syn::parse_file(text).with_context(|| file.to_owned())?;
        let module = self.module(file, parent);
        let mut reader = Reader { modules: self, module, declared: Vec::new() };
        reader.visit_file(&syntax);
        let folder = match file.rsplit_once('/') {
            Some((folder, "mod.rs")) => format!("{folder}/"),
            _ if parent == module => String::new(),
            _ => format!("{}/", file.trim_end_matches(".rs")),
        };
        for (parent, name) in reader.declared {
            let flat = format!("{folder}{name}.rs");
            let nested = format!("{folder}{name}/mod.rs");
            let file = if files.contains_key(&flat) { flat } else { nested };
            let child = self.add(files, &file, parent)?;
            self.modules[parent].children.insert(name, child);
        }
        Ok(module)
    }

    fn module(&mut self, file: &str, parent: usize) -> usize {
        self.modules.push(Module { file: file.to_owned(), parent, ..Module::default() });
        self.modules.len() - 1
    }
}

struct Reader<'c> {
    modules: &'c mut Crate,
    module: usize,
    /// Modules in files of their own.
    declared: Vec<(usize, String)>,
}

impl Reader<'_> {
    fn here(&mut self) -> &mut Module {
        &mut self.modules.modules[self.module]
    }

    fn define(&mut self, name: &syn::Ident) {
        self.here().items.insert(name.to_string());
    }

    fn import(&mut self, tree: &syn::UseTree, path: &[String], public: bool) {
        let with = |name: &syn::Ident| match name.to_string() {
            name if name == "self" => path.to_vec(),
            name => [path, &[name]].concat(),
        };
        let (name, path) = match tree {
            syn::UseTree::Path(inner) => {
                return self.import(&inner.tree, &with_first(path, &inner.ident), public);
            }
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, path, public));
            }
            syn::UseTree::Name(name) => (with(&name.ident).last().cloned(), with(&name.ident)),
            syn::UseTree::Rename(name) => (Some(name.rename.to_string()), with(&name.ident)),
            syn::UseTree::Glob(_) => (None, path.to_vec()),
        };
        self.here().imports.push(Import { name, path, public });
    }

    /// Paths in the tokens of a macro: names with `::` between them, no fields and no methods.
    fn tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut colons) = (Vec::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.path(&mut path);
                    }
                    if colons != FIELD {
                        path.push(name.to_string());
                    }
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                TokenTree::Punct(mark) => {
                    if let ('!', [name]) = (mark.as_char(), &mut path[..]) {
                        name.push('!');
                    }
                    self.path(&mut path);
                    colons = if mark.as_char() == '.' { FIELD } else { 0 };
                }
                TokenTree::Group(group) => {
                    self.path(&mut path);
                    colons = 0;
                    self.tokens(group.stream());
                }
                TokenTree::Literal(_) => self.path(&mut path),
            }
        }
        self.path(&mut path);
    }

    fn path(&mut self, path: &mut Vec<String>) {
        let path = std::mem::take(path);
        let keyword = ["crate", "self", "super"]; // alone: of `pub(crate)` in a macro
        if path.iter().any(|name| !keyword.contains(&name.as_str())) {
            self.here().paths.insert(path);
        }
    }
}

/// What [`Reader::tokens`] counts after a full stop in place of colons.
const FIELD: usize = usize::MAX / 2;

fn with_first(path: &[String], name: &syn::Ident) -> Vec<String> {
    [path, &[name.to_string()]].concat()
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        use syn::Item::{Const, Enum, Fn, Macro, Mod, Static, Struct, Trait, Type, Union};
        match item {
            Mod(item) => return self.visit_item_mod(item),
            Const(item) => self.define(&item.ident),
            Enum(item) => self.define(&item.ident),
            Fn(item) => self.define(&item.sig.ident),
            Static(item) => self.define(&item.ident),
            Struct(item) => self.define(&item.ident),
            Trait(item) => self.define(&item.ident),
            Type(item) => self.define(&item.ident),
            Union(item) => self.define(&item.ident),
            Macro(syn::ItemMacro { ident: Some(name), .. }) => {
                self.define(name);
                let file = self.here().file.clone();
                self.modules.macros.insert(format!("{name}!"), file);
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        if item.attrs.iter().any(is_test) {
            return;
        }
        let Some((_, items)) = &item.content else {
            return self.declared.push((self.module, name));
        };
        let file = self.here().file.clone();
        let (parent, inner) = (self.module, self.modules.module(&file, self.module));
        self.here().children.insert(name, inner);
        self.module = inner;
        items.iter().for_each(|item| self.visit_item(item));
        self.module = parent;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, &[], !matches!(item.vis, syn::Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.path(&mut path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        match call.path.get_ident() {
            Some(name) => self.path(&mut vec![format!("{name}!")]),
            None => self.visit_path(&call.path),
        }
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}
