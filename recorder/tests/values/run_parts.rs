//! Which optimizer, scheduler and average belongs to which of several models.

use rekindle_recorder::checkpoint::Checkpoint;
use rekindle_recorder::run::{RunPart, RunState, Taken, account_of};
use rekindle_recorder::value::List;
use rekindle_recorder::{Dict, StateDict, Tensor, Value};

/// A layer of this width.
fn model(width: usize) -> Value {
    let weight = Tensor::from_vec(&[width, 2], vec![1.0_f32; 2 * width]).unwrap();
    StateDict::from_iter([("weight", weight), ("bias", Tensor::from_vec(&[width], vec![2.0_f32; width]).unwrap())])
        .to_value()
}

/// An optimizer of layers of these widths.
fn optimizer(widths: &[usize]) -> Value {
    let shapes = widths.iter().flat_map(|&width| [vec![width, 2], vec![width]]);
    let state = |shape: Vec<usize>| {
        let zeros = Tensor::from_vec(&shape, vec![0.0_f32; shape.iter().product()]).unwrap();
        Value::from(Dict::from_iter([("step", Tensor::scalar(3.0_f32)), ("exp_avg", zeros)]))
    };
    let states: Dict = shapes.zip(0_i64..).map(|(shape, id)| (Value::Int(id), state(shape))).collect();
    let ids: Vec<i64> = (0..2 * i64::try_from(widths.len()).unwrap()).collect();
    let group = Dict::from_iter([("lr", Value::Float(0.1)), ("params", ids.into())]);
    Dict::from_iter([("state", Value::from(states)), ("param_groups", vec![group].into())]).into()
}

fn scheduler() -> Value {
    Dict::from_iter([("step_size", 2), ("last_epoch", 4), ("_step_count", 5)]).into()
}

fn dict(entries: Vec<(&str, Value)>) -> Value {
    Dict::from_iter(entries).into()
}

fn list(items: Vec<Value>) -> Value {
    Value::List(List::new(items))
}

fn parts(entries: Vec<(&str, Value)>) -> Vec<RunPart> {
    RunState::parts(&Checkpoint::from(Dict::from_iter(entries))).unwrap()
}

#[test]
fn the_stem_of_the_keys_tells_whose_a_part_is() {
    for [g, d, opt_g, opt_d, sched_g] in [
        ["netG", "netD", "optimizerG", "optimizerD", "schedulerG"],
        [
            "modelA_state_dict",
            "modelB_state_dict",
            "optimizerA_state_dict",
            "optimizerB_state_dict",
            "schedulerA_state_dict",
        ],
        ["generator", "discriminator", "g_optimizer", "d_optimizer", "g_scheduler"],
        ["generator_state_dict", "discriminator_state_dict", "optimizer_G", "optimizer_D", "lr_scheduler_G"],
        ["G", "D", "optimG", "optimD", "schedG"],
        ["G_state_dict", "D_state_dict", "G_optim", "D_optim", "G_sched"],
        ["actor", "critic", "actor_optimizer", "critic_optimizer", "actor_scheduler"],
        ["model_1", "model_2", "optimizer_1", "optimizer_2", "scheduler_1"],
        ["encoder", "decoder", "encoder_optimizer", "decoder_optimizer", "encoder_lr_scheduler"],
    ] {
        // Of equal shapes, and the optimizers first and the other way round.
        let entries = vec![
            (opt_d, optimizer(&[3])),
            (sched_g, scheduler()),
            (opt_g, optimizer(&[3])),
            (d, model(3)),
            (g, model(3)),
        ];
        let found = parts(entries);
        assert_eq!(found.len(), 2, "{g}: {found:?}");
        for (model, optimizer, schedulers) in [(g, opt_g, vec![sched_g]), (d, opt_d, vec![])] {
            let part = found.iter().find(|part| part.model == model).unwrap();
            assert_eq!(
                (&part.optimizers[..], &part.schedulers),
                (&[optimizer.to_owned()][..], &schedulers.iter().map(ToString::to_string).collect()),
                "{found:?}"
            );
        }
    }
}

