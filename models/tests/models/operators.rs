//! The operators of our own for the CPU against Burn's: outputs and gradients, element by element, at sizes that are no multiple
//! of any vector, strided, with what is not a number, infinite or large.

use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::ThreadPoolBuilder;
use rekindle_models::Result;
use rekindle_models::functional::{
    Array, Attention, Cell, Convolution, Recurrent, Running, Unary, Windows, with_own_operators, with_plain_operators,
};
use rekindle_random::Generator;

/// Numbers between -3 and 3 without a pattern.
fn numbers(shape: &[usize], seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) * 6.0 - 3.0
    };
    #[allow(clippy::cast_possible_truncation)] // to 32 bits
    (0..shape.iter().product()).map(|_| next() as f32).collect()
}

/// The output and the gradient of each input, by the loss `sum(output * slopes)`.
fn computed(inputs: &[(Vec<f32>, Vec<usize>)], run: &dyn Fn(&[Array]) -> Result<Array>) -> Result<Vec<Vec<f64>>> {
    let device = Device::flex().autodiff();
    let leaves: Vec<Tensor<1>> = inputs
        .iter()
        .map(|(numbers, _)| {
            Tensor::from_data(TensorData::new(numbers.clone(), [numbers.len()]), &device).require_grad()
        })
        .collect();
    let given = leaves.iter().zip(inputs).map(|(leaf, (_, shape))| Array::from_float(leaf.clone()).reshaped(shape));
    let output = run(&given.collect::<Result<Vec<_>>>()?)?;
    let slopes = Array::from_data(
        TensorData::new(numbers(output.shape(), 99), output.shape().to_vec()),
        output.shape(),
        &Device::flex(),
    )?;
    let mut results = vec![output.floats()?];
    let gradients = output.mul(&slopes)?.sum(&[], false)?.into_float::<1>()?.backward();
    for leaf in &leaves {
        let gradient = leaf.grad(&gradients).map(|gradient| Array::from_float(gradient).floats()).transpose()?;
        results.push(gradient.unwrap_or_default());
    }
    Ok(results)
}

/// That both paths give the same within 1e-6 of the largest element, and that the operator does not depend on threads.
fn agree(place: &str, inputs: &[(Vec<f32>, Vec<usize>)], run: &(dyn Fn(&[Array]) -> Result<Array> + Sync)) {
    let plain = with_plain_operators(|| computed(inputs, run)).unwrap();
    let pool = |threads| ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let own = pool(1).install(|| with_own_operators(|| computed(inputs, run)).unwrap());
    let of_three = pool(3).install(|| with_own_operators(|| computed(inputs, run)).unwrap());
    for (which, ((own, three), plain)) in own.iter().zip(&of_three).zip(&plain).enumerate() {
        assert_eq!(own.len(), plain.len(), "{place}, {which}");
        let finite = plain.iter().filter(|x| x.is_finite());
        let largest = finite.fold(1.0_f64, |largest, x| largest.max(x.abs()));
        for (at, ((own, three), plain)) in own.iter().zip(three).zip(plain).enumerate() {
            assert!(own.to_bits() == three.to_bits(), "{place}, {which}: {own} or {three} at {at}, by the threads");
            let same = own == plain || (own.is_nan() && plain.is_nan()) || (own - plain).abs() <= 1e-6 * largest;
            assert!(same, "{place}, {which}: {own} is not {plain} at {at} (largest {largest})");
        }
    }
}

fn input(shape: &[usize], seed: u32) -> (Vec<f32>, Vec<usize>) {
    (numbers(shape, seed), shape.to_vec())
}

