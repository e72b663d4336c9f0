//! The server that run_now arrives at: it notes when.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::Method;
use jiff::Timestamp;
use tokio::runtime::Runtime;

/// More than any run sends: nobody waits for quota.
pub const LIMIT: u32 = 1_000_000;

/// Runs until it is dropped.
pub struct Server {
    _runtime: Runtime,
    address: SocketAddr,
    arrivals: Arc<Mutex<Vec<Timestamp>>>,
}

impl Server {
    pub fn start() -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let arrivals = Arc::default();
        let address = runtime.block_on(serve(Arc::clone(&arrivals)));
        Server { _runtime: runtime, address, arrivals }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests arrived since the last [`take`](Server::take).
    pub fn seen(&self) -> usize {
        self.arrivals.lock().expect("a lock").len()
    }

    /// When they arrived, in order.
    pub fn take(&self) -> Vec<Timestamp> {
        let mut arrivals = std::mem::take(&mut *self.arrivals.lock().expect("a lock"));
        arrivals.sort_unstable();
        arrivals
    }
}

async fn serve(arrivals: Arc<Mutex<Vec<Timestamp>>>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let left = Arc::new(AtomicU64::new(u64::from(LIMIT)));
    let router = axum::Router::new().fallback(move |method: Method| {
        let (arrivals, left) = (Arc::clone(&arrivals), Arc::clone(&left));
        async move {
            // Looks at stacks and jobs are questions.
            if method == Method::POST {
                arrivals.lock().expect("a lock").push(Timestamp::now());
            }
            let left = left.fetch_sub(1, Ordering::Relaxed) - 1;
            let headers =
                [("x-ratelimit-limit", LIMIT.to_string()), ("x-ratelimit-remaining", left.to_string())];
            (headers, r#"{"response":{"id":1,"finished_at":null,"finished_success":null}}"#)
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
