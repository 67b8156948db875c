//! Parameters at the ends of their ranges, and those beyond, which are refused before anything is drawn.

use rekindle_random::{
    CudaDevice, CudaGeneratorState, Generator, Half, ParameterError, bernoulli, bernoulli_, binomial, cauchy_,
    exponential_, geometric_, log_normal_, multinomial, normal_, normal_strided_, normal_with, normal_with_stds,
    poisson, randint, random_, random_from_, random_from_to_, standard_gamma, trunc_normal_, uniform_,
};

#[test]
fn a_probability_outside_0_to_1_is_refused_before_anything_is_drawn() {
    let mut generator = Generator::new(0);
    for p in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(bernoulli_(&mut generator, &mut [false], p).is_err(), "{p}");
        assert!(bernoulli::<f64, bool>(&mut generator, &[0.5, p]).is_err(), "{p}");
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

#[test]
fn unusable_parameters_of_the_other_distributions_are_refused_before_anything_is_drawn() {
    let generator = &mut Generator::new(0);
    for number in [-1.0, f64::NAN] {
        assert!(cauchy_(generator, &mut [0.0_f64], 0.0, number).is_err());
        assert!(log_normal_(generator, &mut [0.0_f64], 0.0, number).is_err());
        assert!(geometric_(generator, &mut [0_i64], number).is_err());
        assert!(poisson(generator, &[1.0, number]).is_err());
        assert!(standard_gamma(generator, &[1.0, number]).is_err());
        assert!(normal_with(generator, &[0.0; 2], &[1.0, number]).is_err());
        assert!(normal_with_stds(generator, 0.0, &[1.0, number]).is_err());
        assert!(trunc_normal_(generator, &mut [0.0_f32], 0.0, number, -2.0, 2.0).is_err());
    }
    for edge in [0.0, 1.0] {
        assert!(geometric_(generator, &mut [0.0_f32], edge).is_err());
    }
    assert!(cauchy_(generator, &mut [0.0_f32], 0.0, 0.0).is_err());
    assert!(log_normal_(generator, &mut [0.0_f32], 0.0, 0.0).is_err());
    assert!(binomial(generator, &[f64::NAN], &[0.5]).is_err());
    assert!(binomial(generator, &[1.0], &[f64::NAN]).is_err());
    assert!(trunc_normal_(generator, &mut [0.0_f32], 0.0, 1.0, 2.0, -2.0).is_err());
    assert!(trunc_normal_(generator, &mut [0.0_f32], 0.0, 1.0, 2.0, f64::INFINITY).is_err());
    assert_eq!(*generator, Generator::new(0));
}

#[test]
fn types_that_pytorch_does_not_fill_are_refused_by_name() {
    let generator = &mut Generator::new(0);
    assert_eq!(
        random_(generator, &mut [0_u16]).unwrap_err().to_string(),
        "random_ does not fill a torch.uint16 tensor in PyTorch"
    );
    assert!(geometric_(generator, &mut [false], 0.5).is_err());
    assert!(random_from_(generator, &mut [0_i32], i64::MIN).is_err());
    assert!(random_from_(generator, &mut [0_u64], 0).is_err());
    assert!(random_from_(generator, &mut [Half::default()], 2048).is_err());
    assert_eq!(
        random_from_to_(generator, &mut [0_u8], 0, 257).unwrap_err().to_string(),
        "a torch.uint8 tensor cannot hold the integers from 0 to 256"
    );
    assert!(random_from_to_(generator, &mut [Half::default()], 0, 65506).is_err());
    // Neither bound is a float16, and the next ones have passed each other.
    assert!(random_from_to_(generator, &mut [Half::default()], 4097, 4098).is_err());
    assert_eq!(*generator, Generator::new(0));
}

#[test]
fn weights_that_cannot_be_drawn_by_are_refused() {
    let generator = &mut Generator::new(0);
    for replacement in [false, true] {
        for weights in [&[1.0, -1.0][..], &[f64::NAN, 1.0], &[f64::INFINITY, 1.0], &[0.0, 0.0], &[]] {
            for samples in [1, 2] {
                assert!(multinomial(generator, weights, samples, replacement).is_err(), "{weights:?}");
            }
        }
        assert!(multinomial(generator, &[1.0], 0, replacement).is_err());
    }
    let more = multinomial(generator, &[1.0_f32; 3], 4, false).unwrap_err();
    assert!(more.to_string().contains("4 samples from 3 weights"), "{more}");
    assert!(multinomial(generator, &vec![1.0_f32; (1 << 24) + 1], 1, true).is_err());
    assert_eq!(*generator, Generator::new(0));
}

#[test]
fn a_gpu_refuses_what_the_cpu_does() {
    let device = CudaDevice { multi_processor_count: 1, max_threads_per_multi_processor: 1024 };
    let mut state = CudaGeneratorState::new(3);
    assert!(state.uniform_(device, &mut [0.0_f32], 1.0, 0.0).is_err());
    assert!(state.bernoulli_(device, &mut [0.0_f32], 1.5).is_err());
    assert!(state.random_(device, &mut [0_u32]).is_err());
    assert!(state.random_from_to_(device, &mut [0_u8], 5, 5).is_err());
    assert!(state.uniform_::<f32>(device, &mut [], 0.0, 1.0).is_ok());
    assert_eq!(state, CudaGeneratorState::new(3));
}
