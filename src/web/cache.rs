//! Answers that are made once for all who ask at about the same time.
//!
//! Two hundred pages that poll every two seconds ask a hundred times a second for the same status.
//! The first one has it made; whoever asks meanwhile waits for that answer, and whoever asks while
//! the answer is good is given it. The loop is then asked about once a second, whoever looks. An
//! answer that was begun is made even when its client goes away: the next one who asks finds it.
//!
//! Nobody waits longer than `ANSWERED_WITHIN`. A forecast of a large schedule may take longer: who
//! asks is told to ask again (202), and finds the answer once it is made. Example: a forecast takes
//! 50 s. Asked for at 12:00:00, it is put off at 12:00:20; asked for again at once, put off at
//! 12:00:40; asked for again, answered at 12:00:50.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::answer::{KeptAnswer, WebRefusal};

/// Answers that are kept. Each client asks for a handful.
const MOST_KEPT: usize = 128;

/// An answer is good for at least this many times as long as it took to make: who looks does not
/// keep the machine busy.
const GOOD_TIMES: u32 = 20;

/// Bytes of the answers that are kept, as counted when one more question comes. The largest answer
/// has some 3 MB.
const MOST_BYTES: usize = 32 << 20;

/// A client waits this long for an answer. Proxies and the page give up after 30 s or more.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// Bytes of a question that can be kept. Longer ones are of nobody's page.
pub(super) const LONGEST_KEY: usize = 4 << 10;

/// An answer, and until when it is good.
type CachedAnswer = Option<(Instant, Arc<KeptAnswer>)>;

/// The place of one question's answer. Held while the answer is made.
type CacheSlot = Arc<tokio::sync::Mutex<CachedAnswer>>;

/// Questions and their answers.
#[derive(Default)]
pub(super) struct Cache {
    slots: Mutex<HashMap<String, CacheSlot>>,
}

impl Cache {
    /// Returns the answer to a question, from the cache while it is good. `Refusal::Later`: the
    /// answer is still being made.
    pub(super) async fn answer<F>(
        &self,
        question: String,
        good_for: Duration,
        make: impl FnOnce() -> F,
    ) -> Result<Arc<KeptAnswer>, WebRefusal>
    where
        F: Future<Output = Result<KeptAnswer, WebRefusal>> + Send + 'static,
    {
        self.answer_within(ANSWERED_WITHIN, question, good_for, make).await
    }

    async fn answer_within<F>(
        &self,
        within: Duration,
        question: String,
        good_for: Duration,
        make: impl FnOnce() -> F,
    ) -> Result<Arc<KeptAnswer>, WebRefusal>
    where
        F: Future<Output = Result<KeptAnswer, WebRefusal>> + Send + 'static,
    {
        let answer = async {
            let mut kept = self.slot(question).lock_owned().await;
            if let Some((good_until, answer)) = kept.as_ref()
                && Instant::now() < *good_until
            {
                return Ok(Arc::clone(answer));
            }
            let making = make();
            let began = Instant::now();
            let made = tokio::spawn(async move {
                let answer = Arc::new(making.await?);
                let good_for = good_for.max(began.elapsed() * GOOD_TIMES);
                *kept = Some((Instant::now() + good_for, Arc::clone(&answer)));
                Ok(answer)
            });
            made.await.unwrap_or(Err(WebRefusal::Failed))
        };
        timeout(within, answer).await.unwrap_or(Err(WebRefusal::Later(within.as_secs())))
    }

    fn slot(&self, question: String) -> CacheSlot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if !slots.contains_key(&question) && is_full(&slots) {
            let now = Instant::now();
            let is_good =
                |kept: &CachedAnswer| kept.as_ref().is_some_and(|(good_until, _)| now < *good_until);
            // A slot that cannot be locked is being filled.
            slots.retain(|_, slot| slot.try_lock().map_or(true, |kept| is_good(&kept)));
            if is_full(&slots) {
                slots.clear();
            }
        }
        Arc::clone(slots.entry(question).or_default())
    }
}

/// Whether there is no room for one more.
fn is_full(slots: &HashMap<String, CacheSlot>) -> bool {
    let bytes = |slot: &CacheSlot| {
        let kept = slot.try_lock().ok();
        kept.and_then(|kept| kept.as_ref().map(|(_, answer)| answer.len())).unwrap_or(0)
    };
    slots.len() >= MOST_KEPT || slots.values().map(bytes).sum::<usize>() >= MOST_BYTES
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[tokio::test]
    async fn who_asks_together_has_one_answer_made() {
        let (cache, made) = (Arc::new(Cache::default()), Arc::new(AtomicUsize::new(0)));
        let ask = |good_for: Duration| {
            let (cache, made) = (Arc::clone(&cache), Arc::clone(&made));
            async move {
                let make = || async move {
                    tokio::task::yield_now().await;
                    made.fetch_add(1, Relaxed);
                    Ok(KeptAnswer::lines(b"{}"))
                };
                cache.answer("/status".to_owned(), good_for, make).await.expect("an answer");
            }
        };
        let long = Duration::from_secs(3600);
        tokio::join!(ask(long), ask(long), ask(long));
        assert_eq!(made.load(Relaxed), 1, "three ask for one");
        for n in 0..2 * MOST_KEPT {
            let make = || async { Ok(KeptAnswer::lines(b"{}")) };
            cache.answer(n.to_string(), Duration::ZERO, make).await.expect("an answer");
        }
        assert!(cache.slots.lock().expect("a lock").len() <= MOST_KEPT);
    }

    #[tokio::test]
    async fn large_answers_are_not_kept_without_a_bound() {
        let cache = Cache::default();
        for n in 0..20 {
            let make = || async { Ok(KeptAnswer::lines(&vec![b'x'; 3 << 20])) };
            cache.answer(n.to_string(), Duration::from_secs(3600), make).await.expect("an answer");
        }
        assert!(cache.slots.lock().expect("a lock").len() < 12);
    }

    #[tokio::test]
    async fn who_asks_for_what_takes_long_is_told_to_ask_again_and_it_is_made_once() {
        let (cache, made) = (Cache::default(), Arc::new(AtomicUsize::new(0)));
        let ends = Arc::new(tokio::sync::Notify::new());
        let ask = |within: Duration| {
            let (made, ends) = (Arc::clone(&made), Arc::clone(&ends));
            let make = move || async move {
                made.fetch_add(1, Relaxed);
                ends.notified().await;
                Ok(KeptAnswer::lines(b"{}"))
            };
            cache.answer_within(within, "/forecast".to_owned(), Duration::from_secs(3600), make)
        };
        for _ in 0..2 {
            assert!(matches!(ask(Duration::from_millis(10)).await, Err(WebRefusal::Later(_))));
        }
        ends.notify_one();
        assert!(ask(ANSWERED_WITHIN).await.is_ok());
        assert_eq!(made.load(Relaxed), 1, "three ask for one");
    }

    #[tokio::test]
    async fn a_refusal_is_not_kept() {
        let cache = Cache::default();
        let long = Duration::from_secs(3600);
        let refused = cache.answer("/why".to_owned(), long, || async { Err(WebRefusal::Failed) }).await;
        assert!(refused.is_err());
        assert!(cache.answer("/why".to_owned(), long, || async { Ok(KeptAnswer::lines(b"")) }).await.is_ok());
    }
}
