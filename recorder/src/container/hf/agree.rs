//! Making the index and the shards agree. An index may name a weight that the shards dropped because it is tied to another, and
//! shards may hold a buffer that the index lacks: such folders are common, and open with a note. Whatever else they contradict
//! each other in is an error, or a note where the reader is told to be lenient.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::index::Index;
use super::read::Shard;
use crate::container::named;
use crate::{Error, Result, Tensor, Value};

/// The entries of an index out of its shards, by their names, and what is to be said of them.
pub(super) fn entries(
    index: &Index,
    shards: &IndexMap<&str, Option<Shard>>,
    config: &Config,
    lenient: bool,
) -> Result<(IndexMap<Arc<str>, Value>, Vec<String>)> {
    let mut entries = IndexMap::with_capacity(index.weight_map.len());
    let mut notes = Vec::new();
    let mut lacking = Vec::new();
    for (name, file) in &index.weight_map {
        let Some(Some(shard)) = shards.get(file.as_str()) else { continue };
        if let Some(value) = shard.entries.get(name.as_str()) {
            entries.insert(Arc::from(name.as_str()), value.clone());
            continue;
        }
        match elsewhere(name, shards) {
            Some((other, value)) if lenient => {
                notes.push(format!("'{name}' is read from {other}; the index says that it is in {file}"));
                entries.insert(Arc::from(name.as_str()), value);
            }
            Some((other, _)) => {
                let reason = format!("it is in {other}, and the index says that it is in {file}");
                return Err(or_lenient(Error::damaged(format!("weight_map, '{name}'"), reason)));
            }
            None => lacking.push((name.as_str(), file.as_str())),
        }
    }
    notes.extend(add_unnamed(index, shards, &mut entries, lenient)?);
    notes.extend(add_lacking(index, shards, config, &lacking, &mut entries, lenient)?);
    Ok((entries, notes))
}

/// A shard that holds a tensor, whatever the index says.
fn elsewhere<'a>(name: &str, shards: &IndexMap<&'a str, Option<Shard>>) -> Option<(&'a str, Value)> {
    shards.iter().find_map(|(file, shard)| Some((*file, shard.as_ref()?.entries.get(name)?.clone())))
}

/// Adds what shards hold and the index does not name.
fn add_unnamed(
    index: &Index,
    shards: &IndexMap<&str, Option<Shard>>,
    entries: &mut IndexMap<Arc<str>, Value>,
    lenient: bool,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for (file, shard) in shards {
        let mut unnamed = Vec::new();
        for (name, value) in shard.iter().flat_map(|shard| &shard.entries) {
            if index.weight_map.get(&**name).is_some_and(|named| named == file) {
                continue;
            }
            match entries.get(name) {
                None => {
                    entries.insert(Arc::clone(name), value.clone());
                    unnamed.push(&**name);
                }
                Some(read) if same(read, value)? => {}
                Some(_) if lenient => {
                    notes.push(format!("{file} holds another '{name}', which is left out"));
                }
                Some(_) => {
                    let reason = format!("{file} holds another tensor of this name");
                    return Err(or_lenient(Error::damaged(format!("tensor '{name}'"), reason)));
                }
            }
        }
        if !unnamed.is_empty() {
            let names = named::listed(&unnamed);
            notes.push(format!("{names}: read from {file}, though the index does not name {}", them(unnamed.len())));
        }
    }
    Ok(notes)
}

/// Adds weights that the shards dropped because they are tied to others, as far as the folder tells.
fn add_lacking(
    index: &Index,
    shards: &IndexMap<&str, Option<Shard>>,
    config: &Config,
    lacking: &[(&str, &str)],
    entries: &mut IndexMap<Arc<str>, Value>,
    lenient: bool,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    // What the metadata says of ties is put back afterwards, from there.
    let metadata = || shards.values().flatten().map(|shard| &shard.metadata).chain([&index.metadata]);
    let told = |name: &str| {
        let kept = metadata().find_map(|metadata| metadata.get(name)?.as_str().map(str::to_owned));
        kept.filter(|kept| entries.contains_key(kept.as_str()))
    };
    let open: Vec<_> = lacking.iter().filter(|(name, _)| told(name).is_none()).copied().collect();
    let mut left = Vec::new();
    for (name, file) in open {
        match config.tied_to(name, entries) {
            Some(kept) => {
                let Some(tensor) = entries.get(&*kept).and_then(Value::as_tensor).map(Tensor::alias) else { continue };
                notes.push(format!("'{name}' is in no shard: it is tied to '{kept}', as {} says", config.says));
                entries.insert(Arc::from(name), tensor.into());
            }
            None => left.push((name, file)),
        }
    }
    let Some(&(first, file)) = left.first() else { return Ok(notes) };
    let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
    let listed = named::listed(&names);
    if index.total_size.is_some_and(|size| sizes(entries).contains(&size)) {
        // Nothing is lost: the index counts no bytes for them.
        notes.push(format!(
            "{listed}: named by the index and in no shard; the index counts no bytes of {}, as of weights that are tied to \
             others, and nothing says to which: left out",
            them(names.len())
        ));
    } else if lenient {
        notes.push(format!("{listed}: named by the index and in no shard; left out"));
    } else {
        let more =
            if names.len() > 1 { format!(" ({} more are in no shard either)", names.len() - 1) } else { String::new() };
        let error = Error::damaged(format!("weight_map, '{first}'"), format!("{file} holds no such tensor{more}"));
        return Err(or_lenient(error));
    }
    Ok(notes)
}

fn or_lenient(error: Error) -> Error {
    error.advise("pass `OpenOptions::lenient(true)` to read what is there")
}

