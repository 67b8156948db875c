//! Which file of a folder is the model, told by the names that Hugging Face's libraries give: `model.safetensors`, the index
//! `model.safetensors.index.json`, and each for a variant (`model.fp16.safetensors`, `model.safetensors.index.fp16.json`).

use std::path::Path;

use crate::walk::list_names;
use crate::{Error, Result, io};

/// What the file of a whole model may be called, the first that is there counts; each also with [`INDEX`].
pub(super) const MODELS: [&str; 7] = [
    "model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "adapter_model.safetensors",
    "adapter_model.bin",
    // Mistral's.
    "consolidated.safetensors",
];

/// What an index's name ends with.
pub(super) const INDEX: &str = ".index.json";

/// Where a folder has its model.
pub(super) enum Found {
    /// In this file, or in the shards that it is the index of; for another variant than the plain one, with what is to be said.
    File(String, Option<String>),
    /// In shards, in their order, without an index.
    Shards(Vec<String>),
}

/// Whether a folder that has a file of this name is a model of Hugging Face's.
#[must_use]
pub fn detect_name(name: &str) -> bool {
    MODELS.contains(&name) || is_index_name(name) || variant(name).is_some()
}

/// Whether a folder holds shards, of which an index should say where each tensor is.
pub(crate) fn detect_shards(_: &Path, names: &[String]) -> bool {
    names.iter().any(|name| shard(name).is_some())
}

pub(super) fn is_index_name(name: &str) -> bool {
    name.strip_suffix(INDEX).is_some_and(|stem| matches!(stem.rsplit_once('.'), Some((_, "safetensors" | "bin"))))
        || variant(name).is_some_and(|_| Path::new(name).extension().is_some_and(|extension| extension == "json"))
}

/// The variant that a name stands for, such as `fp16`.
fn variant(name: &str) -> Option<&str> {
    MODELS.iter().find_map(|model| {
        let (stem, extension) = model.rsplit_once('.')?;
        let of_file = || name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(extension)?.strip_suffix('.');
        let of_index = || name.strip_prefix(model)?.strip_prefix(".index.")?.strip_suffix(".json");
        let is_word = |word: &&str| {
            !word.is_empty()
                && word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
                && !word.contains("-of-")
        };
        of_index().or_else(of_file).filter(is_word)
    })
}

/// The number of a shard, and how many there are: `model-00001-of-00002.safetensors`.
fn shard(name: &str) -> Option<(usize, usize)> {
    let stem = name.strip_suffix(".safetensors").or_else(|| name.strip_suffix(".bin"))?;
    let digits = |text: &str| {
        (text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    };
    let (stem, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let named = MODELS.iter().any(|model| model.rsplit_once('.').is_some_and(|(model, _)| stem.starts_with(model)));
    Some((digits(number)?, digits(count)?)).filter(|_| named)
}

/// The model's file in a folder: a single file before an index of the same kind, known names before others, plain ones before
/// variants.
pub(super) fn find(folder: &Path) -> Result<Found> {
    let names = io::names(folder)?;
    let there = |wanted: &String| names.contains(wanted);
    for model in MODELS {
        if let Some(name) = [model.to_owned(), format!("{model}{INDEX}")].into_iter().find(there) {
            return Ok(Found::File(name, None));
        }
    }
    let plain: Vec<&String> = names.iter().filter(|name| is_index_name(name) && variant(name).is_none()).collect();
    match plain[..] {
        [index] => return Ok(Found::File(index.clone(), None)),
        [] => {}
        _ => {
            let reason = "the folder holds several indexes of shards; name one of them";
            return Err(Error::not_a_checkpoint(reason).in_file(folder));
        }
    }
    let mut variants: Vec<&str> = names.iter().filter_map(|name| variant(name)).collect();
    variants.sort_unstable();
    variants.dedup();
    match variants[..] {
        [only] => {
            let of = |model: &str| {
                let (stem, extension) = model.rsplit_once('.')?;
                let all = [format!("{stem}.{only}.{extension}"), format!("{model}.index.{only}.json")];
                all.into_iter().find(there)
            };
            if let Some(name) = MODELS.into_iter().find_map(of) {
                let note = format!("the folder holds the variant '{only}' alone, {name}");
                return Ok(Found::File(name, Some(note)));
            }
        }
        [] => {}
        _ => {
            let reason = format!("the folder holds the variants {}; name one of the files", list_names(&variants));
            return Err(Error::not_a_checkpoint(reason).in_file(folder));
        }
    }
    let mut shards: Vec<String> = names.into_iter().filter(|name| shard(name).is_some()).collect();
    shards.sort_unstable();
    if shards.is_empty() {
        let reason = format!("the folder holds neither {} nor an index of shards", MODELS[..2].join(" nor "));
        return Err(Error::not_a_checkpoint(reason).in_file(folder));
    }
    Ok(Found::Shards(shards))
}

/// How many of the shards that these are some of are not there.
pub(super) fn lacking(shards: &[String]) -> usize {
    let count = shards.iter().filter_map(|name| shard(name)).map(|(_, count)| count).max().unwrap_or_default();
    count.saturating_sub(shards.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_and_shards_are_told_by_their_names() {
        for (name, word) in [
            ("model.fp16.safetensors", "fp16"),
            ("diffusion_pytorch_model.non_ema.bin", "non_ema"),
            ("model.safetensors.index.fp16.json", "fp16"),
        ] {
            assert_eq!(variant(name), Some(word));
            assert!(detect_name(name), "{name}");
        }
        for name in ["model.safetensors", "model.safetensors.index.json", "model.fp16-00001-of-00002.safetensors"] {
            assert_eq!(variant(name), None, "{name}");
        }
        for name in ["my_model.fp16.safetensors", "model.fp16.json", "optimizer.bin", "vae.safetensors"] {
            assert!(!detect_name(name) && shard(name).is_none(), "{name}");
        }
        assert_eq!(shard("model.fp16-00001-of-00002.safetensors"), Some((1, 2)));
        assert_eq!(shard("pytorch_model-00003-of-00003.bin"), Some((3, 3)));
        assert_eq!(shard("shard-00001-model-00001-of-00001.safetensors"), None);
    }
}
