//! `DeepSpeed`'s folders: which files there are, of which ranks, and what is refused by its name.

use std::path::{Path, PathBuf};

use regex::Regex;

use super::universal;
use super::zero::{self, Parts};
use crate::format::{Read, add_new};
use crate::walk::list_names;
use crate::{Error, FileBytes, Format, Global, OpenOptions, Opened, Result, ResultExt as _, Value, io};

impl Format {
    /// A folder of `DeepSpeed`'s `save_checkpoint`, a file for each rank.
    pub const DEEPSPEED: Format = Format::named("deepspeed");
}

/// What a file of a folder is: of the model or of the optimizer, of which rank of the data and of which of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    name: String,
    optimizer: bool,
    data: Option<usize>,
    model: usize,
}

/// A file in a folder that `DeepSpeed` alone writes.
fn member(name: &str) -> Option<Member> {
    let pattern = r"^(?:(?:bf16_|fp16_)?zero_pp_rank_(\d+)_)?mp_rank_(\d+)_?(model|optim)_states\.pt$";
    let found = Regex::new(pattern).ok()?.captures(name)?;
    let number = |i: usize| found.get(i).and_then(|digits| digits.as_str().parse().ok());
    let optimizer = found.get(3)?.as_str() == "optim";
    Some(Member { name: name.to_owned(), optimizer, data: number(1), model: number(2)? })
}

/// The folder of the newest step, where this one holds several; itself, where it holds the ranks' files.
fn newest(folder: &Path, names: &[String]) -> Option<Result<PathBuf>> {
    if names.iter().any(|name| member(name).is_some()) {
        return Some(Ok(folder.to_owned()));
    }
    let holds = |name: &str| {
        let inside = folder.join(name);
        inside.is_dir() && io::names(&inside).is_ok_and(|names| names.iter().any(|name| member(name).is_some()))
    };
    let said = |name: &&str| folder.join(name).is_file();
    let latest = ["latest", "latest_universal"].into_iter().find(said).unwrap_or("latest");
    let text = std::fs::read_to_string(folder.join(latest)).ok();
    if let Some(tag) = text.as_deref().map(str::trim).filter(|tag| !tag.is_empty() && io::is_below(tag)) {
        if holds(tag) {
            return Some(Ok(folder.join(tag)));
        }
        if names.iter().any(|name| holds(name)) {
            let what = format!("the folder {tag}, which the file '{latest}' names, is missing");
            return Some(Err(Error::missing(what).advise("name one of the other folders of steps")));
        }
    }
    let steps: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| name.starts_with("global_step") && holds(name)).collect();
    match &steps[..] {
        [] => None,
        [only] => Some(Ok(folder.join(only))),
        several => {
            let reason = format!("it holds {} checkpoints of DeepSpeed's ({})", several.len(), list_names(several));
            Some(Err(Error::not_a_checkpoint(reason).advise("name one of these folders")))
        }
    }
}

/// Whether a folder is one of `DeepSpeed`'s, or the one around those of its steps.
pub(crate) fn detect(folder: &Path, names: &[String]) -> bool {
    newest(folder, names).is_some()
}

/// Reads a folder; `open` reads the files in it.
///
/// # Errors
/// [`ErrorKind::Missing`](crate::ErrorKind::Missing) when the file of a rank is missing,
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for models that are split over ranks or pipelines, or have experts;
/// [`ErrorKind::Damaged`](crate::ErrorKind::Damaged) when the ranks' parts are no whole.
pub(crate) fn read(folder: &Path, options: &OpenOptions, open: Read) -> Result<Opened> {
    let folder = newest(folder, &io::names(folder)?).unwrap_or_else(|| Ok(folder.to_owned()))?;
    let names = io::names(&folder)?;
    let mut members: Vec<Member> = names.iter().filter_map(|name| member(name)).collect();
    let mut reader = Reader { folder, options, open, globals: Vec::new(), bytes: 0 };
    if universal::detect(&reader.folder) {
        // The parameters are whole, however the model was split.
        members.retain(|member| member.model == 0);
        let models = reader.files(&members, false)?;
        let folder = reader.folder.clone();
        let (value, notes) = universal::merge(&folder, models, &mut |path| reader.file(path)).in_file(&folder)?;
        return Ok(Opened { notes, ..Opened::new(Format::DEEPSPEED, value, reader.globals, reader.bytes) });
    }
    check_supported(&names, &members)?;
    let models = reader.files(&members, false)?;
    let optimizers = reader.files(&members, true)?;
    let (value, notes) = zero::merge(&Parts { models, optimizers }).in_file(&reader.folder)?;
    Ok(Opened { notes, ..Opened::new(Format::DEEPSPEED, value, reader.globals, reader.bytes) })
}

