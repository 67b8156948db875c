//! Which option of the library is which flag of the command. The library's sentences name options; what the command prints
//! names flags.

/// An option, and its flag.
const FLAGS: &[(&str, &str)] = &[
    ("OpenOptions::verify", "--no-verify"),
    ("OpenOptions::lenient", "--lenient"),
    ("OpenOptions::axes", "--axis"),
    ("OpenOptions::nth", "--nth"),
    ("SaveOptions::overwrite", "--overwrite"),
    ("SaveOptions::allow_objects", "--allow-objects"),
    ("SaveOptions::weights_only", "--weights-only"),
    ("SaveOptions::container", "--to"),
    ("SaveOptions::format", "--to"),
    ("SaveOptions::template", "--template"),
    ("SaveOptions::max_shard_size", "--max-shard-size"),
    ("Conversion::key", "--key"),
    ("Conversion::dtype", "--dtype"),
    ("Conversion::location", "--map-location"),
    ("LoadOptions::strip_prefix", "--strip-prefix"),
    ("LoadOptions::rename", "--rename"),
    ("LoadOptions::include", "--include"),
    ("LoadOptions::exclude", "--exclude"),
    ("ReadOptions::input_shape", "--input-shape"),
    ("ReadOptions::divide_by", "--divide-by"),
    ("ResumeOptions::optimizer", "--optimizer"),
    ("ResumeOptions::new_optimizer", "--optimizer"),
    ("ResumeOptions::lr", "--lr"),
    ("ResumeOptions::set", "--set"),
    ("ResumeOptions::new_schedule", "--new-scheduler"),
    ("ResumeOptions::rest_frozen", "--rest frozen"),
    ("OptimizerBuilder::rest_frozen", "--rest frozen"),
    ("ResumeOptions::order", "--order"),
    ("ResumeOptions::weights_only", "--weights-only"),
    ("ResumeOptions::loader_rng", "--loader-rng"),
    ("ResumeOptions::no_loader_rng", "--loader-rng none"),
    ("ResumeOptions::add_rng", "--add-rng"),
    ("ResumeOptions::clip_norm", "--clip-norm"),
    ("ResumeOptions::no_clip", "--clip-norm none"),
    ("ResumeOptions::clip_value", "--clip-value"),
    ("ResumeOptions::accumulate", "--accumulate"),
    ("ResumeOptions::scheduler", "--scheduler"),
    ("ResumeOptions::schedule", "--scheduler"),
    ("ResumeOptions::group", "--group"),
    ("ResumeOptions::seed", "--seed"),
    ("ResumeOptions::no_scheduler", "--scheduler none"),
    ("ResumeOptions::schedule_per", "--schedule-per"),
    ("ResumeOptions::schedule_at", "--schedule-at"),
    ("Run::steps_per_epoch", "--steps-per-epoch"),
    ("Run::step_scheduler", "--metric"),
    ("ResumeOptions::freeze", "--freeze"),
    ("ResumeOptions::unfreeze", "--unfreeze"),
    ("ResumeOptions::rng", "--rng"),
    ("ResumeOptions::member", "--member"),
    ("ResumeOptions::unexpected", "--unexpected"),
    ("ResumeOptions::average", "--ema"),
    ("ResumeOptions::average_per", "--ema-per"),
    ("ResumeOptions::average_at", "--ema-at"),
    ("ResumeOptions::keep_average", "--ema none"),
    ("ResumeOptions::part", "--model {}=NAME"),
    ("ResumeOptions::optimizer_at", "--optimizer-at"),
    ("ResumeOptions::scheduler_at", "--scheduler-at"),
    ("ResumeOptions::allow_objects", "--allow-objects"),
    ("OptimizerBuilder::group", "--group"),
];

/// A sentence of the library's with flags in the place of the options that it names: `` `ResumeOptions::seed` `` is `--seed`, and
/// `` `ResumeOptions::optimizer(OptimizerKind::Adam)` `` is `--optimizer Adam`.
pub(super) fn in_flags(sentence: &str) -> String {
    let mut out = String::with_capacity(sentence.len());
    let mut rest = sentence;
    while let Some((before, ticked)) = rest.split_once('`') {
        out += before;
        match ticked.split_once('`').and_then(|(option, after)| Some((flag(option)?, after))) {
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

fn flag(option: &str) -> Option<String> {
    let (name, value) = option.strip_suffix(')').and_then(|call| call.split_once('(')).unwrap_or((option, ""));
    let (_, flag) = FLAGS.iter().find(|(known, _)| *known == name)?;
    let value = value.rsplit("::").next().unwrap_or_default().trim_matches('"');
    if flag.contains("{}") {
        return Some(flag.replace("{}", if value.is_empty() { "PART" } else { value }));
    }
    Some(if matches!(value, "" | "true" | "false" | "..") { (*flag).to_owned() } else { format!("{flag} {value}") })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn options_become_flags_and_the_rest_stays() {
        for (said, expected) in [
            ("restore it or pass `OpenOptions::verify(false)` to read it", "restore it or pass --no-verify to read it"),
            ("with `ResumeOptions::optimizer(OptimizerKind::Adam)`", "with --optimizer Adam"),
            ("say `Conversion::key(\"model_state_dict\")`, or `Limits`", "say --key model_state_dict, or `Limits`"),
            ("`ResumeOptions::no_scheduler(true)`", "--scheduler none"),
            ("`ResumeOptions::part(\"G\")`, or `ResumeOptions::part`", "--model G=NAME, or --model PART=NAME"),
            ("`ResumeOptions::freeze(\"{0.*,2.bias}\")`", "--freeze {0.*,2.bias}"),
            ("a ` alone, `ResumeOptions::seed`", "a ` alone, --seed"),
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
