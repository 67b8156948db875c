//! Networks by name: settings, shapes, and errors that say what there is.

use burn::tensor::Device;
use rekindle_burn::ModuleStateDict;
use rekindle_models::{Batch, Config, ModelError, Network};
use rekindle_recorder::StateDict;

fn build(name: &str, config: &Config) -> Result<Network, String> {
    Network::build(name, config, &Device::flex()).map_err(|error| error.to_string())
}

#[test]
fn a_network_is_found_by_its_name_and_says_it() {
    // The largest are tried at small size elsewhere.
    let large = ["resnet50", "resnet101", "resnet152", "vit_b_16"];
    for name in Network::names().filter(|name| !large.contains(name)) {
        let (called, config) = Config::call(&small(name)).unwrap();
        let network = build(&called, &config).unwrap();
        assert_eq!(network.name(), name);
        let lengths =
            network.input_shape().into_iter().map(|n| n.unwrap_or(if network.takes_tokens() { 5 } else { 64 }));
        let shape: Vec<usize> = std::iter::once(2).chain(lengths).collect();
        let count = shape.iter().product();
        let batch = if network.takes_tokens() {
            Batch::from_tokens(vec![1; count], [2, 5], &Device::flex()).unwrap()
        } else {
            Batch::from_vec(vec![0.25; count], &shape, &Device::flex()).unwrap()
        };
        assert_eq!(network.forward(batch).unwrap().shape()[0], 2, "{name}");
    }
}

/// A network of this name that is quickly made.
fn small(name: &str) -> String {
    match name {
        "gpt2" => "gpt2(vocab_size=7, n_positions=6, n_embd=8, n_layer=1, n_head=2)".to_owned(),
        "nanogpt" => "nanogpt(vocab_size=7, block_size=6, n_embd=8, n_layer=1, n_head=2, bias=false)".to_owned(),
        "llama" => {
            "llama(vocab_size=7, hidden_size=8, intermediate_size=6, num_hidden_layers=1, num_attention_heads=2)"
                .to_owned()
        }
        "lstm_lm" => "lstm_lm(ntoken=7, ninp=4, nhid=4, nlayers=1)".to_owned(),
        bert if bert.starts_with("bert") => {
            let sizes = "vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=6";
            format!("{bert}({sizes}, max_position_embeddings=6)")
        }
        other => other.to_owned(),
    }
}

/// What a caller leaves out is told by a config, by the shapes, or asked for: the network that is made is the one it was.
#[test]
fn shapes_and_configs_tell_what_a_caller_does_not() {
    let asked = |name: &str, training| match (name, training) {
        ("gpt2", true) => "n_head, resid_pdrop, embd_pdrop, attn_pdrop",
        ("nanogpt", true) => "n_head, dropout",
        ("gpt2" | "nanogpt", false) => "n_head",
        ("llama", true) => {
            "num_attention_heads, num_key_value_heads, rms_norm_eps, rope_theta, rope_type, attention_dropout"
        }
        ("llama", false) => "num_attention_heads, num_key_value_heads, rms_norm_eps, rope_theta, rope_type",
        ("lstm_lm", true) => "dropout",
        ("lstm_lm", false) => "",
        (_, true) => "num_attention_heads, hidden_dropout_prob, attention_probs_dropout_prob",
        (_, false) => "num_attention_heads",
    };
    for name in
        ["gpt2", "nanogpt", "llama", "lstm_lm", "bert", "bert_for_masked_lm", "bert_for_sequence_classification"]
    {
        let (_, config) = Config::call(&small(name)).unwrap();
        let weights = build(name, &config).unwrap().state_dict().unwrap();
        for training in [false, true] {
            let open = match Network::settled(name, &Config::new(), None, Some(&weights), training) {
                Err(ModelError::OpenSettings { open, .. }) => open,
                Err(other) => panic!("{name}: {other}"),
                Ok(_) => Vec::new(),
            };
            let names: Vec<&str> = open.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names.join(", "), asked(name, training), "{name}");
            let told: Config =
                open.into_iter()
                    .map(|(key, default)| {
                        if key.ends_with("head") || key.ends_with("heads") { (key, "2".into()) } else { (key, default) }
                    })
                    .collect();
            let settled = Network::settled(name, &told, None, Some(&weights), training).unwrap();
            let again = build(name, &settled).unwrap().state_dict().unwrap();
            let shapes = |state: &StateDict| -> Vec<_> {
                state.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec())).collect()
            };
            assert_eq!(shapes(&again), shapes(&weights), "{name}");
        }
    }
    // With a config nothing is asked for: what it leaves out is the library's default, as transformers writes only what is not.
    let weights = build("gpt2", &Config::call(&small("gpt2")).unwrap().1).unwrap().state_dict().unwrap();
    let json = serde_json::json!({"model_type": "gpt2", "n_head": 4, "resid_pdrop": 0.0, "n_layer": 1, "n_inner": null, "scale_attn_weights": true});
    let said = Config::from_json(&json);
    let settled = Network::settled("gpt2", &Config::new(), Some(&said), Some(&weights), true).unwrap();
    assert_eq!(
        (settled.get("n_head"), settled.get("resid_pdrop"), settled.get("attn_pdrop")),
        (Some("4"), Some("0.0"), None)
    );
    let told = Config::new().with("n_head", "8");
    let settled = Network::settled("gpt2", &told, Some(&said), Some(&weights), true).unwrap();
    assert_eq!(settled.get("n_head"), Some("8"), "the caller wins");
    // One of another network, and one that says what cannot be.
    let other = Config::new().with("model_type", "mistral");
    let error = Network::settled("llama", &Config::new(), Some(&other), None, false).unwrap_err().to_string();
    assert_eq!(error, "model_type=mistral: of the network 'llama' llama is expected");
    let scaled = said.with("scale_attn_by_inverse_layer_idx", "true");
    let error = Network::settled("gpt2", &Config::new(), Some(&scaled), None, false).unwrap_err().to_string();
    assert!(error.contains("scale_attn_by_inverse_layer_idx=false is expected"), "{error}");
}