/// Models that are split over ranks, or whose layers and experts have files of their own.
fn check_supported(names: &[String], members: &[Member]) -> Result<()> {
    let split = members.iter().map(|member| member.model).max().unwrap_or_default();
    let has = |words: &[&str]| names.iter().any(|name| words.iter().any(|word| name.starts_with(word)));
    let what = if split > 0 {
        format!("merging a model that DeepSpeed split over {} ranks (tensor or pipeline parallelism)", split + 1)
    } else if has(&["expp_rank_", "expert_"]) || names.iter().any(|name| name.contains("_expert_")) {
        "merging DeepSpeed's experts (expp_rank_*, *_expert_*)".to_owned()
    } else if has(&["layer_"]) {
        "merging the layers of DeepSpeed's pipelines (layer_*-model_states.pt)".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::unsupported(what).advise("merge it with DeepSpeed's ds_to_universal.py, or name one of the files"))
}

struct Reader<'a> {
    folder: PathBuf,
    options: &'a OpenOptions,
    open: Read,
    globals: Vec<Global>,
    bytes: u64,
}

impl Reader<'_> {
    /// What the files of the model or of the optimizer hold, in the order of their ranks, of which none may be missing.
    fn files(&mut self, members: &[Member], optimizer: bool) -> Result<Vec<Value>> {
        let mut members: Vec<&Member> = members.iter().filter(|member| member.optimizer == optimizer).collect();
        members.sort_by_key(|member| member.data);
        for (rank, member) in members.iter().enumerate() {
            if member.data.is_some_and(|data| data != rank) {
                let name = member.name.replacen(
                    &format!("pp_rank_{}", member.data.unwrap_or_default()),
                    &format!("pp_rank_{rank}"),
                    1,
                );
                return Err(Error::missing(format!("the file {name} is missing, and there is {}", member.name))
                    .advise("copy it here, too"));
            }
        }
        members.into_iter().map(|member| self.file(&self.folder.join(&member.name))).collect()
    }

    fn file(&mut self, path: &Path) -> Result<Value> {
        let file = FileBytes::open(path)?;
        let opened = (self.open)(&file, self.options).in_file(path)?;
        self.bytes = self.bytes.saturating_add(opened.bytes);
        add_new(&mut self.globals, opened.globals);
        Ok(opened.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_ranks_are_told_by_their_names() {
        let told = |name: &str| member(name).map(|member| (member.optimizer, member.data, member.model));
        assert_eq!(told("mp_rank_00_model_states.pt"), Some((false, None, 0)));
        assert_eq!(told("zero_pp_rank_12_mp_rank_01_model_states.pt"), Some((false, Some(12), 1)));
        assert_eq!(told("bf16_zero_pp_rank_3_mp_rank_00_optim_states.pt"), Some((true, Some(3), 0)));
        assert_eq!(told("zero_pp_rank_0_mp_rank_00optim_states.pt"), Some((true, Some(0), 0)));
        for other in
            ["model_states.pt", "mp_rank_00", "layer_01-model_00-model_states.pt", "my_mp_rank_00_model_states.pt"]
        {
            assert_eq!(told(other), None, "{other}");
        }
    }
}
