//! What running an exported program costs beside calling its operations: a chain of `neg` and `add` over a tensor of one element.

use burn::tensor::{DType, Device};
use rekindle::models::functional::{Array, Unary};
use rekindle::models::graph::Program;
use rekindle::recorder::checkpoint::OpenOptions;
use rekindle::recorder::container::export::programs;

use super::{Line, Result, Row, nothing, timed, unknown};

const PAIRS: usize = 500;

pub(super) const INTERPRETER: Row = Row {
    name: "interpreter",
    what: "an exported program beside its operations, called one by one",
    prepare: nothing,
    lines: |_| {
        vec![
            Line::new("1,000 small operations of an exported program", "program")
                .rust("the same, called one by one", "calls", None)
                .rounds(51),
        ]
    },
    turns: |variant, _| {
        let device = Device::flex();
        let x = Array::from_floats(&[0.5], &[1], DType::F32, &device)?;
        match variant {
            "program" => {
                let program = chain(&device)?;
                Ok(Box::new(move || timed(|| Ok(program.forward(std::slice::from_ref(&x))?))))
            }
            "calls" => Ok(Box::new(move || {
                timed(|| {
                    let mut y = x.clone();
                    for _ in 0..PAIRS {
                        y = y.unary(Unary::Neg)?.add(1)?;
                    }
                    Ok(y)
                })
            })),
            _ => unknown(variant),
        }
    },
};

/// `x = -x + 1`, again and again.
fn chain(device: &Device) -> Result<Program> {
    let mut nodes = Vec::new();
    let mut last = "x".to_owned();
    for i in 0..PAIRS {
        let (neg, add) = (format!("neg_{i}"), format!("add_{i}"));
        let node = |op: &str, from: &str, more: &str, to: &str| {
            format!(
                r#"{{"target":"torch.ops.aten.{op}","inputs":[{{"name":"self","arg":{{"as_tensor":{{"name":"{from}"}}}}}}{more}],
                "outputs":[{{"as_tensor":{{"name":"{to}"}}}}],"metadata":{{}}}}"#
            )
        };
        nodes.push(node("neg.default", &last, "", &neg));
        nodes.push(node("add.Tensor", &neg, r#",{"name":"other","arg":{"as_int":1}}"#, &add));
        last = add;
    }
    let document = format!(
        r#"{{"graph_module":{{"graph":{{"inputs":[{{"as_tensor":{{"name":"x"}}}}],"outputs":[{{"as_tensor":{{"name":"{last}"}}}}],
        "nodes":[{}],"tensor_values":{{"x":{{"dtype":7,"sizes":[{{"as_int":1}}]}}}}}},
        "signature":{{"input_specs":[{{"user_input":{{"arg":{{"as_tensor":{{"name":"x"}}}}}}}}],
        "output_specs":[{{"user_output":{{"arg":{{"as_tensor":{{"name":"{last}"}}}}}}}}]}}}},
        "schema_version":{{"major":8,"minor":0}}}}"#,
        nodes.join(",")
    );
    let mut program = programs("examples/anynet/net.pt2", &OpenOptions::default())?.remove(0);
    program.document = document.into_bytes().into();
    program.weights.clear();
    program.constants.clear();
    Ok(Program::from_exported(&program, device)?)
}
