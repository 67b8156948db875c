//! What a network is trained to do: its loss on a batch, and its accuracy on samples held back.

use burn::module::Module as _;
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use rekindle::models::functional::{Array, Kind, autocast};
use rekindle::models::graph::Program;
use rekindle::models::{Inputs, Network, Outputs, Problem, Says};
use rekindle::random::Generator;
use rekindle::recorder::Error;
use rekindle::train::data::{Batch, Samples};
use rekindle::train::loss::{CrossEntropy, bce_with_logits, mse, nll};
use rekindle::train::run::Share;

use super::answer::{Anything, usage};
use super::mean_over::MeanOver;
use super::smoothing::Smoothing;

/// The losses of `--loss`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Loss {
    /// Logits against classes.
    #[default]
    CrossEntropy,
    /// Numbers against numbers.
    Mse,
    /// Logits against numbers from 0 to 1.
    BceWithLogits,
    /// Log-probabilities against classes.
    Nll,
    /// What a program of torch.export computes itself: the output called `loss`, else the first.
    Graph,
    /// The output of a program that has this name, or is the so many-th, from 0.
    Output(String),
}

impl std::str::FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "cross_entropy" => Loss::CrossEntropy,
            "mse" => Loss::Mse,
            "bce_with_logits" => Loss::BceWithLogits,
            "nll" => Loss::Nll,
            "graph" => Loss::Graph,
            _ => match text.strip_prefix("output:").filter(|output| !output.is_empty()) {
                Some(output) => Loss::Output(output.to_owned()),
                None => return Err(format!("the losses are {LOSSES}, and not '{text}'")),
            },
        })
    }
}

/// The losses, for messages.
const LOSSES: &str = "cross_entropy, mse, bce_with_logits, nll, and of a program graph and output:N";

impl TryFrom<String> for Loss {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Loss {
    /// The loss where none was said: of a classifier the one that its `problem_type` says, or, as in transformers, what its labels and
    /// the targets of its first batch tell; else `cross_entropy`.
    pub(super) fn of(network: &Network, first: Option<&Batch>) -> Self {
        let targets = first.filter(|batch| batch.get("targets").or_else(|| batch.get("labels")).is_some());
        let whole = targets.is_none_or(|batch| batch.target_data().dtype().is_int());
        match network.problem(whole) {
            Some(Problem::Regression) => Loss::Mse,
            Some(Problem::MultiLabel) => Loss::BceWithLogits,
            _ => Loss::CrossEntropy,
        }
    }

    /// Whether a program computes it.
    pub(super) fn is_in_program(&self) -> bool {
        matches!(self, Loss::Graph | Loss::Output(_))
    }
}

/// A loss, and the device to compute it on.
pub(super) struct Task {
    /// Without autodiff.
    device: Device,
    loss: Loss,
    /// What networks compute in.
    dtype: FloatDType,
    /// What losses are computed in.
    loss_in: FloatDType,
    /// What autocast computes in around them and their losses.
    amp: Option<FloatDType>,
    /// What the losses of a step are the mean over.
    over: MeanOver,
    /// How much of each target cross entropy gives to all classes alike.
    smoothing: f64,
}

impl Task {
    pub(super) fn new(device: Device, loss: Loss, dtype: FloatDType, amp: Option<FloatDType>) -> Self {
        Task { device, loss, dtype, loss_in: dtype, amp, over: MeanOver::default(), smoothing: 0.0 }
    }

    /// With losses in this type, which a network's outputs become first.
    pub(super) fn with_losses_in(self, dtype: FloatDType) -> Self {
        Task { loss_in: dtype, ..self }
    }

    /// The loss of a batch, ready for its backward pass.
    pub(super) fn loss(&self, network: &Network, batch: &Batch) -> Result<Tensor<1>, Error> {
        if self.loss.is_in_program() {
            return self.loss_of_program(network, batch);
        }
        let device = self.device.clone().autodiff();
        self.of(network.says(), self.forward(network, batch, &device)?, batch, &device)
    }

    pub(super) fn with_mean_over(self, over: MeanOver) -> Self {
        Task { over, ..self }
    }

