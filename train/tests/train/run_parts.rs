//! Runs of several models go on as PyTorch's did, part by part, and go back into one checkpoint.

use burn::tensor::{Device, Tensor};
use rekindle_models::init::Init;
use rekindle_models::nn::{LinearConfig, ReLU, Sequential};
use rekindle_recorder::run::Taken;
use rekindle_recorder::{Checkpoint, Dict, Value, walk};
use rekindle_testing::{fixtures, seeded};
use rekindle_train::Run;
use rekindle_train::loss::bce_with_logits;
use rekindle_train::optim::{AdamOptions, Optimizer};
use rekindle_train::run::{AnyRun, ResumeOptions, checkpoint_of, save_parts};

fn device() -> Device {
    Device::flex().autodiff()
}

/// `nn.Sequential(nn.Linear, nn.ReLU, nn.Linear)`.
fn mlp([a, b, c]: [usize; 3]) -> Sequential {
    let device = device();
    let linear = |from, to| LinearConfig::new(from, to).init(&mut Init::lazy(&device)).unwrap().into();
    seeded(Sequential::new(vec![linear(a, b), ReLU::new().into(), linear(b, c)]), 1)
}

fn forward(run: &Run<Sequential>, inputs: Tensor<2>) -> Tensor<2> {
    run.model().forward(inputs).unwrap()
}

fn generator() -> Sequential {
    mlp([4, 8, 6])
}

fn discriminator() -> Sequential {
    mlp([6, 8, 1])
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(fixtures::path("several").join(name)).unwrap()
}

fn resumed(model: Sequential, part: &str) -> Run<Sequential> {
    Run::resume_with(open("gan.pt"), model, ResumeOptions::default().part(part.to_owned())).unwrap()
}

/// How far the tensors of two values are apart, and whether all else is equal.
fn apart(ours: &Checkpoint, theirs: &Checkpoint) -> f64 {
    let mut far: f64 = 0.0;
    let mut leaves = Vec::new();
    let limits = rekindle_recorder::Limits::default();
    let mut gather = |path: &str, _: &Value| {
        leaves.push(path.to_owned());
        Ok(())
    };
    walk::walk(theirs.root(), &limits, &mut gather).unwrap();
    for path in leaves {
        let (a, b) = (ours.value(&path).unwrap(), theirs.value(&path).unwrap());
        match (a.as_tensor(), b.as_tensor()) {
            (Some(a), Some(b)) => {
                assert_eq!((a.dtype(), a.shape()), (b.dtype(), b.shape()), "{path}");
                let (a, b) = (a.to_f64_vec().unwrap(), b.to_f64_vec().unwrap());
                far = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(far, f64::max);
            }
            _ => assert_eq!(walk::repr(&a), walk::repr(&b), "{path}"),
        }
    }
    far
}