/// What each function of one element is called, and computes.
type Function = (&'static str, fn(&Array) -> Result<Array>);

const FUNCTIONS: [Function; 8] = [
    ("exp", |x| x.unary(Unary::Exp)),
    ("erf", |x| x.unary(Unary::Erf)),
    ("tanh", |x| x.unary(Unary::Tanh)),
    ("gelu", |x| x.gelu(false)),
    ("gelu of tanh", |x| x.gelu(true)),
    ("relu", Array::relu),
    ("sigmoid", Array::sigmoid),
    ("silu", Array::silu),
];

#[test]
fn functions_of_an_element_agree_with_burns() {
    for (name, function) in FUNCTIONS {
        for length in [1, 7, 16, 33, 40_001] {
            agree(name, &[input(&[length], 1)], &move |x| function(&x[0]));
        }
        agree(name, &[input(&[5, 7, 3], 2)], &move |x| function(&x[0].transpose(0, 2)?));
        let wide = vec![20.0, -20.0, 0.0, -0.0, 1e-30, -1e-42, 9.5, -9.5, 5.0, -5.0, 0.625, 0.927_734_4];
        agree(name, &[(wide.clone(), vec![wide.len()])], &move |x| function(&x[0]));
    }
}

#[test]
fn what_is_no_number_or_infinite_stays_so() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 200.0, -200.0, 1.0];
    for (name, function) in FUNCTIONS {
        let x = Array::from_data(TensorData::new(odd.to_vec(), [6]), &[6], &Device::flex()).unwrap();
        let (own, plain) = (function(&x).unwrap().floats().unwrap(), with_plain_operators(|| function(&x)).unwrap());
        for ((x, own), plain) in odd.iter().zip(own).zip(plain.floats().unwrap()) {
            let same = own == plain || own.is_nan() && plain.is_nan() || (own - plain).abs() < 1e-6;
            assert!(same, "{name}({x}): {own} is not {plain}");
        }
    }
    for dim in [0, 1] {
        let rows = vec![f32::NAN, 1.0, 2.0, f32::NEG_INFINITY, 0.0, 1.0, f32::INFINITY, 3.0, 4.0, 300.0, -300.0, 300.0];
        agree("softmax", &[(rows.clone(), vec![4, 3])], &move |x| x[0].softmax(dim));
        let finite = vec![f32::NEG_INFINITY, 0.0, 1.0, 300.0, -300.0, 300.0];
        agree("log_softmax", &[(finite, vec![2, 3])], &move |x| x[0].log_softmax(dim));
    }
    let hidden =
        Array::from_data(TensorData::new(vec![f32::NEG_INFINITY; 5], [1, 5]), &[1, 5], &Device::flex()).unwrap();
    assert!(hidden.softmax(-1).unwrap().floats().unwrap().iter().all(|x| x.is_nan()));
}

#[test]
fn exp_erf_and_tanh_are_within_two_units_of_the_last_place() {
    #[allow(clippy::cast_possible_truncation)] // to 32 bits
    let x: Vec<f32> = (0..400_000).map(|at| ((f64::from(at) / 200_000.0 - 1.0) * 87.0) as f32).collect();
    let array = Array::from_data(TensorData::new(x.clone(), [x.len()]), &[x.len()], &Device::flex()).unwrap();
    let table: [(Unary, fn(f64) -> f64); 3] =
        [(Unary::Exp, f64::exp), (Unary::Erf, libm::erf), (Unary::Tanh, f64::tanh)];
    for (function, exact) in table {
        let values = array.unary(function).unwrap().floats().unwrap();
        for (x, value) in x.iter().zip(values) {
            let exact = exact(f64::from(*x));
            #[allow(clippy::cast_possible_truncation)]
            let rounded = exact.abs() as f32;
            let unit = f64::from(f32::from_bits(rounded.to_bits() + 1)) - f64::from(rounded);
            assert!((value - exact).abs() <= 2.0 * unit, "{function:?}({x}): {value}, not {exact}");
        }
    }
}

