//! The tensors of a module under the names of its checkpoint.

use std::collections::BTreeMap;

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, GradientCheckpointingStrategy, Gradients, Tensor};
use effdet_weights::ModulePath;

/// Flat tensors by name, outside of any graph: gradients, optimiser state, averaged weights.
pub type Named = BTreeMap<String, Tensor<1>>;

/// A tensor of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its checkpoint name, such as `backbone.conv_stem.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether it is a statistic that the forward pass updates and no gradient reaches.
    pub is_buffer: bool,
}

/// The parameters and buffers of a module, in the order of its fields.
pub fn parameters<M: Module>(module: &M) -> Vec<Parameter> {
    let describe =
        |(name, shape): (String, Vec<usize>)| Parameter { is_buffer: is_buffer(&name), name, shape };
    effdet_weights::parameter_shapes(module).into_iter().map(describe).collect()
}

fn is_buffer(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

/// The values of all parameters and buffers.
pub fn values<M: Module>(module: &M) -> Named {
    let mut visitor = Values::default();
    module.visit(&mut visitor);
    visitor.found
}

/// Takes the gradients of all parameters that have one.
pub fn take_gradients<M: Module>(module: &M, gradients: &mut Gradients) -> Named {
    let mut visitor = TakeGradients { path: ModulePath::default(), gradients, found: Named::new() };
    module.visit(&mut visitor);
    visitor.found
}

/// The module with the parameters and buffers in `values` replaced; others stay.
///
/// # Panics
/// If a value has another number of elements than its parameter.
pub fn assign<M: Module>(module: M, values: Named) -> M {
    module.map(&mut Assign { path: ModulePath::default(), values })
}

/// The module with its tensors in the autodiff context of `device`. Moving a tensor there would keep its own.
pub(crate) fn in_context_of<M: Module>(module: M, device: &Device) -> M {
    module.map(&mut InContext { strategy: device.gradient_checkpointing_strategy() })
}

/// Sets which parameters take part in training: the others get no gradient.
///
/// A batch norm none of whose parameters trains keeps its statistics, too, unless `norms_train` is set.
pub(crate) fn set_trainable<M: Module>(
    module: M,
    trainable: impl Fn(&str) -> bool,
    norms_train: impl Fn(&str) -> bool,
) -> M {
    module.map(&mut SetTrainable { path: ModulePath::default(), trainable, norms_train })
}

#[derive(Default)]
struct Values {
    path: ModulePath,
    found: Named,
}

impl ModuleVisitor for Values {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.insert(self.path.join(), flat(param.val().without_autodiff()));
    }
}

struct TakeGradients<'g> {
    path: ModulePath,
    gradients: &'g mut Gradients,
    found: Named,
}

impl ModuleVisitor for TakeGradients<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad_remove(self.gradients) {
            self.found.insert(self.path.join(), flat(gradient));
        }
    }
}

struct Assign {
    path: ModulePath,
    values: Named,
}

impl ModuleMapper for Assign {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.values.remove(&self.path.join()) else { return param };
        let value: Tensor<D> = value.reshape(param.lazy_shape());
        let value = match param.lazy_device().gradient_checkpointing_strategy() {
            Some(strategy) => Tensor::from_inner(value).with_gradient_checkpointing_strategy(strategy),
            None => value,
        };
        let id = param.id;
        param.transform_for_load(value, id)
    }
}

struct InContext {
    strategy: Option<GradientCheckpointingStrategy>,
}

impl ModuleMapper for InContext {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let trains = tensor.is_require_grad();
            let plain = tensor.without_autodiff();
            match self.strategy {
                Some(strategy) => Tensor::from_inner(plain)
                    .with_gradient_checkpointing_strategy(strategy)
                    .set_require_grad(trains),
                None => plain,
            }
        })
    }
}

struct SetTrainable<T, N> {
    path: ModulePath,
    trainable: T,
    norms_train: N,
}

impl<T: Fn(&str) -> bool, N: Fn(&str) -> bool> ModuleMapper for SetTrainable<T, N> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join();
        if is_buffer(&name) { param } else { param.set_require_grad((self.trainable)(&name)) }
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        let enabled = (self.norms_train)(&self.path.join());
        flag.with_value(enabled)
    }
}

pub(crate) fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let count = tensor.shape().num_elements();
    tensor.reshape([count])
}
