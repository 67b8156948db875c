//! The recipes of PyTorch's save/load tutorial, one test each: what people write there, and what it is here.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor as BurnTensor};
use rekindle_burn::{ModuleStateDict, load_with_config, save_with_config};
use rekindle_random::{Generator, normal_};
use rekindle_recorder::keys::LoadOptions;
use rekindle_recorder::location::MapLocation;
use rekindle_recorder::{Checkpoint, Dict, Error, Result, StateDict, Tensor, Value};
use rekindle_testing::seeded;

#[derive(Module, Debug)]
struct Net {
    encoder: Linear,
    head: Linear,
}

impl Net {
    fn new(device: &Device, seed: i64) -> Self {
        let net = Net { encoder: LinearConfig::new(4, 3).init(device), head: LinearConfig::new(3, 2).init(device) };
        seeded(net, seed)
    }

    fn forward(&self, x: BurnTensor<2>) -> BurnTensor<2> {
        self.head.forward(self.encoder.forward(x).tanh())
    }
}

fn output(net: &Net) -> Vec<f32> {
    let x = BurnTensor::<2>::from_floats([[0.5, -1.0, 2.0, 0.25]], &Device::flex());
    net.clone().to_device(&Device::flex()).forward(x).into_data().try_to_vec().unwrap()
}

#[test]
fn saving_and_loading_a_model_for_inference() -> Result<()> {
    let (device, folder) = (Device::flex(), rekindle_testing::scratch());
    let path = folder.path().join("model.pt");
    let net = Net::new(&device, 1);
    // torch.save(model.state_dict(), PATH)
    Checkpoint::from(net.state_dict()?).save(&path)?;
    // model = Net(); model.load_state_dict(torch.load(PATH)); model.eval()
    let mut loaded = Net::new(&device, 2);
    loaded.load_state_dict(&Checkpoint::open(&path)?.state_dict("")?)?;
    assert_eq!(output(&loaded), output(&net));
    Ok(())
}

#[test]
fn saving_and_loading_a_general_checkpoint() -> Result<()> {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("checkpoint.tar");
    let net = Net::new(&Device::flex(), 1);
    // torch.save({'epoch': epoch, 'model_state_dict': model.state_dict(), 'loss': loss}, PATH)
    let root = Dict::new();
    root.insert("epoch", 5);
    root.insert("model_state_dict", net.state_dict()?);
    root.insert("loss", 0.4);
    Checkpoint::from(root).save(&path)?;
    // checkpoint = torch.load(PATH); checkpoint['epoch']
    let checkpoint = Checkpoint::open(&path)?;
    assert_eq!((checkpoint.get::<i64>("epoch")?, checkpoint.get::<f64>("loss")?), (5, 0.4));
    let mut loaded = Net::new(&Device::flex(), 2);
    loaded.load_state_dict(&checkpoint.model_state_dict()?)?;
    assert_eq!(output(&loaded), output(&net));
    Ok(())
}

#[test]
fn several_models_in_one_file() -> Result<()> {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("several.pt");
    let (a, b) = (Net::new(&Device::flex(), 1), Net::new(&Device::flex(), 2));
    // torch.save({'modelA_state_dict': modelA.state_dict(), 'modelB_state_dict': modelB.state_dict()}, PATH)
    let both = [("modelA_state_dict", a.state_dict()?), ("modelB_state_dict", b.state_dict()?)];
    Checkpoint::from(Dict::from_iter(both)).save(&path)?;
    let mut loaded = Net::new(&Device::flex(), 3);
    loaded.load_state_dict(&Checkpoint::open(&path)?.state_dict("modelB_state_dict")?)?;
    assert_eq!(output(&loaded), output(&b));
    Ok(())
}

#[test]
fn warm_starting_with_parameters_of_another_model() -> Result<()> {
    let pretrained = Net::new(&Device::flex(), 1).state_dict()?;
    let mut net = Net::new(&Device::flex(), 2);
    // model.load_state_dict(torch.load(PATH), strict=False)
    let encoder: StateDict =
        pretrained.values().filter(|(key, _)| key.starts_with("encoder")).map(|(k, v)| (k, v.clone())).collect();
    let report = net.load_state_dict_with(&encoder, &LoadOptions::lenient())?;
    assert_eq!((report.loaded.len(), report.missing.len()), (2, 2));
    // {k: v for k, v in pretrained.items() if k in model_dict}, each loaded key logged
    let known: Vec<String> = net.state_dict()?.keys().map(str::to_owned).collect();
    let filtered = LoadOptions::lenient().filter(move |key, _| known.iter().any(|name| name == key));
    let mut wider = pretrained.clone();
    wider.insert_value("extra.weight", pretrained.get_value("head.bias").cloned().unwrap_or(Value::None));
    let report = net.load_state_dict_with(&wider, &filtered)?;
    report.log();
    assert!(report.is_exact());
    Ok(())
}