#[test]
fn softmax_agrees_with_burns() {
    for shape in [[1, 1], [3, 7], [5, 33], [40, 1000], [1, 20_000]] {
        agree("softmax", &[input(&shape, 3)], &|x| x[0].softmax(-1));
        agree("log_softmax", &[input(&shape, 3)], &|x| x[0].log_softmax(-1));
        agree("softmax of the first", &[input(&shape, 3)], &|x| x[0].softmax(0));
    }
    agree("softmax, turned", &[input(&[6, 5, 4], 4)], &|x| x[0].transpose(0, 2)?.softmax(-1));
}

#[test]
fn products_of_matrices_agree_with_burns() {
    for [rows, inner, columns] in
        [[1, 1, 1], [2, 3, 5], [7, 33, 17], [65, 40, 31], [130, 700, 33], [15, 1100, 2], [161, 405, 77], [70, 530, 301]]
    {
        agree("matmul", &[input(&[rows, inner], 1), input(&[inner, columns], 2)], &|x| x[0].matmul(&x[1]));
        agree("matmul, turned", &[input(&[inner, rows], 1), input(&[columns, inner], 2)], &|x| {
            x[0].transpose(0, 1)?.matmul(&x[1].transpose(0, 1)?)
        });
        let linear = [input(&[rows, inner], 1), input(&[columns, inner], 2), input(&[columns], 3)];
        agree("linear", &linear, &|x| x[0].linear(&x[1], Some(&x[2])));
        agree("linear without bias", &linear[..2], &|x| x[0].linear(&x[1], None));
        let turned = [input(&[rows, inner], 1), input(&[inner, columns], 2), input(&[columns], 3)];
        agree("linear, turned", &turned, &|x| x[0].linear(&x[1].transpose(0, 1)?, Some(&x[2])));
    }
    let batch = [input(&[2, 3, 5, 7], 1), input(&[2, 7, 3, 9], 2)];
    agree("matmul of a batch", &batch, &|x| x[0].matmul(&x[1].transpose(1, 2)?));
    let large = [input(&[3, 2, 65, 83], 1), input(&[3, 83, 2, 161], 2)];
    agree("matmul of a large batch", &large, &|x| x[0].matmul(&x[1].transpose(1, 2)?));
    agree("matmul, broadcast", &[input(&[2, 3, 5, 7], 1), input(&[3, 7, 9], 2)], &|x| x[0].matmul(&x[1]));
    agree("matmul by one", &[input(&[2, 3, 5, 7], 1), input(&[7, 9], 2)], &|x| x[0].matmul(&x[1]));
    agree("matmul, repeated", &[input(&[1, 5, 7], 1), input(&[4, 7, 9], 2)], &|x| {
        x[0].expand(&[4, 5, 7])?.matmul(&x[1])
    });
    agree("matmul, flipped", &[input(&[5, 7], 1), input(&[7, 9], 2)], &|x| x[0].flip(&[0, 1])?.matmul(&x[1]));
    agree("a vector", &[input(&[7], 1), input(&[9, 7], 2), input(&[9], 3)], &|x| x[0].linear(&x[1], Some(&x[2])));
}

