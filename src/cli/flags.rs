//! Which option of the library is which flag of the command. The library's sentences name options; what the command prints
//! names flags.

use clap::CommandFactory as _;

use super::Cli;

/// The types whose options are the flags of the same names, where the command has such.
const OPTIONS: &[&str] =
    &["OpenOptions", "SaveOptions", "Conversion", "LoadOptions", "ReadOptions", "ResumeOptions", "FetchOptions"];

/// An option that is otherwise called, and its flag.
const FLAGS: &[(&str, &str)] = &[
    ("OpenOptions::verify", "--no-verify"),
    ("OpenOptions::axes", "--axis"),
    ("SaveOptions::container", "--to"),
    ("SaveOptions::format", "--to"),
    ("Conversion::location", "--map-location"),
    ("ResumeOptions::new_optimizer", "--optimizer"),
    ("ResumeOptions::new_schedule", "--new-scheduler"),
    ("ResumeOptions::rest_frozen", "--rest frozen"),
    ("OptimizerBuilder::rest_frozen", "--rest frozen"),
    ("ResumeOptions::no_loader_rng", "--loader-rng none"),
    ("ResumeOptions::no_loader_state", "--loader-state none"),
    ("ResumeOptions::no_clip", "--clip-norm none"),
    ("ResumeOptions::keep_numbers", "--epoch-at none"),
    ("ResumeOptions::schedule", "--scheduler"),
    ("ResumeOptions::no_scheduler", "--scheduler none"),
    ("DataLoader::batch_size", "--batch-size"),
    ("DataLoader::drop_last", "--drop-last"),
    ("Run::steps_per_epoch", "--steps-per-epoch"),
    ("Run::step_scheduler", "--metric"),
    ("Run::mean_over", "--mean-over"),
    ("Run::label_smoothing", "--label-smoothing"),
    ("Run::loss_dtype", "--loss-dtype"),
    ("Run::amp", "--amp"),
    ("Run::dtype", "--dtype"),
    ("ResumeOptions::average", "--ema"),
    ("ResumeOptions::average_per", "--ema-per"),
    ("ResumeOptions::average_at", "--ema-at"),
    ("ResumeOptions::keep_average", "--ema none"),
    ("ResumeOptions::part", "--model {}=NAME"),
    ("OptimizerBuilder::group", "--group"),
    ("Network::named", "--model {}"),
];

/// A sentence of the library's with flags in the place of the options that it names: `` `ResumeOptions::seed` `` is `--seed`, and
/// `` `ResumeOptions::optimizer(OptimizerKind::Adam)` `` is `--optimizer Adam`.
pub(super) fn in_flags(sentence: &str) -> String {
    let mut out = String::with_capacity(sentence.len());
    let mut rest = sentence;
    while let Some((before, ticked)) = rest.split_once('`') {
        out += before;
        match ticked_option(ticked).and_then(|(option, after)| Some((flag(option)?, after))) {
            Some((flag, after)) => {
                out += &flag;
                rest = after;
            }
            None => {
                out.push('`');
                rest = ticked;
            }
        }
    }
    out + rest
}

/// An option up to the tick that closes it, and what follows. In a quoted value there may be ticks, too.
fn ticked_option(ticked: &str) -> Option<(&str, &str)> {
    let (option, after) = ticked.split_once('`')?;
    match ticked.split_once("(\"").filter(|(name, _)| name.len() < option.len()) {
        Some((name, value)) => {
            let end = name.len() + 2 + value.find("\")`")? + 2;
            Some((&ticked[..end], &ticked[end + 1..]))
        }
        None => Some((option, after)),
    }
}

/// The flag with its value, ready for a shell.
fn flag(option: &str) -> Option<String> {
    let (flag, value) = flag_and_value(option)?;
    Some(match value {
        None => flag,
        // What stands for a value is none that a shell could take.
        Some(Value::Any(value)) => format!("{flag} {value}"),
        Some(Value::This(value)) => format!("{flag} {}", in_shell(&value)),
    })
}

/// An option of the library's, as arguments of the command, as they are; `None` where the command has no such.
pub(super) fn arguments(option: &str) -> Option<Vec<String>> {
    let (flag, value) = flag_and_value(option)?;
    let value = value.map(|value| match value {
        Value::Any(value) | Value::This(value) => value,
    });
    Some(flag.split(' ').map(str::to_owned).chain(value).collect())
}

