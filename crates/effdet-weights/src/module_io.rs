//! The names and shapes of a module's tensors.

use std::borrow::Cow;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// Turns the path of a tensor in a module into its name in a checkpoint.
///
/// Needed where the checkpoint's name is not a field name Rust allows, such as timm's `stages_0.blocks.1`, which is an
/// element of a list called `stages` here.
pub type KeyMap = for<'a> fn(&'a str) -> Cow<'a, str>;

/// The key map of a module whose field names are its checkpoint's.
pub fn identity_keys(path: &str) -> Cow<'_, str> {
    Cow::Borrowed(path)
}

/// Path and shape of every float parameter and buffer of a module, in the order of its fields.
///
/// Paths join field names and list positions with `.`; the variants of an enum add nothing, since a timm key has no
/// room for them. Parameters that were not initialised yet stay so.
///
/// # Reference
/// PyTorch `Module.state_dict`, without integer buffers (`num_batches_tracked`).
pub fn parameter_shapes<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    let mut visitor = Shapes::default();
    module.visit(&mut visitor);
    visitor.found
}

/// The path of the field that a visitor or mapper of a module is at: what [`parameter_shapes`] calls its tensor.
#[derive(Clone, Debug, Default)]
pub struct ModulePath(Vec<String>);

impl ModulePath {
    /// To be called from `enter_module`.
    pub fn enter(&mut self, name: &str, container_type: &str) {
        if !is_enum(container_type) {
            self.0.push(name.to_owned());
        }
    }

    /// To be called from `exit_module`.
    pub fn exit(&mut self, container_type: &str) {
        if !is_enum(container_type) {
            self.0.pop();
        }
    }

    /// The path, joined with `.`.
    pub fn join(&self) -> String {
        self.0.join(".")
    }
}

fn is_enum(container_type: &str) -> bool {
    container_type.starts_with("Enum:")
}

#[derive(Default)]
struct Shapes {
    path: ModulePath,
    found: Vec<(String, Vec<usize>)>,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push((self.path.join(), param.lazy_shape().to_vec()));
    }
}
