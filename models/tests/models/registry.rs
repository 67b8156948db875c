//! Networks by name: settings, shapes, and errors that say what there is.

use burn::tensor::Device;
use rekindle_burn::ModuleStateDict;
use rekindle_models::{Batch, Config, ModelError, Network};
use rekindle_recorder::{StateDict, Tensor};

fn build(name: &str, config: &Config) -> Result<Network, String> {
    Network::build(name, config, &Device::flex()).map_err(|error| error.to_string())
}

#[test]
fn a_network_is_found_by_its_name_and_says_it() {
    // The largest are tried at small size elsewhere.
    let large = ["resnet50", "resnet101", "resnet152", "vit_b_16"];
    for name in large {
        assert_eq!(build(name, &Config::new()).unwrap().name(), name);
    }
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
    let crossed = said.with("add_cross_attention", "true");
    let error = Network::settled("gpt2", &Config::new(), Some(&crossed), None, false).unwrap_err().to_string();
    assert!(error.contains("add_cross_attention=false is expected"), "{error}");
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
    // A length beside them wins, a base does not; factors of each frequency are a list.
    let json = serde_json::json!({
        "model_type": "llama", "rope_theta": 7, "original_max_position_embeddings": 8,
        "rope_parameters": {"rope_theta": 500000.0, "original_max_position_embeddings": 16, "long_factor": [1, 2.5]},
    });
    let said = Config::from_json(&json);
    let of = |key: &str| said.get(key);
    assert_eq!(
        (of("rope_theta"), of("original_max_position_embeddings"), of("long_factor")),
        (Some("500000.0"), Some("8"), Some("1,2.5"))
    );
}

#[test]
fn what_rotary_embedding_cannot_be_is_refused_by_its_name() {
    let said = |settings: &[(&str, &str)]| {
        let config = Config::call(&small("llama")).unwrap().1;
        let config = settings.iter().fold(config, |config, (key, value)| config.with(*key, *value));
        build("llama", &config).unwrap_err()
    };
    let error = said(&[("rope_type", "su")]);
    assert_eq!(
        error,
        "rope_type=su: one of default, linear, proportional, dynamic, llama3, yarn, longrope is expected"
    );
    let error = said(&[("rope_type", "dynamic")]);
    assert_eq!(error, "factor=none: a number (rope_type=dynamic needs it) is expected");
    let error = said(&[("partial_rotary_factor", "0.5")]);
    assert_eq!(error, "partial_rotary_factor=0.5: of rope_type=default only 1.0 is expected");
    let error = said(&[("rope_type", "longrope"), ("short_factor", "1,2,3"), ("long_factor", "1,2")]);
    assert!(error.contains("[3, 2] factors (short_factor, long_factor) are not the 2 of half a head"), "{error}");
    let error = said(&[("rope_type", "longrope"), ("short_factor", "1,x")]);
    assert_eq!(error, "short_factor=1,x: numbers such as 1.0,1.5, or none is expected");
}

#[test]
fn a_row_for_padding_may_be_counted_from_the_last_one() {
    let config = Config::call(&small("llama")).unwrap().1;
    assert!(build("llama", &config.clone().with("pad_token_id", "-1")).is_ok());
    let error = build("llama", &config.with("pad_token_id", "-100")).unwrap_err();
    assert_eq!(error, "pad_token_id=-100: the number of a row, or none is expected");
}

#[test]
fn groups_and_width_of_a_resnet_are_its_weights() {
    let tensor = |shape: &[usize]| Tensor::from_vec(shape, vec![0.0_f32; shape.iter().product()]).unwrap();
    let weights: StateDict =
        [("layer1.0.conv2.weight", tensor(&[128, 4, 1, 1])), ("fc.weight", tensor(&[7, 2048]))].into_iter().collect();
    let settled = Network::settled("resnet50", &Config::new(), None, Some(&weights), false).unwrap();
    let of = |key: &str| settled.get(key);
    assert_eq!((of("groups"), of("width_per_group"), of("num_classes")), (Some("32"), Some("4"), Some("7")));
    let error = build("resnet18", &Config::new().with("groups", "2")).unwrap_err();
    assert!(error.contains("blocks of two convolutions have groups=1"), "{error}");
}

