//! `LoadReport`: which keys of a state dict went into a model, which did not, and what to do about it.

use std::fmt;

use crate::printable::{printable, printable_name};
use crate::{DType, ErrorKind, Result};

/// What loading a state dict into a model did, key by key. `Display` prints one sentence and, below it, the table that
/// users of mmcv know.
///
/// ```
/// # use rekindle_recorder::LoadReport;
/// let mut report = LoadReport::default();
/// report.missing = vec!["fc.weight".to_owned(), "fc.bias".to_owned()];
/// report.unexpected = vec!["module.fc.weight".to_owned(), "module.fc.bias".to_owned()];
/// report.advise();
/// let text = report.to_string();
/// assert!(text.starts_with("the state dict does not match the model: 2 keys missing, 2 unexpected"));
/// assert!(text.contains(r#"`LoadOptions::strip_prefix("module.")`"#));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// Keys that were loaded.
    pub loaded: Vec<String>,
    /// Keys of the model that the state dict lacks.
    pub missing: Vec<String>,
    /// Keys of the state dict that the model lacks.
    pub unexpected: Vec<String>,
    /// Keys that both have, with another shape.
    pub mismatched: Vec<ShapeMismatch>,
    /// Keys of another shape that were passed over, as asked for.
    pub skipped: Vec<ShapeMismatch>,
    /// Keys of which only the rows that both have were loaded, as asked for.
    pub partial: Vec<ShapeMismatch>,
    /// Keys of the state dict that the model lacks, and that are the very tensor of a key that was loaded.
    pub tied: Vec<Tie>,
    /// Keys that were loaded into another element type.
    pub cast: Vec<Cast>,
    /// What may help, a sentence each: see [`LoadReport::advise`].
    pub hints: Vec<String>,
}

/// A tensor whose shape is not the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShapeMismatch {
    /// The key.
    pub key: String,
    /// The model's shape.
    pub expected: Vec<usize>,
    /// The state dict's shape.
    pub found: Vec<usize>,
}

impl ShapeMismatch {
    /// This key, with the model's shape and the state dict's.
    #[must_use]
    pub fn new(key: impl Into<String>, expected: &[usize], found: &[usize]) -> Self {
        ShapeMismatch { key: key.into(), expected: expected.to_vec(), found: found.to_vec() }
    }
}

/// A second name of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tie {
    /// The name that the model lacks.
    pub key: String,
    /// The name that was loaded.
    pub with: String,
}

impl Tie {
    /// This key is the tensor of that one.
    #[must_use]
    pub fn new(key: impl Into<String>, with: impl Into<String>) -> Self {
        Tie { key: key.into(), with: with.into() }
    }
}

/// A tensor that was converted to the model's element type.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cast {
    /// The key.
    pub key: String,
    /// The state dict's element type.
    pub from: DType,
    /// The model's element type.
    pub to: DType,
}

impl Cast {
    /// This key, converted so.
    #[must_use]
    pub fn new(key: impl Into<String>, from: DType, to: DType) -> Self {
        Cast { key: key.into(), from, to }
    }
}

/// Prefixes that wrappers put before every key, with the wrapper.
const WRAPPERS: [(&str, &str); 4] = [
    ("module.", "DistributedDataParallel and DataParallel write it"),
    ("_orig_mod.", "torch.compile writes it"),
    ("model.", "a wrapper's attribute"),
    ("net.", "a wrapper's attribute"),
];

/// Suggestions cost a comparison with every key, so only the first missing keys get one.
const SUGGESTIONS: usize = 50;

/// The counter of batches that `BatchNorm` keeps since PyTorch 0.4.1; older state dicts lack it, and nothing depends on it
/// unless `momentum` is `None`.
const COUNTER: &str = "num_batches_tracked";

const MATCHES: &str = "the state dict matches the model but for num_batches_tracked";
const DIFFERS: &str = "the state dict does not match the model";

fn is_counter(key: &str) -> bool {
    key.strip_suffix(COUNTER).is_some_and(|layer| layer.is_empty() || layer.ends_with('.'))
}

