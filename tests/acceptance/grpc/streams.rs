//! Calls on one stream: each is let in, counted and answered by itself.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc::{Sender, channel};
use tonic::{Code, Status, Streaming};

use super::ON;
use crate::harness::grpc::{Grpc, check, digits, inference as of, wait};
use crate::harness::{Server, eventually, promise};

/// A stream that was opened.
struct Talk {
    calls: Sender<of::ModelInferRequest>,
    answers: Streaming<of::ModelStreamInferResponse>,
}

impl Talk {
    fn open(client: &Grpc) -> Result<Self, Status> {
        let (calls, heard) = channel(64);
        let answers = wait(client.talk(heard))?.into_inner();
        Ok(Self { calls, answers })
    }

    fn say(&self, id: &str, call: of::ModelInferRequest) {
        let call = of::ModelInferRequest { id: id.into(), ..call };
        wait(self.calls.send(call)).expect("the stream is open");
    }

    /// The next answer: its id, and what went wrong.
    fn hear(&mut self) -> Result<(String, String), Status> {
        let answer = wait(self.answers.message())?.expect("an answer");
        Ok((answer.infer_response.expect("which call it answers").id, answer.error_message))
    }

    fn ask(&mut self, id: &str) -> Result<String, Status> {
        self.say(id, digits(&[0.0; 64]));
        let (answered, error) = self.hear()?;
        assert_eq!(answered, id);
        Ok(error)
    }
}

promise! {
    fn each_call_of_a_stream_has_its_answer(pair) {
        let server = Server::start(pair, &[ON]);
        let ada = server.person("ada");
        let key = ada.make_key(&["models:infer"]);
        for client in [server.grpc_user(&ada.tokens.access), server.grpc_key(&key)] {
            let mut talk = Talk::open(&client).expect("a stream");
            for number in 0..20 {
                talk.say(&number.to_string(), digits(&vec![0.0; 64 * number]));
            }
            for number in 0..20 {
                assert_eq!(talk.hear().expect("an answer"), (number.to_string(), String::new()));
            }
            talk.say("wrong", of::ModelInferRequest { model_name: "none".into(), ..digits(&[0.0; 64]) });
            let (id, error) = talk.hear().expect("an answer");
            assert!(id == "wrong" && error.contains("none"), "{id} {error}");
            assert_eq!(talk.ask("right").expect("an answer"), "");
            drop(talk.calls);
            assert!(wait(talk.answers.message()).expect("an end").is_none());
        }
    }

    fn who_may_not_opens_none(pair) {
        let server = Server::start(pair, &[ON]);
        let reader = server.person_with_role(&server.admin(), "reader", "readonly");
        for (client, code) in [(server.grpc(), Code::Unauthenticated), (server.grpc_user(&reader.tokens.access), Code::PermissionDenied)] {
            let status = Talk::open(&client).err().expect("a refusal");
            assert_eq!(status.code(), code, "{status:?}");
            check("ModelStreamInfer", &status);
        }
    }

    fn limits_count_each_call_and_revocation_ends_the_stream(pair) {
        let server = Server::start(pair, &[ON, ("RATE_LIMIT_INFER_PER_MINUTE", "3")]);
        let ada = server.person("ada");
        let (id, text) = ada.make_key_with(json!({"name": "a key", "scopes": ["models:infer"]}));
        let mut talk = Talk::open(&server.grpc_key(&text)).expect("a stream");
        for call in ["1", "2", "3"] {
            assert_eq!(talk.ask(call).expect("an answer"), "");
        }
        assert!(talk.ask("4").expect("an answer").contains("limit"));
        server.advance(Duration::from_secs(61));
        assert_eq!(talk.ask("5").expect("an answer"), "");
        ada.api.delete(&format!("/api/v1/api-keys/{id}")).is(204);
        let status = talk.ask("6").expect_err("an end");
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        check("ModelStreamInfer", &status);
        assert!(wait(talk.calls.send(digits(&[]))).is_ok() || talk.calls.is_closed());
    }

    fn open_streams_are_bounded_and_the_door_closes_on_them(pair) {
        let mut server = Server::start(pair, &[ON, ("MAX_IN_FLIGHT_PER_CALLER", "2")]);
        let client = server.grpc_user(&server.person("ada").tokens.access);
        let mut talk = Talk::open(&client).expect("a stream");
        // The stream has one place, each of its calls the other one.
        assert_eq!(talk.ask("1").expect("an answer"), "");
        let second = Talk::open(&client).expect("a stream");
        assert!(talk.ask("2").expect("an answer").contains("in-flight"));
        let status = Talk::open(&client).err().expect("a refusal");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        drop(second);
        eventually("there is room again", || talk.ask("3").expect("an answer").is_empty().then_some(()));
        server.terminate();
        let status = talk.hear().expect_err("an end");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert_eq!(server.wait(), Some(0));
    }
}
