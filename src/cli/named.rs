//! Networks by their names: `gpt2(n_head=12)`, with what the checkpoint tells of them, and the list of those there are.

use std::fmt::Write as _;

use burn::tensor::Device;
use rekindle::models::{Config, ModelError, Network};
use rekindle::recorder::run::{Question, RunState};
use rekindle::recorder::{Error, ErrorKind, StateDict};
use rekindle::{Checkpoint, Result};

/// What `--help` says after the examples: the networks with their settings.
pub(super) fn listed(examples: &str) -> String {
    let mut text = format!(
        "{examples}\n\nNetworks by name, with their libraries' defaults. What is not said, as in --model 'gpt2(n_head=12)' or --config n_head=12, \
         is as transformers' config.json beside the checkpoint, nanoGPT's model_args in it, or the shapes of its weights tell; what \
         nothing tells is asked for.\n"
    );
    for name in Network::names() {
        let settings = Network::settings(name).unwrap_or_default().iter().filter(|setting| setting.is_free());
        let settings: Vec<String> = settings.map(|setting| format!("{}={}", setting.name, setting.default)).collect();
        let call = if settings.is_empty() { name.to_owned() } else { format!("{name}({})", settings.join(", ")) };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {call}");
    }
    text
}

/// The network that `--model` and `--config` name, made as the checkpoint tells where they leave something out.
pub(super) fn build(
    call: &str,
    config: &Config,
    checkpoint: &Checkpoint,
    part: Option<&str>,
    training: bool,
    device: &Device,
) -> Result<Network> {
    let (name, own) = Config::call(call)?;
    let told: Config = config.iter().chain(own.iter()).collect();
    let (said, weights) = (Config::beside(checkpoint)?, weights(checkpoint, part));
    let config = Network::settled(&name, &told, said.as_ref(), weights.as_ref(), training);
    let config = config.map_err(|error| match open(&told, error) {
        Ok(open) => rekindle::Error::from(open.in_file_if(checkpoint.path())),
        Err(error) => error.into(),
    })?;
    Ok(Network::build(&name, &config, device)?)
}

/// The weights of a part of the checkpoint, or of its only model; `None` where they are not to be found: whoever loads them says why.
fn weights(checkpoint: &Checkpoint, part: Option<&str>) -> Option<StateDict> {
    let run = RunState::read(checkpoint).ok()?;
    let other = run.other_models.iter().find(|(name, _)| Some(name.as_str()) == part);
    Some(other.map_or(run.model, |(_, model)| model.clone()))
}

/// Settings that are open, as a question; the answer repeats what was told.
fn open(told: &Config, error: ModelError) -> std::result::Result<Error, ModelError> {
    let ModelError::OpenSettings { network, open } = error else { return Err(error) };
    let names: Vec<&str> = open.iter().map(|(name, _)| name.as_str()).collect();
    let what = format!("what the network '{network}' is made of is open: its weights do not show {}", names.join(", "));
    let said = told.iter().chain(open.iter().map(|(name, default)| (name.as_str(), default.as_str())));
    let pairs: Vec<String> = said.map(|(key, value)| format!("{key}={value}")).collect();
    let answer = format!("Network::named(\"{network}({})\")", pairs.join(", "));
    let mut says = "with the run's own values, of which these are the library's defaults".to_owned();
    if Network::model_type(&network).is_some() {
        says += "; or put transformers' config.json beside the checkpoint";
    }
    Ok(Error::new(ErrorKind::Open(vec![Question::new(what).or(answer, says)])))
}