    pub(super) fn with_label_smoothing(self, smoothing: Option<Smoothing>) -> Self {
        Task { smoothing: smoothing.map_or(0.0, |Smoothing(part)| part), ..self }
    }

    /// The loss of a batch, and its share in a step, ready for its backward pass.
    pub(super) fn shared(&self, network: &Network, batch: &Batch) -> Result<(Tensor<1>, Share), Error> {
        match self.over {
            MeanOver::Batches => Ok((self.loss(network, batch)?, Share::Batch)),
            MeanOver::BatchesLeft => Ok((self.loss(network, batch)?, Share::Items(1.0))),
            MeanOver::Sum => Ok((self.loss(network, batch)?, Share::Whole)),
            MeanOver::Targets | MeanOver::Labels => {
                let items = self.items(network, batch)?;
                let device = self.device.clone().autodiff();
                let outputs = self.forward(network, batch, &device)?;
                Ok((self.reduced(network.says(), outputs, batch, &device, true)?, Share::Items(items)))
            }
        }
    }

    /// How many targets or labels a batch has that count.
    #[allow(clippy::cast_precision_loss)] // a count
    fn items(&self, network: &Network, batch: &Batch) -> Result<f64, Error> {
        let only = "--mean-over targets and labels are of cross_entropy over a network's own outputs; say --mean-over batches or sum";
        if self.loss != Loss::CrossEntropy {
            return Err(Error::invalid(only));
        }
        let labels = batch.get("targets").is_none() && network.says() == Says::NextTokens;
        let data = batch.target_data();
        let length = data.shape().as_slice().last().copied().unwrap_or(1).max(1);
        // The first of a row is never predicted.
        let predicted = |place: usize| !labels || self.over == MeanOver::Labels || !place.is_multiple_of(length);
        Ok(data.iter::<i64>().enumerate().filter(|(place, label)| *label != -100 && predicted(*place)).count() as f64)
    }

    fn of(&self, says: Says, outputs: Outputs, batch: &Batch, device: &Device) -> Result<Tensor<1>, Error> {
        self.reduced(says, outputs, batch, device, false)
    }

    /// The mean of the losses, or where it is asked for the sum of those that have classes.
    fn reduced(
        &self,
        says: Says,
        outputs: Outputs,
        batch: &Batch,
        device: &Device,
        sum: bool,
    ) -> Result<Tensor<1>, Error> {
        if batch.get("targets").or_else(|| batch.get("labels")).is_none() {
            return Err(Error::invalid("there is no tensor `targets` for the loss to compare with"));
        }
        let cross_entropy = CrossEntropy::default().sum(sum).label_smoothing(self.smoothing);
        // Autocast computes these losses in float32.
        let single = self.amp.is_some() || self.loss_in == FloatDType::F32;
        let outputs = if single { in_float32(outputs)? } else { outputs };
        match (&self.loss, outputs) {
            (Loss::CrossEntropy, Outputs::D3(logits)) if says != Says::Scores => {
                let [rows, length, words] = logits.dims();
                let targets = words_of(batch, says, [rows, length], device)?;
                cross_entropy.forward(logits.reshape([rows * length, words]), targets)
            }
            (_, Outputs::D3(_)) if says != Says::Scores => Err(Error::invalid(
                "the network gives scores of tokens, of which cross_entropy is the loss; leave --loss out",
            )),
            (Loss::CrossEntropy, Outputs::D2(_))
                if !batch.target_data().dtype().is_int() && batch.target_data().rank() == 2 =>
            {
                Err(Error::invalid(format!(
                    "the targets of a batch are {:?} numbers, and cross_entropy is of classes here, one a sample; say --loss mse or \
                     --loss bce_with_logits",
                    batch.target_data().shape().as_slice()
                )))
            }
            (Loss::CrossEntropy, Outputs::D2(logits)) => cross_entropy.forward(logits, batch.classes::<1>(device)?),
            (Loss::Nll, Outputs::D2(log_probabilities)) => nll(log_probabilities, batch.classes::<1>(device)?),
            (Loss::CrossEntropy, Outputs::D4(logits)) => cross_entropy.forward(logits, batch.classes::<3>(device)?),
            (Loss::Nll, Outputs::D4(log_probabilities)) => nll(log_probabilities, batch.classes::<3>(device)?),
            // Of one number each, as transformers has it.
            (Loss::Mse, Outputs::D2(outputs)) if outputs.dims()[1] == 1 && batch.target_data().rank() == 1 => {
                mse(outputs.squeeze_dim::<1>(1), batch.values_in::<1>(device, self.loss_in)?)
            }
            (Loss::Mse, Outputs::D2(outputs)) => mse(outputs, batch.values_in::<2>(device, self.loss_in)?),
            (Loss::Mse, Outputs::D4(outputs)) => mse(outputs, batch.values_in::<4>(device, self.loss_in)?),
            (Loss::BceWithLogits, Outputs::D2(logits)) => {
                bce_with_logits(logits, batch.values_in::<2>(device, self.loss_in)?)
            }
            (Loss::BceWithLogits, Outputs::D4(logits)) => {
                bce_with_logits(logits, batch.values_in::<4>(device, self.loss_in)?)
            }
            (_, outputs) => {
                Err(Error::invalid(format!("no loss of the command fits outputs of shape {:?}", outputs.shape())))
            }
        }
    }

