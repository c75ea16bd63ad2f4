//! The gateway's own gRPC services.

pub mod audit;
pub mod tokens;

use syncline_domain::ErrorCode;
use syncline_wire::caller::Caller;
use syncline_wire::status::status;
use tonic::{Request, Status};

fn database(error: &sqlx::Error) -> Status {
    tracing::warn!(%error, "the database did not answer a call");
    status(ErrorCode::DatabaseUnavailable, "the gateway's database cannot be reached")
}

/// Whom the door has let in.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| status(ErrorCode::Internal, "the door let somebody in without a name"))
}
