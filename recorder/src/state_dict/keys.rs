//! `LoadOptions`: how the keys of a state dict are mapped and chosen before it is loaded into a model, and what is done about
//! tensors that do not fit as they are.

use std::fmt;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use indexmap::IndexMap;
use regex::Regex;

#[cfg(doc)]
use crate::ErrorKind;
use crate::{Dict, Error, Result, StateDict, Value};

/// How a state dict is loaded: strictly or leniently, and what happens to its keys before. The steps take effect in the
/// order in which they are added.
///
/// ```
/// # use rekindle_recorder::{StateDict, Tensor, keys::LoadOptions};
/// # let tensor = || Tensor::scalar(0.0_f32);
/// let state_dict = StateDict::from_iter([("module.encoder.weight", tensor()), ("module.head.weight", tensor())]);
/// let options = LoadOptions::lenient()
///     .strip_prefix("module.")
///     .rename(r"^encoder\.", "backbone.")
///     .exclude("head.*");
/// assert_eq!(options.apply(&state_dict)?.keys().collect::<Vec<_>>(), ["backbone.weight"]);
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LoadOptions {
    strict: bool,
    steps: Vec<Step>,
    rules: Rules,
}

/// What is done about tensors, once their keys are mapped. By default: nothing that was not asked for.
#[derive(Clone, Debug, Default)]
struct Rules {
    /// Pass over tensors of another shape.
    skip_mismatched: bool,
    /// Load what both have of tensors with these names.
    partial: Vec<GlobMatcher>,
    /// Take over the file's element types.
    adopt_dtype: bool,
    /// Take over which parameters are trained.
    requires_grad: bool,
}

/// Answers whether an entry is kept.
type Keep = dyn Fn(&str, &Value) -> bool + Send + Sync;

#[derive(Clone)]
enum Step {
    Strip(String),
    Add(String),
    Rename(Regex, String),
    Subtree(String),
    Include(Vec<GlobMatcher>),
    Exclude(GlobMatcher),
    Filter(Arc<Keep>),
    /// A pattern that cannot be read: [`LoadOptions::apply`] reports it.
    Faulty(String),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Strip(prefix) => write!(f, "strip_prefix({prefix:?})"),
            Step::Add(prefix) => write!(f, "add_prefix({prefix:?})"),
            Step::Rename(pattern, with) => write!(f, "rename({:?}, {with:?})", pattern.as_str()),
            Step::Subtree(path) => write!(f, "subtree({path:?})"),
            Step::Include(globs) => {
                write!(f, "include({:?})", globs.iter().map(|g| g.glob().glob()).collect::<Vec<_>>())
            }
            Step::Exclude(glob) => write!(f, "exclude({:?})", glob.glob().glob()),
            Step::Filter(_) => f.write_str("filter(..)"),
            Step::Faulty(reason) => f.write_str(reason),
        }
    }
}

impl Default for LoadOptions {
    /// [`LoadOptions::strict`], as in PyTorch.
    fn default() -> Self {
        LoadOptions::strict()
    }
}

impl LoadOptions {
    /// Every key must be found in both, as `load_state_dict(..., strict=True)` asks.
    #[must_use]
    pub fn strict() -> Self {
        LoadOptions { strict: true, steps: Vec::new(), rules: Rules::default() }
    }

    /// Keys that only one of them has are reported and left, as with `strict=False`. A tensor of another shape stays an
    /// error, as in PyTorch; leave it out with [`LoadOptions::exclude`], or [`LoadOptions::skip_mismatched`].
    #[must_use]
    pub fn lenient() -> Self {
        LoadOptions { strict: false, ..LoadOptions::strict() }
    }

