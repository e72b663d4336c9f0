//! The contenders that are in this program: tokio-cron-scheduler by itself, and no scheduler at all.

use std::sync::Arc;
use std::time::Duration;

use governor::clock::DefaultClock;
use jiff::Timestamp;
use tokio_cron_scheduler::{Job, JobScheduler};

use super::server::LIMIT;

/// Requests that the bare loop may have in flight at once: as many as the daemon.
const IN_FLIGHT: usize = 256;

/// The same schedule straight in tokio-cron-scheduler: one job an entry, a governor limiter, reqwest.
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

/// No scheduler: at the instant, all requests from one loop.
pub fn bare_loop(arguments: &[String]) {
    let [address, entries, _, at] = arguments else { panic!("arguments") };
    let (entries, at): (usize, Timestamp) =
        (entries.parse().expect("a number of entries"), at.parse().expect("an instant"));
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let client = client();
        let turns = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
        tokio::time::sleep(Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()).await;
        for number in 0..entries {
            let turn = Arc::clone(&turns).acquire_owned().await.expect("a turn");
            let url = format!("http://{address}/api/3/stacks/s/jobs/j{number}/run_now");
            let client = client.clone();
            tokio::spawn(async move {
                let _ = client.post(url).bearer_auth("token").send().await.expect("an answer").bytes().await;
                drop(turn);
            });
        }
        std::future::pending::<()>().await
    });
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}
