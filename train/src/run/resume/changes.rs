//! Hyper-parameters that the user changes in the groups of an optimizer: learning rates, and any other by its name.

use rekindle_recorder::{Dict, Error, Result, Tensor, Value};

use crate::attributes::{Attributes, float_like, invalid};
use crate::call::{shown, suits};
use crate::optim::{Hyperparameters, OptimizerKind};
use crate::run::options::ResumeOptions;

/// What is changed in the groups of an optimizer.
#[derive(Default)]
pub(super) struct Changes {
    /// Which group's, and which entry.
    pub(super) entries: Vec<(usize, String)>,
    /// A sentence each.
    pub(super) said: Vec<String>,
}

/// A change before it is known which groups it is of.
struct Change<'a> {
    group: String,
    key: &'a str,
    value: Value,
    /// The option that said it.
    option: &'static str,
}

impl Changes {
    /// An optimizer's state dict with the entries that the user changes, and what is changed by that; of an optimizer beside others
    /// the number of its first group among all.
    ///
    /// # Errors
    /// When there is no such group or entry, or the value cannot stand there.
    pub(super) fn apply(
        saved: &Value,
        kind: OptimizerKind,
        options: &ResumeOptions,
        first: usize,
    ) -> Result<(Value, Changes)> {
        let mut changes = Changes::default();
        let groups = saved.as_dict().and_then(|dict| Some((dict.clone(), dict.get("param_groups")?.items()?)));
        let Some((dict, groups)) = groups.filter(|_| !options.lr.is_empty() || !options.changes.is_empty()) else {
            return Ok((saved.clone(), changes));
        };
        let mut groups: Vec<Attributes> = (groups.iter().enumerate())
            .map(|(place, group)| Attributes::from_value(format!("param_groups[{place}]."), group))
            .collect::<Result<_>>()?;
        let rates = rates(&options.lr, groups.len())?;
        let said = options.changes.iter().map(|(group, key, value)| Change {
            group: group.clone(),
            key,
            value: value.clone(),
            option: "ResumeOptions::set",
        });
        for change in rates.into_iter().chain(said) {
            changes.make(&change, kind, &mut groups, first)?;
        }
        let copy = Dict::new();
        for (key, value) in dict.entries() {
            let groups = || groups.iter().map(|group| Value::from(group.to_dict())).collect::<Vec<_>>();
            copy.insert(key.clone(), if key.as_str() == Some("param_groups") { groups().into() } else { value });
        }
        Ok((copy.into(), changes))
    }

    /// Whether the learning rate of any group is changed.
    pub(super) fn rates(&self) -> bool {
        self.entries.iter().any(|(_, key)| key == "lr")
    }

    fn make(
        &mut self,
        change: &Change<'_>,
        kind: OptimizerKind,
        groups: &mut [Attributes],
        first: usize,
    ) -> Result<()> {
        let Change { group, key, value, option } = change;
        if matches!(*key, "params" | "param_names") {
            return Err(invalid(format!(
                "{key} of a group is no hyper-parameter; which parameters it has is not changed"
            )));
        }
        let mut lines: Vec<(String, Vec<String>)> = Vec::new();
        for place in places(group, groups)? {
            let entries = &mut groups[place];
            let default = || Hyperparameters::of(kind).defaults.get(key).cloned();
            let Some(before) = entries.get(key).cloned().or_else(default) else {
                let names: Vec<_> = entries.names().filter(|name| !name.starts_with("param")).collect();
                let advice = format!("there are {}", names.join(", "));
                return Err(Error::missing_key(format!("param_groups[{place}].{key}")).advise(advice));
            };
            let finite = |value: &Value| value.as_f64().is_none_or(f64::is_finite);
            if !suits(value, &before) || !finite(value) {
                let (now, before) = (shown(value), shown(&before));
                let place = first + place;
                return Err(invalid(format!("{key} of group {place} is {before}, and cannot be {now} (`{option}`)")));
            }
            let now = match (&before, value, value.as_f64()) {
                // PyTorch's scheduler fills a tensor, too, rather than put a number in its place.
                (Value::Tensor(tensor), _, Some(number)) => float_like(Some(Tensor::dtype(tensor)), number),
                (Value::Tuple(_), Value::List(_), _) => Value::tuple(value.items().unwrap_or_default()),
                _ => value.clone(),
            };
            let line = format!("{key} {} -> {}", shown(&before), shown(&now));
            match lines.iter_mut().find(|(known, _)| *known == line) {
                Some((_, places)) => places.push((first + place).to_string()),
                None => lines.push((line, vec![(first + place).to_string()])),
            }
            entries.set(key, now);
            self.entries.push((place, (*key).to_owned()));
        }
        self.said.extend(lines.into_iter().map(|(line, places)| {
            let groups = if places.len() == 1 { "group" } else { "groups" };
            format!("{line} in {groups} {} (`{option}`)", places.join(", "))
        }));
        Ok(())
    }
}

