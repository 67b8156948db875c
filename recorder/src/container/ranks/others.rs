//! Folders of files for each rank that are not put together here: told by their names, so that the user knows what they are.

use std::path::Path;

use regex::Regex;

use crate::{Error, io};

/// What a folder's names look like, what it is, and what to do.
const TABLE: &[(&str, &str, &str)] = &[
    (
        r"^(mp_rank_\d+(_\d+)*|latest_checkpointed_iteration\.txt|model_optim_rng\.pt|distrib_optim\.pt)$",
        "a checkpoint that Megatron-LM split over ranks (mp_rank_00, mp_rank_01, ...)",
        "convert it with Megatron's tools/checkpoint/convert.py first, or name the file of one rank",
    ),
    (
        r"^layer_\d+-(model_\d+-)?model_states\.pt$",
        "a checkpoint of DeepSpeed's pipelines, a file for each layer (layer_00-model_00-model_states.pt)",
        "merge it with DeepSpeed's ds_to_universal.py, or name one of the files",
    ),
    (
        r"(^|[._-])(fsdp[._-]?)?(world_size_\d+_)?rank[._-]?\d+(\.(pt|pth|bin|ckpt)|of\d+.*)$|-shard\d+\.(pt|pth)$|^shard[._-]\d+.*\.(pt|pth)$",
        "a checkpoint that FSDP left in shards, a file for each rank",
        "gather it where it was trained (FULL_STATE_DICT, or torch.distributed.checkpoint), or name the file of one rank",
    ),
];

/// What a folder is, where it is one that cannot be put together.
pub(crate) fn refused(folder: &Path, names: &[String]) -> Option<Error> {
    told(names).or_else(|| {
        // The folder of a step lies one further down.
        let inside = names.iter().map(|name| folder.join(name)).filter(|inside| inside.is_dir());
        inside.filter_map(|inside| io::names(&inside).ok()).find_map(|names| told(&names))
    })
}

fn told(names: &[String]) -> Option<Error> {
    TABLE.iter().find_map(|(pattern, what, advice)| {
        let pattern = Regex::new(pattern).ok()?;
        let found = names.iter().any(|name| pattern.is_match(name));
        found.then(|| Error::unsupported(format!("merging {what}")).advise(*advice))
    })
}
