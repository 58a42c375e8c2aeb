//! Modules under names that are no Rust identifiers.

use std::fmt::Debug;

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::Device;

/// An ordered list of modules, each under a name of its own, such as the numbers of the graph edges that have
/// parameters.
///
/// # Reference
/// PyTorch `ModuleDict`.
#[derive(Clone, Debug)]
pub struct ModuleMap<T> {
    entries: Vec<(String, T)>,
}

impl<T> ModuleMap<T> {
    /// The modules in order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &T> {
        self.entries.iter().map(|(_, module)| module)
    }

    /// The names and modules in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &T)> {
        self.entries.iter().map(|(name, module)| (name.as_str(), module))
    }

    fn map_values(self, mut f: impl FnMut(&str, T) -> T) -> Self {
        let entries = self.entries.into_iter().map(|(name, module)| {
            let module = f(&name, module);
            (name, module)
        });
        Self { entries: entries.collect() }
    }
}

impl<T> FromIterator<(String, T)> for ModuleMap<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}

const CONTAINER: &str = "ModuleMap";

impl<T: Module> Module for ModuleMap<T> {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for (name, module) in &self.entries {
            visitor.enter_module(name, CONTAINER);
            module.visit(visitor);
            visitor.exit_module(name, CONTAINER);
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        self.map_values(|name, module| {
            mapper.enter_module(name, CONTAINER);
            let mapped = module.map(mapper);
            mapper.exit_module(name, CONTAINER);
            mapped
        })
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.values().fold(devices, |devices, module| module.collect_devices(devices))
    }

    fn to_device(self, device: &Device) -> Self {
        self.map_values(|_, module| module.to_device(device))
    }

    fn fork(self, device: &Device) -> Self {
        self.map_values(|_, module| module.fork(device))
    }

    fn materialize(self) -> Self {
        self.map_values(|_, module| module.materialize())
    }

    fn valid(&self) -> Self {
        self.entries.iter().map(|(name, module)| (name.clone(), module.valid())).collect()
    }

    fn train(self) -> Self {
        self.map_values(|_, module| module.train())
    }
}

impl<T: ModuleDisplay> ModuleDisplayDefault for ModuleMap<T> {
    fn content(&self, content: Content) -> Option<Content> {
        self.entries.iter().fold(content, |content, (name, module)| content.add(name, module)).optional()
    }
}

impl<T: ModuleDisplay> ModuleDisplay for ModuleMap<T> {}
