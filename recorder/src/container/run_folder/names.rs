//! The names of the files in which runs keep their parts; `#` stands for a number.

/// What only the folder of a run holds.
const STATES: [&str; 10] = [
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "rng_state_#.pth",
    "scaler.pt",
    "optimizer.bin",
    "optimizer_#.bin",
    "scheduler.bin",
    "scheduler_#.bin",
    "random_states_#.pkl",
];

/// What it holds besides, and is of no use where it is damaged.
const PARTS: [&str; 11] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "model-#-of-#.safetensors",
    "model_#.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model-#-of-#.bin",
    "pytorch_model_#.bin",
    "adapter_model.safetensors",
    "adapter_model.bin",
    TRAINER_STATE,
];

/// What goes along with it, and is only kept.
const KEPT: [&str; 8] = [
    "training_args.bin",
    "sampler.bin",
    "sampler_#.bin",
    "dl_state_dict.bin",
    "dl_state_dict_#.bin",
    "custom_checkpoint_#.pkl",
    "config.json",
    "generation_config.json",
];

/// What transformers' Trainer says of a run.
pub(super) const TRAINER_STATE: &str = "trainer_state.json";

fn fits(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('#') else { return pattern == name };
    name.strip_prefix(before).is_some_and(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && rest.get(digits..).is_some_and(|rest| fits(after, rest))
    })
}

fn any(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| fits(pattern, name))
}

/// Whether it is the state of something that is trained, which only the folder of a run holds.
pub(super) fn is_state(name: &str) -> bool {
    any(&STATES, name)
}

/// Whether it is a part of a run, which must be read for it to go on.
pub(crate) fn is_part(name: &str) -> bool {
    is_state(name) || any(&PARTS, name)
}

/// Whether it is one of the files of a run, so that it goes when a folder is replaced by one without it.
pub(super) fn belongs(name: &str) -> bool {
    is_part(name) || any(&KEPT, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_numbers_are_told_from_others() {
        for name in ["optimizer.pt", "optimizer_12.bin", "random_states_0.pkl", "rng_state_3.pth"] {
            assert!(is_state(name) && belongs(name), "{name}");
        }
        for name in ["optimizer_.bin", "optimizer_1x.bin", "my_optimizer.pt", "model.safetensors", "optimizer.pt.bak"] {
            assert!(!is_state(name), "{name}");
        }
        assert!(is_part("model-00001-of-00002.safetensors") && !is_part("model-1-of-2.bin"));
    }
}
