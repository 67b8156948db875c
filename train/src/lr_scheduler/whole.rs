//! Everything that moves in a scheduler, for the checkpoints of a run: also what its own state dict leaves out.

use rekindle_recorder::{Dict, Result, Value};

use super::options::{Function, PLACE};
use super::scheduler::LRScheduler;
use crate::attributes::{Attributes, invalid, wrong_type};

impl LRScheduler {
    /// All of it, whatever PyTorch's state dict would have of it.
    pub(crate) fn whole(&self) -> Value {
        let dict = Dict::new();
        dict.insert("class", self.class.name);
        dict.insert("attributes", self.attributes.to_dict());
        dict.insert("functions", Value::list(self.functions.iter().map(Function::state)));
        dict.insert("children", Value::list(self.children.iter().map(LRScheduler::whole)));
        dict.insert("position", self.position);
        dict.insert("way", self.way.and_then(|way| i64::try_from(way).ok()));
        dict.into()
    }

    /// Goes to where the scheduler was that this is all of.
    ///
    /// # Errors
    /// When that is of another class, or made of others. Nothing has changed then.
    pub(crate) fn load_whole(&mut self, whole: &Value) -> Result<()> {
        let mut next = self.clone();
        let all = Attributes::from_value("scheduler.", whole)?;
        let class = all.text("class")?;
        if class != self.class.name {
            return Err(invalid(format!("the run had a {class}, and here it has a {}", self.class.name)));
        }
        let part = |name: &str| all.get(name).cloned().unwrap_or(Value::None);
        let items = |name: &str| {
            let value = part(name);
            value.items().ok_or_else(|| wrong_type(&format!("scheduler.{name}"), "a list", &value))
        };
        next.attributes = Attributes::from_value(PLACE, &part("attributes"))?;
        let (functions, children) = (items("functions")?, items("children")?);
        if functions.len() != self.functions.len() || children.len() != self.children.len() {
            return Err(invalid(format!("the run's {class} was made of other parts than the one here")));
        }
        next.functions.iter_mut().zip(functions).for_each(|(function, state)| function.load(state));
        next.children.iter_mut().zip(&children).try_for_each(|(child, state)| child.load_whole(state))?;
        next.position = part("position").as_i64();
        next.way = part("way").as_i64().and_then(|way| usize::try_from(way).ok());
        *self = next;
        Ok(())
    }
}
