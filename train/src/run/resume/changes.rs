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

/// Which groups are meant: all, one by its number, or those of a name.
fn places(group: &str, groups: &[Attributes]) -> Result<Vec<usize>> {
    if group == "*" {
        return Ok((0..groups.len()).collect());
    }
    let name = |group: &Attributes| {
        ["name", "group_name"].into_iter().find_map(|key| Some(group.get(key)?.as_str()?.to_owned()))
    };
    let number = group.parse::<usize>().ok().filter(|&place| place < groups.len());
    let places: Vec<usize> = match number {
        Some(place) => vec![place],
        None => (0..groups.len()).filter(|&place| name(&groups[place]).as_deref() == Some(group)).collect(),
    };
    if places.is_empty() {
        let all = groups.iter().enumerate().map(|(place, group)| match name(group) {
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
