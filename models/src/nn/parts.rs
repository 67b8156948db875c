//! `Parts`: the modules and parameters inside a module, told once; Burn's walks over the module follow from that. For modules that Burn's
//! derive cannot know: PyTorch's names for fields, names that are computed, fields that are no modules.

use burn::module::{Content, Module, ModuleMapper, ModuleVisitor};
use burn::tensor::Device;

/// The modules and parameters inside a module.
pub(crate) trait Parts: Sized {
    /// Shows each, in PyTorch's order.
    fn each(&self, look: &mut impl Look);

    /// Changes each, in the same order.
    fn changed(self, change: &mut impl Change) -> Self;

    /// These devices and those of each that are not among them.
    fn with_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        let mut found = Devices(devices);
        self.each(&mut found);
        found.0
    }

    /// What it shows of itself.
    fn content(&self, content: Content) -> Option<Content>;
}

/// A walk, which is told what the way to a part is called.
pub(crate) trait Walk {
    fn enter(&mut self, _name: &str, _container: &str) {}

    fn exit(&mut self, _name: &str, _container: &str) {}

    /// Does this behind the names on the way, each with what Burn calls the type of its container.
    fn along<T>(&mut self, way: &[(&str, &str)], act: impl FnOnce(&mut Self) -> T) -> T {
        way.iter().for_each(|(name, container)| self.enter(name, container));
        let done = act(self);
        way.iter().rev().for_each(|(name, container)| self.exit(name, container));
        done
    }
}

/// What is shown the parts of a module.
pub(crate) trait Look: Walk {
    fn at(&mut self, part: &impl Module);

    fn named(&mut self, name: &str, container: &str, part: &impl Module) {
        self.along(&[(name, container)], |look| look.at(part));
    }
}

/// What changes the parts of a module.
pub(crate) trait Change: Walk {
    fn on<M: Module>(&mut self, part: M) -> M;

    fn named<M: Module>(&mut self, name: &str, container: &str, part: M) -> M {
        self.along(&[(name, container)], |change| change.on(part))
    }
}

/// A visitor of Burn's.
pub(crate) struct Visit<'a, V>(pub(crate) &'a mut V);

impl<V: ModuleVisitor> Walk for Visit<'_, V> {
    fn enter(&mut self, name: &str, container: &str) {
        self.0.enter_module(name, container);
    }

    fn exit(&mut self, name: &str, container: &str) {
        self.0.exit_module(name, container);
    }
}

impl<V: ModuleVisitor> Look for Visit<'_, V> {
    fn at(&mut self, part: &impl Module) {
        part.visit(self.0);
    }
}

/// The devices that were found.
pub(crate) struct Devices(pub(crate) Vec<Device>);

impl Walk for Devices {}

impl Look for Devices {
    fn at(&mut self, part: &impl Module) {
        self.0 = part.collect_devices(std::mem::take(&mut self.0));
    }
}

/// A mapper of Burn's.
pub(crate) struct Map<'a, M>(pub(crate) &'a mut M);

impl<M: ModuleMapper> Walk for Map<'_, M> {
    fn enter(&mut self, name: &str, container: &str) {
        self.0.enter_module(name, container);
    }

    fn exit(&mut self, name: &str, container: &str) {
        self.0.exit_module(name, container);
    }
}

impl<M: ModuleMapper> Change for Map<'_, M> {
    fn on<P: Module>(&mut self, part: P) -> P {
        part.map(self.0)
    }
}

/// Burn's other changes, which ask for no names.
pub(crate) enum To<'a> {
    Device(&'a Device),
    Fork(&'a Device),
    Materialized,
    Valid,
    Train,
}

impl Walk for To<'_> {}

impl Change for To<'_> {
    fn on<M: Module>(&mut self, part: M) -> M {
        match self {
            To::Device(device) => part.to_device(device),
            To::Fork(device) => part.fork(device),
            To::Materialized => part.materialize(),
            To::Valid => part.valid(),
            To::Train => part.train(),
        }
    }
}

/// Burn's `Module` for a type that tells its parts, behind its generic parameters: `walked!([const N: usize] Conv<N>)`.
macro_rules! walked {
    ($([$($generic:tt)*] $type:ty),+ $(,)?) => { $(
        impl<$($generic)*> burn::module::Module for $type {
            fn visit<V: burn::module::ModuleVisitor>(&self, visitor: &mut V) {
                $crate::nn::parts::Parts::each(self, &mut $crate::nn::parts::Visit(visitor));
            }

            fn map<V: burn::module::ModuleMapper>(self, mapper: &mut V) -> Self {
                $crate::nn::parts::Parts::changed(self, &mut $crate::nn::parts::Map(mapper))
            }

            fn to_device(self, device: &burn::tensor::Device) -> Self {
                $crate::nn::parts::Parts::changed(self, &mut $crate::nn::parts::To::Device(device))
            }

            fn fork(self, device: &burn::tensor::Device) -> Self {
                $crate::nn::parts::Parts::changed(self, &mut $crate::nn::parts::To::Fork(device))
            }

            fn collect_devices(&self, devices: Vec<burn::tensor::Device>) -> Vec<burn::tensor::Device> {
                $crate::nn::parts::Parts::with_devices(self, devices)
            }

            fn materialize(self) -> Self {
                $crate::nn::parts::Parts::changed(self, &mut $crate::nn::parts::To::Materialized)
            }

            fn valid(&self) -> Self {
                $crate::nn::parts::Parts::changed(self.clone(), &mut $crate::nn::parts::To::Valid)
            }

            fn train(self) -> Self {
                $crate::nn::parts::Parts::changed(self, &mut $crate::nn::parts::To::Train)
            }
        }

        impl<$($generic)*> burn::module::ModuleDisplayDefault for $type {
            fn content(&self, content: burn::module::Content) -> Option<burn::module::Content> {
                $crate::nn::parts::Parts::content(self, content)
            }
        }

        impl<$($generic)*> burn::module::ModuleDisplay for $type {}
    )+ };
}
pub(crate) use walked;
