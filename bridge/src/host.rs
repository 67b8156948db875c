//! Elements in host memory, shared: a snapshot of a module copies nothing. Whoever changes a tensor that something else holds, too,
//! copies it first, as Burn's CPU backend does of itself; and by then a file that it was for is often written.

use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;

use crate::data::shared_data;

/// A tensor as the owner of its elements.
struct Held(FlexTensor);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// The elements of a tensor of Burn's CPU backend; `None` where they lie in another order, or among others.
pub(super) fn shared(tensor: FlexTensor) -> Option<TensorData> {
    let (shape, dtype) = (tensor.layout().shape().clone(), tensor.dtype());
    let whole = tensor.is_contiguous()
        && tensor.layout().start_offset() == 0
        && tensor.bytes().len() == tensor.layout().num_elements() * dtype.size();
    whole.then(|| shared_data(Held(tensor), shape, dtype))
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::{Device, Tensor};

    use super::*;

    fn here(tensor: &Tensor<2>) -> FlexTensor {
        tensor.clone().try_into_primitive::<Flex>().unwrap()
    }

    #[test]
    fn a_tensor_in_its_own_order_is_shared_and_one_in_another_is_not() {
        let tensor = Tensor::<2>::from_data([[1.0_f32, 2.0], [3.0, 4.0]], &Device::flex());
        let data = shared(here(&tensor)).unwrap();
        assert_eq!(data.as_bytes().as_ptr(), here(&tensor).bytes().as_ptr());
        assert!(shared(here(&tensor.clone().transpose())).is_none());
        assert!(shared(here(&tensor.clone().slice([0..1, 0..2]))).is_none());

        let tensor = tensor + 1.0;
        assert_eq!(data.as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0], "what was shared stays as it was");
        assert_eq!(tensor.into_data().as_slice::<f32>().unwrap(), [2.0, 3.0, 4.0, 5.0]);
    }
}