impl LoadReport {
    /// Whether every key of each was found in the other, with the same shape. Conversions of the element type and second
    /// names of what was loaded do not count.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let differing = [&self.mismatched, &self.skipped, &self.partial];
        self.missing.is_empty() && self.unexpected.is_empty() && differing.into_iter().all(Vec::is_empty)
    }

    /// Whether a strict load accepts it: it is exact, or no more than `num_batches_tracked` of some layers is missing or left
    /// over.
    #[must_use]
    pub fn is_loadable_strictly(&self) -> bool {
        self.mismatched.is_empty() && self.missing.iter().chain(&self.unexpected).all(|key| is_counter(key))
    }

    /// The report itself where a load may go on, with [`LoadReport::hints`] filled in.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] with the report, when `strict` and not [`LoadReport::is_loadable_strictly`]. Also when not
    /// `strict` but a shape differs: as in PyTorch, leniency is for keys alone.
    pub fn into_result(mut self, strict: bool) -> Result<Self> {
        self.advise();
        let accepted = if strict { self.is_loadable_strictly() } else { self.mismatched.is_empty() };
        if accepted { Ok(self) } else { Err(ErrorKind::Mismatch(Box::new(self)).into()) }
    }

    /// Writes [`LoadReport::hints`]: a prefix that all keys have too much or too little, shapes that are transposed, layers
    /// of another size.
    pub fn advise(&mut self) {
        self.hints.clear();
        self.hints.extend(self.prefix_hint());
        let swapped = |m: &&ShapeMismatch| m.expected.len() > 1 && m.expected.iter().eq(m.found.iter().rev());
        let transposed = self.mismatched.iter().filter(swapped).filter(|m| m.expected != m.found).count();
        if transposed > 0 {
            self.hints.push(format!(
                "{} transposed: the state dict may come from a framework that stores weights the other way round",
                count(transposed, "shape is", "shapes are")
            ));
        }
        if let [only, rest @ ..] = &*self.mismatched
            && !self.loaded.is_empty()
            && let Some((layer, _)) = only.key.rsplit_once('.')
            && rest.iter().all(|m| m.key.rsplit_once('.').is_some_and(|(other, _)| other == layer))
        {
            self.hints.push(format!(
                "only '{layer}' is of another shape: to keep the model's own, load with \
                 LoadOptions::lenient().exclude(\"{layer}.*\")"
            ));
        }
    }

    fn prefix_hint(&self) -> Option<String> {
        let (missing, unexpected) = (&self.missing, &self.unexpected);
        let first = unexpected.iter().find(|key| !is_counter(key))?;
        // What, put before the model's keys, gives the state dict's; and the other way round.
        let matches = |prefix: &str, longer: &[String], shorter: &[String]| {
            let shorter: std::collections::HashSet<_> = shorter.iter().map(String::as_str).collect();
            longer.iter().filter(|key| key.strip_prefix(prefix).is_some_and(|rest| shorter.contains(rest))).count()
        };
        let candidate = |longer: &str, shorter: &[String]| {
            let ends = |key: &&String| longer.len() > key.len() && longer.ends_with(&format!(".{key}"));
            shorter
                .iter()
                .filter(ends)
                .max_by_key(|key| key.len())
                .map(|key| longer[..longer.len() - key.len()].to_owned())
        };
        if let Some(prefix) = candidate(first, missing)
            && matches(&prefix, unexpected, missing) * 2 > unexpected.len()
        {
            return Some(too_much(&prefix, unexpected));
        }
        if let Some(prefix) = missing.iter().find(|key| !is_counter(key)).and_then(|key| candidate(key, unexpected))
            && matches(&prefix, missing, unexpected) * 2 > missing.len()
        {
            return Some(format!("the model's keys begin with `{prefix}`: add add_prefix(\"{prefix}\")"));
        }
        let wrapped = |(prefix, _): &&(&str, &str)| unexpected.iter().all(|key| key.starts_with(prefix));
        let model_has_it = |prefix: &str| missing.iter().any(|key| key.starts_with(prefix));
        let (prefix, _) = WRAPPERS.iter().find(wrapped).filter(|_| self.loaded.is_empty())?;
        (!missing.is_empty() && !model_has_it(prefix)).then(|| too_much(prefix, unexpected))
    }
}

fn too_much(prefix: &str, unexpected: &[String]) -> String {
    let all = if unexpected.iter().all(|key| key.starts_with(prefix)) { "all keys" } else { "most keys" };
    let why = WRAPPERS.iter().find(|(wrapper, _)| *wrapper == prefix);
    let why = why.map_or_else(String::new, |(_, why)| format!(" ({why})"));
    format!("{all} begin with `{prefix}`{why}: take it off with `LoadOptions::strip_prefix(\"{prefix}\")`")
}

