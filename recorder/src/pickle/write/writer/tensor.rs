//! Tensors and storages, as the calls and persistent ids that make them.

use crate::pickle::names::verdict;
use crate::pickle::opcodes as op;
use crate::pickle::persistent::Dialect;
use crate::pickle::write::reduce::{self, Arg, Call};
use crate::pickle::write::writer::{Step, Writer};
use crate::value::tensor::{MadeBy, TensorClass, TensorData};
use crate::value::valid;
use crate::{DType, Error, ErrorKind, Result, Storage, Tensor, Value};

impl Writer {
    pub(crate) fn tensor(&mut self, value: Value, tensor: &Tensor) -> Result<()> {
        let parts = tensor.parts();
        if parts.requires_grad
            && matches!(parts.data, TensorData::Sparse { .. } | TensorData::Nested { .. })
            && !matches!(parts.class, TensorClass::Parameter { .. })
        {
            self.notes.push(format!("{}: requires_grad of a {tensor:?} has no place in the format", self.path()));
        }
        if let Some(reason) = valid::refusal(tensor).map_err(|error| self.here(error))? {
            // Without `weights_only` PyTorch does not look at the indices of sparse tensors.
            if !self.options.allow_objects || !matches!(parts.data, TensorData::Sparse { .. }) {
                let error = self.invalid_tensor(reason);
                return Err(error.advise("torch.load refuses it; leave it out, or mend it"));
            }
        }
        if matches!(parts.data, TensorData::Nested { .. }) {
            // PyTorch asks for its parts' shapes before their data are read.
            self.needs_zip("a nested tensor")?;
            self.needs_permission(|| "a nested tensor".to_owned())?;
        }
        if !parts.dtype.is_in_pytorch() {
            let error = Error::unsupported(format!("a tensor of {}, which PyTorch lacks,", parts.dtype));
            return Err(self.here(error.advise("write it to safetensors, which has the type, or leave it out")));
        }
        if let Some(device) = parts.made_by.as_ref().and_then(MadeBy::device) {
            // It is copied to its device before its elements are read.
            self.needs_zip(&format!("a tensor on the device {device}"))?;
        }
        if matches!(parts.data, TensorData::Jagged { .. }) {
            self.needs_permission(|| format!("a nested tensor of the layout torch.jagged ({})", reduce::JAGGED.1))?;
        }
        let function = match &parts.made_by {
            Some(MadeBy::Function { function, .. }) => Some(function),
            _ => None,
        };
        for function in function.into_iter().chain(&parts.class_by) {
            if verdict::allowed(function).is_none() {
                self.needs_permission(|| format!("a tensor that {function} makes"))?;
            }
        }
        if matches!(parts.data, TensorData::Strided { .. }) && parts.dtype.storage_class().is_none() {
            self.needs_zip(&format!("a tensor of {}", parts.dtype))?;
        }
        let call =
            reduce::call(tensor, &self.output, self.options.dialect).map_err(|reason| self.invalid_tensor(reason))?;
        self.begin(&value);
        self.steps.push(Step::Made(value));
        self.call(call);
        Ok(())
    }

    /// A call up to its opcode.
    fn call(&mut self, call: Call) {
        self.output.named(&call.function);
        let length = call.args.len();
        self.output.open_tuple(length);
        self.plan([Step::Args(call.args.into_iter()), Step::FinishTuple(length), Step::Op(op::REDUCE)]);
    }

    pub(crate) fn arg(&mut self, arg: Arg) -> Result<()> {
        match arg {
            Arg::Value(value) => self.value(value)?,
            Arg::Storage(storage, class) => self.storage_as(&storage, class)?,
            Arg::Counts(counts) => self.output.counts(&counts),
            Arg::Size(counts) => {
                self.output.global("torch", "Size");
                self.output.counts(&counts);
                self.output.finish_tuple(1);
                self.output.reduce();
            }
            Arg::Layout(layout) => self.output.layout(&layout),
            Arg::NoHooks => {
                self.output.ordered_dict();
            }
            Arg::Tuple(args) => {
                let length = args.len();
                self.output.open_tuple(length);
                self.plan([Step::Args(args.into_iter()), Step::FinishTuple(length)]);
            }
            Arg::Call(call) => {
                self.steps.push(Step::Put);
                self.call(call);
            }
        }
        Ok(())
    }

    /// A storage by itself, as its own class.
    pub(crate) fn storage(&mut self, storage: &Storage) -> Result<()> {
        let class = match storage.dtype() {
            Some(dtype) => reduce::shared_class(storage, dtype, &self.output)
                .map(Some)
                .map_err(|reason| self.invalid_tensor(reason))?,
            None => None,
        };
        self.storage_as(storage, class)
    }

    fn storage_as(&mut self, storage: &Storage, class: Option<DType>) -> Result<()> {
        match self.options.dialect {
            Dialect::Plain => {
                let error = Error::unsupported("a tensor's data in a pickle by itself");
                return Err(self.here(error.advise("save it in the format zip")));
            }
            _ if class.is_none() => self.needs_zip("a storage without an element type")?,
            _ => {}
        }
        self.output.storage(storage, class, self.options.dialect);
        Ok(())
    }

    /// An error where the zip format, or permission to write objects, is needed for data of a type that has no storage class.
    fn needs_zip(&self, what: &str) -> Result<()> {
        if self.options.dialect != Dialect::Legacy || self.options.allow_objects {
            return Ok(());
        }
        let error = Error::unsupported(format!("{what} in the format before PyTorch 1.6"));
        Err(self.here(error.advise("PyTorch cannot load it from there. Save it in the format zip")))
    }

    fn invalid_tensor(&self, reason: impl Into<String>) -> Error {
        self.here(ErrorKind::InvalidTensor { tensor: "the root".to_owned(), reason: reason.into() }.into())
    }
}
