//! Memory for what comes of elements that something else holds, such as a checkpoint that is being written. It is kept from one save to
//! the next where the optimizer is told to: memory that is new to the process costs more than all that is copied into it.

use std::sync::Arc;

use burn::tensor::TensorData;

use super::state::{Buffer, Held};
use crate::parameters::Spare;

/// What one parameter and its state had before steps that found them held, in no order: as many places as it has now, so that it
/// is never more memory than that again. A place is taken once nothing else holds it any more.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// How many places of parameters are kept, and how many of state.
    most: (usize, usize),
    params: Vec<Spare>,
    state: Vec<Buffer>,
}

impl Clone for Room {
    /// A copy of an optimizer makes its own.
    fn clone(&self) -> Self {
        Room { most: self.most, ..Room::default() }
    }
}

impl Room {
    /// Keeps so many places of parameters and of state, from now on.
    pub(super) fn keep(&mut self, params: usize, state: usize) {
        self.most = (params, state);
        self.params.truncate(params);
        self.state.truncate(state);
    }

    /// Room for so many elements of a parameter, whatever is in it; what they were before is held by something else, too.
    pub(super) fn param<T: Held>(&mut self, len: usize, before: Spare) -> TensorData {
        let free = self.params.iter().position(|spare| spare.is_free::<T>(len));
        let data = free.map(|place| self.params.swap_remove(place).into_data());
        keep(&mut self.params, self.most.0, before);
        data.unwrap_or_else(|| TensorData::new(vec![T::of(0.0); len], [len]))
    }

    /// The elements of a buffer that something else holds, too. The buffer has room of its own then, whatever is in it.
    pub(super) fn moved<T: Held>(&mut self, buffer: &mut Buffer) -> Option<Arc<Vec<T>>> {
        let len = T::shared_len(buffer)?;
        let free = self.state.iter().position(|spare| T::is_free(spare, len));
        let room = free.map_or_else(|| T::hold(vec![T::of(0.0); len]), |place| self.state.swap_remove(place));
        let before = std::mem::replace(buffer, room);
        keep(&mut self.state, self.most.1, before.clone());
        T::of_held(before)
    }

    /// Forgets all places, as after a step that failed, which put back what was there before.
    pub(super) fn clear(&mut self) {
        self.params.clear();
        self.state.clear();
    }

    /// How many places there are.
    #[cfg(test)]
    fn places(&self) -> (usize, usize) {
        (self.params.len(), self.state.len())
    }
}

/// Keeps one more of at most so many; the oldest goes.
fn keep<T>(kept: &mut Vec<T>, most: usize, one: T) {
    if most == 0 {
        return;
    }
    if kept.len() >= most {
        kept.remove(0);
    }
    kept.push(one);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_again_once_nothing_else_holds_it_and_never_before() {
        let mut room = Room::default();
        room.keep(1, 1);
        let mut buffer = Buffer::F32(Arc::new(vec![1.0_f32; 8]));
        assert!(room.moved::<f32>(&mut buffer).is_none(), "nothing else holds it");
        let address = |buffer: &mut Buffer| buffer.values::<f32>(8).unwrap().as_ptr();

        let first = address(&mut buffer);
        let saved = buffer.clone();
        let before = room.moved::<f32>(&mut buffer).unwrap();
        assert_eq!(*before, [1.0; 8]);
        drop(before);
        let second = address(&mut buffer);
        assert_ne!(first, second);

        // Another save while the first is still being written: neither is touched.
        let again = buffer.clone();
        drop(room.moved::<f32>(&mut buffer));
        let third = address(&mut buffer);
        assert!(third != first && third != second);
        assert_eq!(room.places(), (0, 1), "one place is kept, however many saves there are");
        drop((saved, again));

        let last = buffer.clone();
        drop(room.moved::<f32>(&mut buffer));
        assert_eq!(address(&mut buffer), second, "the place of the save before");
        drop(last);
        assert_eq!(room.clone().places(), (0, 0));
        room.clear();
        assert_eq!(room.places(), (0, 0));
    }

    #[test]
    fn room_of_another_length_or_type_is_not_taken() {
        let mut room = Room::default();
        room.keep(1, 2);
        let mut buffer = Buffer::F32(Arc::new(vec![1.0_f32; 8]));
        let saved = buffer.clone();
        drop(room.moved::<f32>(&mut buffer));
        drop(saved);
        let (mut longer, mut double) = (Buffer::F32(Arc::new(vec![2.0; 9])), Buffer::F64(Arc::new(vec![2.0; 8])));
        let held = (longer.clone(), double.clone());
        assert_eq!(*room.moved::<f32>(&mut longer).unwrap(), [2.0; 9]);
        assert_eq!(*room.moved::<f64>(&mut double).unwrap(), [2.0; 8]);
        assert_eq!((longer.values::<f32>(9).unwrap().len(), double.values::<f64>(8).unwrap().len()), (9, 8));
        drop(held);
    }
}