#[test]
fn convolutions_agree_with_burns() {
    // Images, channels, height, width, filters, kernel, stride, padding, dilation, groups.
    let table = [
        [1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1],
        [2, 3, 9, 7, 5, 3, 3, 1, 1, 1, 1],
        [3, 5, 17, 13, 7, 3, 3, 2, 1, 2, 1],
        [3, 5, 18, 21, 13, 4, 3, 3, 2, 1, 1],
        [1, 4, 9, 7, 6, 3, 2, 2, 1, 1, 2],
        [2, 3, 5, 5, 4, 5, 5, 1, 4, 1, 1],
        [2, 4, 6, 40, 4, 1, 9, 3, 0, 2, 2],
        [1, 1, 3, 3, 1, 2, 2, 3, 0, 1, 1],
        [5, 2, 6, 6, 3, 1, 1, 3, 2, 1, 1],
        [4, 6, 1, 1, 5, 3, 3, 1, 1, 1, 1],
        [7, 6, 2, 2, 5, 3, 3, 1, 1, 1, 1],
        [2, 8, 11, 11, 8, 3, 3, 2, 1, 1, 8],
        [2, 3, 33, 35, 15, 7, 7, 2, 3, 1, 1],
        [20, 2, 4, 4, 3, 3, 3, 1, 1, 1, 1],
        // Few images of many pixels, or of fewer pixels than filters or channels; pixels by themselves; nothing but padding.
        [1, 6, 30, 31, 20, 3, 3, 1, 1, 1, 1],
        [1, 8, 5, 5, 70, 3, 3, 1, 1, 1, 1],
        [1, 70, 5, 5, 8, 3, 3, 1, 1, 1, 1],
        [2, 40, 9, 9, 70, 3, 3, 2, 1, 1, 1],
        [1, 30, 40, 23, 34, 5, 5, 2, 2, 1, 2],
        [3, 20, 9, 9, 40, 1, 1, 1, 0, 1, 1],
        [1, 12, 21, 9, 80, 1, 1, 1, 0, 1, 4],
        [1, 40, 14, 14, 70, 1, 1, 2, 0, 1, 1],
        [2, 3, 1, 1, 2, 1, 1, 5, 2, 1, 1],
        // Images of a pixel or a few, some taps of which meet nothing; by one thread and by several.
        [40, 70, 1, 1, 90, 3, 3, 1, 1, 1, 1],
        [40, 70, 1, 1, 90, 3, 3, 2, 1, 1, 2],
        [9, 40, 1, 1, 33, 5, 3, 1, 2, 1, 1],
        [33, 40, 2, 2, 70, 3, 3, 1, 1, 1, 1],
        [33, 40, 2, 2, 70, 3, 3, 2, 1, 1, 1],
        [20, 24, 2, 3, 30, 5, 5, 1, 2, 1, 2],
        [20, 24, 4, 4, 30, 1, 1, 1, 0, 1, 1],
    ];
    for [images, channels, height, width, filters, tall, broad, stride, padding, dilation, groups] in table {
        let how = Convolution {
            stride: vec![stride],
            padding: vec![padding],
            dilation: vec![dilation],
            groups,
            ..Convolution::default()
        };
        let given = [
            input(&[images, channels, height, width], 1),
            input(&[filters, channels / groups, tall, broad], 2),
            input(&[filters], 3),
        ];
        let place = format!("{:?} by {:?}, {how:?}", given[0].1, given[1].1);
        agree(&place, &given, &|x| x[0].conv(&x[1], Some(&x[2]), &how));
        agree(&place, &given[..2], &|x| x[0].conv(&x[1], None, &how));
        let turned = [input(&[images, channels, width, height], 1), given[1].clone(), given[2].clone()];
        agree(&place, &turned, &|x| x[0].transpose(2, 3)?.conv(&x[1], Some(&x[2]), &how));
    }
    for (stride, groups) in [(1, 1), (2, 1), (3, 2)] {
        let how = Convolution { stride: vec![stride], padding: vec![2], groups, ..Convolution::default() };
        let line = [input(&[3, 4, 25], 1), input(&[6, 4 / groups, 5], 2), input(&[6], 3)];
        agree("conv1d", &line, &|x| x[0].conv(&x[1], Some(&x[2]), &how));
    }
    let two = Convolution { stride: vec![1, 2], padding: vec![2, 0], dilation: vec![1, 3], ..Convolution::default() };
    let wide = [input(&[2, 3, 9, 20], 1), input(&[4, 3, 3, 4], 2), input(&[4], 3)];
    agree("conv2d of two steps", &wide, &|x| x[0].conv(&x[1], Some(&x[2]), &two));
}

