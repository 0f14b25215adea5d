//! `modelgate serve`

use super::CommandResult;
use crate::server::Server;
use crate::settings::Settings;
use crate::telemetry;

/// Answers requests until SIGTERM or SIGINT.
pub fn run(settings: Settings) -> CommandResult {
    telemetry::start(&settings.program.log_level)?;
    actix_web::rt::System::new().block_on(async {
        let server = Server::build(settings).await?;
        server.run().await.map_err(|error| error.to_string())
    })
}