#[test]
fn parts_in_dicts_and_lists_are_found() {
    for (entries, g, d) in [
        (
            vec![
                ("models", dict(vec![("G", model(3)), ("D", model(4))])),
                ("optimizers", dict(vec![("D", optimizer(&[4])), ("G", optimizer(&[3]))])),
            ],
            ("models.G", "optimizers.G"),
            ("models.D", "optimizers.D"),
        ),
        (
            vec![
                ("models", list(vec![model(3), model(3)])),
                ("optimizers", list(vec![optimizer(&[3]), optimizer(&[3])])),
            ],
            ("models[0]", "optimizers[0]"),
            ("models[1]", "optimizers[1]"),
        ),
        (
            vec![
                ("generator", dict(vec![("model", model(3)), ("optimizer", optimizer(&[3]))])),
                ("discriminator", dict(vec![("optimizer", optimizer(&[3])), ("model", model(3))])),
            ],
            ("generator.model", "generator.optimizer"),
            ("discriminator.model", "discriminator.optimizer"),
        ),
        // By shapes, whatever their order.
        (
            vec![("netX", model(3)), ("netY", model(4)), ("optimizers", list(vec![optimizer(&[4]), optimizer(&[3])]))],
            ("netX", "optimizers[1]"),
            ("netY", "optimizers[0]"),
        ),
        // By order, where the shapes are the same.
        (
            vec![("netX", model(3)), ("netY", model(3)), ("optimizers", list(vec![optimizer(&[3]), optimizer(&[3])]))],
            ("netX", "optimizers[0]"),
            ("netY", "optimizers[1]"),
        ),
    ] {
        let found = parts(entries);
        for (model, optimizer) in [g, d] {
            let part = found.iter().find(|part| part.model == model).unwrap_or_else(|| panic!("{found:?}"));
            assert_eq!(part.optimizers, [optimizer], "{found:?}");
        }
    }
}

#[test]
fn what_nothing_tells_is_open_and_what_is_kept_beside_is_no_part() {
    let both = parts(vec![("netX", model(3)), ("netY", model(3)), ("optimizer", optimizer(&[3, 3]))]);
    assert!(both.iter().all(|part| part.optimizers.is_empty() && part.shared_optimizers == ["optimizer"]), "{both:?}");
    let either = parts(vec![("netX", model(3)), ("netY", model(3)), ("optimizer", optimizer(&[3]))]);
    assert!(
        either.iter().all(|part| part.optimizers.is_empty() && part.open_optimizers == ["optimizer"]),
        "{either:?}"
    );
    let one = parts(vec![
        ("model", model(3)),
        ("best_model", model(3)),
        ("teacher", model(3)),
        ("criterion", dict(vec![("weight", Tensor::from_vec(&[3], vec![1.0_f32; 3]).unwrap().into())])),
        ("target_net", model(3)),
        ("optimizer", optimizer(&[3])),
    ]);
    assert_eq!(one.len(), 1, "{one:?}");
    let unknown = parts(vec![("my_own", model(3)), ("optimizer", optimizer(&[3]))]);
    assert_eq!((unknown.len(), &*unknown[0].model), (1, "my_own"));
}