/// `1 key`, `2 keys`.
fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sentence(f)?;
        self.table(f)?;
        let lists = [
            ("missing (the model has them, the state dict does not)", &self.missing, &self.unexpected),
            ("unexpected (the state dict has them, the model does not)", &self.unexpected, &self.missing),
        ];
        for (i, (title, keys, others)) in lists.into_iter().enumerate() {
            if keys.is_empty() {
                continue;
            }
            write!(f, "\n{title}:")?;
            for (n, key) in keys.iter().enumerate() {
                let near = (i == 0 && n < SUGGESTIONS).then(|| nearest(key, others.iter().map(String::as_str)));
                let key = printable_name(key);
                match near.flatten() {
                    Some(near) => write!(f, "\n  {key} (did you mean '{}'?)", printable_name(near))?,
                    None => write!(f, "\n  {key}")?,
                }
            }
        }
        for tie in &self.tied {
            write!(f, "\ntied: {} is {}", printable_name(&tie.key), printable_name(&tie.with))?;
        }
        for (what, shapes) in [("passed over", &self.skipped), ("loaded in part", &self.partial)] {
            for ShapeMismatch { key, expected, found } in shapes {
                let key = printable_name(key);
                write!(f, "\n{what}: {key} is {expected:?} in the model and {found:?} in the state dict")?;
            }
        }
        for (from, to, n) in self.casts() {
            write!(f, "\nconverted: {} from {from} to {to}", count(n, "tensor", "tensors"))?;
        }
        self.hints.iter().try_for_each(|hint| write!(f, "\nhint: {}", printable(hint)))
    }
}

impl LoadReport {
    /// What did not fit as one sentence that names the first few keys: for programs that have a line for an error. `Display`
    /// lists every key. Where everything fits, it says so.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.is_exact() {
            return format!("the state dict matches the model: {} loaded", count(self.loaded.len(), "key", "keys"));
        }
        let first = |keys: Vec<String>| match keys.len() {
            n @ 0..=3 => (n, keys.join(", ")),
            n => (n, format!("{} and {} more", keys[..3].join(", "), n - 3)),
        };
        let shapes = self.mismatched.iter().map(|m| format!("{} {:?} (expected {:?})", m.key, m.found, m.expected));
        let parts = [
            ("missing", first(self.missing.clone())),
            ("unexpected", first(self.unexpected.clone())),
            ("of another shape", first(shapes.collect())),
        ];
        let parts = parts.into_iter().filter(|(_, (n, _))| *n > 0).map(|(what, (_, keys))| format!("{what}: {keys}"));
        let parts = parts.collect::<Vec<_>>().join("; ");
        let hint = self.hints.first().map(|hint| format!("; {hint}")).unwrap_or_default();
        let verdict = if self.lacks_only_counters() { MATCHES } else { DIFFERS };
        printable(&format!("{verdict}; {parts}{hint}")).into_owned()
    }

    /// Writes the report to the program's log, through `tracing`: what was loaded at debug level key by key, what was not as
    /// warnings, and the sentence at info level.
    pub fn log(&self) {
        for key in &self.loaded {
            tracing::debug!(%key, "loaded");
        }
        for Tie { key, with } in &self.tied {
            tracing::debug!(%key, %with, "tied");
        }
        for Cast { key, from, to } in &self.cast {
            tracing::debug!(%key, %from, %to, "converted");
        }
        for (keys, what) in [(&self.missing, "missing"), (&self.unexpected, "unexpected")] {
            keys.iter().for_each(|key| tracing::warn!(%key, "{what}"));
        }
        let differing =
            [(&self.mismatched, "not loaded"), (&self.skipped, "passed over"), (&self.partial, "loaded in part")];
        for (shapes, what) in differing {
            for ShapeMismatch { key, expected, found } in shapes {
                tracing::warn!(%key, ?expected, ?found, "{what}: another shape");
            }
        }
        let loaded = self.loaded.len();
        tracing::info!(loaded, missing = self.missing.len(), unexpected = self.unexpected.len(), "state dict");
    }

    fn sentence(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.loaded.len();
        if self.is_exact() {
            return write!(f, "the state dict matches the model: {} loaded", count(loaded, "key", "keys"));
        }
        let missing = self.missing.len();
        let parts = [
            (missing, if missing == 1 { "key missing" } else { "keys missing" }),
            (self.unexpected.len(), "unexpected"),
            (self.mismatched.len(), "of another shape"),
            (self.skipped.len(), "passed over"),
            (self.partial.len(), "loaded in part"),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        let parts = parts.join(", ");
        if self.lacks_only_counters() {
            return write!(f, "{MATCHES}: {} loaded, {parts}", count(loaded, "key", "keys"));
        }
        write!(f, "{DIFFERS}: {parts}")
    }

    /// Whether nothing differs but the counters of some layers.
    fn lacks_only_counters(&self) -> bool {
        self.is_loadable_strictly() && self.skipped.is_empty() && self.partial.is_empty()
    }

    /// The keys of another shape.
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mismatched.is_empty() {
            return Ok(());
        }
        let cells = |m: &ShapeMismatch| [m.key.clone(), format!("{:?}", m.expected), format!("{:?}", m.found)];
        write!(f, "\n{}", table(self.mismatched.iter().map(cells)))
    }

    /// How many tensors were converted from which type to which, as first seen.
    fn casts(&self) -> Vec<(DType, DType, usize)> {
        let mut kinds = indexmap::IndexMap::new();
        for cast in &self.cast {
            *kinds.entry((cast.from, cast.to)).or_insert(0) += 1;
        }
        kinds.into_iter().map(|((from, to), n)| (from, to, n)).collect()
    }
}