#[test]
fn a_gan_goes_on_as_in_pytorch_and_goes_back_as_one_checkpoint() {
    let truth = fixtures::json("several/gan.json");
    let numbers = |value: &serde_json::Value| -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    #[allow(clippy::cast_possible_truncation)]
    let real: Vec<f32> = numbers(&truth["real"]).iter().map(|&x| x as f32).collect();
    let (mut g, mut d) = (resumed(generator(), "G"), resumed(discriminator(), "netD"));
    assert_eq!((g.part(), d.part()), (Some("G"), Some("D")));
    assert_eq!((g.steps(), g.scheduler().is_some(), d.scheduler().is_some()), (20, true, false));
    let batch = |values: Vec<f32>, width: usize| Tensor::<1>::from_floats(&values[..], &device()).reshape([16, width]);
    let (ones, zeros) = (batch(vec![1.0; 16], 1), batch(vec![0.0; 16], 1));
    for (step, expected) in truth["losses"].as_array().unwrap().iter().enumerate() {
        let real = batch(real[step * 96..(step + 1) * 96].to_vec(), 6);
        let noise = batch(rekindle_random::randn::<f32>(&mut g.generator_mut(), 64), 4);
        let fake = forward(&g, noise);
        let loss = bce_with_logits(forward(&d, real), ones.clone()).unwrap()
            + bce_with_logits(forward(&d, fake.clone().detach()), zeros.clone()).unwrap();
        d.step(loss).unwrap();
        let loss = bce_with_logits(forward(&d, fake), ones.clone()).unwrap();
        g.step(loss).unwrap();
        for (ours, theirs) in [&d, &g].iter().zip(numbers(expected)) {
            let ours = ours.loss().unwrap().unwrap();
            assert!((ours - theirs).abs() <= 1e-6 * theirs, "step {step}: {ours} and {theirs}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gan.pt");
    save_parts(&[&g, &d], &path).unwrap();
    let (ours, theirs) = (Checkpoint::open(&path).unwrap(), open("gan_end.pt"));
    assert!(apart(&ours, &theirs) <= 1e-5, "{}", apart(&ours, &theirs));
    let state = |checkpoint: &Checkpoint| {
        checkpoint.get::<rekindle_recorder::Tensor>("rng_state").unwrap().to_le_bytes().unwrap()
    };
    assert_eq!(state(&ours), state(&theirs), "the generator is where PyTorch's is");
    let keys = |checkpoint: &Checkpoint| {
        walk::repr(
            &checkpoint.root().as_dict().unwrap().entries().into_iter().map(|(key, _)| key).collect::<Vec<_>>().into(),
        )
    };
    assert_eq!(keys(&ours), keys(&theirs));
}

#[test]
fn which_model_goes_on_is_asked_and_a_part_alone_leaves_the_others_as_they_are() {
    let error = Run::resume(open("gan.pt"), generator()).unwrap_err().to_string();
    assert!(error.contains("several models ('netG', 'netD')"), "{error}");
    assert!(error.contains("`ResumeOptions::part(\"G\")` to go on with netG with optimizerG"), "{error}");
    assert!(error.contains("`ResumeOptions::part(\"D\")` to go on with netD with optimizerD"), "{error}");
    let none = Run::resume_with(open("gan.pt"), generator(), ResumeOptions::default().part("E".to_owned()));
    assert!(none.unwrap_err().to_string().contains("the models of the checkpoint are 'netG', 'netD'"));

    let g = resumed(generator(), "g");
    let plan = g.resumed_by().unwrap();
    let taken = |place: &str| plan.values.iter().find(|value| value.place == place).unwrap().taken;
    assert_eq!((taken("netD"), taken("optimizerD")), (Taken::Other("model"), Taken::Other("optimizer")));
    assert!(plan.to_string().contains("part       G; kept as they are: netD, optimizerD"), "{plan}");
    let (before, after) = (open("gan.pt"), g.checkpoint().unwrap());
    assert!(apart(&after, &before) <= 0.0);
    assert_eq!(taken("fixed_noise"), Taken::Kept);
}

#[test]
fn an_optimizer_of_several_models_is_refused_and_another_can_be_said() {
    let checkpoint = open("gan.pt");
    let both = checkpoint.value("optimizerD").unwrap();
    checkpoint.set("optimizers", vec![both, checkpoint.value("optimizerG").unwrap()]).unwrap();
    checkpoint.root().as_dict().unwrap().remove("optimizerG");
    checkpoint.root().as_dict().unwrap().remove("optimizerD");
    checkpoint.root().as_dict().unwrap().remove("netD");
    let error = Run::resume(checkpoint.clone(), generator()).unwrap_err().to_string();
    assert!(error.contains("2 optimizers for one model"), "{error}");
    let together = open("gan.pt");
    // Nothing has state, and the groups are not one model's each: whose a parameter is cannot be told.
    let group = |ids: std::ops::Range<i64>| {
        Dict::from_iter([("lr", Value::Float(0.1)), ("params", ids.collect::<Vec<_>>().into())])
    };
    let groups = vec![group(0..3), group(3..8)];
    let both: Value = Dict::from_iter([("state", Value::from(Dict::new())), ("param_groups", groups.into())]).into();
    together.set("optimizer", both).unwrap();
    together.root().as_dict().unwrap().remove("optimizerG");
    together.root().as_dict().unwrap().remove("optimizerD");
    for options in [ResumeOptions::default(), ResumeOptions::default().part("G".to_owned())] {
        let error = Run::resume_with(together.clone(), generator(), options).unwrap_err().to_string();
        assert!(error.contains("it trains several at once"), "{error}");
    }
    let options = ResumeOptions::default().optimizer_at("optimizers[1]".to_owned());
    let run = Run::resume_with(checkpoint.clone(), generator(), options).unwrap();
    let after = run.checkpoint().unwrap();
    assert!(apart(&after, &checkpoint) <= 0.0);
}

#[test]
fn runs_that_begin_are_saved_as_parts_and_read_again() {
    let begin = |model: Sequential, name: &str| {
        let optimizer = Optimizer::adam(&model, AdamOptions::default()).unwrap();
        Run::start(model, optimizer).as_part(name)
    };
    let (mut g, d) = (begin(generator(), "G"), begin(discriminator(), "D"));
    let loss = forward(&g, Tensor::ones([2, 4], &device())).mean();
    g.step(loss).unwrap();
    let checkpoint = checkpoint_of(&[&g, &d]).unwrap();
    for (model, part) in [(generator(), "G"), (discriminator(), "D")] {
        let options = ResumeOptions::default().part(part.to_owned());
        let again = Run::resume_with(checkpoint.clone(), model, options).unwrap();
        assert_eq!((again.part(), again.steps()), (Some(part), 1));
    }
    assert!(checkpoint_of(&[&g, &g]).unwrap_err().to_string().contains("two of the runs are of the part 'G'"));
    assert!(checkpoint_of(&[]).is_err());
}
