//! How an operator becomes one of Burn's: an extension of the backend that takes any [`Operator`], and records it on the tape.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchTensor, Flex, backend_extension};

/// What is computed of one to five tensors, and how the gradient goes back.
pub(crate) trait Operator: Debug + Send + Sync {
    /// The output, and what the way back needs.
    fn forward(&self, inputs: &[FlexTensor]) -> (FlexTensor, Vec<FlexTensor>);

    /// The gradients of the inputs by that of the output; what is not wanted may be left out.
    fn backward(&self, kept: &[FlexTensor], gradient: FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>>;
}

/// Burn's door for operators from outside: one method for each number of inputs, as it takes no lists.
#[backend_extension(Flex, Autodiff)]
#[allow(missing_docs)] // they are numbers
pub(crate) trait Operators: Backend {
    fn one(operator: Arc<dyn Operator>, a: FloatTensor<Self>) -> FloatTensor<Self>;
    fn two(operator: Arc<dyn Operator>, a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;
    fn three(
        operator: Arc<dyn Operator>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn four(
        operator: Arc<dyn Operator>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn five(
        operator: Arc<dyn Operator>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        e: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// An operator over tensors of `flex`: of one to five of them.
#[allow(clippy::many_single_char_names)] // they are numbers
pub(crate) fn run(operator: impl Operator + 'static, inputs: &[DispatchTensor]) -> Option<DispatchTensor> {
    let operator = Arc::new(operator);
    Some(match inputs {
        [a] => Dispatch::one(operator, a.clone()),
        [a, b] => Dispatch::two(operator, a.clone(), b.clone()),
        [a, b, c] => Dispatch::three(operator, a.clone(), b.clone(), c.clone()),
        [a, b, c, d] => Dispatch::four(operator, a.clone(), b.clone(), c.clone(), d.clone()),
        [a, b, c, d, e] => Dispatch::five(operator, a.clone(), b.clone(), c.clone(), d.clone(), e.clone()),
        _ => return None,
    })
}

/// An operator on the tape.
#[derive(Debug)]
struct Recorded(Arc<dyn Operator>);

impl<const N: usize> Backward<Flex, N> for Recorded {
    type State = Vec<FlexTensor>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let gradients = self.0.backward(&ops.state, gradient, &wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

/// The methods of both backends.
macro_rules! methods {
    ($compute:ident: $($method:ident($($input:ident),+))+) => { $(
        fn $method(operator: Arc<dyn Operator>, $($input: FloatTensor<Self>),+) -> FloatTensor<Self> {
            $compute!(operator, $($input),+)
        }
    )+ };
}

macro_rules! plain {
    ($operator:ident, $($input:ident),+) => { $operator.forward(&[$($input),+]).0 };
}

macro_rules! recorded {
    ($operator:ident, $($input:ident),+) => {{
        let nodes = [$($input.node()),+];
        let (output, kept) = $operator.forward(&[$($input.into_primitive()),+]);
        match Recorded($operator).prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(tape) => tape.finish(kept, output),
            OpsKind::UnTracked(tape) => tape.finish(output),
        }
    }};
}

impl Operators for Flex {
    methods!(plain: one(a) two(a, b) three(a, b, c) four(a, b, c, d) five(a, b, c, d, e));
}

impl<C: CheckpointStrategy> Operators for Autodiff<Flex, C> {
    methods!(recorded: one(a) two(a, b) three(a, b, c) four(a, b, c, d) five(a, b, c, d, e));
}