/// Keys with the model's shape and the state dict's, drawn as a table.
pub(super) fn table(shapes: impl Iterator<Item = [String; 3]>) -> String {
    let heading = ["key", "expected shape", "loaded shape"].map(ToOwned::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(shapes).collect();
    let [a, b, c] = [0, 1, 2].map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0));
    let line = format!("+{:-<1$}+{2:-<3$}+{4:-<5$}+", "", a + 2, "", b + 2, "", c + 2);
    let mut lines: Vec<String> =
        rows.iter().map(|[key, expected, found]| format!("| {key:a$} | {expected:b$} | {found:c$} |")).collect();
    lines.insert(1, line.clone());
    lines.insert(0, line.clone());
    lines.push(line);
    lines.join("\n")
}

/// The name among `candidates` that was probably meant: one that holds the other between dots, one a few letters away, or
/// one that ends in the same two parts or more.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let best = candidates.filter(|candidate| *candidate != name).filter_map(|candidate| {
        let (long, short) = if candidate.len() > name.len() { (candidate, name) } else { (name, candidate) };
        if !short.is_empty() && long.strip_suffix(short).is_some_and(|rest| rest.ends_with('.')) {
            return Some((0, long.len() - short.len(), candidate));
        }
        let allowed = (name.chars().count() / 3).clamp(1, 6);
        if let Some(distance) = distance(name, candidate, allowed) {
            return Some((1, distance, candidate));
        }
        let shared = name.rsplit('.').zip(candidate.rsplit('.')).take_while(|(a, b)| a == b).count();
        (shared >= 2).then(|| (2, usize::MAX - shared, candidate))
    });
    best.min_by_key(|(kind, distance, _)| (*kind, *distance)).map(|(.., candidate)| candidate)
}

/// The number of letters to insert, delete, change or swap with a neighbour between two names, where it is at most `limit`.
fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let (long, short) = (a.chars().count().max(b.chars().count()), a.chars().count().min(b.chars().count()));
    if long - short > limit || long > 1000 {
        return None;
    }
    Some(strsim::osa_distance(a, b)).filter(|&distance| distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        let near = |name, names: &[&'static str]| nearest(name, names.iter().copied());
        assert_eq!(near("epcoh", &["loss", "epoch", "step"]), Some("epoch"));
        assert_eq!(near("conv1.weight", &["module.conv1.weight", "conv2.weight"]), Some("module.conv1.weight"));
        assert_eq!(
            near("body.0.conv.weight", &["encoder_block.0.conv.weight", "x"]),
            Some("encoder_block.0.conv.weight")
        );
        assert_eq!(near("weight", &["bias", "running_mean"]), None);
        assert_eq!(near("a", &["a"]), None);
    }
}
