//! What fits is answered as over HTTP, what does not is refused with the same words.

use serde_json::json;
use tonic::Code;

use super::{ON, method};
use crate::harness::grpc::inference::infer_parameter::ParameterChoice;
use crate::harness::grpc::inference::model_infer_request::InferRequestedOutputTensor;
use crate::harness::grpc::{Grpc, digits, health, inference as of, refused};
use crate::harness::{Pair, Server, eventually, promise};

fn someone(pair: Pair) -> (Server, Grpc) {
    let server = Server::start(pair, &[ON]);
    let client = server.grpc_user(&server.person("ada").tokens.access);
    (server, client)
}

/// Two rows that are not alike.
fn rows() -> Vec<f32> {
    (0..128_u8).map(|number| f32::from(number % 17)).collect()
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn parameter(value: ParameterChoice) -> of::InferParameter {
    of::InferParameter { parameter_choice: Some(value) }
}

promise! {
    fn grpc_and_http_give_the_same_answer(pair) {
        let server = Server::start(pair, &[ON]);
        let ada = server.person("ada");
        let body = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 64], "data": rows()}]});
        let by_http = ada.api.post("/v2/models/digits/infer", &body).is(200).json();
        let key = ada.make_key(&["models:infer"]);
        for client in [server.grpc_user(&ada.tokens.access), server.grpc_key(&key), server.grpc_user(&key)] {
            let answer = client.infer(of::ModelInferRequest { id: "a-1".into(), ..digits(&rows()) });
            let answer = answer.expect("an answer").into_inner();
            assert_eq!(
                (answer.model_name.as_str(), answer.model_version.as_str(), answer.id.as_str()),
                ("digits", "1", "a-1")
            );
            let [label, probabilities] = &answer.outputs[..] else { panic!("{answer:?}") };
            assert_eq!((label.name.as_str(), label.datatype.as_str(), &label.shape[..]), ("label", "INT64", &[2][..]));
            assert_eq!(probabilities.shape, [2, 10]);
            let labels: Vec<i64> =
                answer.raw_output_contents[0].as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
            assert_eq!(json!(labels), by_http["outputs"][0]["data"]);
            for (left, right) in numbers(&answer.raw_output_contents[1])
                .iter()
                .zip(by_http["outputs"][1]["data"].as_array().expect("numbers"))
            {
                assert!((f64::from(*left) - right.as_f64().expect("a number")).abs() < 1e-6, "{left} {right}");
            }
        }
    }

    fn elements_may_come_as_numbers(pair) {
        let (_server, client) = someone(pair);
        let by_bytes = client.infer(digits(&rows())).expect("an answer").into_inner();
        let mut call = digits(&rows());
        call.raw_input_contents.clear();
        call.inputs[0].contents = Some(of::InferTensorContents { fp32_contents: rows(), ..Default::default() });
        assert_eq!(client.infer(call).expect("an answer").into_inner(), by_bytes);
    }

    fn outputs_are_chosen_and_versions_named(pair) {
        let (_server, client) = someone(pair);
        let wanted = |name: &str| InferRequestedOutputTensor { name: name.into(), ..Default::default() };
        let ask = |outputs: Vec<_>| client.infer(of::ModelInferRequest { outputs, ..digits(&[0.0; 64]) });
        let names = |outputs| {
            let answer = ask(outputs).expect("an answer").into_inner();
            assert_eq!(answer.outputs.len(), answer.raw_output_contents.len());
            answer.outputs.into_iter().map(|output| output.name).collect::<Vec<_>>()
        };
        assert_eq!(names(vec![]), ["label", "probabilities"]);
        assert_eq!(names(vec![wanted("probabilities"), wanted("label")]), ["probabilities", "label"]);
        assert!(refused(ask(vec![wanted("logits")]), Code::InvalidArgument, "invalid_input").contains("logits"));
        let version = |version: &str| client.infer(of::ModelInferRequest { model_version: version.into(), ..digits(&[0.0; 64]) });
        version("1").expect("version 1");
        for missing in ["2", "one"] {
            refused(version(missing), Code::NotFound, "model_not_found");
        }
        let none = client.infer(of::ModelInferRequest { model_name: "none".into(), ..digits(&[0.0; 64]) });
        refused(none, Code::NotFound, "model_not_found");
        let zero = client.infer(digits(&[])).expect("no rows").into_inner();
        assert_eq!((&zero.outputs[0].shape[..], &zero.outputs[1].shape[..]), (&[0][..], &[0, 10][..]));
    }

    fn what_does_not_fit_is_refused_with_the_reason(pair) {
        let (_server, client) = someone(pair);
        let with = |change: &dyn Fn(&mut of::ModelInferRequest)| {
            let mut call = digits(&[0.0; 64]);
            change(&mut call);
            refused(client.infer(call), Code::InvalidArgument, "invalid_input")
        };
        let says = |change: &dyn Fn(&mut of::ModelInferRequest), part: &str| {
            let message = with(change);
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        };
        says(&|call| call.inputs[0].name = "y".into(), "\"x\"");
        says(&|call| call.inputs[0].datatype = "FP64".into(), "FP32");
        says(&|call| call.inputs[0].datatype = "FLOAT".into(), "datatype");
        says(&|call| call.inputs[0].shape = vec![64], "shape");
        says(&|call| call.inputs[0].shape = vec![-1, 64], "-1");
        says(&|call| call.inputs[0].shape = vec![i64::MAX, 64], "shape");
        says(&|call| call.inputs[0].shape = vec![2, 64], "needs 128");
        says(&|call| call.raw_input_contents[0].truncate(255), "255 were given");
        says(&|call| call.raw_input_contents.push(vec![]), "2 entries");
        says(&|call| call.raw_input_contents.clear(), "needs 64 elements");
        says(&|call| call.inputs.clear(), "1 entries");
        says(&|call| { call.inputs.clear(); call.raw_input_contents.clear(); }, "missing");
        says(&|call| { call.inputs.push(call.inputs[0].clone()); call.raw_input_contents.push(call.raw_input_contents[0].clone()); }, "twice");
        says(&|call| call.inputs[0].contents = Some(of::InferTensorContents::default()), "both");
        let set = |call: &mut of::ModelInferRequest, name: &str, value| { call.parameters.insert(name.into(), parameter(value)); };
        says(&|call| set(call, "sequence_id", ParameterChoice::Int64Param(1)), "sequence_id");
        says(&|call| set(call, "triton_enable", ParameterChoice::BoolParam(true)), "triton_enable");
        says(&|call| set(call, "timeout", ParameterChoice::StringParam("soon".into())), "timeout");
        says(&|call| set(call, "timeout", ParameterChoice::Int64Param(-1)), "timeout");
        says(&|call| { call.parameters.insert("mine".into(), of::InferParameter::default()); }, "mine");
        says(&|call| set(call, "mine", ParameterChoice::DoubleParam(f64::NAN)), "mine");
        says(&|call| { call.inputs[0].parameters.insert("shared_memory_region".into(), parameter(ParameterChoice::StringParam("a".into()))); }, "shared_memory_region");
        let mut fine = digits(&[0.0; 64]);
        set(&mut fine, "mine", ParameterChoice::DoubleParam(0.5));
        set(&mut fine, "priority", ParameterChoice::Uint64Param(1));
        set(&mut fine, "timeout", ParameterChoice::Int64Param(5_000_000));
        client.infer(fine).expect("an answer");
    }

    fn the_server_and_its_models_describe_themselves(pair) {
        let (_server, client) = someone(pair);
        let server: of::ServerMetadataResponse =
            client.call(&method("ServerMetadata"), of::ServerMetadataRequest {}).expect("an answer").into_inner();
        assert_eq!(server.name, "modelgate");
        let asked = |name: &str, version: &str| of::ModelMetadataRequest { name: name.into(), version: version.into() };
        for version in ["", "1"] {
            let model: of::ModelMetadataResponse =
                client.call(&method("ModelMetadata"), asked("digits", version)).expect("an answer").into_inner();
            assert_eq!((model.name.as_str(), &model.versions[..], model.platform.as_str()), ("digits", &["1".to_owned()][..], "onnx_onnxv1"));
            assert_eq!((model.inputs[0].datatype.as_str(), &model.inputs[0].shape[..]), ("FP32", &[-1, 64][..]));
            assert_eq!(model.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>(), ["label", "probabilities"]);
            let ready = of::ModelReadyRequest { name: "digits".into(), version: version.into() };
            let ready: of::ModelReadyResponse = client.call(&method("ModelReady"), ready).expect("an answer").into_inner();
            assert!(ready.ready);
        }
        for (name, version) in [("none", ""), ("digits", "9"), ("", "")] {
            let answer = client.call::<_, of::ModelMetadataResponse>(&method("ModelMetadata"), asked(name, version));
            refused(answer, Code::NotFound, "model_not_found");
        }
        let index = |ready| {
            let asked = of::RepositoryIndexRequest { ready, ..Default::default() };
            let answer = client.call::<_, of::RepositoryIndexResponse>(&method("RepositoryIndex"), asked);
            answer.expect("an answer").into_inner().models
        };
        assert_eq!((index(true).len(), index(false)[0].name.as_str(), index(false)[0].state.as_str()), (1, "digits", "READY"));
    }

    fn configuration_and_statistics_are_those_of_http(pair) {
        let server = Server::start(pair, &[ON]);
        let ada = server.person("ada");
        let client = server.grpc_user(&ada.tokens.access);
        let asked = of::ModelConfigRequest { name: "digits".into(), ..Default::default() };
        let config: of::ModelConfigResponse = client.call(&method("ModelConfig"), asked).expect("an answer").into_inner();
        let config = config.config.expect("a configuration");
        let by_http = ada.api.get("/v2/models/digits/config").is(200).json();
        assert_eq!(json!(config.max_batch_size), by_http["max_batch_size"]);
        assert_eq!(json!(config.input[0].data_type().as_str_name()), by_http["input"][0]["data_type"]);
        assert_eq!(json!(config.input[0].format().as_str_name()), by_http["input"][0]["format"]);
        assert_eq!(json!(config.output[1].dims), by_http["output"][1]["dims"]);
        assert_eq!(json!(config.output[1].label_filename), by_http["output"][1]["label_filename"]);
        assert_eq!(json!(config.instance_group[0].count), by_http["instance_group"][0]["count"]);
        for _ in 0..3 {
            client.infer(digits(&rows())).expect("an answer");
        }
        for (name, version) in [("", ""), ("digits", ""), ("digits", "1")] {
            let asked = of::ModelStatisticsRequest { name: name.into(), version: version.into() };
            let counted: of::ModelStatisticsResponse =
                client.call(&method("ModelStatistics"), asked).expect("an answer").into_inner();
            let [digits] = &counted.model_stats[..] else { panic!("{counted:?}") };
            assert_eq!((digits.name.as_str(), digits.inference_count), ("digits", 6));
            let success = digits.inference_stats.as_ref().and_then(|stats| stats.success).expect("successes");
            assert!(success.count == 3 && success.ns > 0 && digits.last_inference > 0, "{digits:?}");
        }
        let asked = of::ModelStatisticsRequest { name: "none".into(), ..Default::default() };
        refused(client.call::<_, of::ModelStatisticsResponse>(&method("ModelStatistics"), asked), Code::NotFound, "model_not_found");
    }

    fn models_are_loaded_and_unloaded(pair) {
        let server = Server::start(pair, &[ON]);
        let (client, ada) = (server.grpc_user(&server.admin().tokens.access), server.person("ada"));
        let load = |name: &str, parameters: &[&str]| {
            let value = of::ModelRepositoryParameter::default();
            let parameters = parameters.iter().map(|name| ((*name).to_owned(), value.clone())).collect();
            let asked = of::RepositoryModelLoadRequest { model_name: name.into(), parameters, ..Default::default() };
            client.call::<_, of::RepositoryModelLoadResponse>(&method("RepositoryModelLoad"), asked)
        };
        let unload = of::RepositoryModelUnloadRequest { model_name: "digits".into(), ..Default::default() };
        client.call::<_, of::RepositoryModelUnloadResponse>(&method("RepositoryModelUnload"), unload).expect("an answer");
        refused(client.infer(digits(&[0.0; 64])), Code::Unavailable, "model_unavailable");
        let ready = of::ModelReadyRequest { name: "digits".into(), ..Default::default() };
        let ready: of::ModelReadyResponse = client.call(&method("ModelReady"), ready).expect("an answer").into_inner();
        assert!(!ready.ready);
        refused(load("none", &[]), Code::NotFound, "model_not_found");
        for brought in ["config", "file:1/model.onnx"] {
            refused(load("digits", &[brought]), Code::InvalidArgument, "invalid_input");
        }
        ada.api.get("/v2/models/digits/ready").is(503);
        load("digits", &[]).expect("an answer");
        client.infer(digits(&[0.0; 64])).expect("an answer");
    }

    fn health_is_everyones(pair) {
        let server = Server::start(pair, &[ON, ("RATE_LIMIT_PER_MINUTE", "1"), ("GUARD_PER_SECOND", "1")]);
        let client = server.grpc();
        let check = |service: &str| {
            let asked = health::HealthCheckRequest { service: service.into() };
            client.call::<_, health::HealthCheckResponse>("grpc.health.v1.Health/Check", asked)
        };
        for _ in 0..5 {
            for service in ["", "inference.GRPCInferenceService"] {
                assert_eq!(check(service).expect("an answer").into_inner().status(), health::health_check_response::ServingStatus::Serving);
            }
            let live: of::ServerLiveResponse = client.call(&method("ServerLive"), of::ServerLiveRequest {}).expect("an answer").into_inner();
            let ready: of::ServerReadyResponse = client.call(&method("ServerReady"), of::ServerReadyRequest {}).expect("an answer").into_inner();
            assert!(live.live && ready.ready);
        }
        refused(check("other.Service"), Code::NotFound, "not_found");
    }

    fn an_unknown_method_is_none(pair) {
        let (server, client) = someone(pair);
        for path in ["inference.GRPCInferenceService/LogSettings", "inference.GRPCInferenceService/SystemSharedMemoryRegister", "other.Service/Call"] {
            for client in [&client, &server.grpc()] {
                refused(client.call::<_, of::ServerLiveResponse>(path, of::ServerLiveRequest {}), Code::Unimplemented, "method_not_allowed");
            }
        }
    }

    fn each_call_has_its_line_in_the_log_and_its_count(pair) {
        let server = Server::start(pair, &[ON]);
        let ada = server.person("ada");
        let client = server.grpc_user(&ada.tokens.access).with("x-request-id", "my-own-id.7");
        let answer = client.infer(digits(&[0.0; 64])).expect("an answer");
        assert_eq!(answer.metadata().get("x-request-id").and_then(|id| id.to_str().ok()), Some("my-own-id.7"));
        let line = server.wait_for_log("the call", |entry| entry["request_id"] == "my-own-id.7");
        assert_eq!((&line["method"], &line["path"]), (&json!("gRPC"), &json!("/inference.GRPCInferenceService/ModelInfer")));
        assert_eq!((&line["status"], &line["grpc_status"], &line["account"]), (&json!(200), &json!("Ok"), &json!(ada.id)));
        refused(server.grpc().infer(digits(&[0.0; 64])), Code::Unauthenticated, "authentication_required");
        eventually("both are counted", || {
            (server.metric("inference_requests_total") == 1.0 && server.log().contains("\"grpc_status\":\"Unauthenticated\"")).then_some(())
        });
    }
}