    /// Makes sure before any work that the network takes such samples and the loss their targets: by what the network, which
    /// does not change, makes of one batch of them, and a look at all classes.
    pub(super) fn check(&self, network: &Network, batch: &Batch, samples: &dyn Samples) -> Result<(), Error> {
        if matches!(self.over, MeanOver::Targets | MeanOver::Labels) {
            self.items(network, batch)?;
        }
        if self.loss.is_in_program() {
            return self.loss_of_program(&network.valid(), batch).map(drop);
        }
        let outputs = self.forward(&network.valid(), batch, &self.device)?;
        let shape = outputs.shape();
        let classes = if network.says() == Says::Scores { shape.get(1) } else { shape.last() };
        if let (Loss::CrossEntropy | Loss::Nll, Some(&classes)) = (&self.loss, classes) {
            samples.check_classes(classes)?;
        }
        self.of(network.says(), outputs, batch, &self.device).map(drop)
    }

    /// The part of the samples whose class has the largest output; `None` where that says nothing.
    pub(super) fn accuracy(
        &self,
        network: &Network,
        samples: &dyn Samples,
        batch_size: usize,
    ) -> Anything<Option<f64>> {
        if samples.is_empty() || !matches!(self.loss, Loss::CrossEntropy | Loss::Nll) {
            return Ok(None);
        }
        let network = network.valid();
        let mut right = 0_usize;
        for places in (0..samples.len()).collect::<Vec<_>>().chunks(batch_size) {
            let batch = samples.batch(places, &mut Generator::default())?;
            if !batch.target_data().dtype().is_int() || batch.target_data().rank() != 1 {
                return Ok(None);
            }
            let Outputs::D2(outputs) = self.forward(&network, &batch, &self.device)? else { return Ok(None) };
            let best = outputs.argmax(1).into_data().convert::<i64>();
            let best = best.as_slice::<i64>().map_err(|error| usage(format!("outputs cannot be read: {error:?}")))?;
            let classes = batch.target_data().iter::<i64>();
            right += best.iter().zip(classes).filter(|(best, class)| *best == class).count();
        }
        #[allow(clippy::cast_precision_loss)] // counts of samples
        Ok(Some(right as f64 / samples.len() as f64))
    }
}

impl Task {
    /// The mean loss over samples.
    pub(super) fn mean_loss(&self, network: &Network, samples: &dyn Samples, batch_size: usize) -> Result<f64, Error> {
        let network = network.valid();
        let mut sum = 0.0;
        for places in (0..samples.len()).collect::<Vec<_>>().chunks(batch_size) {
            let batch = samples.batch(places, &mut Generator::default())?;
            let loss = if self.loss.is_in_program() {
                self.loss_of_program(&network, &batch)?
            } else {
                self.of(network.says(), self.forward(&network, &batch, &self.device)?, &batch, &self.device)?
            };
            let loss = loss.try_into_scalar::<f64>();
            let loss = loss.map_err(|error| Error::invalid(format!("the loss cannot be read: {error:?}")))?;
            #[allow(clippy::cast_precision_loss)] // counts of samples
            (sum += loss * places.len() as f64);
        }
        #[allow(clippy::cast_precision_loss)]
        Ok(sum / samples.len() as f64)
    }

