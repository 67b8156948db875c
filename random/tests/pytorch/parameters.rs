//! Parameters at the ends of their ranges, and those beyond, which are refused before anything is drawn.

use rekindle_random::{
    Generator, ParameterError, bernoulli, bernoulli_, exponential_, normal_, normal_strided_, randint, uniform_,
};

#[test]
fn a_probability_outside_0_to_1_is_refused_before_anything_is_drawn() {
    let mut generator = Generator::new(0);
    for p in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(bernoulli_(&mut generator, &mut [false], p).is_err(), "{p}");
        assert!(bernoulli(&mut generator, &[0.5, p]).is_err(), "{p}");
    }
    assert_eq!(generator, Generator::new(0));
}

#[test]
fn never_and_always_are_certain() -> Result<(), ParameterError> {
    let mut values = [true; 1000];
    bernoulli_(&mut Generator::new(0), &mut values, 0.0)?;
    assert_eq!(values, [false; 1000]);
    bernoulli_(&mut Generator::new(0), &mut values, 1.0)?;
    assert_eq!(values, [true; 1000]);
    Ok(())
}

#[test]
fn unusable_bounds_are_refused_before_anything_is_drawn() {
    let bounds =
        [(2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::NAN), (f64::NEG_INFINITY, 1.0), (0.0, f64::INFINITY), (-1e308, 1e308)];
    let f32_bounds = [(-3e38, 3e38), (0.0, 1e39)];
    let mut generator = Generator::new(0);
    for (from, to) in bounds {
        assert!(uniform_::<f64>(&mut generator, &mut [0.0], from, to).is_err(), "{from} {to}");
    }
    for (from, to) in bounds.into_iter().chain(f32_bounds) {
        assert!(uniform_::<f32>(&mut generator, &mut [0.0], from, to).is_err(), "{from} {to}");
    }
    assert_eq!(generator, Generator::new(0));
}

#[test]
fn the_upper_bound_is_never_reached() -> Result<(), ParameterError> {
    let (from, to) = (1.0, 1.0 + f64::from(f32::EPSILON)); // neighbours in f32: half the draws round up
    let mut values = [0.0_f32; 1000];
    uniform_(&mut Generator::new(0), &mut values, from, to)?;
    assert_eq!(values.map(f32::to_bits), [1.0_f32.to_bits(); 1000]);
    Ok(())
}

#[test]
fn a_rate_that_is_not_positive_is_refused_before_anything_is_drawn() {
    let mut generator = Generator::new(0);
    for lambda in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
        assert!(exponential_::<f32>(&mut generator, &mut [0.0], lambda).is_err(), "{lambda}");
    }
    assert_eq!(generator, Generator::new(0));
}

#[test]
fn no_integer_between_the_bounds_is_an_error_even_for_no_element() {
    for (low, high) in [(0, 0), (3, 2), (i64::MAX, i64::MIN)] {
        let mut generator = Generator::new(0);
        assert_eq!(randint(&mut generator, low, high, 0), Err(ParameterError::IntegerRange { low, high }));
        assert_eq!(generator, Generator::new(0));
    }
}

#[test]
fn the_widest_range_does_not_overflow() -> Result<(), ParameterError> {
    let drawn = randint(&mut Generator::new(0), i64::MIN, i64::MAX, 1000)?;
    assert!(drawn.iter().any(|value| *value < 0) && drawn.iter().any(|value| *value > 0));
    Ok(())
}

#[test]
fn a_standard_deviation_below_0_is_refused_before_anything_is_drawn() {
    let mut generator = Generator::new(0);
    for std in [-1.0, f64::NAN] {
        assert!(normal_::<f32>(&mut generator, &mut [0.0; 20], 0.0, std).is_err());
        assert!(normal_strided_::<f32>(&mut generator, &mut [], 0.0, std).is_err());
    }
    assert_eq!(generator, Generator::new(0));
}
