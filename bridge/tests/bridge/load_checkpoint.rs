//! mmcv's `load_checkpoint`, its arguments and its report.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Device;
use rekindle_burn::{LoadCheckpointOptions, Logger, ModuleStateDict, load_checkpoint, load_checkpoint_with};
use rekindle_recorder::{Checkpoint, Dict, ErrorKind, Result, StateDict, Tensor};
use rekindle_testing::scratch;

#[derive(Module, Debug)]
struct Net {
    encoder: Linear,
    head: Linear,
}

fn net() -> Net {
    let device = Device::flex();
    Net { encoder: LinearConfig::new(2, 2).init(&device), head: LinearConfig::new(2, 1).init(&device) }
}

fn tensor(shape: &[usize], value: f32) -> Tensor {
    Tensor::from_vec(shape, vec![value; shape.iter().product()]).unwrap()
}

/// A file as mmcv saves it out of `DataParallel`: a head of another task, a key too many, one too few.
fn saved(folder: &std::path::Path) -> std::path::PathBuf {
    let weights = StateDict::from_iter([
        ("module.encoder.weight", tensor(&[2, 2], 0.5)),
        ("module.encoder.bias", tensor(&[2], 0.25)),
        ("module.head.weight", tensor(&[3, 2], 1.0)),
        ("module.neck.weight", tensor(&[1], 1.0)),
    ]);
    let root = Dict::new();
    root.insert("meta", Dict::from_iter([("epoch", 12)]));
    root.insert("state_dict", weights);
    let path = folder.join("epoch_12.pth");
    Checkpoint::from(root).save(&path).unwrap();
    path
}

#[test]
fn what_fits_is_loaded_and_the_rest_is_reported_in_mmcvs_words() -> Result<()> {
    let folder = scratch();
    let path = saved(folder.path());
    let mut net = net();
    let before = net.state_dict()?.get("head.weight").unwrap().to_vec::<f32>()?;
    let loaded = load_checkpoint(&mut net, &path)?;
    let after = |name: &str| net.state_dict().unwrap().get(name).unwrap().to_vec::<f32>().unwrap();
    assert_eq!((after("encoder.weight"), after("head.weight")), (vec![0.5; 4], before));
    assert_eq!((loaded.path, loaded.checkpoint.get::<i64>("meta.epoch")?), (path, 12));
    let expected = "\
The model and loaded state dict do not match exactly

unexpected key in source state_dict: neck.weight

missing keys in source state_dict: head.bias

these keys have mismatched shape:
+-------------+--------------------+--------------------+
| key         | expected shape     | loaded shape       |
+-------------+--------------------+--------------------+
| head.weight | torch.Size([1, 2]) | torch.Size([3, 2]) |
+-------------+--------------------+--------------------+";
    assert_eq!(loaded.report.mmcv().as_deref(), Some(expected));
    Ok(())
}

#[test]
fn strictly_nothing_is_loaded_that_does_not_fit() {
    let folder = scratch();
    let path = saved(folder.path());
    let mut net = net();
    let before = net.state_dict().unwrap().get("encoder.weight").unwrap().to_vec::<f32>().unwrap();
    let options = LoadCheckpointOptions::default().strict(true).logger(Logger::Nowhere);
    let error = load_checkpoint_with(&mut net, &path, &options).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Mismatch(_)) && error.file() == Some(&path), "{error}");
    assert_eq!(net.state_dict().unwrap().get("encoder.weight").unwrap().to_vec::<f32>().unwrap(), before);
}

#[test]
fn keys_are_revised_as_asked_and_devices_mapped() -> Result<()> {
    let folder = scratch();
    let path = folder.path().join("net.pth");
    let weights = StateDict::from_iter([
        ("backbone.encoder.weight", tensor(&[2, 2], 0.5)),
        ("backbone.encoder.bias", tensor(&[2], 0.5)),
        ("fc.weight", tensor(&[1, 2], 0.5)),
        ("fc.bias", tensor(&[1], 0.5)),
    ]);
    Checkpoint::from(weights).save(&path)?;
    let revise = [(r"^backbone\.", ""), (r"^fc\.(.*)$", "head.$1")].map(|(from, to)| (from.to_owned(), to.to_owned()));
    let options = LoadCheckpointOptions::default().revise_keys(revise.to_vec()).map_location("cuda:3");
    let loaded = load_checkpoint_with(&mut net(), &path, &options)?;
    assert!(loaded.report.is_exact() && loaded.report.mmcv().is_none());
    assert_eq!(loaded.checkpoint.get::<Tensor>("fc.bias")?.device(), "cuda:3");
    let wrong = LoadCheckpointOptions::default().revise_keys(vec![("(".to_owned(), String::new())]);
    assert!(load_checkpoint_with(&mut net(), &path, &wrong).unwrap_err().to_string().contains("rename(\"(\")"));
    Ok(())
}

#[test]
fn what_is_no_source_is_a_sentence() {
    let error = load_checkpoint(&mut net(), "torchvision://resnet81").unwrap_err().to_string();
    assert!(error.contains("did you mean 'resnet18'?"), "{error}");
    let error = load_checkpoint(&mut net(), "nowhere.pth").unwrap_err().to_string();
    assert!(error.starts_with("nowhere.pth: cannot open the file"), "{error}");
}

#[cfg(feature = "fetch")]
#[test]
fn all_ranks_load_what_one_of_them_fetched() -> Result<()> {
    use rekindle_recorder::source::{Env, FetchOptions};

    let folder = scratch();
    let bytes = std::fs::read(saved(folder.path())).unwrap();
    let server = rekindle_testing::server::Server::of_file(bytes);
    let url = server.url("/epoch_12.pth");
    let home = folder.path().display().to_string();
    std::thread::scope(|scope| {
        let load = |rank: usize| {
            let rank = rank.to_string();
            let env = Env::from_iter([("TORCH_HOME", &*home), ("RANK", &rank), ("WORLD_SIZE", "4")]);
            let fetch = FetchOptions::default().env(env);
            load_checkpoint_with(&mut net(), &url, &LoadCheckpointOptions::default().fetch(fetch))
        };
        let ranks: Vec<_> = (0..4).map(|rank| scope.spawn(move || load(rank))).collect();
        ranks.into_iter().try_for_each(|rank| rank.join().unwrap().map(drop))
    })?;
    assert_eq!(server.asked().len(), 1);
    Ok(())
}
