//! A million draws of each distribution against the digests of PyTorch's: `tests/fixtures/distributions/cpu.json`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{fs, iter};

use rekindle_random::{
    BFloat16, Generator, Half, Number, Real, Wide, bernoulli, bernoulli_, binomial, cauchy_, exponential_, geometric_,
    log_normal_, multinomial, normal_, normal_strided_, normal_with, normal_with_means, normal_with_stds, poisson,
    rand, randn, random_, random_from_, random_from_to_, standard_gamma, trunc_normal_, uniform_,
};
use serde_json::Value;

use super::{list, seed, sha256, text};

#[test]
fn floating_point_draws_are_pytorchs() {
    compare("f32", floats::<f32>);
    compare("f64", floats::<f64>);
}

#[test]
fn draws_of_16_bits_are_pytorchs() {
    compare("f16", floats::<Half>);
    compare("bf16", floats::<BFloat16>);
}

#[test]
fn whole_numbers_are_pytorchs() {
    compare("bool", whole::<bool>);
    compare("u8", whole::<u8>);
    compare("i8", whole::<i8>);
    compare("i16", whole::<i16>);
    compare("i32", whole::<i32>);
    compare("i64", whole::<i64>);
    compare("u16", whole::<u16>);
    compare("u32", whole::<u32>);
    compare("u64", whole::<u64>);
}

#[test]
fn every_recorded_type_is_compared() {
    let recorded = recorded();
    let dtypes: BTreeSet<&str> = list(&recorded).iter().map(|call| text(&call["dtype"])).collect();
    assert_eq!(
        dtypes.into_iter().collect::<Vec<_>>(),
        ["bf16", "bool", "f16", "f32", "f64", "i16", "i32", "i64", "i8", "u16", "u32", "u64", "u8"]
    );
}