#[test]
fn norms_agree_with_burns() {
    for shape in [[1, 1, 2], [3, 4, 33], [2, 65, 7], [50, 4, 100]] {
        let last = shape[2];
        let given = [input(&shape, 1), input(&[last], 2), input(&[last], 3)];
        agree("layer_norm", &given, &|x| x[0].layer_norm(1, Some(&x[1]), Some(&x[2]), 1e-5));
        agree("layer_norm without bias", &given[..2], &|x| x[0].layer_norm(1, Some(&x[1]), None, 1e-5));
        agree("layer_norm without weights", &given[..1], &|x| x[0].layer_norm(2, None, None, 1e-2));
        let both = [input(&shape, 1), input(&shape[1..], 2), input(&shape[1..], 3)];
        agree("layer_norm of two", &both, &|x| x[0].layer_norm(2, Some(&x[1]), Some(&x[2]), 1e-5));
    }
    let many = [
        vec![64, 300],
        vec![40, 700],
        vec![50, 200, 2, 2],
        vec![9, 300, 4, 4],
        vec![3, 700, 5, 6],
        vec![2, 9, 31],
        vec![2, 9, 32],
    ];
    let few = [vec![5, 3], vec![64, 33], vec![3, 5, 7], vec![2, 3, 5, 7], vec![4, 2, 40, 33], vec![2, 3, 2, 3, 4]];
    for shape in few.into_iter().chain(many) {
        let channels = shape[1];
        let given = [input(&shape, 1), input(&[channels], 2), input(&[channels], 3)];
        let train = |x: &[Array]| Ok(x[0].batch_norm_train(Some(&x[1]), Some(&x[2]), None, 0.1, 1e-5)?.0);
        agree(&format!("batch_norm of {shape:?}"), &given, &train);
    }
}

#[test]
fn batch_norm_by_given_moments_agrees_with_burns() {
    for shape in [vec![5, 3], vec![40, 700], vec![3, 5, 7], vec![50, 200, 2, 2], vec![2, 3, 5, 7], vec![4, 2, 40, 33]] {
        let of_channel = |seed| input(&[shape[1]], seed);
        let given = [input(&shape, 1), of_channel(2), of_channel(3), of_channel(4), of_channel(5)];
        agree(&format!("batch_norm by moments, {shape:?}"), &given, &|x| {
            let running = Running { mean: x[1].clone(), var: x[2].mul(&x[2])?.add(0.5)? };
            x[0].batch_norm(&running, Some(&x[3]), Some(&x[4]), 1e-5)
        });
    }
}

#[test]
fn sums_agree_with_burns() {
    for shape in [vec![1], vec![3, 5], vec![4, 70, 150]] {
        agree("add", &[input(&shape, 1), input(&shape, 2)], &|x| x[0].add(&x[1]));
    }
    agree("add to itself", &[input(&[7, 9], 1)], &|x| x[0].add(&x[0]));
    agree("add, turned", &[input(&[7, 9], 1), input(&[9, 7], 2)], &|x| x[0].add(&x[1].transpose(0, 1)?));
}

