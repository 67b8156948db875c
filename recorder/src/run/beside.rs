//! What a program keeps in a checkpoint beside the parts of its run, under a key of its own: put there and taken out again, with
//! everything else as it was.

use crate::checkpoint::Checkpoint;
use crate::container::BESIDE;
use crate::run::layout::Layout;
use crate::state_dict::module::shallow;
use crate::{Dict, Value};

/// Where a checkpoint goes that has no keys for anything but tensors.
const WHOLE: &str = "checkpoint";

/// A copy of a checkpoint with a value under a key of its own, the last. A model by itself, whose keys are its tensors' names, goes
/// under `checkpoint` beside it.
///
/// ```
/// # use rekindle_recorder::{Dict, StateDict, Tensor, Checkpoint, run};
/// let run = Checkpoint::from(Dict::from_iter([("epoch", 4)]));
/// let noted = run::with_beside(&run, "my_program", "a note");
/// assert_eq!(noted.get::<String>("my_program")?, "a note");
/// let (again, note) = run::without_beside(&noted, "my_program");
/// assert!(again.contains("epoch") && !again.contains("my_program") && note.is_some());
/// # Ok::<(), rekindle_recorder::Error>(())
/// ```
#[must_use]
pub fn with_beside(checkpoint: &Checkpoint, key: &str, value: impl Into<Value>) -> Checkpoint {
    let root = checkpoint.root();
    let dict = match root {
        Value::Dict(dict) if !matches!(Layout::detect(root), Layout::Bare | Layout::WholeModule) => shallow(dict),
        _ => Dict::from_iter([(WHOLE, root.clone())]),
    };
    dict.insert(key, value);
    checkpoint.clone().with_root(dict.into())
}

/// The checkpoint as it was without it, and what was there: `None` where nothing was.
#[must_use]
pub fn without_beside(checkpoint: &Checkpoint, key: &str) -> (Checkpoint, Option<Value>) {
    let Value::Dict(dict) = checkpoint.root() else { return (checkpoint.clone(), None) };
    if dict.get(key).is_none() {
        return (checkpoint.clone(), None);
    }
    let rest = shallow(dict);
    let value = rest.remove(key);
    let whole = rest.get(WHOLE).filter(|_| rest.len() == 1);
    (checkpoint.clone().with_root(whole.unwrap_or_else(|| rest.into())), value)
}

/// A checkpoint without what is kept under [`BESIDE`].
pub(super) fn plain(checkpoint: &Checkpoint) -> Checkpoint {
    without_beside(checkpoint, BESIDE).0
}
