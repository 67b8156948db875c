//! What running an exported program costs beside calling its operations: a chain of `neg` and `add` over a tensor of one element.
//! Medians over the rounds, in microseconds for each operation:
//!
//!     cargo bench --bench interpreter

use std::time::Instant;

use burn::tensor::{DType, Device};
use rekindle::models::functional::{Array, Unary};
use rekindle::models::graph::Program;
use rekindle::recorder::checkpoint::OpenOptions;
use rekindle::recorder::container::export::programs;

const PAIRS: usize = 500;
const ROUNDS: usize = 51;

type Error = Box<dyn std::error::Error>;

/// `x = -x + 1`, again and again.
fn chain(device: &Device) -> Result<Program, Error> {
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

/// The median time of an operation, in microseconds.
fn median(mut round: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        round()?;
        times.push(begin.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss)] // a thousand
    Ok(times[ROUNDS / 2] * 1e6 / (2 * PAIRS) as f64)
}

fn main() -> Result<(), Error> {
    let device = Device::flex();
    let program = chain(&device)?;
    let x = Array::from_floats(&[0.5], &[1], DType::F32, &device)?;
    let direct = median(|| {
        let mut y = x.clone();
        for _ in 0..PAIRS {
            y = y.unary(Unary::Neg)?.add(1)?;
        }
        std::hint::black_box(y);
        Ok(())
    })?;
    let run = median(|| {
        std::hint::black_box(program.forward(std::slice::from_ref(&x))?);
        Ok(())
    })?;
    println!("{run:.2} us an operation: {direct:.2} us the operation, {:.2} us the program around it", run - direct);
    Ok(())
}
