//! Whether a program computes: the inputs of its archive go through it twice.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use rekindle::models::functional::{Array, Kind};
use rekindle::models::graph::{Program, exported_all};
use rekindle::random::Generator;
use rekindle::recorder::container::export::ExportedProgram;
use rekindle::recorder::{Error, Result, ResultExt as _, printable_name};
use serde_json::{Value as Json, json};

use crate::cli::answer::Lines;

/// What came of it.
pub(super) struct Computed {
    /// The program, where the archive has several.
    program: Option<String>,
    outputs: Vec<Output>,
    took: [Duration; 2],
}

/// An output of the first time, beside that of the second.
struct Output {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    nan: usize,
    inf: usize,
    /// Whether both have the same bits.
    same: bool,
}

impl Computed {
    /// Computes the sample inputs of each program of the archive twice, in evaluation, on the CPU, from one state of the generator.
    pub(super) fn all(path: &Path) -> Result<Vec<Self>> {
        let archives = exported_all(path)?;
        let several = archives.len() > 1;
        let of = |archive: &ExportedProgram| Computed::of(path, archive, several.then(|| archive.name.to_string()));
        archives.iter().map(of).collect()
    }

    fn of(path: &Path, archive: &ExportedProgram, name: Option<String>) -> Result<Self> {
        let wrong = |error: rekindle::models::ModelError| Error::invalid(error.to_string());
        let program = Program::from_exported(archive, &Device::flex()).map_err(wrong).in_file(path)?;
        let samples = program.sample_inputs().map_err(wrong).in_file(path)?.ok_or_else(|| {
            let what = "there are no sample inputs in the archive to compute with --run; torch.export.save keeps them";
            Error::invalid(what).in_file(path)
        })?;
        let run = || {
            let program = program.clone().with_generator(Arc::new(Mutex::new(Generator::new(0u64))));
            let begin = Instant::now();
            let outputs = program.forward_named(&samples).map_err(wrong).in_file(path)?;
            Ok::<_, Error>((outputs, begin.elapsed()))
        };
        let ((one, first), (other, second)) = (run()?, run()?);
        let outputs = one.into_iter().zip(other).map(|((name, one), (_, other))| Output::of(name, &one, &other));
        let outputs = outputs.collect::<Result<_>>().in_file(path)?;
        Ok(Computed { program: name, outputs, took: [first, second] })
    }

    /// Whether all is finite, and the same both times.
    pub(super) fn is_good(&self) -> bool {
        self.outputs.iter().all(|output| output.same && output.nan == 0 && output.inf == 0)
    }

    pub(super) fn text(&self) -> String {
        let mut lines = Lines::default();
        let [first, second] = self.took.map(|took| took.as_secs_f64() * 1e3);
        let verdict = if self.is_good() { "computes its sample inputs" } else { "DOES NOT COMPUTE its sample inputs" };
        let program = self.program.as_ref().map(|name| format!("{}: ", printable_name(name))).unwrap_or_default();
        lines.add(format_args!("  {program}{verdict}: {first:.1} ms, again {second:.1} ms"));
        for Output { name, dtype, shape, nan, inf, same } in &self.outputs {
            let all = shape.iter().product::<usize>();
            let numbers = match (nan, inf) {
                (0, 0) => String::new(),
                _ => format!("  {nan} NaN, {inf} infinite, of {all}"),
            };
            let bits = if *same { "" } else { "  other bits the second time" };
            lines.add(format_args!("  {}  {dtype}  {shape:?}{numbers}{bits}", printable_name(name)));
        }
        lines.text()
    }

    pub(super) fn json(&self) -> Json {
        let output = |output: &Output| {
            let Output { name, dtype, shape, nan, inf, same } = output;
            json!({"name": name, "dtype": dtype, "shape": shape, "nan": nan, "inf": inf, "same": same})
        };
        let mut document = json!({
            "good": self.is_good(),
            "seconds": self.took.map(|took| took.as_secs_f64()),
            "outputs": self.outputs.iter().map(output).collect::<Vec<_>>(),
        });
        if let Some(program) = &self.program {
            document["program"] = json!(program);
        }
        document
    }
}

impl Output {
    fn of(name: String, one: &Array, other: &Array) -> Result<Self> {
        let data = |array: &Array| array.data().map_err(|error| Error::invalid(error.to_string()));
        let (first, second) = (data(one)?, data(other)?);
        let count = |of: fn(f64) -> bool| match one.kind() {
            Kind::Float => first.iter::<f64>().filter(|&number| of(number)).count(),
            _ => 0,
        };
        Ok(Output {
            dtype: one.dtype_name(),
            shape: one.shape().to_vec(),
            nan: count(f64::is_nan),
            inf: count(f64::is_infinite),
            same: one.shape() == other.shape() && first.as_bytes() == second.as_bytes(),
            name,
        })
    }
}
