//! Descriptions of models: the answers of `/v2` as messages of the protocol.

use inference::Model;

use super::proto::inference as of;
use super::proto::inference::model_config::SchedulingChoice;
use super::proto::inference::model_input::Format;
use super::proto::inference::model_instance_group::Kind;
use super::proto::inference::model_metadata_response::TensorMetadata;
use super::proto::inference::repository_index_response::ModelIndex;
use crate::oip::config::{InputConfig, InstanceGroup, ModelConfig, OutputConfig};
use crate::oip::metadata::{ModelMetadata, TensorMetadata as Described};
use crate::oip::repository::IndexEntry;
use crate::oip::statistics::{BatchView, InferenceStatistics, StatisticDuration, VersionStatistics};

impl From<&Model> for of::ModelMetadataResponse {
    fn from(model: &Model) -> Self {
        let ModelMetadata { name, versions, platform, inputs, outputs } = model.into();
        let tensors = |described: Vec<Described>| described.into_iter().map(TensorMetadata::from).collect();
        Self { name, versions, platform, inputs: tensors(inputs), outputs: tensors(outputs) }
    }
}

impl From<Described> for TensorMetadata {
    fn from(Described { name, datatype, shape }: Described) -> Self {
        Self { name, datatype, shape }
    }
}

impl From<IndexEntry> for ModelIndex {
    fn from(IndexEntry { name, version, state, reason }: IndexEntry) -> Self {
        Self { name, version, state, reason }
    }
}

/// Numbers of the protocol are narrower than ours; none of them comes near.
fn narrow(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn datatype(name: &str) -> i32 {
    of::DataType::from_str_name(name).unwrap_or(of::DataType::TypeInvalid).into()
}

impl From<ModelConfig> for of::ModelConfig {
    fn from(config: ModelConfig) -> Self {
        let input = |InputConfig { name, data_type, format, dims }| of::ModelInput {
            name,
            data_type: datatype(&data_type),
            format: Format::from_str_name(format).unwrap_or(Format::None).into(),
            dims,
        };
        let output = |OutputConfig { name, data_type, dims, label_filename }| of::ModelOutput {
            name,
            data_type: datatype(&data_type),
            dims,
            label_filename,
        };
        let group = |InstanceGroup { name, kind, count }| of::ModelInstanceGroup {
            name,
            count: narrow(count),
            kind: Kind::from_str_name(kind).unwrap_or(Kind::Auto).into(),
        };
        let batching = config.dynamic_batching.map(|batching| {
            SchedulingChoice::DynamicBatching(of::ModelDynamicBatching {
                max_queue_delay_microseconds: batching.max_queue_delay_microseconds,
                priority_levels: batching.priority_levels.into(),
                default_priority_level: batching.default_priority_level.into(),
                ..of::ModelDynamicBatching::default()
            })
        });
        Self {
            name: config.name,
            platform: config.platform.to_owned(),
            backend: config.backend.to_owned(),
            max_batch_size: narrow(config.max_batch_size),
            input: config.input.into_iter().map(input).collect(),
            output: config.output.into_iter().map(output).collect(),
            instance_group: config.instance_group.into_iter().map(group).collect(),
            default_model_filename: config.default_model_filename.to_owned(),
            response_cache: Some(of::ModelResponseCache { enable: config.response_cache.enable }),
            scheduling_choice: batching,
            ..Self::default()
        }
    }
}

impl From<VersionStatistics> for of::ModelStatistics {
    fn from(counted: VersionStatistics) -> Self {
        Self {
            name: counted.name,
            version: counted.version,
            last_inference: counted.last_inference,
            inference_count: counted.inference_count,
            execution_count: counted.execution_count,
            inference_stats: Some(counted.inference_stats.into()),
            batch_stats: counted.batch_stats.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<InferenceStatistics> for of::InferStatistics {
    fn from(counted: InferenceStatistics) -> Self {
        Self {
            success: Some(counted.success.into()),
            fail: Some(counted.fail.into()),
            queue: Some(counted.queue.into()),
            compute_input: Some(counted.compute_input.into()),
            compute_infer: Some(counted.compute_infer.into()),
            compute_output: Some(counted.compute_output.into()),
            cache_hit: Some(counted.cache_hit.into()),
            cache_miss: Some(counted.cache_miss.into()),
        }
    }
}

impl From<BatchView> for of::InferBatchStatistics {
    fn from(batch: BatchView) -> Self {
        Self {
            batch_size: batch.batch_size,
            compute_input: Some(batch.compute_input.into()),
            compute_infer: Some(batch.compute_infer.into()),
            compute_output: Some(batch.compute_output.into()),
        }
    }
}

impl From<StatisticDuration> for of::StatisticDuration {
    fn from(StatisticDuration { count, ns }: StatisticDuration) -> Self {
        Self { count, ns }
    }
}
