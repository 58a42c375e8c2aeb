//! Counting parameters and multiply-adds.

use std::cell::Cell;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

thread_local! {
    static MULTIPLY_ADDS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs `forward` and counts the multiply-adds that convolutions, linear layers and attention products do for one
/// picture of the batch.
///
/// Layers count by their shapes, so an input with a batch of zero is enough and costs nothing. Counts nest: the inner
/// count is not part of the outer one.
pub fn count_multiply_adds<T>(forward: impl FnOnce() -> T) -> (T, u64) {
    let outer = MULTIPLY_ADDS.replace(Some(0));
    let result = forward();
    let count = MULTIPLY_ADDS.replace(outer).unwrap_or(0);
    (result, count)
}

/// Adds to the running count, if there is one.
pub(crate) fn add_multiply_adds(count: usize) {
    MULTIPLY_ADDS.with(|total| total.set(total.get().map(|total| total + count as u64)));
}

/// The number of trainable parameters; running statistics are not among them. Draws no weights.
pub fn count_parameters<M: Module>(module: &M) -> usize {
    let mut counter = ParameterCounter { path: Vec::new(), count: 0 };
    module.visit(&mut counter);
    counter.count
}

struct ParameterCounter {
    path: Vec<String>,
    count: usize,
}

impl ModuleVisitor for ParameterCounter {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let is_statistic = self.path.last().is_some_and(|name| name.starts_with("running_"));
        if !is_statistic {
            self.count += param.lazy_shape().num_elements();
        }
    }
}