#[test]
fn prefixes_of_wrappers_come_off_and_go_on() -> Result<()> {
    let net = Net::new(&Device::flex(), 1);
    // torch.save(model.module.state_dict()) where DataParallel's names are wanted instead
    let wrapped = LoadOptions::strict().add_prefix("module.").apply(&net.state_dict()?)?;
    assert!(wrapped.keys().all(|key| key.starts_with("module.")));
    let mut loaded = Net::new(&Device::flex(), 2);
    let error = loaded.load_state_dict(&wrapped).unwrap_err().to_string();
    assert!(error.contains("take it off with `LoadOptions::strip_prefix(\"module.\")`"), "{error}");
    // k.replace('module.', '')
    loaded.load_state_dict_with(&wrapped, &LoadOptions::strict().strip_prefix("module."))?;
    assert_eq!(output(&loaded), output(&net));
    // rename keys
    let older = LoadOptions::strict().rename("^encoder\\.", "backbone.").apply(&net.state_dict()?)?;
    loaded.load_state_dict_with(&older, &LoadOptions::strict().rename("^backbone\\.", "encoder."))?;
    Ok(())
}

#[test]
fn loading_on_another_device() -> Result<()> {
    let net = Net::new(&Device::flex(), 1);
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("model.pt");
    // saved on a GPU ...
    Checkpoint::from(net.state_dict()?.map_location(&MapLocation::from("cuda:1"))?).save(&path)?;
    let tag = |checkpoint: &Checkpoint| {
        checkpoint.get::<rekindle_recorder::Tensor>("head.bias").map(|t| t.device().to_owned())
    };
    let checkpoint = Checkpoint::open(&path)?;
    assert_eq!(tag(&checkpoint)?, "cuda:1");
    // torch.load(PATH, map_location='cpu'), map_location={'cuda:1': 'cuda:0'}
    assert_eq!(tag(&checkpoint.map_location(&"cpu".into())?)?, "cpu");
    assert_eq!(tag(&checkpoint.map_location(&[("cuda:1", "cuda:0")].into())?)?, "cuda:0");
    // a tensor lands where its module is, whatever its tag says
    let mut loaded = Net::new(&Device::flex(), 2);
    loaded.load_state_dict(&checkpoint.state_dict("")?)?;
    assert_eq!(output(&loaded), output(&net));
    Ok(())
}

#[test]
fn a_state_dict_is_a_snapshot() -> Result<()> {
    let device = Device::flex().autodiff();
    let net = Net::new(&device, 1);
    // best = deepcopy(model.state_dict())
    let best = net.state_dict()?;
    let before = best.get("head.bias").map(rekindle_recorder::Tensor::to_vec::<f32>).transpose()?;
    let mut net = net;
    let moved: StateDict = best
        .iter()
        .map(|(key, tensor)| {
            let elements = tensor.to_vec::<f32>().unwrap().into_iter().map(|x| x + 1.0).collect();
            (key, rekindle_recorder::Tensor::from_vec::<f32>(tensor.shape(), elements).unwrap())
        })
        .collect();
    net.load_state_dict(&moved)?;
    assert_eq!(best.get("head.bias").map(rekindle_recorder::Tensor::to_vec::<f32>).transpose()?, before);
    // model.eval() is Burn's valid()
    assert_eq!(output(&net.valid()), output(&net));
    Ok(())
}

#[test]
fn a_whole_model_is_its_architecture_its_configuration_and_its_weights() -> Result<()> {
    let folder = rekindle_testing::scratch();
    let path = folder.path().join("whole.pt");
    let net = Net::new(&Device::flex(), 1);
    // torch.save(model, PATH); model = torch.load(PATH)
    save_with_config(&path, "net", &4_usize, &net)?;
    let loaded: Net = load_with_config(&path, |_, _inputs: usize| Ok(Net::new(&Device::flex(), 2)))?;
    assert_eq!(output(&loaded), output(&net));
    Ok(())
}

#[derive(Module, Debug)]
struct Words {
    embed: Embedding,
}

#[test]
fn weights_come_out_of_torch_jit_and_torch_export() -> Result<()> {
    let fixtures = rekindle_testing::fixtures::path("scripted");
    // torch.jit.load(PATH).state_dict(), torch.export.load(PATH).state_dict
    for name in ["script.pt", "traced.pt", "program.pt2"] {
        assert!(!Checkpoint::open(fixtures.join(name))?.model_state_dict()?.is_empty(), "{name}");
    }
    let exported = Checkpoint::open(fixtures.join("program.pt2"))?.model_state_dict()?;
    let mut words = Words { embed: EmbeddingConfig::new(5, 4).init(&Device::flex()) };
    let report = words.load_state_dict_with(&exported, &LoadOptions::lenient())?;
    assert_eq!(report.loaded, ["embed.weight"]);
    assert!(report.tied.iter().any(|tie| tie.key == "head.weight"));
    let weight = |state_dict: &StateDict| state_dict.get("embed.weight").map(rekindle_recorder::Tensor::to_vec::<f32>);
    assert_eq!(weight(&words.state_dict()?).transpose()?, weight(&exported).transpose()?);
    Ok(())
}

