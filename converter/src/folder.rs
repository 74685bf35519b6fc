//! Folders of pictures: one folder for each class.

use crate::picture;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// Files that systems leave in folders, besides hidden ones.
const LITTER: [&str; 4] = ["Thumbs.db", "desktop.ini", "ehthumbs.db", "__MACOSX"];

/// The pictures of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The name of its folder.
    pub name: String,
    /// Its pictures, by name.
    pub pictures: Vec<PathBuf>,
}

/// A folder of class folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// The classes, by name.
    pub classes: Vec<Class>,
    /// How many entries are no pictures, and were passed over.
    pub passed_over: usize,
}

impl Folder {
    /// Lists the pictures in the class folders of `path`. Pictures lie directly in them: nothing deeper is
    /// looked at, so that links cannot lead round in circles.
    ///
    /// # Errors
    /// A folder cannot be read, has no picture, or has folders in it; a name is not Unicode.
    pub fn read(path: &Path) -> Result<Self> {
        let mut folder = Self::default();
        for entry in entries(path)? {
            if is_litter(&entry) || !is_folder(&entry)? {
                folder.passed_over += 1;
                continue;
            }
            let name = entry.file_name().and_then(|name| name.to_str());
            let name = name.with_context(|| format!("{}: no Unicode name", entry.display()))?;
            let pictures = folder.pictures(&entry)?;
            ensure!(!pictures.is_empty(), "{}: the class folder has no picture", entry.display());
            folder.classes.push(Class { name: name.to_owned(), pictures });
        }
        ensure!(
            !folder.classes.is_empty(),
            "{}: no class folder in it (a folder of pictures for each class)",
            path.display()
        );
        Ok(folder)
    }

    /// What was not read of it, a sentence each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let notes = (self.passed_over > 0)
            .then(|| format!("{} files that are no pictures were passed over", self.passed_over));
        notes.into_iter().collect()
    }

    fn pictures(&mut self, class: &Path) -> Result<Vec<PathBuf>> {
        let mut pictures = Vec::new();
        for entry in entries(class)? {
            if is_litter(&entry) {
                self.passed_over += 1;
            } else if is_folder(&entry)? {
                bail!(
                    "{}: a folder in a class folder; pictures lie directly in the folder of their class",
                    entry.display()
                );
            } else if entry.is_file() && picture::is_picture(&entry)? {
                pictures.push(entry);
            } else {
                self.passed_over += 1;
            }
        }
        Ok(pictures)
    }
}

/// What is in a folder, by name.
fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read {}", path.display());
    let list = std::fs::read_dir(path).with_context(cannot)?;
    let list = list.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>();
    let mut list: Vec<PathBuf> = list.with_context(cannot)?;
    list.sort();
    Ok(list)
}

fn is_litter(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || LITTER.contains(&&*name)
}

/// Whether it is a folder, or a link to one; a link to nothing is an error.
fn is_folder(path: &Path) -> Result<bool> {
    let found = std::fs::metadata(path);
    Ok(found.with_context(|| format!("cannot read {}", path.display()))?.is_dir())
}