/// Makes the recorded calls of a type again: the same elements, and the same generator afterwards.
fn compare(dtype: &str, draw: impl Fn(&Call, &mut Generator, usize) -> Vec<u8>) {
    let recorded = recorded();
    let mut wrong = Vec::new();
    for entry in list(&recorded).iter().filter(|entry| text(&entry["dtype"]) == dtype) {
        let call = Call(entry);
        let mut generator = Generator::new(seed(&entry["seed"]));
        let mut bytes = Vec::new();
        for n in list(&entry["sizes"]) {
            bytes.extend(draw(&call, &mut generator, usize::try_from(n.as_u64().unwrap()).unwrap()));
        }
        let elements = (sha256(&bytes), text(&entry["sha256"]));
        let state = (sha256(&generator.state()), text(&entry["state"]));
        if elements.0 != elements.1 || state.0 != state.1 {
            let size = if call.name() == "multinomial" { 8 } else { size_of_dtype(dtype) };
            let shown: Vec<String> = bytes.chunks(size).take(4).map(bits_of).collect();
            wrong.push(format!(
                "{}({}) of {} {dtype}: {shown:?} here, {} there; the same elements: {}, the same state: {}",
                call.name(),
                entry["arguments"],
                entry["sizes"],
                entry["first"],
                elements.0 == elements.1,
                state.0 == state.1
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn size_of_dtype(dtype: &str) -> usize {
    match dtype {
        "bool" | "u8" | "i8" => 1,
        "u16" | "i16" | "f16" | "bf16" => 2,
        "u32" | "i32" | "f32" => 4,
        _ => 8,
    }
}

pub(crate) fn bits_of(bytes: &[u8]) -> String {
    let bits = bytes.iter().rev().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    format!("{bits:x}")
}

struct Call<'a>(&'a Value);

impl Call<'_> {
    fn name(&self) -> &str {
        text(&self.0["call"])
    }

    fn number(&self, place: usize) -> f64 {
        self.0["arguments"][place].as_f64().unwrap()
    }

    fn integer(&self, place: usize) -> i64 {
        self.0["arguments"][place].as_i64().unwrap()
    }
}

/// An element's bytes as PyTorch keeps them, and the nearest value to a number.
pub(crate) trait Element: Copy + Default {
    fn of(value: f64) -> Self;
    fn put(self, bytes: &mut Vec<u8>);
}

macro_rules! elements {
    ($($name:ident: $value:ident => $nearest:expr, $this:ident => $bytes:expr;)*) => {$(
        impl Element for $name {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            fn of($value: f64) -> Self {
                $nearest
            }

            fn put(self, bytes: &mut Vec<u8>) {
                let $this = self;
                bytes.extend($bytes);
            }
        }
    )*};
}

elements! {
    f32: value => value as f32, this => this.to_le_bytes();
    f64: value => value, this => this.to_le_bytes();
    Half: value => Half::from_f32(value as f32), this => this.to_bits().to_le_bytes();
    BFloat16: value => BFloat16::from_f32(value as f32), this => this.to_bits().to_le_bytes();
    bool: value => value != 0.0, this => [u8::from(this)];
    u8: value => value as u8, this => [this];
    i8: value => value as i8, this => this.to_le_bytes();
    i16: value => value as i16, this => this.to_le_bytes();
    i32: value => value as i32, this => this.to_le_bytes();
    i64: value => value as i64, this => this.to_le_bytes();
    u16: value => value as u16, this => this.to_le_bytes();
    u32: value => value as u32, this => this.to_le_bytes();
    u64: value => value as u64, this => this.to_le_bytes();
}

pub(crate) fn bytes<T: Element>(values: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    values.into_iter().for_each(|value| value.put(&mut bytes));
    bytes
}

/// The numbers that a distribution takes, as the script makes them.
fn inputs<T: Element>(n: usize, scale: f64, seed: i64) -> Vec<T> {
    rand::<f64>(&mut Generator::new(seed), n).into_iter().map(|value| T::of(value * scale)).collect()
}

fn weights<T: Element>(n: usize, zeros: f64) -> Vec<T> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let count = (n as f64 * zeros) as usize;
    iter::repeat_n(T::default(), count).chain(inputs(n, 1.0, 7).into_iter().skip(count)).collect()
}

fn floats<T: Real + Number + Element + From<bool> + TwoTypes>(
    call: &Call,
    generator: &mut Generator,
    n: usize,
) -> Vec<u8> {
    let mut values = vec![T::default(); n];
    match call.name() {
        "rand" => values = rand(generator, n),
        "uniform_" => uniform_(generator, &mut values, call.number(0), call.number(1)).unwrap(),
        "randn" => values = randn(generator, n),
        "normal_" => normal_(generator, &mut values, call.number(0), call.number(1)).unwrap(),
        "normal_strided_" => normal_strided_(generator, &mut values, call.number(0), call.number(1)).unwrap(),
        "normal_with_means" => {
            values = normal_with_means(generator, &inputs::<T>(n, 1.0, 7), call.number(0)).unwrap();
        }
        "normal_with_stds" => values = normal_with_stds(generator, call.number(0), &inputs::<T>(n, 1.0, 7)).unwrap(),
        "normal_with" => {
            values = normal_with(generator, &inputs::<T>(n, 1.0, 7), &inputs::<T>(n, 1.0, 8)).unwrap();
        }
        "bernoulli" => values = bernoulli(generator, &inputs::<T>(n, 1.0, 7)).unwrap(),
        "exponential_" => exponential_(generator, &mut values, call.number(0)).unwrap(),
        "cauchy_" => cauchy_(generator, &mut values, call.number(0), call.number(1)).unwrap(),
        "log_normal_" => log_normal_(generator, &mut values, call.number(0), call.number(1)).unwrap(),
        "poisson" => values = poisson(generator, &inputs::<T>(n, call.number(0), 7)).unwrap(),
        "trunc_normal_" => {
            let [mean, std, a, b] = [0, 1, 2, 3].map(|place| call.number(place));
            trunc_normal_(generator, &mut values, mean, std, a, b).unwrap();
        }
        "multinomial" => {
            let weights = weights::<T>(n, call.number(0));
            let samples = usize::try_from(call.integer(1)).unwrap();
            let replacement = call.0["arguments"][2].as_bool().unwrap();
            return bytes(multinomial(generator, &weights, samples, replacement).unwrap());
        }
        "standard_gamma" => values = T::standard_gamma(generator, n, call.number(0)),
        "binomial" => values = T::binomial(generator, n, call.number(0)),
        _ => return whole::<T>(call, generator, n),
    }
    bytes(values)
}

/// What PyTorch has for `f32` and `f64` only.
trait TwoTypes: Sized {
    fn standard_gamma(_: &mut Generator, _: usize, _: f64) -> Vec<Self> {
        panic!("not for 16 bits")
    }

    fn binomial(_: &mut Generator, _: usize, _: f64) -> Vec<Self> {
        panic!("not for 16 bits")
    }
}

impl TwoTypes for Half {}
impl TwoTypes for BFloat16 {}

impl TwoTypes for f32 {
    fn standard_gamma(generator: &mut Generator, n: usize, scale: f64) -> Vec<Self> {
        gammas(generator, n, scale)
    }

    fn binomial(generator: &mut Generator, n: usize, scale: f64) -> Vec<Self> {
        binomials(generator, n, scale)
    }
}

impl TwoTypes for f64 {
    fn standard_gamma(generator: &mut Generator, n: usize, scale: f64) -> Vec<Self> {
        gammas(generator, n, scale)
    }

    fn binomial(generator: &mut Generator, n: usize, scale: f64) -> Vec<Self> {
        binomials(generator, n, scale)
    }
}

fn gammas<T: Wide + Element>(generator: &mut Generator, n: usize, scale: f64) -> Vec<T> {
    standard_gamma(generator, &inputs::<T>(n, scale, 7)).unwrap()
}

fn binomials<T: Wide + Element>(generator: &mut Generator, n: usize, scale: f64) -> Vec<T> {
    let counts: Vec<T> = inputs::<T>(n, scale, 7).into_iter().map(|count| T::of(count.into().floor())).collect();
    binomial(generator, &counts, &inputs(n, 1.0, 8)).unwrap()
}

fn whole<T: Number + Element + From<bool>>(call: &Call, generator: &mut Generator, n: usize) -> Vec<u8> {
    let mut values = vec![T::default(); n];
    match call.name() {
        "random_" => random_(generator, &mut values).unwrap(),
        "random_from_to_" => random_from_to_(generator, &mut values, call.integer(0), call.integer(1)).unwrap(),
        "random_from_" => random_from_(generator, &mut values, call.integer(0)).unwrap(),
        "geometric_" => geometric_(generator, &mut values, call.number(0)).unwrap(),
        "bernoulli_" => bernoulli_(generator, &mut values, call.number(0)).unwrap(),
        other => panic!("{other}"),
    }
    bytes(values)
}

fn recorded() -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/distributions/cpu.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}
