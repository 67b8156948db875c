//! Parameters that are one in a checkpoint and several in the network: tied there by the program (`b.weight = a.weight`), so that one
//! gradient and one step are of them all. They are tied here, too.

use std::any::Any;
use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor as BurnTensor;
use rekindle_burn::NamedParameter;
use rekindle_recorder::{Error, Result, StateDict, Value};

/// The model with those of its parameters made one that are one in a state dict, and a sentence for each; `members` is how many
/// parameters the checkpoint's optimizers have. Where they have as many as the model, each was one of its own there.
///
/// # Errors
/// When two lie otherwise in the network, as the weights of Burn's embedding and linear layers do, and so cannot be one.
pub(super) fn tie<M: Module>(
    model: M,
    own: &[NamedParameter],
    weights: &StateDict,
    prefix: &str,
    members: Option<usize>,
) -> Result<(M, Vec<String>)> {
    if members.is_some_and(|members| members >= own.len()) {
        return Ok((model, Vec::new()));
    }
    let mut firsts: HashMap<_, &NamedParameter> = HashMap::new();
    let mut same: HashMap<ParamId, ParamId> = HashMap::new();
    let mut said = Vec::new();
    for named in own {
        let ([piece], Some(tensor)) = (&named.pieces[..], weights.get(&format!("{prefix}{}", named.name))) else {
            continue;
        };
        // What has one element or none may be one by chance.
        if *tensor.shape() != *named.shape || tensor.shape().iter().product::<usize>() < 2 {
            continue;
        }
        let first = *firsts.entry(tensor.view()).or_insert(named);
        let [other] = &first.pieces[..] else { continue };
        if other.id == piece.id {
            continue;
        }
        let both = format!("'{}' and '{}'", first.name, named.name);
        if other.transform != piece.transform {
            let what = format!("{both} are one tensor in the checkpoint, and two in this network, which lie otherwise");
            let advice = "make them one parameter of the network, or train the exported program (`torch.export`), which has them as one";
            return Err(Error::invalid(what).advise(advice));
        }
        same.insert(piece.id, other.id);
        said.push(format!("{both} are one tensor in the file, and are one here, too"));
    }
    if same.is_empty() {
        return Ok((model, said));
    }
    let mut kept = Kept { same: &same, tensors: HashMap::new() };
    model.visit(&mut kept);
    let tensors = kept.tensors;
    Ok((model.map(&mut Tied { same: &same, tensors }), said))
}

/// How many parameters the optimizers of a run have; `None` where it has none.
pub(super) fn members(optimizers: &[Value]) -> Option<usize> {
    let groups = |saved: &Value| saved.as_dict()?.get("param_groups")?.items();
    let counts = optimizers.iter().filter_map(groups).flatten();
    counts
        .map(|group| Some(group.as_dict()?.get("params")?.items()?.len()))
        .sum::<Option<usize>>()
        .filter(|&all| all > 0)
}

/// The tensors that others become.
struct Kept<'a> {
    same: &'a HashMap<ParamId, ParamId>,
    tensors: HashMap<ParamId, Box<dyn Any>>,
}

impl ModuleVisitor for Kept<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<BurnTensor<D>>) {
        if self.same.values().any(|first| *first == param.id) {
            self.tensors.insert(param.id, Box::new(param.val()));
        }
    }
}

struct Tied<'a> {
    same: &'a HashMap<ParamId, ParamId>,
    tensors: HashMap<ParamId, Box<dyn Any>>,
}

impl ModuleMapper for Tied<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<BurnTensor<D>>) -> Param<BurnTensor<D>> {
        let first = self.same.get(&param.id).copied().unwrap_or(param.id);
        let Some(tensor) = self.tensors.get(&first).and_then(|first| first.downcast_ref::<BurnTensor<D>>()) else {
            return param;
        };
        let (_, _, mapper) = param.consume();
        Param::from_mapped_value(first, tensor.clone(), mapper)
    }
}
