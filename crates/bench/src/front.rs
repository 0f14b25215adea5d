//! Servers to compare with, of the same framework and without everything that makes the product: what the web alone
//! costs, what one script of Redis adds, and the same inference behind a bare route.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use actix_web::error::{ErrorBadRequest, ErrorInternalServerError};
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer, Result};
use clap::Args;
use inference::{InferRequest, NamedTensor, Registry, Settings, Tensor, TensorData, Ticket};
use redis::Script;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

/// What to serve, and where.
#[derive(Args)]
pub struct Options {
    /// The port on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// Threads that answer.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// The model repository; its models are at /models/NAME, elements in and out as little-endian floats.
    #[arg(long)]
    models: Option<PathBuf>,
    /// The library of the runtime.
    #[arg(long)]
    library: Option<PathBuf>,
    /// A Redis, for /script.
    #[arg(long)]
    redis: Option<String>,
}

/// Serves until it is told to stop.
pub async fn serve(options: Options) -> Result<(), Box<dyn Error>> {
    let settings = Settings { runtime_library: options.library, ..Settings::default() };
    let registry = options.models.map(|model_dir| Registry::open(Settings { model_dir, ..settings }));
    let redis = match options.redis {
        Some(url) => Some(connect(url)?),
        None => None,
    };
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::new(registry.clone()))
            .app_data(Data::new(redis.clone()))
            .app_data(web::PayloadConfig::new(64 << 20))
            .route("/hello", web::post().to(hello))
            .route("/script", web::post().to(script))
            .route("/models/{name}", web::post().to(infer))
    });
    Ok(server.workers(options.workers).bind(("127.0.0.1", options.port))?.run().await?)
}

fn connect(url: String) -> redis::RedisResult<ConnectionManager> {
    ConnectionManager::new_lazy_with_config(redis::Client::open(url)?, ConnectionManagerConfig::new())
}

async fn hello(_: Bytes) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(r#"{"hello":"world"}"#)
}

/// As much as an admission: one script that reads and raises a few counters.
async fn script(redis: Data<Option<ConnectionManager>>, _: Bytes) -> Result<HttpResponse> {
    let mut redis = redis.as_ref().clone().ok_or_else(|| ErrorInternalServerError("no Redis"))?;
    let script = Script::new(
        "for index = 1, 3 do redis.call('GET', 'bench:' .. index) end
         local count = redis.call('INCR', KEYS[1]) redis.call('EXPIRE', KEYS[1], 60) return count",
    );
    let count: i64 =
        script.key("bench:count").invoke_async(&mut redis).await.map_err(ErrorInternalServerError)?;
    Ok(HttpResponse::Ok().content_type("application/json").body(format!(r#"{{"count":{count}}}"#)))
}

async fn infer(
    registry: Data<Option<Registry>>,
    name: web::Path<String>,
    body: Bytes,
) -> Result<HttpResponse> {
    let registry = registry.as_ref().as_ref().ok_or_else(|| ErrorInternalServerError("no models"))?;
    let model = registry.find(&name, None).map_err(ErrorBadRequest)?;
    let floats: Vec<f32> = body.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let spec = &model.inputs()[0];
    let shape = spec.shape.iter().map(|&size| usize::try_from(size).unwrap_or(1)).collect();
    let tensor = Tensor::new(shape, TensorData::Fp32(floats)).map_err(ErrorBadRequest)?;
    let inputs = vec![NamedTensor { name: spec.name.clone(), tensor }];
    let ticket = Ticket { caller: 0, deadline: Instant::now() + Duration::from_secs(30), priority: 0 };
    let request = InferRequest { inputs, outputs: Vec::new(), ticket };
    let answer = model.infer(request).await.map_err(ErrorInternalServerError)?;
    let bytes = answer.outputs.iter().flat_map(|output| match output.tensor.data() {
        TensorData::Fp32(floats) => floats.iter().flat_map(|float| float.to_le_bytes()).collect(),
        TensorData::Int64(numbers) => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        _ => Vec::new(),
    });
    Ok(HttpResponse::Ok().content_type("application/octet-stream").body(bytes.collect::<Vec<u8>>()))
}
