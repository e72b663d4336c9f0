//! The contenders that are in this program: tokio-cron-scheduler by itself, and no scheduler at
//! all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::DefaultClock;
use jiff::Timestamp;
use tokio_cron_scheduler::{Job, JobScheduler};

use super::server::LIMIT;

/// Tasks of the bare loop, each with one request in flight: as many as the daemon has connections
/// in a burst.
const TASKS: usize = 64;

/// The same schedule straight in tokio-cron-scheduler: one job an entry, a governor limiter,
/// reqwest.
pub fn tokio_cron_scheduler(arguments: &[String]) {
    let [address, entries, cron, ..] = arguments else { panic!("arguments") };
    let entries: usize = entries.parse().expect("a number of entries");
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let client = client();
        let quota = governor::Quota::per_hour(LIMIT.try_into().expect("not zero"));
        let limiter = Arc::new(governor::RateLimiter::direct_with_clock(quota, DefaultClock::default()));
        let scheduler = JobScheduler::new().await.expect("a scheduler");
        for number in 0..entries {
            let url = format!("http://{address}/api/3/stacks/s/jobs/j{number}/run_now");
            let (client, limiter) = (client.clone(), Arc::clone(&limiter));
            let job = Job::new_async(cron.as_str(), move |_, _| {
                let (client, limiter, url) = (client.clone(), Arc::clone(&limiter), url.clone());
                Box::pin(async move {
                    limiter.until_ready().await;
                    let _ = client.post(url).send().await;
                })
            });
            scheduler.add(job.expect("a job")).await.expect("it is added");
        }
        scheduler.start().await.expect("it starts");
        std::future::pending::<()>().await
    });
}

/// No scheduler: at the instant, tasks that each send the next request until none is left.
pub fn bare_loop(arguments: &[String]) {
    let [address, entries, _, at] = arguments else { panic!("arguments") };
    let (entries, at): (usize, Timestamp) =
        (entries.parse().expect("a number of entries"), at.parse().expect("an instant"));
    let address: Arc<str> = address.as_str().into();
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let client = client();
        let next = Arc::new(AtomicUsize::new(0));
        tokio::time::sleep(Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()).await;
        for _ in 0..TASKS.min(entries) {
            let (client, next, address) = (client.clone(), Arc::clone(&next), Arc::clone(&address));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= entries {
                        return;
                    }
                    let url = format!("http://{address}/api/3/stacks/s/jobs/j{number}/run_now");
                    let answer = client.post(url).bearer_auth("token").send().await;
                    let _ = answer.expect("an answer").bytes().await;
                }
            });
        }
        std::future::pending::<()>().await
    });
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}
