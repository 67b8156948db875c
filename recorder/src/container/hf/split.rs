//! How a state dict is split into shards: `split_state_dict_into_shards_factory` of `huggingface_hub`, step by step.

use std::collections::HashMap;

use crate::{ErrorKind, Result, Tensor};

/// How large a shard may be unless the caller says otherwise: 5 GB, as in transformers and `huggingface_hub`.
pub const DEFAULT_SHARD_SIZE: u64 = 5_000_000_000;

/// What a tensor weighs in the count: its storage, which it may share.
pub(super) struct Weight {
    /// `None` for a value without a storage.
    storage: Option<usize>,
    bytes: u64,
}

impl Weight {
    pub(super) fn of(tensor: Option<&Tensor>) -> Self {
        match tensor.and_then(Tensor::storage) {
            // In PyTorch empty storages have one address and count as one.
            Some(storage) if storage.is_empty() => Weight { storage: Some(0), bytes: 0 },
            Some(storage) => Weight { storage: Some(storage.id()), bytes: storage.len() },
            None => Weight { storage: None, bytes: 0 },
        }
    }
}

/// Which tensors, by their places, go into which shard.
#[derive(Debug, PartialEq)]
pub(super) struct Split {
    pub(super) shards: Vec<Vec<usize>>,
    /// Bytes of all storages, each counted once.
    pub(super) total_size: u64,
}

/// Splits tensors in their order into shards of at most this many bytes.
pub(super) fn split(weights: &[Weight], max_shard_size: u64) -> Split {
    let mut first_of: HashMap<usize, usize> = HashMap::new();
    // The tensors of one storage, under the place of the first of them.
    let mut sharers: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut shards: Vec<Vec<usize>> = Vec::new();
    let (mut current, mut current_size, mut total_size) = (Vec::new(), 0_u64, 0_u64);
    for (index, weight) in weights.iter().enumerate() {
        if let Some(storage) = weight.storage {
            let first = *first_of.entry(storage).or_insert(index);
            if first != index {
                sharers.entry(first).or_default().push(index);
                continue;
            }
        }
        total_size = total_size.saturating_add(weight.bytes);
        if weight.bytes > max_shard_size {
            shards.push(vec![index]);
            continue;
        }
        if current_size.saturating_add(weight.bytes) > max_shard_size {
            shards.push(std::mem::take(&mut current));
            current_size = 0;
        }
        current.push(index);
        current_size += weight.bytes;
    }
    if !current.is_empty() {
        shards.push(current);
    }
    for shard in &mut shards {
        let joined: Vec<usize> = shard.iter().filter_map(|index| sharers.remove(index)).flatten().collect();
        shard.extend(joined);
    }
    Split { shards, total_size }
}

/// Units of sizes: `huggingface_hub`'s, and the binary ones that transformers takes too.
const UNITS: [(&str, u64); 9] = [
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("TIB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Reads a size such as `5GB`, `200 MB`, `1.5GiB` or `4096` in bytes. Powers of 1000 but for the units with an `i`;
/// upper and lower case are one.
///
/// # Errors
/// [`ErrorKind::Invalid`] when it is no such size.
///
/// ```
/// # use rekindle_recorder::container::hf::parse_size;
/// assert_eq!(parse_size("5GB")?, 5_000_000_000);
/// assert_eq!(parse_size("1GiB")?, 1 << 30);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
pub fn parse_size(text: &str) -> Result<u64> {
    let upper = text.trim().to_ascii_uppercase();
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((upper.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((&upper, 1));
    let number = number.trim();
    if let Ok(whole) = number.parse::<u64>()
        && let Some(bytes) = whole.checked_mul(factor)
    {
        return Ok(bytes);
    }
    let invalid =
        || ErrorKind::Invalid(format!("'{text}' is no size; 5GB, 200MB, 1GiB or a number of bytes is expected"));
    let number: f64 = number.parse().map_err(|_| invalid())?;
    #[allow(clippy::cast_precision_loss)]
    let bytes = number * factor as f64;
    // Beyond 2^53 bytes a double no longer counts them one by one.
    if !(0.0..=9_007_199_254_740_992.0).contains(&bytes) {
        return Err(invalid().into());
    }
    // Cut off, as Python's `int()` does.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_those_of_huggingface_hub() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/hf/splits.json");
        let cases: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in cases.as_array().unwrap() {
            let tensors = case["tensors"].as_array().unwrap();
            let weights: Vec<Weight> = tensors
                .iter()
                .map(|tensor| {
                    let bytes = tensor[2].as_u64().unwrap();
                    let storage = usize::try_from(tensor[1].as_u64().unwrap()).unwrap();
                    Weight { storage: Some(if bytes == 0 { 0 } else { storage + 1 }), bytes }
                })
                .collect();
            for (size, expected) in case["splits"].as_object().unwrap() {
                let split = split(&weights, size.parse().unwrap());
                assert_eq!(split.total_size, expected["total_size"].as_u64().unwrap());
                let names = |indices: &[usize]| indices.iter().map(|&i| tensors[i][0].clone()).collect::<Vec<_>>();
                let shards: Vec<_> = split.shards.iter().map(|shard| names(shard)).collect();
                // serde_json sorts keys here, and shards' names sort as their numbers.
                let files: Vec<_> = expected["files"].as_object().unwrap().values().collect();
                assert_eq!(shards.len(), files.len());
                for (shard, file) in shards.iter().zip(files) {
                    assert_eq!(shard, file.as_array().unwrap());
                }
            }
        }
    }
}
