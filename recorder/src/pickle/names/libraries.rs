//! Names of libraries beside Python, NumPy and PyTorch that are known to be harmless data, each looked up in its library's source: no
//! `__setstate__`, `__reduce__`, `__new__` or `__del__` of its own that does more than to set attributes.

use crate::pickle::names::known::Harmless::{Any, AsData, Enum};
use crate::pickle::names::known::{Harmless, LIBRARY, MEMBERS, PART, Row, TENSOR};

const QUANTISED: &str = "a quantised tensor of torchao's, and what says how";
const TORCHVISION: &str = "torchvision's own layer";

/// The names of the table, by their modules.
pub(super) fn rows() -> impl Iterator<Item = Row> {
    TABLE.iter().flat_map(|(harmless, why, modules)| {
        let lines = modules.lines().filter_map(|line| line.trim_start().split_once(": "));
        lines.map(move |(module, names)| Row(module, *harmless, names, why))
    })
}

/// What Python may do with names and why, and the names, behind their module: a line each, or several.
const TABLE: &[(Harmless, &str, &str)] = &[
    (
        AsData,
        LIBRARY,
        "
         accelerate.state: PartialState AcceleratorState GradientState
         transformers.training_args: TrainingArguments
         transformers.training_args_seq2seq: Seq2SeqTrainingArguments
         transformers.trainer_pt_utils: AcceleratorConfig
         mmengine.logging.history_buffer: HistoryBuffer
         lightning.fabric.utilities.data: AttributeDict
         lightning_fabric.utilities.data: AttributeDict
         pytorch_lightning.utilities.parsing: AttributeDict
         deepspeed.runtime.fp16.loss_scaler: LossScaler DynamicLossScaler
         deepspeed.utils.tensor_fragment: fragment_address
         bitsandbytes.functional: QuantState
         omegaconf.dictconfig: DictConfig
         omegaconf.listconfig: ListConfig
         omegaconf.base: ContainerMetadata Metadata
         omegaconf.nodes: AnyNode BooleanNode BytesNode EnumNode FloatNode IntegerNode PathNode StringNode
         transformers.configuration_utils: PretrainedConfig PreTrainedConfig
         transformers.generation.configuration_utils: GenerationConfig
         transformers.trainer_callback: TrainerControl TrainerState
         transformers.utils.quantization_config: BitsAndBytesConfig
         peft.tuners.lora.config: LoraConfig
         diffusers.configuration_utils: FrozenDict
         lightning.pytorch.utilities.parsing: AttributeDict
         pytorch_lightning.callbacks.model_checkpoint: ModelCheckpoint
         pytorch_lightning.callbacks.early_stopping: EarlyStopping
         lightning.pytorch.callbacks.model_checkpoint: ModelCheckpoint
         lightning.pytorch.callbacks.early_stopping: EarlyStopping
         mmengine.config.config: Config
         addict.addict: Dict
         easydict: EasyDict
         munch: Munch
         yacs.config: CfgNode
         fvcore.common.config: CfgNode
         detectron2.config.config: CfgNode
         ultralytics.utils: IterableSimpleNamespace
         ultralytics.nn.tasks: BaseModel DetectionModel OBBModel SegmentationModel SemanticSegmentationModel PoseModel DepthModel
         ultralytics.nn.tasks: ClassificationModel RTDETRDetectionModel WorldModel YOLOEModel YOLOESegModel Ensemble
         ultralytics.nn.modules.activation: AGLU
         ultralytics.nn.modules.block: DFL Proto HGStem HGBlock SPP SPPF C1 C2 C2f C3 C3x RepC3 C3TR C3Ghost GhostBottleneck
         ultralytics.nn.modules.block: Bottleneck BottleneckCSP ResNetBlock ResNetLayer MaxSigmoidAttnBlock C2fAttn
         ultralytics.nn.modules.block: ImagePoolingAttn ContrastiveHead BNContrastiveHead RepBottleneck RepCSP RepNCSPELAN4 ELAN1
         ultralytics.nn.modules.block: AConv ADown SPPELAN CBLinear CBFuse C3f C3k2 C3k RepVGGDW CIB C2fCIB Attention PSABlock PSA
         ultralytics.nn.modules.block: C2PSA C2fPSA SCDown AAttn ABlock A2C2f SwiGLUFFN Residual SAVPE Proto26
         ultralytics.nn.modules.conv: Conv Conv2 LightConv DWConv DWConvTranspose2d ConvTranspose Focus GhostConv RepConv
         ultralytics.nn.modules.conv: ChannelAttention SpatialAttention CBAM Concat Index
         ultralytics.nn.modules.head: Detect Segment Segment26 OBB OBB26 Pose Pose26 Depth Classify WorldDetect LRPCHead
         ultralytics.nn.modules.head: YOLOEDetect YOLOESegment YOLOESegment26 RTDETRDecoder v10Detect SemanticSegment
         ultralytics.nn.modules.transformer: TransformerEncoderLayer AIFI TransformerLayer TransformerBlock MLPBlock MLP
         ultralytics.nn.modules.transformer: LayerNorm2d MSDeformAttn DeformableTransformerDecoderLayer
         ultralytics.nn.modules.transformer: DeformableTransformerDecoder
        ",
    ),
    (
        Enum,
        MEMBERS,
        "
         accelerate.utils.dataclasses: DistributedType PrecisionType RNGType LoggerType
         transformers.training_args: OptimizerNames ParallelMode
         transformers.trainer_utils: HubStrategy IntervalStrategy SaveStrategy SchedulerType EvaluationStrategy FSDPOption
         transformers.trainer_utils: ShardedDDPOption ExplicitEnum
         deepspeed.runtime.zero.config: ZeroStageEnum
         transformers.utils.quantization_config: QuantizationMethod
         peft.utils.peft_types: PeftType TaskType
         pytorch_lightning.trainer.states: RunningStage TrainerFn TrainerStatus
         lightning.pytorch.trainer.states: RunningStage TrainerFn TrainerStatus
         torch_npu.npu._format: Format
         megatron.core.enums: ModelType Fp8Recipe Fp4Recipe
         megatron.core.transformer.enums: ModelType LayerType AttnType AttnMaskType AttnBackend CudaGraphScope
         megatron.core.rerun_state_machine: RerunDiagnostic RerunMode RerunState RerunValidationStatus
         torchao.quantization.quant_primitives: MappingType ZeroPointDomain TorchAODType
         torchao.quantization.quantize_.common.kernel_preference: KernelPreference
         torchao.quantization.quantize_.common.packing_format: PackingFormat
         torchao.quantization.quantize_.workflows.int4.int4_packing_format: Int4PackingFormat
         torchao.quantization.quantize_.workflows.int4.int4_choose_qparams_algorithm: Int4ChooseQParamsAlgorithm
         torchao.quantization.quantize_.workflows.intx.intx_packing_format: IntxPackingFormat
         torchao.quantization.quantize_.workflows.intx.intx_unpacked_to_int8_tensor: IntxUnpackedToInt8TensorActivationQuantization
         torchao.quantization.quantize_.workflows.float8.float8_packing_format: Float8PackingFormat
        ",
    ),
    (
        Any,
        "a statistic of mmengine's, as a name",
        "
         mmengine.logging.history_buffer: HistoryBuffer.current HistoryBuffer.mean HistoryBuffer.max HistoryBuffer.min
        ",
    ),
    (Any, LIBRARY, "mmengine.config.config: ConfigDict"),
    (
        Any,
        TENSOR,
        "
         fastai.torch_core: _fa_rebuild_tensor _fa_rebuild_qtensor _rebuild_from_type
         fastai.torch_core: TensorBase TensorImageBase TensorImage TensorImageBW TensorMask TensorFlowField TensorCategory
         fastai.torch_core: TensorMultiCategory TitledTensorScalar
         fastai.text.data: TensorText LMTensorText
         torch_npu.utils.storage: _rebuild_npu_tensor
        ",
    ),
    (AsData, TENSOR, "fastai.vision.core: TensorPoint TensorBBox"),
    (AsData, PART, "megatron.core.dist_checkpointing.mapping: ShardedTensor ShardedObject LocalNonpersistentObject"),
    (
        AsData,
        QUANTISED,
        "
         torchao.dtypes.affine_quantized_tensor: AffineQuantizedTensor
         torchao.dtypes.nf4tensor: NF4Tensor
         torchao.dtypes.utils: PlainLayout
         torchao.dtypes.floatx.float8_layout: Float8Layout Float8AQTTensorImpl
         torchao.dtypes.floatx.floatx_tensor_core_layout: FloatxTensorCoreLayout FloatxTensorCoreAQTTensorImpl
         torchao.dtypes.uintx.plain_layout: PlainAQTTensorImpl
         torchao.dtypes.uintx.tensor_core_tiled_layout: TensorCoreTiledLayout TensorCoreTiledAQTTensorImpl
         torchao.dtypes.uintx.int4_cpu_layout: Int4CPULayout Int4CPUAQTTensorImpl
         torchao.dtypes.uintx.semi_sparse_layout: SemiSparseLayout
         torchao.dtypes.uintx.uintx_layout: UintxTensor UintxLayout
         torchao.quantization.linear_activation_quantized_tensor: LinearActivationQuantizedTensor
         torchao.quantization.granularity: PerTensor PerAxis PerGroup PerRow PerToken PerBlock
         torchao.optim.subclass_4bit: OptimState4bit
         torchao.optim.subclass_8bit: OptimState8bit
         torchao.optim.subclass_fp8: OptimStateFp8
         torchao.prototype.low_bit_optim.subclass_4bit: OptimState4bit
         torchao.prototype.low_bit_optim.subclass_8bit: OptimState8bit
         torchao.prototype.low_bit_optim.subclass_fp8: OptimStateFp8
         torchao.quantization.quantize_.workflows.float8.float8_tensor: Float8Tensor QuantizeTensorToFloat8Kwargs
         torchao.quantization.quantize_.workflows.int4.int4_plain_int32_tensor: Int4PlainInt32Tensor
         torchao.quantization.quantize_.workflows.int4.int4_preshuffled_tensor: Int4PreshuffledTensor
         torchao.quantization.quantize_.workflows.int4.int4_tensor: Int4Tensor
         torchao.quantization.quantize_.workflows.int4.int4_tile_packed_to_4d_tensor: Int4TilePackedTo4dTensor
         torchao.quantization.quantize_.workflows.int8.int8_tensor: Int8Tensor QuantizeTensorToInt8Kwargs
         torchao.quantization.quantize_.workflows.intx.intx_unpacked_to_int8_tensor: IntxUnpackedToInt8Tensor
         torchao.quantization.quantize_.workflows.intx.intx_opaque_tensor: IntxOpaqueTensor
         torchao.quantization.quantize_.workflows.nf4.nf4_tensor: NF4Tensor
        ",
    ),
    (
        AsData,
        TORCHVISION,
        "
         torchvision.models._utils: IntermediateLayerGetter
         torchvision.models.alexnet: AlexNet
         torchvision.models.convnext: LayerNorm2d CNBlock ConvNeXt
         torchvision.models.densenet: _DenseLayer _DenseBlock _Transition DenseNet
         torchvision.models.detection.anchor_utils: AnchorGenerator DefaultBoxGenerator
         torchvision.models.detection.backbone_utils: BackboneWithFPN
         torchvision.models.detection.faster_rcnn: FasterRCNN TwoMLPHead FastRCNNConvFCHead FastRCNNPredictor
         torchvision.models.detection.fcos: FCOSHead FCOSClassificationHead FCOSRegressionHead FCOS
         torchvision.models.detection.generalized_rcnn: GeneralizedRCNN
         torchvision.models.detection.keypoint_rcnn: KeypointRCNN KeypointRCNNHeads KeypointRCNNPredictor
         torchvision.models.detection.mask_rcnn: MaskRCNN MaskRCNNHeads MaskRCNNPredictor
         torchvision.models.detection.retinanet: RetinaNetHead RetinaNetClassificationHead RetinaNetRegressionHead RetinaNet
         torchvision.models.detection.roi_heads: RoIHeads
         torchvision.models.detection.rpn: RPNHead RegionProposalNetwork
         torchvision.models.detection.ssd: SSDHead SSDScoringHead SSDClassificationHead SSDRegressionHead SSD
         torchvision.models.detection.ssd: SSDFeatureExtractorVGG
         torchvision.models.detection.ssdlite: SSDLiteHead SSDLiteClassificationHead SSDLiteRegressionHead
         torchvision.models.detection.ssdlite: SSDLiteFeatureExtractorMobileNet
         torchvision.models.detection.transform: GeneralizedRCNNTransform
         torchvision.models.efficientnet: MBConv FusedMBConv EfficientNet
         torchvision.models.googlenet: GoogLeNet Inception InceptionAux BasicConv2d
         torchvision.models.inception: Inception3 InceptionA InceptionB InceptionC InceptionD InceptionE InceptionAux BasicConv2d
         torchvision.models.maxvit: MBConv RelativePositionalMultiHeadAttention SwapAxes WindowPartition WindowDepartition
         torchvision.models.maxvit: PartitionAttentionLayer MaxVitLayer MaxVitBlock MaxVit
         torchvision.models.mnasnet: _InvertedResidual MNASNet
         torchvision.models.mobilenetv2: InvertedResidual MobileNetV2
         torchvision.models.mobilenetv3: InvertedResidual MobileNetV3
         torchvision.models.optical_flow.raft: ResidualBlock BottleneckBlock FeatureEncoder MotionEncoder ConvGRU RecurrentBlock
         torchvision.models.optical_flow.raft: FlowHead UpdateBlock MaskPredictor CorrBlock RAFT
         torchvision.models.quantization.googlenet: QuantizableBasicConv2d QuantizableInception QuantizableInceptionAux
         torchvision.models.quantization.googlenet: QuantizableGoogLeNet
         torchvision.models.quantization.inception: QuantizableBasicConv2d QuantizableInceptionA QuantizableInceptionB
         torchvision.models.quantization.inception: QuantizableInceptionC QuantizableInceptionD QuantizableInceptionE
         torchvision.models.quantization.inception: QuantizableInceptionAux QuantizableInception3
         torchvision.models.quantization.mobilenetv2: QuantizableInvertedResidual QuantizableMobileNetV2
         torchvision.models.quantization.mobilenetv3: QuantizableSqueezeExcitation QuantizableInvertedResidual
         torchvision.models.quantization.mobilenetv3: QuantizableMobileNetV3
         torchvision.models.quantization.resnet: QuantizableBasicBlock QuantizableBottleneck QuantizableResNet
         torchvision.models.quantization.shufflenetv2: QuantizableInvertedResidual QuantizableShuffleNetV2
         torchvision.models.regnet: SimpleStemIN BottleneckTransform ResBottleneckBlock AnyStage RegNet
         torchvision.models.resnet: BasicBlock Bottleneck ResNet
         torchvision.models.segmentation._utils: _SimpleSegmentationModel
         torchvision.models.segmentation.deeplabv3: DeepLabV3 DeepLabHead ASPPConv ASPPPooling ASPP
         torchvision.models.segmentation.fcn: FCN FCNHead
         torchvision.models.segmentation.lraspp: LRASPP LRASPPHead
         torchvision.models.shufflenetv2: InvertedResidual ShuffleNetV2
         torchvision.models.squeezenet: Fire SqueezeNet
         torchvision.models.swin_transformer: PatchMerging PatchMergingV2 ShiftedWindowAttention ShiftedWindowAttentionV2
         torchvision.models.swin_transformer: SwinTransformerBlock SwinTransformerBlockV2 SwinTransformer
         torchvision.models.vgg: VGG
         torchvision.models.video.mvit: Pool MultiscaleAttention MultiscaleBlock PositionalEncoding MViT
         torchvision.models.video.resnet: Conv3DSimple Conv2Plus1D Conv3DNoTemporal BasicBlock Bottleneck BasicStem R2Plus1dStem
         torchvision.models.video.resnet: VideoResNet
         torchvision.models.video.s3d: TemporalSeparableConv SepInceptionBlock3D S3D
         torchvision.models.video.swin_transformer: ShiftedWindowAttention3d PatchEmbed3d SwinTransformer3d
         torchvision.models.vision_transformer: MLPBlock EncoderBlock Encoder VisionTransformer
         torchvision.ops.deform_conv: DeformConv2d
         torchvision.ops.drop_block: DropBlock2d DropBlock3d
         torchvision.ops.feature_pyramid_network: ExtraFPNBlock FeaturePyramidNetwork LastLevelMaxPool LastLevelP6P7
         torchvision.ops.misc: FrozenBatchNorm2d ConvNormActivation Conv2dNormActivation Conv3dNormActivation SqueezeExcitation MLP
         torchvision.ops.misc: Permute
         torchvision.ops.poolers: MultiScaleRoIAlign
         torchvision.ops.ps_roi_align: PSRoIAlign
         torchvision.ops.ps_roi_pool: PSRoIPool
         torchvision.ops.roi_align: RoIAlign
         torchvision.ops.roi_pool: RoIPool
         torchvision.ops.stochastic_depth: StochasticDepth
        ",
    ),
];

/// Whether it is the configuration of one of transformers' models: `transformers.models.bert.configuration_bert.BertConfig`.
pub(super) fn is_configuration(module: &str, name: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
    };
    let inner = module.strip_prefix("transformers.models.").and_then(|inner| inner.split_once(".configuration_"));
    inner.is_some_and(|(model, file)| word(model) && word(file))
        && name.ends_with("Config")
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|c| c.is_ascii_alphanumeric())
}