#[test]
fn the_config_of_rotary_embedding_is_read_as_transformers_wrote_it() {
    let old = serde_json::json!({"model_type": "llama", "rope_theta": 500000.0, "rope_scaling": {"type": "linear", "factor": 2.0}});
    let new = serde_json::json!({"model_type": "llama", "rope_parameters": {"rope_theta": 500000.0, "rope_type": "linear", "factor": 2.0}});
    for json in [old, new] {
        let said = Config::from_json(&json);
        assert_eq!(
            (said.get("rope_type"), said.get("factor"), said.get("rope_theta")),
            (Some("linear"), Some("2.0"), Some("500000.0"))
        );
    }
    let yarn = Config::call(&small("llama")).unwrap().1.with("rope_type", "yarn");
    assert_eq!(build("llama", &yarn).unwrap_err(), "rope_type=yarn: one of default, linear, llama3 is expected");
}

#[test]
fn unknown_names_and_settings_are_refused_with_what_there_is() {
    let error = build("lennet", &Config::new()).unwrap_err();
    assert!(
        error.starts_with("there is no network 'lennet'; there are lenet, convbn, fullyconv, mlp, digits, "),
        "{error}"
    );
    let error = build("mlp", &Config::new().with("size", "3,4")).unwrap_err();
    assert_eq!(error, "the network 'mlp' has no setting 'size'; it has sizes");
    let error = build("lenet", &Config::new().with("classes", "3")).unwrap_err();
    assert_eq!(error, "the network 'lenet' has no setting 'classes'; it has none");
    for sizes in ["20", "20,0", "20,x", ""] {
        let error = build("mlp", &Config::new().with("sizes", sizes)).unwrap_err();
        assert_eq!(error, format!("sizes={sizes}: two or more sizes such as 20,32,10 is expected"));
    }
}

#[test]
fn the_sizes_of_an_mlp_are_settings() {
    let mlp = build("mlp", &Config::from_iter([("sizes", "4,3")])).unwrap();
    assert_eq!(mlp.state_dict().unwrap().keys().collect::<Vec<_>>(), ["0.weight", "0.bias"]);
    assert_eq!(mlp.input_shape(), [Some(4)]);
    let settings = Network::settings("mlp").unwrap();
    assert_eq!((settings.len(), settings[0].name, settings[0].default), (1, "sizes", "20,32,16,10"));
}

#[test]
fn a_batch_of_another_shape_is_refused() {
    let device = Device::flex();
    let batch = |shape: &[usize]| Batch::from_vec(vec![0.0; shape.iter().product()], shape, &device).unwrap();
    let lenet = build("lenet", &Config::new()).unwrap();
    let error = lenet.forward(batch(&[2, 3, 28, 28])).unwrap_err();
    assert_eq!(error.to_string(), "the network 'lenet' takes inputs of [batch, 3, 32, 32], not [2, 3, 28, 28]");
    assert!(lenet.forward(batch(&[2, 3072])).is_err());
    let tracker = build("fullyconv", &Config::new()).unwrap();
    let error = tracker.forward(batch(&[1, 3, 62, 62])).unwrap_err();
    assert!(error.to_string().contains("[batch, 3, 63 or more, 63 or more]"), "{error}");
    assert_eq!(tracker.forward(batch(&[1, 3, 63, 63])).unwrap().shape(), [1, 32, 1, 1]);
    assert!(Batch::from_vec(vec![0.0; 5], &[2, 3], &device).is_err());
    assert!(Batch::from_vec(vec![0.0; 5], &[5], &device).is_err());
    assert!(batch(&[2, 3]).into_4d().is_err() && batch(&[2, 3, 4]).into_2d().is_err());
}