/// The learning rates of all groups.
fn rates(rates: &[f64], groups: usize) -> Result<Vec<Change<'static>>> {
    let change = |group: String, &lr: &f64| Change { group, key: "lr", value: lr.into(), option: "ResumeOptions::lr" };
    match rates {
        [one] => Ok(vec![change("*".to_owned(), one)]),
        several if several.is_empty() || several.len() == groups => {
            Ok(several.iter().enumerate().map(|(place, lr)| change(place.to_string(), lr)).collect())
        }
        several => Err(invalid(format!(
            "the optimizer has {groups} groups, and {} learning rates were given (`ResumeOptions::lr`); give one for all, or one \
             for each",
            several.len()
        ))),
    }
}

/// Which groups are meant.
fn places(group: &str, groups: &[Attributes]) -> Result<Vec<usize>> {
    let names: Vec<Option<String>> = groups.iter().map(|group| name_of(|key| group.get(key).cloned())).collect();
    let places = meant(group, &names, &[]);
    if places.is_empty() {
        let all = names.iter().enumerate().map(|(place, name)| match name {
            Some(name) => format!("{place} ({name})"),
            None => place.to_string(),
        });
        let all = all.collect::<Vec<_>>().join(", ");
        return Err(invalid(format!(
            "the optimizer has no group '{group}' (`ResumeOptions::set`); there are {all}, and * for all"
        )));
    }
    Ok(places)
}

/// What a group is called, if it is.
pub(super) fn name_of(get: impl Fn(&str) -> Option<Value>) -> Option<String> {
    ["name", "group_name"].into_iter().find_map(|key| Some(get(key)?.as_str()?.to_owned()))
}

/// Which groups are meant of those that are called so: all (`*`), one by its number (`0`, `[0]`) or its place
/// (`optimizer.param_groups[0]`), or those of a name; in quotes (`['0']`) it is a name, whatever it looks like. Of several
/// optimizers, whose groups are one's after the other's, the place of each and the number of its first group.
pub(super) fn meant(group: &str, names: &[Option<String>], optimizers: &[(String, usize)]) -> Vec<usize> {
    let called = |name: &str| (0..names.len()).filter(|&place| names[place].as_deref() == Some(name)).collect();
    if group == "*" {
        return (0..names.len()).collect();
    }
    let quoted = [("['", "']"), ("[\"", "\"]")];
    if let Some(name) = quoted.iter().find_map(|(begin, end)| group.strip_prefix(begin)?.strip_suffix(end)) {
        return called(&name.replace("\\'", "'").replace("\\\\", "\\"));
    }
    let number = group.parse::<usize>().ok().or_else(|| {
        let (place, number) = group.strip_suffix(']')?.rsplit_once('[')?;
        let number = number.parse::<usize>().ok()?;
        let optimizer = place.strip_suffix("param_groups").map(|optimizer| optimizer.trim_end_matches('.'));
        let first = match optimizer {
            None => place.is_empty().then_some(0),
            Some(optimizer) if optimizers.len() > 1 => {
                optimizers.iter().find(|(known, _)| known == optimizer).map(|(_, first)| *first)
            }
            Some(_) => Some(0),
        };
        first?.checked_add(number)
    });
    match number.filter(|&place| place < names.len()) {
        Some(place) => vec![place],
        None => called(group),
    }
}
