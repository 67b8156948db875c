//! Names that plain `torch.load` refuses and that are known to be harmless data: a table of words, one space between. What is not
//! here is not known, and no program that merely reads a file should have Python find out.

use crate::pickle::names::libraries;
use crate::pickle::names::words::is_word;

/// What Python may do with a name of the table without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harmless {
    /// Whatever it likes: it makes a value of its arguments.
    Any,
    /// Make an instance without calling the class, and give it its attributes, as pickles do by NEWOBJ and BUILD. Its
    /// `__init__` does more than that.
    AsData,
    /// Look a member up, by its value or by its name.
    Enum,
}
use Harmless::{Any, AsData, Enum};

#[derive(Clone, Copy)]
pub(super) struct Row(pub(super) &'static str, pub(super) Harmless, pub(super) &'static str, pub(super) &'static str);

const TABLE: &[Row] = &[
    Row("builtins", Any, BUILTINS, "makes a value of its arguments"),
    Row(
        "copyreg",
        Any,
        "_reconstructor __newobj__ __newobj_ex__",
        "makes an instance of a class that the pickle names",
    ),
    Row("collections", Any, "deque defaultdict ChainMap UserDict UserList UserString", PYTHON),
    Row("datetime", Any, "date time datetime timedelta timezone", PYTHON),
    Row("decimal", Any, "Decimal", PYTHON),
    Row("fractions", Any, "Fraction", PYTHON),
    Row("uuid", Any, "UUID", PYTHON),
    Row("uuid", Enum, "SafeUUID", MEMBERS),
    Row("http", Enum, "HTTPStatus HTTPMethod", MEMBERS),
    Row("pathlib", Any, PATHS, "a path, which nothing opens"),
    Row("pathlib._local", Any, PATHS, "a path, which nothing opens"),
    Row("argparse", Any, "Namespace", PYTHON),
    Row("types", Any, "SimpleNamespace MappingProxyType", PYTHON),
    Row("array", Any, "array _array_reconstructor", PYTHON),
    Row("re", Any, "_compile", "a regular expression"),
    Row("random", Any, "Random", RANDOM),
    Row("logging", Any, "getLogger", "a logger by its name"),
    Row("numpy", Any, NUMPY, NUMBERS),
    Row("numpy.core.multiarray", Any, "_reconstruct scalar", NUMBERS),
    Row("numpy._core.multiarray", Any, "_reconstruct scalar", NUMBERS),
    Row("numpy.core.numeric", Any, "_frombuffer", NUMBERS),
    Row("numpy._core.numeric", Any, "_frombuffer", NUMBERS),
    Row("numpy.ma.core", Any, "MaskedArray _mareconstruct", NUMBERS),
    Row("numpy.core", Any, "_DType_reconstruct", NUMBERS),
    Row("numpy._core", Any, "_DType_reconstruct", NUMBERS),
    Row("numpy.ma", Any, "MaskedArray", NUMBERS),
    Row("numpy", AsData, "recarray record poly1d", NUMBERS),
    Row("numpy.rec", AsData, "recarray record", NUMBERS),
    Row("numpy.core.records", AsData, "recarray record", NUMBERS),
    Row("numpy._core.records", AsData, "recarray record", NUMBERS),
    Row("numpy.random._pickle", Any, "__randomstate_ctor __generator_ctor __bit_generator_ctor", RANDOM),
    Row("numpy.random.mtrand", Any, "RandomState", RANDOM),
    Row("numpy.random._generator", Any, "Generator", RANDOM),
    Row("numpy.random._mt19937", Any, "MT19937", RANDOM),
    Row("numpy.random._pcg64", Any, "PCG64 PCG64DXSM", RANDOM),
    Row("numpy.random._philox", Any, "Philox", RANDOM),
    Row("numpy.random._sfc64", Any, "SFC64", RANDOM),
    Row("numpy.random.bit_generator", Any, "__pyx_unpickle_SeedSequence", RANDOM),
    Row("numpy.random.bit_generator", AsData, "SeedSequence SeedlessSequence", RANDOM),
    Row("torch.sparse", Any, "BoolTensor", TENSOR),
    Row("torch._C", Any, "Generator", RANDOM),
    Row("torch._tensor", Any, "_rebuild_from_type", TENSOR),
    Row("torch._utils", Any, "_rebuild_nested_tensor _rebuild_xla_tensor _rebuild_device_tensor_from_numpy", TENSOR),
    Row("torch._utils", Any, "_rebuild_sparse_csr_tensor _rebuild_mlc_tensor _rebuild_hpu_tensor", TENSOR),
    Row("torch.nested._internal.nested_tensor", Any, "_rebuild_njt", TENSOR),
    Row(
        "torch.jit._pickle",
        Any,
        "build_intlist build_doublelist build_boollist build_tensorlist restore_type_tag",
        "gives back what it is given",
    ),
    Row("torch.nested._internal.nested_tensor", AsData, "NestedTensor", TENSOR),
    Row("torch.masked.maskedtensor.core", AsData, "MaskedTensor", TENSOR),
    Row("torch.nn.parameter", Any, "Buffer UninitializedParameter UninitializedBuffer", "a parameter"),
    Row("torch.nn.parallel.data_parallel", AsData, "DataParallel", "PyTorch's own layer"),
    Row("torch.torch_version", Any, "TorchVersion", "PyTorch's version, a text"),
    Row("torch.amp.grad_scaler", AsData, "GradScaler", SCALER),
    Row("torch.cuda.amp.grad_scaler", AsData, "GradScaler", SCALER),
    Row("torch.amp.grad_scaler", Any, "_refresh_per_optimizer_state", SCALER),
    Row("torch.cuda.amp.grad_scaler", Any, "_refresh_per_optimizer_state", SCALER),
    Row("torch.amp.grad_scaler", Enum, "OptState", MEMBERS),
    Row("torch.cuda.amp.grad_scaler", Enum, "OptState", MEMBERS),
    Row("torch.utils.data.dataset", AsData, "ConcatDataset Subset TensorDataset", "PyTorch's own data set"),
    Row("torch.utils.data.sampler", AsData, SAMPLERS, "PyTorch's own sampler"),
    Row("torch.nn.functional", Any, FUNCTIONS, "computes a tensor"),
    Row("torch.nn.backends.thnn", Any, "_get_thnn_function_backend", "what old layers named, and nothing uses"),
    Row("torch.optim.lr_scheduler", AsData, SCHEDULERS, "PyTorch's own scheduler"),
    Row("torch.optim.swa_utils", AsData, "SWALR AveragedModel", "PyTorch's own average or its scheduler"),
    Row("torch.optim.swa_utils", Any, "SWALR._cosine_anneal SWALR._linear_anneal", "a number from a number"),
    Row("torch.distributed.checkpoint.metadata", AsData, DCP, "says what a distributed checkpoint holds"),
    Row("torch.distributed.checkpoint.metadata", Enum, "_MEM_FORMAT_ENCODING", MEMBERS),
    Row("torch.distributed.checkpoint.filesystem", AsData, "_StorageInfo", "says what a distributed checkpoint holds"),
    Row("torch.distributed._mesh_layout", AsData, "_FlatLayout _MeshLayout", PART),
    Row("torch.distributed._shard.metadata", AsData, "ShardMetadata", PART),
    Row("torch.distributed._shard.sharded_tensor.api", AsData, "ShardedTensor ShardedTensor.ProcessGroupState", PART),
    Row("torch.distributed._shard.sharded_tensor.shard", AsData, "Shard", PART),
    Row("torch.distributed._shard.sharded_tensor.metadata", AsData, "ShardedTensorMetadata TensorProperties", PART),
    Row("torch.distributed._shard.sharded_tensor.metadata", Enum, "MEM_FORMAT_ENCODING", MEMBERS),
    Row("torch.distributed._shard.sharding_spec.chunk_sharding_spec", AsData, "ChunkShardingSpec", PART),
    Row("torch.distributed._shard.sharding_spec.api", AsData, "DevicePlacementSpec EnumerableShardingSpec", PART),
    Row("torch.nn.utils.weight_norm", AsData, "WeightNorm", "PyTorch's own hook of a layer"),
    Row("torch.nn.utils.spectral_norm", AsData, SPECTRAL, "PyTorch's own hook of a layer"),
    Row("torch.distributed.device_mesh", AsData, "DeviceMesh", PART),
    Row("torch.distributed.remote_device", AsData, "_remote_device", PART),
    Row("torch.distributed.tensor", AsData, "DTensor", PART),
    // As they were called before PyTorch 2.5.
    Row("torch.distributed._tensor.api", AsData, "DTensor", PART),
    Row("torch.distributed._tensor.device_mesh", AsData, "DeviceMesh", PART),
    Row(
        "torch.distributed._tensor.placement_types",
        AsData,
        "DTensorSpec Partial Replicate Shard TensorMeta _Partial",
        PART,
    ),
    Row("torch.distributed.tensor._dtensor_spec", AsData, "DTensorSpec ShardOrderEntry TensorMeta", PART),
    Row("torch.distributed.tensor.placement_types", AsData, "Partial Replicate Shard", PART),
    Row(
        "typing",
        AsData,
        "Any Callable Dict List Optional Sequence Set Tuple Type Union",
        "says of which type something is",
    ),
    Row("io", Any, "BytesIO StringIO", "a buffer in memory"),
    Row("_io", Any, "BytesIO StringIO", "a buffer in memory"),
    Row("ipaddress", Any, "IPv4Address IPv4Network IPv6Address IPv6Network", PYTHON),
    Row("time", Any, "struct_time", PYTHON),
    Row("dataclasses", AsData, "_MISSING_TYPE _HAS_DEFAULT_FACTORY_CLASS", PYTHON),
];

const PYTHON: &str = "a value of Python's own";
const NUMBERS: &str = "an array or a number of NumPy's";
const RANDOM: &str = "a generator of random numbers";
pub(super) const TENSOR: &str = "a tensor";
pub(super) const MEMBERS: &str = "a member of an enumeration";
pub(super) const PART: &str = "a tensor in parts, and what says so";
pub(super) const LIBRARY: &str = "known as data: attributes and nothing else";

/// Built-in names that only make a value of their arguments.
const BUILTINS: &str = "
    Ellipsis NotImplemented None True False abs all any ascii bin bool bytearray bytes chr classmethod complex
    dict divmod enumerate float format frozenset hash hex id int isinstance issubclass iter len list max
    memoryview min next object oct ord pow print property range repr reversed round set slice sorted
    staticmethod str sum super tuple type zip buffer cmp coerce
";
const PATHS: &str = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath";
const NUMPY: &str = "
    ndarray dtype matrix bool bool_ bytes_ str_ void object_ datetime64 timedelta64 float16 float32 float64 longdouble half single
    double int8 int16 int32 int64 intc int_ longlong uint8 uint16 uint32 uint64 uintc uint ulonglong complex64 complex128
    clongdouble
";
const FUNCTIONS: &str = "
    relu relu_ relu6 elu selu celu gelu silu mish leaky_relu prelu rrelu glu tanh sigmoid hardsigmoid hardswish hardtanh
    softplus softsign softmax log_softmax softmin logsigmoid tanhshrink softshrink hardshrink threshold
";
const SPECTRAL: &str = "SpectralNorm SpectralNormLoadStateDictPreHook SpectralNormStateDictHook";
const SCALER: &str = "PyTorch's own scaler of gradients";
const SAMPLERS: &str = "
    BatchSampler RandomSampler Sampler SequentialSampler SubsetRandomSampler WeightedRandomSampler
";
const SCHEDULERS: &str = "
    ChainedScheduler ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR ExponentialLR LRScheduler LambdaLR LinearLR
    MultiStepLR MultiplicativeLR OneCycleLR PolynomialLR ReduceLROnPlateau SequentialLR StepLR _LRScheduler
";
const DCP: &str = "
    BytesStorageMetadata ChunkStorageMetadata Metadata MetadataIndex StorageMeta TensorProperties TensorStorageMetadata
";

/// PyTorch's own layers, in whichever module of `torch.nn.modules` they are.
const LAYERS: &str = "
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveLogSoftmaxWithLoss AdaptiveMaxPool1d AdaptiveMaxPool2d
    AdaptiveMaxPool3d AlphaDropout AvgPool1d AvgPool2d AvgPool3d BCELoss BCEWithLogitsLoss BatchNorm1d BatchNorm2d BatchNorm3d
    Bilinear CELU CTCLoss ChannelShuffle CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d Conv1d
    Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d CosineEmbeddingLoss CosineSimilarity CrossEntropyLoss CrossMapLRN2d
    Dropout Dropout1d Dropout2d Dropout3d ELU Embedding EmbeddingBag FeatureAlphaDropout Flatten Fold FractionalMaxPool2d
    FractionalMaxPool3d GELU GLU GRU GRUCell GaussianNLLLoss GroupNorm Hardshrink Hardsigmoid Hardswish Hardtanh HingeEmbeddingLoss
    HuberLoss Identity InstanceNorm1d InstanceNorm2d InstanceNorm3d KLDivLoss L1Loss LPPool1d LPPool2d LPPool3d LSTM LSTMCell LayerNorm
    LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d LazyConvTranspose2d
    LazyConvTranspose3d LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d LazyLinear LeakyReLU Linear LocalResponseNorm
    LogSigmoid LogSoftmax MSELoss MarginRankingLoss MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d Mish Module
    ModuleDict ModuleList MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss MultiheadAttention NLLLoss NLLLoss2d
    NonDynamicallyQuantizableLinear PReLU PairwiseDistance ParameterDict ParameterList PixelShuffle PixelUnshuffle PoissonNLLLoss
    RMSNorm RNN RNNBase RNNCell RNNCellBase RReLU ReLU ReLU6 ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d
    ReplicationPad2d ReplicationPad3d SELU Sequential SiLU Sigmoid SmoothL1Loss SoftMarginLoss Softmax Softmax2d Softmin Softplus
    Softshrink Softsign SyncBatchNorm Tanh Tanhshrink Threshold Transformer TransformerDecoder TransformerDecoderLayer
    TransformerEncoder TransformerEncoderLayer TripletMarginLoss TripletMarginWithDistanceLoss Unflatten Unfold Upsample
    UpsamplingBilinear2d UpsamplingNearest2d ZeroPad1d ZeroPad2d ZeroPad3d
";

/// PyTorch's own optimizers, in whichever module of `torch.optim` they are.
const OPTIMIZERS: &str = "
    ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam Optimizer RAdam RMSprop Rprop SGD SparseAdam
";

fn rows() -> impl Iterator<Item = Row> {
    TABLE.iter().copied().chain(libraries::rows())
}

/// What is known of a name, and why it is harmless. The name is Python 3's, or as it stood.
pub(super) fn known(module: &str, name: &str) -> Option<(Harmless, &'static str)> {
    if let Some(Row(_, harmless, _, why)) = rows().find(|row| row.0 == module && is_word(row.2, name)) {
        return Some((harmless, why));
    }
    if libraries::is_configuration(module, name) {
        return Some((AsData, LIBRARY));
    }
    if module.starts_with("torch.nn.modules.") && is_word(LAYERS, name) {
        return Some((AsData, "PyTorch's own layer"));
    }
    if module.starts_with("torch.optim.") && is_word(OPTIMIZERS, name) {
        return Some((AsData, "PyTorch's own optimizer"));
    }
    // Python has no such modules; the program of a TorchScript archive has.
    if module == "__torch__" || module.starts_with("__torch__.") {
        return Some((Any, "a class of the TorchScript program in the archive, of which Python has none"));
    }
    let exception = ["Error", "Exception", "Warning", "Exit", "Interrupt", "Iteration"];
    if module == "builtins" && exception.iter().any(|end| name.ends_with(end)) && !name.contains('.') {
        return Some((Any, "an exception, which nothing raises"));
    }
    // A member of an enumeration by its name.
    let (class, member) = name.rsplit_once('.')?;
    let is_member = !member.starts_with('_')
        && member.chars().any(|c| c.is_ascii_uppercase())
        && !member.chars().any(|c| c.is_ascii_lowercase());
    let members = rows().any(|row| row.1 == Enum && row.0 == module && is_word(row.2, class));
    (is_member && members).then_some((Enum, MEMBERS))
}
