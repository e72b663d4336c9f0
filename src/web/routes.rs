//! The paths that are served, and what answers each of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::answer::{KeptAnswer, WebRefusal};
use super::cache::LONGEST_KEY;
use super::guard::{CameBy, Guard, HostName, guard};
use super::query::QueryError;
use super::site::Site;
use super::{assets, audit, calendar, entries, history, log, quota, schedule, status};
use crate::metrics::Ailment;

/// The media type of `/metrics`.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An answer is shared by all clients this long: values that change by the second are computed once
/// a second.
const A_MOMENT: Duration = Duration::from_millis(900);

/// An answer that depends on the schedule alone is shared this long; a page asks for it once a
/// minute.
const A_WHILE: Duration = Duration::from_secs(5);

/// A forecast and a calendar take the longest to make. A reload makes them anew.
const LONG: Duration = Duration::from_secs(60);

/// Returns all routes, for a connection that came this way.
pub(super) fn of(site: Arc<Site>, names: Arc<[HostName]>, came: CameBy) -> Router {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { asset("index.html", &headers) }))
        .route(
            "/assets/{name}",
            get(|Path(name): Path<String>, headers: HeaderMap| async move { asset(&name, &headers) }),
        )
        .route("/api/v1/{name}", get(api))
        .route("/calendar.ics", get(ics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(site)
        .layer(from_fn_with_state(Guard { names, came }, guard))
}

fn asset(name: &str, headers: &HeaderMap) -> Response {
    match assets::find(name) {
        Some(asset) => asset.respond(headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A question that the API answers.
#[derive(Clone, Copy, Debug)]
enum ApiQuestion {
    Status,
    Entries,
    History,
    Next,
    Forecast,
    Why,
    Log,
    Quota,
    Audit,
}

impl ApiQuestion {
    fn of(name: &str) -> Option<ApiQuestion> {
        Some(match name {
            "status" => ApiQuestion::Status,
            "entries" => ApiQuestion::Entries,
            "history" => ApiQuestion::History,
            "next" => ApiQuestion::Next,
            "forecast" => ApiQuestion::Forecast,
            "why" => ApiQuestion::Why,
            "log" => ApiQuestion::Log,
            "quota" => ApiQuestion::Quota,
            "audit" => ApiQuestion::Audit,
            _ => return None,
        })
    }

    fn good_for(self) -> Duration {
        match self {
            ApiQuestion::Status
            | ApiQuestion::Entries
            | ApiQuestion::History
            | ApiQuestion::Why
            | ApiQuestion::Log => A_MOMENT,
            ApiQuestion::Next | ApiQuestion::Quota => A_WHILE,
            ApiQuestion::Forecast | ApiQuestion::Audit => LONG,
        }
    }
}

async fn api(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(question) = ApiQuestion::of(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let query = query.unwrap_or_default();
    kept(&site, name, query, question.good_for(), &headers, |site, query| async move {
        match question {
            ApiQuestion::Status => status::answer(&site, &query).await,
            ApiQuestion::Entries => entries::answer(&site, &query).await,
            ApiQuestion::History => history::answer(&site, &query).await,
            ApiQuestion::Next => schedule::next(&site, &query).await,
            ApiQuestion::Forecast => schedule::forecast(&site, &query).await,
            ApiQuestion::Why => schedule::why(&site, &query).await,
            ApiQuestion::Log => log::answer(&site, &query),
            ApiQuestion::Quota => quota::answer(&site, &query),
            ApiQuestion::Audit => audit::answer(&site, &query).await,
        }
    })
    .await
}

async fn ics(State(site): State<Arc<Site>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let query = query.unwrap_or_default();
    kept(&site, "calendar.ics".to_owned(), query, LONG, &headers, |site, query| async move {
        calendar::answer(&site, &query).await
    })
    .await
}

/// An answer that is made once for all who ask the same.
async fn kept<F: Future<Output = Result<KeptAnswer, WebRefusal>> + Send + 'static>(
    site: &Arc<Site>,
    name: String,
    query: String,
    good_for: Duration,
    headers: &HeaderMap,
    make: impl FnOnce(Arc<Site>, String) -> F,
) -> Response {
    if query.len() > LONGEST_KEY {
        let problem = format!("write at most {LONGEST_KEY} bytes");
        return WebRefusal::from(QueryError::Wrong { key: "?", problem }).into_response();
    }
    let question = format!("{} {name}?{query}", site.generation());
    match site.cache.answer(question, good_for, || make(Arc::clone(site), query)).await {
        Ok(answer) => answer.respond(headers),
        Err(refusal) => refusal.into_response(),
    }
}

async fn healthz(State(site): State<Arc<Site>>) -> Response {
    told(site.metrics.alive())
}

async fn readyz(State(site): State<Arc<Site>>) -> Response {
    told(site.metrics.ready())
}

async fn scrape(State(site): State<Arc<Site>>) -> Response {
    site.refresh_entries().await;
    ([(header::CONTENT_TYPE, OPEN_METRICS)], site.metrics.scrape()).into_response()
}

fn told(state: Result<(), Ailment>) -> Response {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(ailment) => (StatusCode::SERVICE_UNAVAILABLE, format!("{ailment}\n")).into_response(),
    }
}