#[test]
fn an_optimizer_that_trains_several_models_is_shared_out_and_put_together_again() {
    let entries = |order: &[usize]| {
        vec![("netX", model(3)), ("netY", model(4)), ("optimizer", optimizer(order)), ("scheduler", scheduler())]
    };
    for (order, [x, y]) in [(&[3, 4], [0..2, 2..4]), (&[4, 3], [2..4, 0..2])] {
        let before = Checkpoint::from(Dict::from_iter(entries(order)));
        let found = RunState::parts(&before).unwrap();
        let shares: Vec<_> = found.iter().map(|part| part.share.clone().unwrap()).collect();
        assert_eq!(shares, [x.clone(), y]);
        assert!(
            found.iter().all(|part| part.optimizers == ["optimizer"] && part.schedulers == ["scheduler"]),
            "{found:?}"
        );
        let mut own = RunState::read_part(&before, &found[0]).unwrap();
        let ids = |optimizer: &Value| {
            let groups = optimizer.as_dict().unwrap().get("param_groups").unwrap().items().unwrap();
            let ids = groups[0].as_dict().unwrap().get("params").unwrap().items().unwrap();
            ids.iter().map(|id| usize::try_from(id.as_i64().unwrap()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&own.optimizers[0]), x.clone().collect::<Vec<_>>());
        // As it comes back, with the ids that PyTorch would give.
        let mine = optimizer(&[3]);
        let moment = mine.as_dict().unwrap().get("state").unwrap().as_dict().unwrap().get_key(&Value::Int(1)).unwrap();
        moment.as_dict().unwrap().insert("exp_avg", Tensor::from_vec(&[3], vec![7.0_f32; 3]).unwrap());
        mine.as_dict().unwrap().get("param_groups").unwrap().items().unwrap()[0].as_dict().unwrap().insert("lr", 0.5);
        own.optimizers = vec![mine];
        let after = own.write_back(&before).unwrap();
        let get = |place: &str| after.get::<Tensor>(place).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(get(&format!("optimizer.state[{}].exp_avg", x.start + 1)), [7.0; 3]);
        let other = if x.start == 0 { 3 } else { 1 };
        assert_eq!(get(&format!("optimizer.state[{other}].exp_avg")), [0.0; 4]);
        assert_eq!(after.get::<f64>("optimizer.param_groups[0].lr").unwrap(), 0.5);
        assert_eq!(ids(&after.value("optimizer").unwrap()), [0, 1, 2, 3]);
        // Nothing changes where nothing has changed.
        let same = RunState::read_part(&before, &found[1]).unwrap().write_back(&before).unwrap();
        assert_eq!(format!("{:?}", same.root()), format!("{:?}", before.root()));
    }
}

#[test]
fn a_part_is_read_and_written_back_and_the_others_stay() {
    let before = Checkpoint::from(Dict::from_iter(vec![
        ("netG", model(3)),
        ("netD", model(4)),
        ("netG_ema", model(3)),
        ("optimizerD", optimizer(&[4])),
        ("optimizerG", optimizer(&[3])),
        ("schedulerG", scheduler()),
        ("epoch", Value::Int(4)),
    ]));
    let found = RunState::parts(&before).unwrap();
    assert_eq!((&*found[0].name, found[0].average.as_deref()), ("G", Some("netG_ema")));
    let mut run = RunState::read_part(&before, &found[0]).unwrap();
    assert_eq!((run.optimizers.len(), run.schedulers.len(), &*run.model_key), (1, 1, "netG"));
    run.optimizers = vec![optimizer(&[5])];
    run.epoch = Some(5);
    let after = run.write_back(&before).unwrap();
    assert_eq!(after.get::<i64>("epoch").unwrap(), 5);
    for key in ["netG", "netD", "optimizerD", "netG_ema", "schedulerG"] {
        assert_eq!(after.value(key).unwrap().id(), before.value(key).unwrap().id(), "{key}");
    }
    assert_ne!(after.value("optimizerG").unwrap().id(), before.value("optimizerG").unwrap().id());
    let values = account_of(&before, Some(&found[0])).unwrap();
    let said = |place: &str| values.iter().find(|value| value.place == place).unwrap().taken;
    assert_eq!((said("netD"), said("optimizerD")), (Taken::Other("model"), Taken::Other("optimizer")));
    assert_eq!((said("netG"), said("netG_ema")), (Taken::Part("model"), Taken::Part("ema")));
}
