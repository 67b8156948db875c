//! The files that PyTorch wrote, under `tests/fixtures` and `examples`, and what it said of them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

/// The workspace's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A file or folder in `tests/fixtures`.
pub fn path(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// A file in `examples/digits`.
pub fn digits(name: &str) -> PathBuf {
    root().join("examples/digits").join(name)
}

/// All files in a folder and the folders in it, in the order of their paths.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A JSON file in `tests/fixtures`.
pub fn json(name: &str) -> Json {
    read(&path(name))
}

/// A JSON file anywhere.
pub fn read(path: &Path) -> Json {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file with a JSON document a line.
pub fn lines(path: &Path) -> Vec<Json> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The cases of a JSON file in `tests/fixtures` whose document is a list.
pub fn cases(name: &str) -> Vec<Json> {
    serde_json::from_value(json(name)).unwrap()
}

/// The cases of a JSON file in `tests/fixtures` whose document is an object, by name.
pub fn named_cases(name: &str) -> serde_json::Map<String, Json> {
    serde_json::from_value(json(name)).unwrap()
}

/// The case that has this name.
pub fn case<'a>(cases: &'a [Json], name: &str) -> &'a Json {
    cases.iter().find(|case| case["name"] == name).unwrap_or_else(|| panic!("there is no case {name}"))
}

/// A count or a place.
pub fn size(json: &Json) -> usize {
    usize::try_from(json.as_u64().unwrap()).unwrap()
}

/// The lengths of a shape.
pub fn sizes(json: &Json) -> Vec<usize> {
    json.as_array().unwrap().iter().map(size).collect()
}

/// Numbers in a list.
pub fn floats(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// Ten times as far as other runs of PyTorch itself come from this one of `optim/runs.json` (`noise`), in `loss`, `weights` or `state`.
pub fn ten_times_noise(run: &Json, what: &str) -> f64 {
    let others = run["noise"].as_object().into_iter().flat_map(|noise| noise.values());
    10.0 * others.filter_map(|other| other[what].as_f64()).fold(0.0, f64::max)
}

/// What Python's `float.hex` wrote.
pub fn hex(text: &str) -> f64 {
    let Some((sign, rest)) = text.split_once("0x") else { return text.parse().unwrap() };
    let (mantissa, exponent) = rest.split_once('p').unwrap();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).unwrap();
    let exponent = exponent.parse::<i32>().unwrap() - 4 * i32::try_from(fraction.len()).unwrap();
    #[allow(clippy::cast_precision_loss, reason = "53 bits are exact, and so is a power of two")]
    let magnitude = digits as f64 * 2.0_f64.powi(exponent);
    if sign == "-" { -magnitude } else { magnitude }
}

/// The SHA-256 of bytes, in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
