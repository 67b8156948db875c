//! The way to the files: one by itself, those of a folder, the shards that an index names.

use std::path::Path;

use crate::container::{content, hf};
use crate::tools::scan::content::{DEEPEST, Scanner, has_extension, join};
use crate::tools::scan::found::Found;
use crate::tools::scan::items::{self, Items};
use crate::{Error, ErrorKind, FileBytes, IoResultExt as _, Limits, Result, io};

/// Scans a file or folder.
pub(super) fn path(path: &Path, limits: &Limits, found: &mut Found) -> Result<()> {
    let mut scanner = Scanner::new(limits, found);
    if path.is_dir() {
        return scanner.folder(path, "", 0);
    }
    let file = FileBytes::open(path)?;
    if hf::detect(&file) {
        return scanner.shards(&file, path);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(items::EXTENSION)
        && scanner.items(&file, &name, "", &Items::of(path.parent().unwrap_or(Path::new("")), limits))
    {
        return Ok(());
    }
    scanner.whole(&file)
}

/// Scans bytes that are no file, which have nothing beside them.
pub(super) fn bytes(file: &FileBytes, limits: &Limits, found: &mut Found) -> Result<()> {
    Scanner::new(limits, found).whole(file)
}

impl Scanner<'_> {
    fn whole(&mut self, file: &FileBytes) -> Result<()> {
        if self.content(file, "", true, 0) { Ok(()) } else { Err(content::describe(file)) }
    }

    fn folder(&mut self, path: &Path, place: &str, depth: usize) -> Result<()> {
        let items = Items::of(path, &self.pickle_limits);
        for name in io::list_all(path)? {
            let (path, place) = (path.join(&name), join(place, &name.to_string_lossy()));
            // A link to a folder may lead round in a circle; one to a file is how the Hugging Face cache keeps files.
            let is_link = path.symlink_metadata().doing("cannot list the folder")?.is_symlink();
            match path.metadata() {
                Ok(kind) if kind.is_dir() && is_link => {}
                Ok(kind) if kind.is_dir() && depth >= DEEPEST => self.too_deep(&place),
                Ok(kind) if kind.is_dir() => self.folder(&path, &place, depth + 1)?,
                Ok(kind) if kind.is_file() => match FileBytes::open(&path) {
                    Ok(file) if self.items(&file, &name.to_string_lossy(), &place, &items) => {}
                    Ok(file) => self.file_in_folder(&file, &place),
                    Err(error) => self.found.problem(&place, error),
                },
                Ok(_) => {}
                Err(source) => {
                    let refused = ErrorKind::Io { doing: "cannot open the file", source };
                    self.found.problem(&place, Error::new(refused).in_file(&path));
                }
            }
        }
        Ok(())
    }

    /// Scans the files that an index of shards names.
    fn shards(&mut self, index: &FileBytes, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let shards = hf::shards(index, self.limits)?;
        for name in shards {
            match FileBytes::open(&folder.join(&name)) {
                Ok(file) => self.file_in_folder(&file, &name),
                Err(error) => self.found.problem(&name, error),
            }
        }
        Ok(())
    }

    fn file_in_folder(&mut self, file: &FileBytes, place: &str) {
        let asked = has_extension(place) || content::is_binary_pickle(file);
        if !self.content(file, place, asked, 0) && (asked || content::is_packed(file)) {
            self.found.problem(place, content::describe(file));
        }
    }
}