    fn forward(&self, network: &Network, batch: &Batch, device: &Device) -> Result<Outputs, Error> {
        autocast(self.amp, || self.computed(network, batch, device))
    }

    fn computed(&self, network: &Network, batch: &Batch, device: &Device) -> Result<Outputs, Error> {
        if let Network::Program(program) = network {
            let outputs = program.forward(&given(program, batch, &["inputs"], &["targets", "labels"])?);
            let first = outputs.and_then(|outputs| outputs.into_iter().next().map(Outputs::from_array).transpose());
            let first = first.map_err(|error| Error::invalid(error.to_string()))?;
            return first.ok_or_else(|| Error::invalid("the program has no output"));
        }
        if network.takes_tokens() {
            let outputs = network.forward_named(&tokens(network, batch, device)?);
            let first = outputs.map(|outputs| outputs.into_iter().next().map(|(_, first)| first));
            let first = first.and_then(|first| first.map(Outputs::from_array).transpose());
            let first = first.map_err(|error| Error::invalid(error.to_string()))?;
            return first.ok_or_else(|| Error::invalid("the network has no output"));
        }
        if batch.get("inputs").is_none() {
            return Err(Error::invalid("there is no tensor `inputs` for the network"));
        }
        let inputs = match batch.input_shape().len() {
            2 => Inputs::D2(batch.inputs_in(device, self.dtype)?),
            3 => Inputs::D3(batch.inputs_in(device, self.dtype)?),
            4 => Inputs::D4(batch.inputs_in(device, self.dtype)?),
            _ => {
                let shape = batch.input_shape().get(1..).unwrap_or_default();
                return Err(Error::invalid(format!(
                    "inputs have shape {shape:?}, and the network takes {}",
                    takes(network)
                )));
            }
        };
        network.forward(inputs).map_err(|error| Error::invalid(error.to_string()))
    }
}

/// Outputs of 16 bits as float32.
fn in_float32(outputs: Outputs) -> Result<Outputs, Error> {
    let array = outputs.into_array();
    let cast = if matches!(array.dtype(), DType::F16 | DType::BF16) { array.cast(DType::F32) } else { Ok(array) };
    cast.and_then(Outputs::from_array).map_err(|error| Error::invalid(error.to_string()))
}

/// A part of a batch as a program takes it.
fn array_of(data: &TensorData) -> Result<Array, Error> {
    let array = Array::from_data(data.clone(), data.shape().as_slice(), &Device::flex());
    array.map_err(|error| Error::invalid(error.to_string()))
}

/// What a network of tokens is given of a batch, by its own names; the first may be called `inputs`.
fn tokens(network: &Network, batch: &Batch, device: &Device) -> Result<Vec<Array>, Error> {
    let names = network.input_names();
    let first = names.first().copied().unwrap_or_default();
    let known = |name: &str| names.contains(&name) || ["inputs", "targets", "labels"].contains(&name);
    if let Some((name, _)) = batch.parts().find(|(name, _)| !known(name)) {
        let reason = format!("the network has no input for the batches' '{name}'; it takes {}", names.join(", "));
        return Err(Error::invalid(reason));
    }
    let mut found: Vec<Array> = Vec::with_capacity(names.len());
    for name in &names {
        let own = batch.get(name).or_else(|| if *name == first { batch.get("inputs") } else { None });
        let array = own.map(|data| Ok::<_, Error>(array_of(data)?.to_device(device))).transpose()?;
        let array = array.or_else(|| found.first().and_then(|first| network.absent(name, first)));
        found.push(array.ok_or_else(|| Error::invalid(format!("there is no tensor `{name}` for the network")))?);
    }
    Ok(found)
}

/// The tokens that a network is to say, one a row of scores. `targets` are those; `labels` are as transformers takes them: of a
/// network that says what comes next the tokens themselves, each of which is what the one before it is to say.
fn words_of(batch: &Batch, says: Says, shape: [usize; 2], device: &Device) -> Result<Tensor<1, Int>, Error> {
    let labels = batch.get("targets").is_none() && says == Says::NextTokens;
    let wrong = |error: rekindle::models::ModelError| Error::invalid(error.to_string());
    let targets = array_of(batch.target_data())?;
    let [rows, length] = shape;
    if targets.kind() != Kind::Int || ![&shape[..], &[rows * length]].contains(&targets.shape()) {
        let found = targets.shape();
        return Err(Error::invalid(format!("targets are {found:?}, where whole numbers {shape:?} are needed")));
    }
    let mut tokens = targets.ints().map_err(wrong)?;
    if labels {
        for row in tokens.chunks_exact_mut(length.max(1)) {
            row.rotate_left(1);
            if let Some(last) = row.last_mut() {
                *last = -100;
            }
        }
    }
    Ok(Tensor::from_data(TensorData::new(tokens, [rows * length]), device))
}

/// What a program is given of a batch: to each input what is called as it is; to inputs without such, in order, what these
/// names have. A part that no input takes is wrong, but for those that are spared.
fn given(program: &Program, batch: &Batch, unnamed: &[&str], spared: &[&str]) -> Result<Vec<Array>, Error> {
    let names: Vec<&str> = program.inputs().iter().map(|input| input.name.as_str()).collect();
    let there = || batch.parts().map(|(name, _)| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let mut rest =
        unnamed.iter().filter(|name| !names.contains(name)).filter_map(|name| Some((*name, batch.get(name)?)));
    let mut taken = Vec::with_capacity(names.len());
    let mut given = Vec::with_capacity(names.len());
    for input in program.inputs() {
        let own = batch.get(&input.name).map(|data| (input.name.as_str(), data));
        let Some((name, data)) = own.or_else(|| rest.next()) else {
            let reason =
                format!("the program's input '{}' is not among the arrays of the batches: {}", input.name, there());
            return Err(Error::invalid(reason));
        };
        taken.push(name);
        let array = array_of(data)?;
        // Data sets keep truth as 0 and 1.
        let truth = input.dtype.is_bool() && array.kind() == Kind::Int;
        given.push(if truth {
            array.cast(input.dtype).map_err(|error| Error::invalid(error.to_string()))?
        } else {
            array
        });
    }
    match batch.parts().find(|(name, _)| !taken.contains(name) && !spared.contains(name)) {
        Some((name, _)) => {
            let reason = format!("the program has no input for the batches' '{name}'; it takes {}", names.join(", "));
            Err(Error::invalid(reason))
        }
        None => Ok(given),
    }
}

impl Task {
    /// The loss that a program computes itself.
    fn loss_of_program(&self, network: &Network, batch: &Batch) -> Result<Tensor<1>, Error> {
        let Network::Program(program) = network else {
            return Err(Error::invalid(
                "--loss graph and output:N are for a program of torch.export (--model NET.pt2)",
            ));
        };
        let wrong = |error: rekindle::models::ModelError| Error::invalid(error.to_string());
        let given = given(program, batch, &["inputs", "targets"], &[])?;
        let outputs = autocast(self.amp, || program.forward_named(&given)).map_err(wrong)?;
        let called = |name: &str| outputs.iter().position(|(known, _)| known == name);
        let place = match &self.loss {
            Loss::Output(output) => called(output).or_else(|| output.parse().ok()),
            _ => called("loss").or(Some(0)),
        };
        let Some((name, loss)) = place.and_then(|place| outputs.get(place)) else {
            let names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Error::invalid(format!("the program's outputs are {}; none is that loss", names.join(", "))));
        };
        if loss.numel() != 1 {
            return Err(Error::invalid(format!(
                "the program's '{name}' has the shape {:?}, and is no loss",
                loss.shape()
            )));
        }
        loss.reshaped(&[1]).and_then(Array::into_float).map_err(wrong)
    }
}

/// The shape of one input, for messages.
fn takes(network: &Network) -> String {
    let length = |length: &Option<usize>| length.map_or_else(|| "any".to_owned(), |n| n.to_string());
    format!("[{}]", network.input_shape().iter().map(length).collect::<Vec<_>>().join(", "))
}
