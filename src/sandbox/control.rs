//! The pages under `/_sandbox/` that steer a running sandbox and show its state. They need no token
//! and cost no quota.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::fault::Fault;
use super::ledger::Ledger;
use super::server::SandboxShared;
use super::world::{ActionRecord, Occupation};
use crate::schedule::duration;

/// The routes, for the server to add its own to.
pub(super) fn routes() -> Router<Arc<SandboxShared>> {
    Router::new()
        .route("/_sandbox/ledger", get(ledger))
        .route("/_sandbox/actions", get(actions))
        .route("/_sandbox/use", post(use_quota))
        .route("/_sandbox/limit", post(set_limit))
        .route("/_sandbox/deploy", post(deploy))
        .route("/_sandbox/maintenance", post(maintain))
        .route("/_sandbox/faults", post(set_faults))
}

#[derive(Deserialize)]
struct StartedSandbox {
    started: Option<usize>,
}

async fn ledger(
    State(shared): State<Arc<SandboxShared>>,
    Query(StartedSandbox { started }): Query<StartedSandbox>,
) -> Json<Ledger> {
    let wanted = started.unwrap_or(0);
    Json(shared.wait_for(|state| state.started() >= wanted).await)
}

async fn actions(State(shared): State<Arc<SandboxShared>>) -> Response {
    let actions: Vec<ActionRecord> = shared.state().actions().collect();
    Json(json!({ "actions": actions })).into_response()
}

#[derive(Deserialize)]
struct Amount {
    user: String,
    n: u32,
}

async fn use_quota(State(shared): State<Arc<SandboxShared>>, Query(amount): Query<Amount>) -> Response {
    let used = shared.change(|state| state.use_quota(&amount.user, amount.n, Timestamp::now()));
    match used {
        Some(used) => Json(json!({ "used": used })).into_response(),
        None => (StatusCode::NOT_FOUND, "no such user\n").into_response(),
    }
}

async fn set_limit(State(shared): State<Arc<SandboxShared>>, Query(amount): Query<Amount>) -> Response {
    match shared.change(|state| state.set_limit(&amount.user, amount.n)) {
        Some(()) => Json(json!({ "limit": amount.n })).into_response(),
        None => (StatusCode::NOT_FOUND, "no such user\n").into_response(),
    }
}

#[derive(Deserialize)]
struct FaultSpan {
    stack: String,
    /// A duration, as `20s`.
    r#for: String,
}

async fn deploy(State(shared): State<Arc<SandboxShared>>, Query(stretch): Query<FaultSpan>) -> Response {
    occupy(&shared, &stretch, Occupation::Deployment)
}

async fn maintain(State(shared): State<Arc<SandboxShared>>, Query(stretch): Query<FaultSpan>) -> Response {
    occupy(&shared, &stretch, Occupation::Maintenance)
}

fn occupy(shared: &SandboxShared, FaultSpan { stack, r#for }: &FaultSpan, with: Occupation) -> Response {
    let Ok(lasts) = duration::parse(r#for) else {
        return (StatusCode::BAD_REQUEST, "write for=DURATION, as for=20s\n").into_response();
    };
    let until = Timestamp::now().checked_add(lasts).unwrap_or(Timestamp::MAX);
    match shared.change(|state| state.occupy(stack, with, until)) {
        Some(()) => Json(json!({ "stack": stack, "until": until })).into_response(),
        None => (StatusCode::NOT_FOUND, "no such stack\n").into_response(),
    }
}

async fn set_faults(
    State(shared): State<Arc<SandboxShared>>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    let texts = pairs.iter().filter(|(key, _)| key == "fault");
    match texts.map(|(_, text)| text.parse()).collect::<Result<Vec<Fault>, _>>() {
        Ok(faults) => {
            let count = faults.len();
            shared.change(|state| state.set_faults(faults));
            Json(json!({ "faults": count })).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