#[test]
fn the_sizes_of_a_vision_transformer_are_its_weights_and_its_heads_are_asked_for() {
    let sizes = "image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=3";
    let (_, config) = Config::call(&format!("vit_b_16({sizes})")).unwrap();
    let weights = build("vit_b_16", &config).unwrap().state_dict().unwrap();
    let open = Network::settled("vit_b_16", &Config::new(), None, Some(&weights), false);
    assert!(matches!(open, Err(ModelError::OpenSettings { open, .. }) if open == [("num_heads".into(), "12".into())]));
    let told = Config::new().with("num_heads", "2");
    let settled = Network::settled("vit_b_16", &told, None, Some(&weights), true).unwrap();
    assert_eq!(settled.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", "), sizes);
    assert_eq!(build("vit_b_16", &settled).unwrap().input_shape(), [Some(3), Some(32), Some(32)]);
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

#[test]
fn what_a_classifiers_scores_are_compared_with_its_problem_type_says() {
    use rekindle_models::Problem::{MultiLabel, Regression, SingleLabel};
    let sizes = "vocab_size=7,hidden_size=4,num_hidden_layers=1,num_attention_heads=2,intermediate_size=4,max_position_embeddings=4";
    let problems = |more: &str| {
        let call = format!("bert_for_sequence_classification({sizes},{more})");
        let network = Network::named(&call, &Device::flex()).unwrap();
        [true, false].map(|whole| network.problem(whole).unwrap())
    };
    assert_eq!(problems("num_labels=1"), [Regression; 2]);
    assert_eq!(problems("num_labels=3"), [SingleLabel, MultiLabel]);
    assert_eq!(problems("num_labels=3,problem_type=regression"), [Regression; 2]);
    assert_eq!(problems("num_labels=1,problem_type=multi_label_classification"), [MultiLabel; 2]);
    assert_eq!(problems("num_labels=2,problem_type=single_label_classification"), [SingleLabel; 2]);
    let other = Network::named(&format!("bert({sizes})"), &Device::flex()).unwrap();
    assert_eq!(other.problem(true), None);
    let wrong = format!("bert_for_sequence_classification({sizes},problem_type=ranking)");
    assert!(Network::named(&wrong, &Device::flex()).unwrap_err().to_string().contains("multi_label_classification"));
}

#[test]
fn a_config_of_a_class_with_another_head_is_refused_by_its_name() {
    let settled = |name: &str, kind: &str, classes: &[&str]| {
        let json = serde_json::json!({"model_type": kind, "architectures": classes});
        Network::settled(name, &Config::new(), Some(&Config::from_json(&json)), None, false).map_err(|e| e.to_string())
    };
    let said = settled("llama", "llama", &["LlamaForSequenceClassification"]).unwrap_err();
    assert!(
        said.contains("LlamaForSequenceClassification: a class that is here (LlamaForCausalLM ('llama'))"),
        "{said}"
    );
    let said = settled("bert", "bert", &["BertForMaskedLM"]).unwrap_err();
    assert!(said.contains("the class of 'bert', BertModel, not that of 'bert_for_masked_lm'"), "{said}");
    assert!(settled("gpt2", "gpt2", &["GPT2DoubleHeadsModel"]).unwrap_err().contains("GPT2LMHeadModel ('gpt2')"));
    // Its own, a class of one's own with such a head, and what says nothing of a head.
    settled("gpt2", "gpt2", &["GPT2LMHeadModel"]).unwrap();
    settled("gpt2", "gpt2", &["OurLMHeadModel"]).unwrap();
    settled("bert_for_masked_lm", "bert", &["Encoder"]).unwrap();
    settled("llama", "llama", &[]).unwrap();
}
