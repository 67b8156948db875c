//! How elements move between Burn and PyTorch, for tensors on any device: what `named.rs` does with bytes. All elements of a
//! parameter are in a row, in the order of its shape.

use burn::tensor::Tensor as BurnTensor;

use crate::named::{NamedParameter, Piece, Swap};
use rekindle_recorder::{Error, Result};

impl Swap {
    /// There must be one element at least: Burn takes the 0 of a shape for something else.
    fn tensor(self, elements: BurnTensor<1>) -> BurnTensor<1> {
        let Swap { outer, rows, columns, inner } = self;
        let len = elements.dims()[0];
        if outer == 1 && inner == 1 {
            return elements.reshape([rows, columns]).swap_dims(0, 1).reshape([len]);
        }
        elements.reshape([outer, rows, columns, inner]).swap_dims(1, 2).reshape([len])
    }
}

impl NamedParameter {
    /// PyTorch's elements, all in a row, from those of what lies like the Burn parameters, in the order of
    /// [`pieces`](Self::pieces): [`join`](Self::join) for tensors on any device.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](rekindle_recorder::ErrorKind::Invalid) when there are more or fewer pieces, or a piece has more or fewer elements.
    pub fn join_tensors(&self, pieces: Vec<BurnTensor<1>>) -> Result<BurnTensor<1>> {
        if pieces.len() != self.pieces.len() {
            return Err(self.unfit(format!("it has {} pieces, {} were given", self.pieces.len(), pieces.len())));
        }
        let runs = self.runs();
        let (mut parts, mut none) = (Vec::with_capacity(pieces.len()), None);
        for (piece, elements) in self.pieces.iter().zip(pieces) {
            let (len, found) = (elements_of(piece), elements.dims()[0]);
            if len != found {
                return Err(self.unfit(format!("its Burn parameter has {len} elements, not {found}")));
            }
            let moved = |elements| piece.to_torch().fold(elements, |elements, swap| swap.tensor(elements));
            if self.pieces.len() == 1 {
                return Ok(if len == 0 { elements } else { moved(elements) });
            }
            if len > 0 {
                parts.push(moved(elements).reshape([runs, len / runs]));
            } else {
                none = Some(elements);
            }
        }
        if let (Some(none), true) = (none, parts.is_empty()) {
            return Ok(none);
        }
        let whole: BurnTensor<2> = BurnTensor::cat(parts, 1);
        let len = whole.shape().num_elements();
        Ok(whole.reshape([len]))
    }

    /// What lies like the Burn parameters, in the order of [`pieces`](Self::pieces), from PyTorch's elements, all in a row:
    /// [`split`](Self::split) for tensors on any device.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](rekindle_recorder::ErrorKind::Invalid) when there are more or fewer elements.
    pub fn split_tensor(&self, elements: BurnTensor<1>) -> Result<Vec<BurnTensor<1>>> {
        let (len, found) = (self.pieces.iter().map(elements_of).sum::<usize>(), elements.dims()[0]);
        if len != found {
            return Err(self.unfit(format!("it has {len} elements, not {found}")));
        }
        if len == 0 {
            return Ok(vec![elements; self.pieces.len()]);
        }
        let back =
            |piece: &Piece, elements| piece.to_burn().fold(elements, |elements, swap: Swap| swap.tensor(elements));
        if let [piece] = &self.pieces[..] {
            return Ok(vec![back(piece, elements)]);
        }
        let none = BurnTensor::empty([0], (&elements.device(), elements.dtype()));
        let runs = self.runs();
        let whole: BurnTensor<2> = elements.reshape([runs, len / runs]);
        let mut start = 0;
        let part = |piece: &Piece| {
            let len = elements_of(piece);
            if len == 0 {
                return none.clone();
            }
            let run = len / runs;
            let part = whole.clone().narrow(1, start, run).reshape([len]);
            start += run;
            back(piece, part)
        };
        Ok(self.pieces.iter().map(part).collect())
    }

    /// How often a run of a piece's elements comes in the whole: as often as there are places before the axis.
    fn runs(&self) -> usize {
        self.shape.iter().take(self.axis).product()
    }

    fn unfit(&self, what: String) -> Error {
        Error::invalid(format!("{}: {what}", self.name))
    }
}

fn elements_of(piece: &Piece) -> usize {
    piece.shape.iter().product()
}
