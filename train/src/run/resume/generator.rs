//! The generators that a run draws from: its own, and the loader's.

use rekindle_random::Generator;
use rekindle_recorder::run::{Accounted, Question, RunState, Taken};
use rekindle_recorder::{Checkpoint, Result, Tensor};

use crate::attributes::invalid;
use crate::run::options::ResumeOptions;

/// The generators, and where they are from.
pub(super) struct Drawn {
    pub(super) generator: Generator,
    pub(super) from: String,
    /// The loader's own, and its place in the checkpoint.
    pub(super) loader: (Option<Generator>, Option<String>),
    /// What the user changed, a sentence each.
    pub(super) said: Vec<String>,
}

impl Drawn {
    /// The generator of a run: in the state that the checkpoint has, or begun with a seed. What may be a state, and is not
    /// known to be the one, is asked about.
    ///
    /// # Errors
    /// When a state is none of a generator's, or is not where it was said to be.
    pub(super) fn make(
        checkpoint: &Checkpoint,
        state: &mut RunState,
        options: &ResumeOptions,
        values: &mut [Accounted],
        questions: &mut Vec<Question>,
    ) -> Result<Drawn> {
        if let Some(place) = &options.rng {
            state.take_generator(checkpoint, place)?;
            for value in values.iter_mut() {
                if Some(&value.place) == state.rng_place.as_ref() {
                    value.taken = Taken::Part(GENERATOR);
                } else if value.taken == Taken::Part(GENERATOR) {
                    value.taken = Taken::Second(GENERATOR);
                }
            }
        }
        let (loader, mut said) = loader(checkpoint, state, options, values, questions)?;
        if options.add_rng {
            let odd = values.iter().find(|value| matches!(value.taken, Taken::Odd("generator")));
            if let Some(place) = state.rng_place.as_ref().or(odd.map(|value| &value.place)) {
                return Err(invalid(format!("the checkpoint has {place} already (`ResumeOptions::add_rng`)")));
            }
            said.push("the generator's state is written, too (`ResumeOptions::add_rng`)".to_owned());
        }
        let (generator, from) = own(state, options.seed, values, questions)?;
        Ok(Drawn { generator, from, loader, said })
    }
}

/// The run's own generator, and where it is from.
fn own(
    state: &RunState,
    seed: Option<u64>,
    values: &[Accounted],
    questions: &mut Vec<Question>,
) -> Result<(Generator, String)> {
    let place = state.rng_place.as_deref().unwrap_or_default();
    let bytes = state.rng.as_ref().map(Tensor::to_vec::<u8>).transpose()?;
    match bytes.map(|bytes| Generator::from_state(&bytes)) {
        Some(Ok(generator)) => {
            let unused = seed.map_or_else(String::new, |seed| format!("; seed {seed} is not used"));
            return Ok((generator, format!("the state at {place}{unused}")));
        }
        Some(Err(error)) if seed.is_none() => {
            let question = Question::new(format!("{place} looks like the generator's state, and is none: {error}"));
            let question = others(values, place).fold(question, to_take);
            questions.push(question.or("ResumeOptions::seed(N)", "to begin with a seed"));
            return Ok((Generator::default(), "not told".to_owned()));
        }
        _ => {}
    }
    if let Some(seed) = seed {
        return Ok((Generator::new(seed), format!("seed {seed}")));
    }
    let open = values.iter().filter(|value| matches!(value.taken, Taken::Open("generator") | Taken::Odd("generator")));
    let places: Vec<_> = open.filter(|value| !is_loaders(value)).map(|value| value.place.as_str()).collect();
    if !places.is_empty() {
        let question = Question::new(format!("{} may be the generator's state", places.join(", ")));
        let question = others(values, "").fold(question, to_take);
        questions.push(question.or("ResumeOptions::seed(N)", "to begin with a seed"));
    }
    let none = match &state.told.cuda_generator {
        Some(place) => format!("none of the CPU's in the file, and CUDA's ({place}) does not go on"),
        None => "none in the file".to_owned(),
    };
    Ok((Generator::default(), format!("{none}: PyTorch's default seed")))
}

/// What looks like a state, but for what is here and for a loader's.
fn others<'a>(values: &'a [Accounted], here: &'a str) -> impl Iterator<Item = &'a Accounted> {
    let open = values.iter().filter(|value| value.taken == Taken::Open("generator"));
    open.filter(move |value| value.place != here && !is_loaders(value))
}

fn to_take(question: Question, value: &Accounted) -> Question {
    question.or(format!("ResumeOptions::rng(\"{}\")", value.place), "to take it")
}

/// What the run's generator is called in the account.
const GENERATOR: &str = "generator";

/// What the generator that is taken for the loader's is called in the account.
const LOADERS: &str = "loader's generator";

type Loader = (Option<Generator>, Option<String>);

/// The loader's own generator. What is called so, and nobody said anything of, is asked about: drawn from another one, the order
/// of the samples is another.
fn loader(
    checkpoint: &Checkpoint,
    state: &mut RunState,
    options: &ResumeOptions,
    values: &mut [Accounted],
    questions: &mut Vec<Question>,
) -> Result<(Loader, Vec<String>)> {
    if let Some(place) = &options.loader_rng {
        state.take_loader_generator(checkpoint, place)?;
        if state.rng_place == state.loader_rng_place {
            let both = "the run's generator and the loader's cannot both go on from";
            return Err(invalid(format!("{both} {place} (`ResumeOptions::loader_rng`)")));
        }
        let place = state.loader_rng_place.as_ref().unwrap_or(place);
        let own = state.loader_rng.as_ref().map(|own| read(own, place)).transpose()?;
        for value in values.iter_mut().filter(|value| value.place == *place) {
            value.taken = Taken::Part(LOADERS);
        }
        let said = format!("the loader draws from the state at {place} (`ResumeOptions::loader_rng`)");
        return Ok(((own, Some(place.clone())), vec![said]));
    }
    if !options.no_loader_rng {
        for value in values.iter().filter(|value| is_loaders(value) && Some(&value.place) != state.rng_place.as_ref()) {
            let what = format!("{} may be the state of the loader's own generator", value.place);
            questions.push(
                Question::new(what)
                    .or(format!("ResumeOptions::loader_rng(\"{}\")", value.place), "to draw the samples' order from it")
                    .or("ResumeOptions::no_loader_rng(true)", "to draw it from the run's generator"),
            );
        }
    }
    Ok(((None, None), Vec::new()))
}

/// Whether a value is a generator's state under a loader's name.
fn is_loaders(value: &Accounted) -> bool {
    let name = value.place.to_lowercase();
    value.taken == Taken::Open("generator") && ["loader", "sampler"].iter().any(|word| name.contains(word))
}

fn read(state: &Tensor, place: &str) -> Result<Generator> {
    Generator::from_state(&state.to_vec::<u8>()?).map_err(|error| invalid(format!("{place}: {error}")))
}