#[test]
fn the_largest_of_windows_agree_with_burns() {
    // Height, width, kernel, stride, padding, dilation.
    let table = [
        [1, 1, 1, 1, 0, 1],
        [6, 8, 2, 2, 0, 1],
        [7, 9, 2, 2, 0, 1],
        [28, 28, 2, 2, 0, 1],
        [13, 15, 3, 2, 1, 1],
        [9, 40, 3, 1, 1, 2],
        [20, 17, 4, 3, 2, 1],
        [11, 23, 2, 5, 1, 3],
        [100, 180, 3, 2, 1, 1],
    ];
    for [height, width, kernel, stride, padding, dilation] in table {
        for ceil in [false, true] {
            let windows = Windows {
                stride: vec![stride],
                padding: vec![padding],
                dilation: vec![dilation],
                ceil,
                ..Windows::new([kernel])
            };
            let place = format!("{height} x {width}, {windows:?}");
            agree(&place, &[input(&[3, 2, height, width], 1)], &|x| x[0].max_pool(2, &windows));
            agree(&place, &[input(&[3, 2, width, height], 1)], &|x| x[0].transpose(2, 3)?.max_pool(2, &windows));
            // Many that are equal: the gradient goes to the first.
            let whole = input(&[1, 3, height, width], 2);
            let whole = (whole.0.iter().map(|x| x.round()).collect(), whole.1);
            agree(&place, &[whole], &|x| x[0].max_pool(2, &windows));
        }
    }
    let odd =
        vec![f32::NAN, 1.0, f32::NEG_INFINITY, f32::NEG_INFINITY, 2.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    agree("odd numbers", &[(odd, vec![1, 1, 2, 4])], &|x| x[0].max_pool(2, &Windows::new([2])));
    let line = [input(&[2, 3, 31], 1)];
    agree("max_pool1d", &line, &|x| x[0].max_pool(1, &Windows { stride: vec![2], ..Windows::new([3]) }));
}

#[test]
fn attention_agrees_with_burns() {
    for (shape, keys, causal) in
        [([2, 3, 5, 7], 5, true), ([1, 1, 1, 1], 1, false), ([2, 2, 33, 8], 19, false), ([1, 2, 20, 16], 31, true)]
    {
        let key = [shape[0], shape[1], keys, shape[3]];
        let given = [input(&shape, 1), input(&key, 2), input(&key, 3)];
        let how = Attention { causal, keeps_all: true, ..Attention::default() };
        agree("attention", &given, &move |x| x[0].attention(&x[1], &x[2], &how, Ok));
        let turned = [[shape[0], shape[2], shape[1], shape[3]], [key[0], key[2], key[1], key[3]]];
        let given = [input(&turned[0], 1), input(&turned[1], 2), input(&turned[1], 3)];
        let how = Attention { causal, scale: Some(0.3), keeps_all: true, ..Attention::default() };
        agree("attention, turned", &given, &move |x| {
            let heads: Vec<Array> = x.iter().map(|x| x.transpose(1, 2)).collect::<Result<_>>()?;
            heads[0].attention(&heads[1], &heads[2], &how, Ok)
        });
    }
}

#[test]
fn an_lstm_agrees_with_burns() {
    for (times, batch, width, both) in [(1, 1, 1, false), (5, 3, 7, true), (3, 37, 20, false), (9, 2, 33, true)] {
        let inputs = 4;
        let slots = if both { 4 } else { 2 };
        let mut given =
            vec![input(&[times, batch, inputs], 1), input(&[slots, batch, width], 2), input(&[slots, batch, width], 3)];
        for slot in 0..slots {
            let wide = if slot < slots / 2 { inputs } else { width * slots / 2 };
            let seed = u32::try_from(slot).unwrap() * 5 + 10;
            for (at, shape) in
                [vec![4 * width, wide], vec![4 * width, width], vec![4 * width], vec![4 * width]].iter().enumerate()
            {
                let small = numbers(shape, seed + u32::try_from(at).unwrap()).iter().map(|x| x * 0.2).collect();
                given.push((small, shape.clone()));
            }
        }
        let recurrent = Recurrent {
            cell: Cell::Lstm,
            biases: true,
            layers: 2,
            dropout: 0.0,
            train: true,
            bidirectional: both,
            batch_first: false,
        };
        agree("an LSTM", &given, &move |x| {
            let (y, last) = recurrent.run(&x[0], &x[1..3], &x[3..], &mut Generator::new(0))?;
            let flat = |x: &Array| x.reshaped(&[x.numel()]);
            Array::cat(&[flat(&y)?, flat(&last[0])?, flat(&last[1])?], 0)
        });
    }
}

#[test]
fn nothing_is_nothing() {
    let device = Device::flex();
    let none = Array::from_floats(&[], &[0, 3], DType::F32, &device).unwrap();
    let weight = Array::from_floats(&[0.0; 6], &[2, 3], DType::F32, &device).unwrap();
    assert_eq!(none.gelu(false).unwrap().shape(), [0, 3]);
    assert_eq!(none.softmax(-1).unwrap().shape(), [0, 3]);
    assert_eq!(none.linear(&weight, None).unwrap().shape(), [0, 2]);
}