#[test]
fn burns_records_go_both_ways_and_keep_the_ids_that_optimizers_go_by() -> Result<()> {
    let folder = rekindle_testing::scratch();
    let (torch, record) = (folder.path().join("model.pt"), folder.path().join("model.bpk"));
    Checkpoint::from(Net::new(&Device::flex(), 1).state_dict()?).save(&torch)?;
    // PyTorch -> Burn's record
    let mut net = Net::new(&Device::flex(), 2);
    net.load_state_dict(&Checkpoint::open(&torch)?.state_dict("")?)?;
    let ids: Vec<_> = net.named_parameters()?.into_iter().map(|named| named.pieces[0].id).collect();
    net.clone().into_record().save(&record).unwrap();
    // Burn's record -> PyTorch
    let loaded = Net::new(&Device::flex(), 3).load_record(burn::store::ModuleRecord::load(&record).unwrap());
    let again: Vec<_> = loaded.named_parameters()?.into_iter().map(|named| named.pieces[0].id).collect();
    assert_eq!(again, ids);
    assert_eq!(output(&loaded), output(&net));
    assert_eq!(loaded.state_dict()?.keys().collect::<Vec<_>>(), net.state_dict()?.keys().collect::<Vec<_>>());
    Ok(())
}

#[derive(Module, Debug)]
struct Backbone {
    conv: Conv2d,
    bn: BatchNorm,
    fc: Linear,
}

/// `init_weights(pretrained)`, as in docs/loading.md.
fn init_weights(net: &mut Backbone, generator: &mut Generator, pretrained: &StateDict) -> Result<Vec<String>> {
    let mut model_dict = net.state_dict()?;
    let layers = model_dict.clone();
    let is_norm = |layer: &str| layers.contains(&format!("{layer}.running_mean"));
    for (name, tensor) in layers.iter() {
        let (layer, kind) = name.rsplit_once('.').unwrap_or(("", name));
        let values = match (kind, tensor.shape()) {
            ("weight", [_, _, _, _]) => {
                let mut values = vec![0.0_f32; tensor.numel()];
                normal_(generator, &mut values, 0.0, 0.001).map_err(|error| Error::invalid(error.to_string()))?;
                values
            }
            ("weight", _) if is_norm(layer) => vec![1.0; tensor.numel()],
            ("bias", _) if is_norm(layer) => vec![0.0; tensor.numel()],
            _ => continue,
        };
        model_dict.insert(name, Tensor::from_vec(tensor.shape(), values)?);
    }
    let mut said = Vec::new();
    for (name, tensor) in pretrained.iter().filter(|(name, _)| layers.contains(name)) {
        said.push(format!("=> loading {name}"));
        model_dict.insert(name, tensor.clone());
    }
    net.load_state_dict(&model_dict)?;
    Ok(said)
}

#[test]
fn init_weights_draws_first_and_takes_what_the_pretrained_file_has() -> Result<()> {
    let device = Device::flex();
    let mut net = Backbone {
        conv: Conv2dConfig::new([2, 3], [3, 3]).with_bias(false).init(&device),
        bn: BatchNormConfig::new(3).init(&device),
        fc: LinearConfig::new(3, 2).init(&device),
    };
    let pretrained = StateDict::from_iter([
        ("bn.bias", Tensor::from_vec(&[3], vec![0.5_f32; 3])?),
        ("head.weight", Tensor::from_vec(&[1], vec![1.0_f32])?),
    ]);
    let fc = net.state_dict()?.get("fc.weight").unwrap().to_vec::<f32>()?;
    let said = init_weights(&mut net, &mut Generator::new(0), &pretrained)?;
    assert_eq!(said, ["=> loading bn.bias"]);
    let after = |name: &str| net.state_dict().unwrap().get(name).unwrap().to_vec::<f32>().unwrap();
    // torch.manual_seed(0); nn.init.normal_(torch.empty(3, 2, 3, 3), std=0.001)
    let mut drawn = vec![0.0_f32; 54];
    normal_(&mut Generator::new(0), &mut drawn, 0.0, 0.001).unwrap();
    assert_eq!((after("conv.weight"), after("fc.weight")), (drawn, fc));
    assert_eq!((after("bn.weight"), after("bn.bias")), (vec![1.0; 3], vec![0.5; 3]));
    Ok(())
}
