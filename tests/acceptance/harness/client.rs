//! A client that checks every answer.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

use super::check;
use super::secrets::Secrets;

const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_BODY: u64 = 64 << 20;

/// Sends requests to one server, with the headers that it was given.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    address: SocketAddr,
    headers: Vec<(String, String)>,
    secrets: Secrets,
}

/// An answer, in every respect that holds for all of them already checked.
#[derive(Debug)]
pub struct Reply {
    /// The request, for messages: method and path.
    pub request: String,
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Client {
    pub(super) fn new(address: SocketAddr, secrets: Secrets) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            // A connection that the server closed must not be the next request's.
            .max_idle_connections(0)
            .timeout_global(Some(TIMEOUT));
        Self { agent: config.build().new_agent(), address, headers: Vec::new(), secrets }
    }

    /// The same client with one more header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// The same client of another server.
    pub fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None, b"")
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, None, b"")
    }

    /// Sends JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, Some("application/json"), body.to_string().as_bytes())
    }

    /// Sends JSON.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, Some("application/json"), body.to_string().as_bytes())
    }

    /// Posts nothing.
    #[track_caller]
    pub fn act(&self, path: &str) -> Reply {
        self.send("POST", path, None, b"")
    }

    /// Asks `digits` what a picture shows.
    #[track_caller]
    pub fn predict(&self, picture: &[u8]) -> Reply {
        self.send("POST", "/api/v1/models/digits/predict", Some("image/png"), picture)
    }

    /// Sends anything.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, content_type: Option<&str>, body: &[u8]) -> Reply {
        self.secrets.remember_members(body);
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        let sent = if body.is_empty() && content_type.is_none() {
            self.agent.run(request.body(()).expect("a request"))
        } else {
            self.agent.run(request.body(body).expect("a request"))
        };
        let (parts, mut answer) =
            sent.unwrap_or_else(|error| panic!("{method} {path}: no answer: {error}")).into_parts();
        let body = answer.with_config().limit(MAX_BODY).read_to_vec();
        let body = body.unwrap_or_else(|error| panic!("{method} {path}: half an answer: {error}"));
        self.secrets.remember_members(&body);
        let request = format!("{method} {path}");
        let reply = Reply { request, status: parts.status.as_u16(), headers: parts.headers, body };
        check::every_answer(method, path, &reply);
        if reply.status >= 400 {
            let told = self.secrets.told_in(&reply.text());
            assert!(told.is_empty(), "{}: an error tells a secret: {told:?}", reply.request);
        }
        reply
    }
}

impl Reply {
    /// Insists on a status.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.request, self.text());
        self
    }

    /// Insists on an error: its status and its `code`.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let reply = self.is(status);
        assert_eq!(reply.json()["code"], code, "{}: {}", reply.request, reply.text());
        reply
    }

    /// Insists on a validation error about these fields and no others.
    #[track_caller]
    pub fn invalid(self, fields: &[&str]) -> Self {
        let reply = self.refused(400, "validation_failed");
        let errors = reply.json()["errors"].as_object().cloned().unwrap_or_default();
        assert_eq!(errors.keys().collect::<Vec<_>>(), fields, "{}: {}", reply.request, reply.text());
        reply
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.request, self.text()))
    }

    /// A text member of the JSON body.
    #[track_caller]
    pub fn member(&self, name: &str) -> String {
        let json = self.json();
        json[name].as_str().unwrap_or_else(|| panic!("{}: no {name:?} in {json}", self.request)).to_owned()
    }

    /// The `items` of a list.
    #[track_caller]
    pub fn items(&self) -> Vec<Value> {
        self.json()["items"].as_array().unwrap_or_else(|| panic!("{}: no list", self.request)).clone()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header that is a whole number.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        let value = self.header(name).unwrap_or_else(|| panic!("{}: no {name}", self.request));
        value.parse().unwrap_or_else(|_| panic!("{}: {name} is {value:?}", self.request))
    }
}
