//! Tensors as Burn's data, and back.

use burn::nn::LinearConfig;
use burn::tensor::{Device, TensorData};
use rekindle_burn::{ModuleStateDict as _, data_to_tensor, tensor_to_data};
use rekindle_recorder::{DType, Tensor};

#[test]
fn every_shared_element_type_goes_to_burn_and_back() {
    let bytes: Vec<u8> = (0..48).map(|i| i % 2).collect();
    for dtype in "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool".split(' ') {
        let dtype: DType = dtype.parse().unwrap();
        let count = 48 / dtype.size();
        let tensor = Tensor::from_le_bytes(dtype, &[2, count / 2], bytes.clone()).unwrap();
        let data = tensor_to_data(&tensor).unwrap();
        assert_eq!(data.shape().as_slice(), tensor.shape(), "{dtype}");
        let back = data_to_tensor(data).unwrap();
        assert_eq!((back.dtype(), back.shape()), (dtype, tensor.shape()));
        assert_eq!(&*back.to_le_bytes().unwrap(), &bytes, "{dtype}");
    }
}

#[test]
fn element_types_that_burn_lacks_are_refused_by_name() {
    let tensor = Tensor::from_le_bytes(DType::Complex64, &[1], vec![0; 8]).unwrap();
    let error = tensor_to_data(&tensor).unwrap_err();
    assert!(error.to_string().contains("a Burn tensor of complex64 is not supported"), "{error}");
}

#[test]
fn a_transposed_matrix_has_each_element_at_its_mirrored_place() {
    let (rows, columns) = (37, 70);
    let elements: Vec<u16> = (0..rows * columns).map(|i| u16::try_from(i).unwrap()).collect();
    let linear = LinearConfig::new(rows, columns).init(&Device::flex());
    let weight = linear.named_parameters().unwrap().swap_remove(0);
    let turned = weight.join(&[TensorData::new(elements.clone(), [rows, columns])]).unwrap();
    assert_eq!(turned.shape(), [columns, rows]);
    let turned = turned.to_vec::<u16>().unwrap();
    for row in 0..rows {
        for column in 0..columns {
            assert_eq!(turned[column * rows + row], elements[row * columns + column]);
        }
    }
}
