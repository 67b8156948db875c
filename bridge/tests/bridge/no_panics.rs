//! What a user can get wrong is an error, never a panic: a module's own code that panics, descriptions that were changed.

use burn::module::{Module, Param, ParamId};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor as BurnTensor, TensorData};
use proptest::prelude::*;
use rekindle_burn::{LayerRows, ModuleStateDict, Part, Row, Transform};
use rekindle_recorder::{StateDict, Tensor};
use rekindle_testing::cases;

fn linear() -> Linear {
    LinearConfig::new(3, 2).init(&Device::flex())
}

#[test]
fn a_parameter_that_cannot_be_made_is_an_error_of_reading() {
    let mut layer = linear();
    let broken = Param::<BurnTensor<2>>::uninitialized(
        ParamId::new(),
        |_, _| panic!("the initialiser is broken"),
        Device::flex(),
        true,
        [3, 2].into(),
    );
    // With a mapper it shows how it lies only once it is made.
    layer.weight = broken.load_mapper(|tensor| tensor);
    let expected = "the module could not be read, its code panicked: the initialiser is broken";
    assert_eq!(layer.state_dict().unwrap_err().to_string(), expected);
    assert!(layer.named_parameters().unwrap_err().to_string().starts_with("the module could not be read, its code"));
}

#[test]
fn a_debug_that_panics_is_an_error() {
    #[derive(Module)]
    struct Shy {
        layer: Linear,
    }
    impl std::fmt::Debug for Shy {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("it does not show itself")
        }
    }
    let mut shy = Shy { layer: linear() };
    let rows = LayerRows::default().with(Row::new("Linear").require("bias", ["None"], "to be asked for its fields"));
    let errors = [
        shy.state_dict_with(&rows).unwrap_err(),
        shy.named_parameters_with(&rows).unwrap_err(),
        shy.load_state_dict_with_rows(&StateDict::new(), &rekindle_recorder::keys::LoadOptions::strict(), &rows)
            .unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().ends_with("its code panicked: it does not show itself"), "{error}");
    }
}

fn number() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0_usize..5, 1 => Just(usize::MAX), 1 => Just(usize::MAX / 3)]
}

fn transform() -> impl Strategy<Value = Transform> {
    prop_oneof![
        Just(Transform::AsIs),
        Just(Transform::Transpose),
        Just(Transform::Scalar),
        number().prop_map(|head| Transform::HalfRotated { head }),
    ]
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_changed_description_splits_and_joins_or_says_why_not(
        shape in prop::collection::vec(number(), 0..4),
        axis in number(),
        pieces in prop::collection::vec((prop::collection::vec(number(), 0..4), transform()), 1..4),
        given in prop::collection::vec(0_usize..5, 0..4),
    ) {
        let mut named = linear().named_parameters().unwrap().remove(0);
        let piece = named.pieces.remove(0);
        for (shape, transform) in pieces {
            let mut changed = piece.clone();
            (changed.shape, changed.transform) = (shape, transform);
            named.pieces.push(changed);
        }
        (named.shape, named.axis) = (shape, axis);
        let elements = vec![0.0_f32; given.iter().product()];
        drop(named.split(&Tensor::from_vec(&given, elements.clone()).unwrap()));
        let data = || TensorData::new(elements.clone(), given.clone());
        drop(named.join(&vec![data(); named.pieces.len()]));
        named.shape.clone_from(&given);
        named.pieces.iter_mut().for_each(|piece| piece.shape.clone_from(&given));
        drop(named.split(&Tensor::from_vec(&given, elements.clone()).unwrap()));
        drop(named.join(&vec![data(); named.pieces.len()]));
    }

    #[test]
    fn a_row_that_does_not_fit_is_an_error(
        parts in prop::collection::vec((prop::sample::select(vec!["weight", "bias", "none", "", "a.b"]), transform()), 0..4),
        name in prop::sample::select(vec!["weight", "bias", "a.b.c", "", ".", "_l0"]),
        axis in number(),
        places in prop::collection::vec("[a-c.]{0,2}", 0..3),
        stacked in any::<bool>(),
    ) {
        #[derive(Module, Debug)]
        struct Stack {
            layers: Vec<Linear>,
        }

        let parts = parts.into_iter().map(|(path, transform)| Part::new(path).with(transform));
        let mut rows = LayerRows::default().with(Row::new("Linear").joined(name, axis, parts).child("bias", name));
        let row = Row::new("Stack").places("layers", places);
        rows = rows.with(if stacked { Row::new("Stack").stacked("layers").transparent("layers") } else { row });
        let mut stack = Stack { layers: vec![linear(), linear()] };
        if let Ok(state_dict) = stack.state_dict_with(&rows) {
            stack.load_state_dict_with_rows(&state_dict, &rekindle_recorder::keys::LoadOptions::strict(), &rows).unwrap();
        }
        drop(stack.named_parameters_with(&rows));
    }
}
