//! What goes in comes out: names, shapes, element types, sharing, parameters, plain values.

use rekindle_recorder::checkpoint::SaveOptions;
use rekindle_recorder::tensor::{TensorClass, TensorParts};
use rekindle_recorder::{DType, Dict, ErrorKind, StateDict, Storage, Tensor, Value};

use super::{Suite, counted, files};

impl Suite<'_> {
    pub(super) fn names_and_order(&self) {
        let mut state_dict = StateDict::new();
        let names =
            ["z", "a", "m.weight", "m.bias", "with space", "a/b", "\"quoted\"", "back\\slash", "ü", "日本", "0", "A"];
        for (i, name) in (0_u8..).zip(names) {
            // Types alternate, so that a container that sorts by type shows it.
            let dtype = [DType::Float32, DType::Int64, DType::UInt8][usize::from(i) % 3];
            state_dict.insert(name, counted(dtype, &[2, 2], i));
        }
        let long = "layer.".repeat(40) + "weight";
        state_dict.insert(long, counted(DType::Float32, &[1], 3));
        self.round_trip("names_and_order", &state_dict);
    }

    pub(super) fn shapes(&self) {
        let mut state_dict = StateDict::new();
        for shape in
            [&[][..], &[1], &[0], &[2, 0, 3], &[0, usize::MAX >> 8], &[1, 1, 1, 1, 1, 1, 1, 1], &[3, 5], &[257]]
        {
            state_dict.insert(format!("{shape:?}"), counted(DType::Float32, shape, 1));
        }
        self.round_trip("shapes", &state_dict);
        let path = self.path("nothing");
        match self.format.save(&StateDict::new().to_value(), &path, &SaveOptions::default()) {
            Ok(_) => assert!(self.open(&path).is_empty()),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}"),
        }
    }

    pub(super) fn element_types(&self) {
        let mut held = StateDict::new();
        for &dtype in DType::ALL.iter().filter(|dtype| !dtype.is_quantized()) {
            let tensor = counted(dtype, &[3, 4], 100);
            if self.format.holds(dtype) {
                held.insert(dtype.name(), tensor);
                continue;
            }
            let path = self.path(dtype.name());
            let root = Value::from(Dict::from_iter([("the weight", tensor)]));
            let error = self.format.save(&root, &path, &SaveOptions::default()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{dtype}: {error}");
            assert!(error.to_string().contains("the weight"), "{error}");
            assert!(!path.exists(), "{}: {dtype} was refused, and a file is there", self.format.name());
        }
        assert!(held.len() > 8, "{}: it holds few element types", self.format.name());
        self.round_trip("element_types", &held);
    }

    pub(super) fn ties(&self) {
        let mut state_dict = StateDict::new();
        let tied = counted(DType::Float32, &[4, 3], 7);
        state_dict.insert("embedding.weight", tied.clone());
        state_dict.insert("layer.weight", counted(DType::Float32, &[3, 3], 9));
        // A second object over the same elements, as `state_dict()` gives, between others and at the end.
        state_dict.insert("head.weight", Tensor::new(tied.parts().clone()).unwrap());
        state_dict.insert("layer.bias", counted(DType::Float32, &[3], 11));
        state_dict.insert("last.weight", Tensor::new(tied.parts().clone()).unwrap());
        let (back, report) = self.round_trip("ties", &state_dict);
        let storage = |name| back.get(name).unwrap().storage().unwrap();
        for name in ["head.weight", "last.weight"] {
            if self.format.keeps().ties {
                assert!(storage(name).same(storage("embedding.weight")), "{}: '{name}' is tied", self.format.name());
            } else {
                self.assert_reported(&report, name);
            }
        }
        assert!(!storage("layer.weight").same(storage("embedding.weight")));
    }

    pub(super) fn views(&self) {
        let elements: Vec<u8> = (0..60_u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
        let storage = Storage::from_bytes(DType::Float32, elements);
        let view = |shape: &[usize], stride: &[usize], offset| {
            let parts = TensorParts::strided(DType::Float32, shape.to_vec(), storage.clone(), offset, stride.to_vec());
            Tensor::new(parts).unwrap()
        };
        let views = [
            ("transposed", view(&[3, 4], &[1, 3], 0)),
            ("slice", view(&[4, 3], &[3, 1], 6)),
            ("stepped", view(&[5], &[4], 2)),
            ("expanded", view(&[3, 2], &[0, 1], 40)),
            ("permuted", view(&[2, 3, 4], &[4, 8, 1], 0)),
            ("one", view(&[], &[], 59)),
            ("none", view(&[0, 4], &[4, 1], 60)),
        ];
        let mut state_dict = StateDict::new();
        for (name, tensor) in &views {
            state_dict.insert(*name, tensor.clone());
        }
        let (back, report) = self.round_trip("views", &state_dict);
        if !self.format.keeps().views {
            // Those that overlap; of the others nothing is lost.
            for name in ["transposed", "slice", "stepped", "permuted"] {
                self.assert_reported(&report, name);
            }
            return;
        }
        for (name, tensor) in &views {
            let found = back.get(name).unwrap();
            assert_eq!(found.stride(), tensor.stride(), "{}: strides of '{name}'", self.format.name());
            assert_eq!(found.offset(), tensor.offset(), "{}: offset of '{name}'", self.format.name());
            assert!(found.storage().unwrap().same(back.get("slice").unwrap().storage().unwrap()));
        }
        assert_eq!(back.get("slice").unwrap().storage().unwrap().len(), 240);
    }

    pub(super) fn parameters(&self) {
        let plain = counted(DType::Float32, &[2], 1);
        let class = TensorClass::Parameter { state: None };
        let parameter = Tensor::new(TensorParts { requires_grad: true, class, ..plain.parts().clone() }).unwrap();
        let mut state_dict = StateDict::new();
        state_dict.insert("weight", parameter);
        let (back, report) = self.round_trip("parameters", &state_dict);
        let back = back.get("weight").unwrap();
        if self.format.keeps().parameters {
            assert!(back.is_parameter() && back.requires_grad(), "{}: a parameter", self.format.name());
        } else {
            self.assert_reported(&report, "weight");
        }
    }

    pub(super) fn plain_values(&self) {
        let inner = Dict::from_iter([("weight", Value::from(counted(DType::Float32, &[2], 1)))]);
        let root = Value::from(Dict::from_iter([
            ("model_state_dict", Value::from(inner)),
            ("epoch", Value::from(5)),
            ("loss", Value::from(0.25)),
            ("name", Value::from("run")),
            ("betas", Value::tuple([Value::from(0.9), Value::from(0.999)])),
            ("nothing", Value::None),
        ]));
        let path = self.path("plain_values");
        if !self.format.keeps().values {
            let error = self.format.save(&root, &path, &SaveOptions::default()).unwrap_err();
            let text = error.to_string();
            // The first key that cannot be written, and what can be.
            assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{text}");
            assert!(
                text.contains("'model_state_dict'") && text.contains("`Conversion::key(\"model_state_dict\")`"),
                "{text}"
            );
            assert!(!path.exists());
            return;
        }
        self.save(&root, &path);
        let back = self.open(&path);
        assert_eq!(back.get_value("epoch").unwrap().as_i64(), Some(5));
        assert_eq!(back.get_value("loss").unwrap().as_f64(), Some(0.25));
        assert_eq!(back.get_value("name").unwrap().as_str(), Some("run"));
        assert!(matches!(back.get_value("nothing"), Some(Value::None)));
        let Some(Value::Tuple(betas)) = back.get_value("betas") else { panic!("betas are a tuple") };
        assert_eq!(betas.iter().map(Value::as_f64).collect::<Vec<_>>(), [Some(0.9), Some(0.999)]);
        let model = StateDict::from_value(back.get_value("model_state_dict").unwrap()).unwrap();
        assert_eq!(model.get("weight").unwrap().shape(), [2]);
    }

    pub(super) fn saving_twice_gives_the_same_bytes(&self) {
        let mut state_dict = StateDict::new();
        for i in 0..20 {
            state_dict.insert(format!("layer.{i}"), counted(DType::Float32, &[3, 3], i));
        }
        let tied = state_dict.get("layer.3").unwrap().clone();
        state_dict.insert("tied", Tensor::new(tied.parts().clone()).unwrap());
        let paths = [self.path("once"), self.path("twice")];
        for path in &paths {
            self.save(&state_dict.to_value(), path);
        }
        let [once, twice] = paths
            .map(|path| -> Vec<Vec<u8>> { files(&path).iter().map(|file| std::fs::read(file).unwrap()).collect() });
        assert_eq!(once, twice, "{}: bytes of two saves", self.format.name());
    }

    pub(super) fn nothing_is_replaced_unasked(&self) {
        let path = self.path("replaced");
        let one = |first| Value::from(Dict::from_iter([("weight", counted(DType::UInt8, &[1], first))]));
        let element = || self.open(&path).get("weight").unwrap().to_vec::<u8>().unwrap();
        self.save(&one(1), &path);
        let options = SaveOptions::default().overwrite(false);
        let error = self.format.save(&one(2), &path, &options).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Exists), "{error}");
        assert_eq!(element(), [1]);
        self.save(&one(3), &path);
        assert_eq!(element(), [3]);
    }
}