/// What a flag is given.
enum Value {
    /// A name that stands for whatever is meant: `N`, `NAME(..)`.
    Any(String),
    /// A text.
    This(String),
}

fn flag_and_value(option: &str) -> Option<(String, Option<Value>)> {
    let (name, value) = option.strip_suffix(')').and_then(|call| call.split_once('(')).unwrap_or((option, ""));
    let known = FLAGS.iter().find(|(known, _)| *known == name).map(|(_, flag)| (*flag).to_owned());
    let flag = known.or_else(|| of_the_same_name(name))?;
    let text = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let value = text.unwrap_or_else(|| value.rsplit("::").next().unwrap_or_default());
    if let Some((flag, form)) = flag.split_once(' ').filter(|(_, form)| form.contains("{}")) {
        let filled = form.replace("{}", if value.is_empty() { "PART" } else { value });
        return Some((flag.to_owned(), Some(if text.is_some() { Value::This(filled) } else { Value::Any(filled) })));
    }
    let value = match (text, value) {
        (Some(text), _) => Some(Value::This(text.to_owned())),
        (None, "" | "true" | "false" | "..") => None,
        (None, value) => Some(Value::Any(value.to_owned())),
    };
    Some((flag, value))
}

/// A value as a shell takes it: quoted, where a shell would make something else of it.
fn in_shell(value: &str) -> String {
    // A star, or a place in a list, is itself wherever no file has such a name.
    let plain = |c: char| c.is_alphanumeric() || "_./:=,@%+-*[]".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    if !value.contains('\'') {
        return format!("'{value}'");
    }
    if !value.contains(['"', '$', '`', '\\', '!']) {
        return format!("\"{value}\"");
    }
    format!("'{}'", value.replace('\'', "'\\''"))
}

/// The flag that an option of the library has by its own name.
fn of_the_same_name(option: &str) -> Option<String> {
    let (_, name) = option.split_once("::").filter(|(of, _)| OPTIONS.contains(of))?;
    let name = name.replace('_', "-");
    let command = Cli::command();
    let has = command.get_subcommands().any(|verb| verb.get_arguments().any(|flag| flag.get_long() == Some(&name)));
    has.then(|| format!("--{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_flags_and_the_rest_stays() {
        for (said, expected) in [
            ("restore it or pass `OpenOptions::verify(false)` to read it", "restore it or pass --no-verify to read it"),
            ("with `ResumeOptions::optimizer(OptimizerKind::Adam)`", "with --optimizer Adam"),
            ("say `Conversion::key(\"model_state_dict\")`, or `Limits`", "say --key model_state_dict, or `Limits`"),
            ("`ResumeOptions::no_scheduler(true)`", "--scheduler none"),
            ("`ResumeOptions::part(\"G\")`, or `ResumeOptions::part`", "--model G=NAME, or --model PART=NAME"),
            ("`ResumeOptions::freeze(\"{0.*,2.bias}\")`", "--freeze '{0.*,2.bias}'"),
            ("`ResumeOptions::new_optimizer(NAME(..))`", "--optimizer NAME(..)"),
            ("say `ResumeOptions::rng(\"['a.b']\")` to take it", "say --rng \"['a.b']\" to take it"),
            ("`ResumeOptions::rng(\"a::b`c\")`, or `ResumeOptions::seed(N)`", "--rng 'a::b`c', or --seed N"),
            ("`ResumeOptions::part(\"it's $1\")`", "--model 'it'\\''s $1=NAME'"),
            ("`ResumeOptions::loader_rng(\"none\")`", "--loader-rng none"),
            ("a ` alone, `ResumeOptions::seed`", "a ` alone, --seed"),
            (
                "`SaveOptions::max_shard_size(\"1GB\")`, `ResumeOptions::load`",
                "--max-shard-size 1GB, `ResumeOptions::load`",
            ),
            ("`ResumeOptions::seed`: no end `", "--seed: no end `"),
        ] {
            assert_eq!(in_flags(said), expected);
        }
    }

    #[test]
    fn every_flag_of_the_table_is_one_of_the_command() {
        let command = Cli::command();
        let flags: Vec<_> = command.get_subcommands().flat_map(clap::Command::get_arguments).collect();
        for (option, flag) in FLAGS {
            let name = flag.trim_start_matches("--").split(' ').next().unwrap();
            assert!(flags.iter().any(|argument| argument.get_long() == Some(name)), "{option} is no {flag}");
        }
    }
}