    /// Whether every key must be found in both.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// The same options with keys that only one side has left to the caller.
    #[must_use]
    pub fn leniently(&self) -> Self {
        LoadOptions { strict: false, ..self.clone() }
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Takes `prefix` (with its dot: `module.`) off the keys that begin with it; others stay as they are. Prefixes that
    /// wrap each other are stripped one call after the other, the outermost first.
    #[must_use]
    pub fn strip_prefix(self, prefix: impl Into<String>) -> Self {
        self.step(Step::Strip(prefix.into()))
    }

    /// Puts `prefix` (with its dot: `backbone.`) before every key.
    #[must_use]
    pub fn add_prefix(self, prefix: impl Into<String>) -> Self {
        self.step(Step::Add(prefix.into()))
    }

    /// Replaces what a regular expression finds in a key, as Python's `re.sub` does: every match; `$1` or `${name}` in
    /// `with` stand for groups.
    #[must_use]
    pub fn rename(self, pattern: &str, with: impl Into<String>) -> Self {
        match Regex::new(pattern) {
            Ok(pattern) => self.step(Step::Rename(pattern, with.into())),
            Err(error) => self.step(Step::Faulty(format!("rename({pattern:?}): {error}"))),
        }
    }

    /// Keeps only what is under a module's path (`backbone`), and takes that path off.
    ///
    /// [`LoadOptions::apply`] fails if nothing is under it.
    #[must_use]
    pub fn subtree(self, path: impl Into<String>) -> Self {
        let mut path = path.into();
        if !path.is_empty() && !path.ends_with('.') {
            path.push('.');
        }
        self.step(Step::Subtree(path))
    }

    /// Keeps only the keys that match a glob; of several `include` in a row, any. `*` stands for any text (dots too), `?` for
    /// one character, `[ab]` for one of these, `{a,b}` for either.
    #[must_use]
    pub fn include(mut self, glob: &str) -> Self {
        match (matcher(glob), self.steps.last_mut()) {
            (Ok(glob), Some(Step::Include(globs))) => globs.push(glob),
            (Ok(glob), _) => self.steps.push(Step::Include(vec![glob])),
            (Err(reason), _) => self.steps.push(Step::Faulty(reason)),
        }
        self
    }

    /// Keeps only the keys in which a regular expression finds something: `^encoder\.` for what begins so.
    ///
    /// ```
    /// # use rekindle_recorder::{StateDict, Tensor, keys::LoadOptions};
    /// # let state_dict = StateDict::from_iter(["conv1.weight", "conv1.bias", "fc.weight"].map(|k| (k, Tensor::scalar(0.0_f32))));
    /// let kept = LoadOptions::lenient().include_regex(r"^conv\d+\.weight$").apply(&state_dict)?;
    /// assert_eq!(kept.keys().collect::<Vec<_>>(), ["conv1.weight"]);
    /// # Ok::<(), rekindle_recorder::Error>(())
    /// ```
    #[must_use]
    pub fn include_regex(self, pattern: &str) -> Self {
        match Regex::new(pattern) {
            Ok(pattern) => self.filter(move |name, _| pattern.is_match(name)),
            Err(error) => self.step(Step::Faulty(format!("include_regex({pattern:?}): {error}"))),
        }
    }

    /// Leaves out the keys that match a glob, spelled as for [`LoadOptions::include`].
    #[must_use]
    pub fn exclude(self, glob: &str) -> Self {
        match matcher(glob) {
            Ok(glob) => self.step(Step::Exclude(glob)),
            Err(reason) => self.step(Step::Faulty(reason)),
        }
    }

    /// Keeps only the entries for which `keep` answers true.
    ///
    /// ```
    /// # use rekindle_recorder::keys::LoadOptions;
    /// # let model_has = |_: &str| true;
    /// // {k: v for k, v in state_dict.items() if k in model}
    /// let options = LoadOptions::lenient().filter(move |name, _| model_has(name));
    /// ```
    #[must_use]
    pub fn filter(self, keep: impl Fn(&str, &Value) -> bool + Send + Sync + 'static) -> Self {
        self.step(Step::Filter(Arc::new(keep)))
    }

    /// Passes over tensors of another shape: the model keeps its own, and the report lists them as
    /// [`skipped`](crate::LoadReport::skipped). With [`LoadOptions::lenient`] this is a warm start: what two models share by
    /// name and shape goes from one to the other.
    #[must_use]
    pub fn skip_mismatched(mut self) -> Self {
        self.rules.skip_mismatched = true;
        self
    }

    /// Of tensors whose (mapped) name matches a glob and that are of another length along the first dimension, loads the rows
    /// that both have: the known words of a larger vocabulary, the first classes of a larger head. The model keeps its own
    /// rows beyond, and the report lists the tensor as [`partial`](crate::LoadReport::partial).
    #[must_use]
    pub fn partial(mut self, glob: &str) -> Self {
        match matcher(glob) {
            Ok(glob) => self.rules.partial.push(glob),
            Err(reason) => self.steps.push(Step::Faulty(reason)),
        }
        self
    }

    /// The model takes over the file's floating-point types: a float32 model becomes a bfloat16 model by loading a bfloat16
    /// file. By default the model keeps its types, the elements are converted, and the report says which.
    #[must_use]
    pub fn adopt_dtype(mut self) -> Self {
        self.rules.adopt_dtype = true;
        self
    }

    /// The model takes over from the file which parameters are frozen (`requires_grad=False`). A plain `state_dict()` does not
    /// say it: the file must hold a whole module, or `state_dict(keep_vars=True)`; read it with
    /// [`Checkpoint::state_dict_keep_vars`](crate::Checkpoint::state_dict_keep_vars). Loading fails where no tensor of the
    /// state dict is a parameter.
    #[must_use]
    pub fn requires_grad_from_file(mut self) -> Self {
        self.rules.requires_grad = true;
        self
    }

    /// Whether tensors of another shape are passed over.
    #[must_use]
    pub fn skips_mismatched(&self) -> bool {
        self.rules.skip_mismatched
    }

    /// Whether a tensor of this name may be loaded in part.
    #[must_use]
    pub fn is_partial(&self, name: &str) -> bool {
        self.rules.partial.iter().any(|glob| glob.is_match(name))
    }

    /// Whether the model takes over the file's floating-point types.
    #[must_use]
    pub fn adopts_dtype(&self) -> bool {
        self.rules.adopt_dtype
    }

    /// Whether the model takes over which parameters are frozen.
    #[must_use]
    pub fn takes_requires_grad(&self) -> bool {
        self.rules.requires_grad
    }

    /// The key that each entry of a state dict gets, as pairs of the old and the new one, in order. What is left out is not
    /// among them.
    ///
    /// # Errors
    /// As [`LoadOptions::apply`].
    pub fn names(&self, state_dict: &StateDict) -> Result<Vec<(String, String)>> {
        self.apply(state_dict)?;
        let mapped = state_dict.values().filter_map(|(old, value)| Some((old.to_owned(), self.map(old, value)?)));
        Ok(mapped.collect())
    }

    /// The state dict as it is to be loaded: the same tensors under the keys that the steps give them. The versions in
    /// `_metadata` follow their modules.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when two keys become one (both are named), a pattern cannot be read, or a subtree is empty.
    pub fn apply(&self, state_dict: &StateDict) -> Result<StateDict> {
        if self.steps.is_empty() {
            return Ok(state_dict.clone());
        }
        if let Some(reason) = self.steps.iter().find_map(|step| match step {
            Step::Faulty(reason) => Some(reason),
            _ => None,
        }) {
            return Err(Error::invalid(reason.clone()));
        }
        // New key -> (old key, value).
        let mut mapped: IndexMap<String, (&str, &Value)> = IndexMap::new();
        for (old, value) in state_dict.values() {
            let Some(new) = self.map(old, value) else { continue };
            if let Some((other, _)) = mapped.get(&new) {
                let reason = format!("'{other}' and '{old}' would both become '{new}'; exclude one of them");
                return Err(Error::invalid(reason));
            }
            mapped.insert(new, (old, value));
        }
        if mapped.is_empty() && !state_dict.is_empty() {
            self.complain_of_empty_subtree(state_dict)?;
        }
        let mut result: StateDict = mapped.into_iter().map(|(new, (_, value))| (new, value.clone())).collect();
        if let Some(metadata) = state_dict.metadata().and_then(Value::as_dict) {
            result.set_metadata(self.map_metadata(metadata));
        }
        Ok(result)
    }

    /// The steps that change none of these keys, each in a sentence: a prefix that no key has, a pattern that nothing fits.
    #[must_use]
    pub fn idle(&self, state_dict: &StateDict) -> Vec<String> {
        let mut keys: Vec<(String, &Value)> =
            state_dict.values().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut idle = Vec::new();
        for step in &self.steps {
            let before = keys.len();
            let mut renamed = false;
            if let Step::Include(globs) = step {
                let idle_globs = globs.iter().filter(|glob| !keys.iter().any(|(key, _)| glob.is_match(key)));
                idle.extend(idle_globs.map(|glob| format!("no key fits '{}'", glob.glob())));
            }
            keys = (keys.into_iter())
                .filter_map(|(key, value)| {
                    let new = step.map_name(&key)?;
                    renamed |= new != key;
                    step.keeps(&new, value).then_some((new, value))
                })
                .collect();
            match step {
                Step::Strip(prefix) if !renamed => idle.push(format!("no key begins with '{prefix}'")),
                Step::Rename(pattern, _) if !renamed => idle.push(format!("'{pattern}' finds nothing in any key")),
                Step::Exclude(glob) if keys.len() == before => idle.push(format!("no key fits '{}'", glob.glob())),
                _ => {}
            }
        }
        idle
    }

    /// The key that an entry gets; `None` if it is left out.
    fn map(&self, key: &str, value: &Value) -> Option<String> {
        let mut key = key.to_owned();
        for step in &self.steps {
            key = step.map_name(&key)?;
            if !step.keeps(&key, value) {
                return None;
            }
        }
        Some(key)
    }

    /// Module paths are keys without their last part: with a dot at the end they are mapped as the keys are.
    fn map_metadata(&self, metadata: &Dict) -> Dict {
        let result = Dict::ordered();
        for (path, version) in metadata.entries() {
            let Some(path) = path.as_str() else { continue };
            let before = if path.is_empty() { String::new() } else { format!("{path}.") };
            let Some(after) = self.steps.iter().try_fold(before, |path, step| step.map_name(&path)) else { continue };
            // The wrapper that was stripped leaves its own path; what it wrapped comes after it, and stays.
            result.insert(after.strip_suffix('.').unwrap_or(&after), version);
        }
        result
    }

    fn complain_of_empty_subtree(&self, state_dict: &StateDict) -> Result<()> {
        let Some(Step::Subtree(path)) = self.steps.iter().find(|step| matches!(step, Step::Subtree(_))) else {
            return Ok(());
        };
        let mut tops: Vec<&str> = state_dict.keys().filter_map(|key| key.split_once('.').map(|(top, _)| top)).collect();
        tops.dedup();
        let missing = Error::missing_key(path.trim_end_matches('.'));
        match &*tops {
            [] => Err(missing),
            tops => Err(missing.advise(format!("there are {}", crate::walk::list_names(tops)))),
        }
    }
}

impl Step {
    /// Whether an entry passes this step.
    fn keeps(&self, key: &str, value: &Value) -> bool {
        match self {
            Step::Include(globs) => globs.iter().any(|glob| glob.is_match(key)),
            Step::Exclude(glob) => !glob.is_match(key),
            Step::Filter(keep) => keep(key, value),
            Step::Strip(_) | Step::Add(_) | Step::Rename(..) | Step::Subtree(_) | Step::Faulty(_) => true,
        }
    }

    /// The name that this step gives a key; `None` if it is not in the subtree.
    fn map_name(&self, name: &str) -> Option<String> {
        Some(match self {
            Step::Strip(prefix) => name.strip_prefix(&**prefix).unwrap_or(name).to_owned(),
            Step::Add(prefix) => format!("{prefix}{name}"),
            Step::Rename(pattern, with) => pattern.replace_all(name, &**with).into_owned(),
            Step::Subtree(path) => name.strip_prefix(&**path)?.to_owned(),
            Step::Include(_) | Step::Exclude(_) | Step::Filter(_) | Step::Faulty(_) => name.to_owned(),
        })
    }
}

fn matcher(glob: &str) -> Result<GlobMatcher, String> {
    let built = GlobBuilder::new(glob).literal_separator(false).backslash_escape(true).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| format!("the pattern {glob:?}: {}", error.kind()))
}
