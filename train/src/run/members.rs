//! A model that is a member of what was saved: of a `LightningModule`, with metrics and a criterion beside it.

use rekindle_burn::NamedParameter;
use rekindle_recorder::StateDict;
use rekindle_recorder::run::{Question, kept_beside};

/// What is before the model's names in a state dict of several members, where it is one of them.
///
/// # Errors
/// The question which, where it may be several.
pub(super) fn member(weights: &StateDict, own: &[NamedParameter]) -> Result<Option<String>, Question> {
    let Some(first) = own.first() else { return Ok(None) };
    let fits = |prefix: &&str| {
        let there = |named: &NamedParameter| weights.get(&format!("{prefix}{}", named.name));
        own.iter().all(|named| there(named).is_some_and(|tensor| *tensor.shape() == *named.shape))
    };
    let prefixes = weights.keys().filter_map(|name| name.strip_suffix(first.name.as_str()));
    let prefixes = prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.')).filter(fits);
    let (kept, found): (Vec<&str>, Vec<&str>) = prefixes.partition(|prefix| kept_beside(prefix));
    match (&found[..], &kept[..]) {
        ([one], _) | ([], [one]) => Ok(Some((*one).to_owned())),
        ([], []) => Ok(None),
        ([], several) | (several, _) => {
            let quoted: Vec<_> = several.iter().map(|prefix| format!("'{prefix}'")).collect();
            let mut question = Question::new(format!("the model may be any of {} in the file", quoted.join(", ")));
            for prefix in several {
                question = question.or(format!("ResumeOptions::member(\"{prefix}\")"), "to take that");
            }
            Err(question)
        }
    }
}

/// A state dict of several members with one of them as it is now. Names that share their storage with one of it share it still.
pub(super) fn with_member(whole: &StateDict, prefix: &str, member: &StateDict) -> StateDict {
    let mut now = whole.clone();
    let tied: Vec<Vec<String>> =
        whole.tied().into_iter().map(|names| names.into_iter().map(ToOwned::to_owned).collect()).collect();
    for (name, tensor) in member.iter() {
        let name = format!("{prefix}{name}");
        for other in tied.iter().filter(|names| names.contains(&name)).flatten() {
            now.insert(other.as_str(), tensor.clone());
        }
        now.insert(name.as_str(), tensor.clone());
    }
    now
}