fn them(count: usize) -> &'static str {
    if count == 1 { "it" } else { "them" }
}

/// Whether two values are the same tensor, element for element.
fn same(a: &Value, b: &Value) -> Result<bool> {
    let (Some(a), Some(b)) = (a.as_tensor(), b.as_tensor()) else { return Ok(false) };
    Ok(a.dtype() == b.dtype() && a.shape() == b.shape() && a.to_le_bytes()? == b.to_le_bytes()?)
}

/// The bytes of all tensors: each counted, and each view once.
fn sizes(entries: &IndexMap<Arc<str>, Value>) -> [u64; 2] {
    let mut seen = HashSet::new();
    let (mut all, mut once) = (0_u64, 0_u64);
    for tensor in entries.values().filter_map(Value::as_tensor) {
        let bytes = (tensor.numel() as u64).saturating_mul(tensor.dtype().size() as u64);
        all = all.saturating_add(bytes);
        let view = tensor.storage().map(|storage| (storage.id(), tensor.offset(), tensor.shape().to_vec()));
        if view.is_none_or(|view| seen.insert(view)) {
            once = once.saturating_add(bytes);
        }
    }
    [all, once]
}

/// What the `config.json` beside an index says of ties.
#[derive(Default)]
pub(super) struct Config {
    ties: bool,
    /// For notes.
    says: String,
}

/// Models of transformers whose word embeddings are tied where their configuration says nothing.
const TIED_BY_DEFAULT: &str = "
    albert bart bert bert-generation bigbird_pegasus blenderbot blenderbot-small bloom camembert convbert cpmant ctrl deberta
    deberta-v2 distilbert electra ernie falcon flaubert fnet funnel gemma gemma2 gemma3_text git gpt2 gpt_bigcode gpt_neo
    layoutlm led longformer longt5 m2m_100 marian mbart megatron-bert mobilebert mpnet mpt mt5 mvp nezha nllb-moe openai-gpt opt
    pegasus plbart prophetnet reformer rembert roberta roformer speech_to_text squeezebert switch_transformers t5 tapas umt5
    whisper xglm xlm xlm-roberta xlm-roberta-xl xlnet xmod yoso
";

impl Config {
    /// Reads the configuration in a folder; of one that is not there or is no JSON, nothing.
    pub(super) fn read(folder: &Path) -> Config {
        let text = std::fs::read(folder.join("config.json")).unwrap_or_default();
        let json: Json = serde_json::from_slice(&text).unwrap_or_default();
        let inner = ["text_config", "language_config", "llm_config", "decoder"].map(|key| json.get(key));
        let all: Vec<&Json> = [Some(&json)].into_iter().chain(inner).flatten().collect();
        let said: Vec<bool> = all.iter().filter_map(|json| json.get("tie_word_embeddings")?.as_bool()).collect();
        let kind = json.get("model_type").and_then(Json::as_str).unwrap_or_default();
        if said.contains(&true) {
            return Config { ties: true, says: "`tie_word_embeddings` in config.json".to_owned() };
        }
        let by_default = said.is_empty() && TIED_BY_DEFAULT.split_whitespace().any(|model| model == kind);
        Config { ties: by_default, says: format!("config.json (a {kind}, which ties its word embeddings)") }
    }

    /// The tensor that a name is tied to: an output layer to the only word embedding, one embedding to the shared one.
    fn tied_to(&self, name: &str, entries: &IndexMap<Arc<str>, Value>) -> Option<String> {
        if !self.ties {
            return None;
        }
        if let Some(stem) = name.strip_suffix(".decoder.bias") {
            return Some(format!("{stem}.bias")).filter(|kept| entries.contains_key(kept.as_str()));
        }
        let matrix = |value: &Value| value.as_tensor().is_some_and(|tensor| tensor.shape().len() == 2);
        let embeddings: Vec<&str> = entries
            .iter()
            .filter(|(name, value)| is_embedding(name) && matrix(value))
            .map(|(name, _)| &**name)
            .collect();
        let shared = embeddings.iter().find(|name| module(name) == "shared");
        // Of two that are tied, writers may keep the output.
        let outputs: Vec<&str> =
            entries.iter().filter(|(name, value)| is_output(name) && matrix(value)).map(|(name, _)| &**name).collect();
        match (shared, &embeddings[..], &outputs[..]) {
            (Some(shared), ..) if is_output(name) || is_embedding(name) => Some((*shared).to_owned()),
            (None, [only], _) if is_output(name) => Some((*only).to_owned()),
            (None, [], [only]) if is_embedding(name) => Some((*only).to_owned()),
            _ => None,
        }
    }
}

/// The module that a weight belongs to.
fn module(name: &str) -> &str {
    let module = name.rsplit_once('.').map_or("", |(module, _)| module);
    module.rsplit_once('.').map_or(module, |(_, last)| last)
}

/// Whether it is the weight of an embedding of words.
fn is_embedding(name: &str) -> bool {
    let module = module(name);
    let others = ["pos", "type", "wpe", "patch", "out", "norm"];
    name.ends_with(".weight")
        && (module.contains("emb") || matches!(module, "wte" | "shared"))
        && !others.iter().any(|other| module.contains(other))
}

/// Whether it is the weight of the layer that gives words their scores.
fn is_output(name: &str) -> bool {
    const LAYERS: [&str; 8] =
        ["head", "decoder", "output", "out", "embed_out", "proj_out", "vocab_projector", "generator"];
    // What is in one of many layers is no such layer.
    let numbered = name.split('.').any(|part| part.parse::<usize>().is_ok());
    let module = module(name);
    name.ends_with(".weight") && !numbered && (module.ends_with("lm_head") || LAYERS.contains(&module))
}
