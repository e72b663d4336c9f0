//! Whatever the API answers and people do, each occurrence ends once.

use proptest::prelude::*;

use super::*;

proptest! {
    /// Whatever the API answers, each occurrence ends in exactly one final state, and none is sent
    /// again after an attempt that may have taken effect.
    #[test]
    fn every_occurrence_ends_once(
        due in proptest::collection::vec((0..4usize, 0..30i64), 1..20),
        policies in proptest::collection::vec((0..3u8, 0..3u8, 0..3u8), 4),
        answers in proptest::collection::vec(0..6u8, 60),
        looks in proptest::collection::vec(0..6u8, 60),
        by_hand in proptest::collection::vec((0..4usize, 0..60u32, 0..3u8), 0..8),
    ) {
        let account = account(1000);
        let mut world = World::new(&account);
        let entries: Vec<Entry> = policies.iter().enumerate().map(|(i, &(overlap, catch_up, stack_state))| {
            let mut entry = entry(&format!("e{i}"), &account);
            entry.overlap = [Overlap::Allow, Overlap::Skip, Overlap::Queue][usize::from(overlap)];
            entry.catch_up = [CatchUp::None, CatchUp::Latest, CatchUp::All][usize::from(catch_up)];
            entry.stack_state =
                [StackState::Ignore, StackState::Hold, StackState::Skip][usize::from(stack_state)];
            entry.priority = [Priority::Low, Priority::Normal, Priority::High][i % 3];
            entry.start_deadline = Duration::from_secs(20);
            entry
        }).collect();
        let mut planned = std::collections::BTreeSet::new();
        for (which, at) in due {
            if planned.insert((which, at)) {
                world.plan(&entries[which], &[at]);
            }
        }
        let (mut answers, mut looks) = (answers.into_iter(), looks.into_iter());
        let mut fired = 0;
        for second in 0..20_000 {
            world.go_to(f64::from(second) / if second < 200 { 2.0 } else { 0.5 });
            for (n, &(which, at, what)) in by_hand.iter().enumerate() {
                let entry = &entries[which];
                match what {
                    _ if at != second => {}
                    0 => {
                        world.now.wall += SignedDuration::from_micros(i64::try_from(n).expect("small") + 1);
                        world.fire(entry, "by hand");
                        fired += 1;
                    }
                    1 => {
                        let effects = world.dispatch.pause(
                            &entry.name,
                            Pause { since: world.now.wall, by: "ada".to_owned(), until: None, note: None },
                            world.now,
                        );
                        world.take(effects);
                    }
                    _ => world.dispatch.resume(&entry.name),
                }
            }
            prop_assert_eq!(world.gauges().waiting, world.waiting(), "at {}", world.now.wall);
            let held = world.pending().filter(|pending| matches!(pending.place(), PendingPlace::Held | PendingPlace::Stack)).count();
            let told = world.dispatch.standings().next().map(|(_, standing)| standing.held);
            prop_assert_eq!(told, Some(held), "at {}", world.now.wall);
            while let Some((_, request)) = world.sent.first() {
                match request {
                    Request::RunNow(_) => world.answer(match answers.next() {
                        Some(0) => not_sent(),
                        Some(1) => in_doubt(),
                        Some(2) => Outcome::Rejected { status: 422, error: String::new(), hint: String::new() },
                        Some(3) => Outcome::Throttled { status: 503, words: ThrottleWords::OfTheApi },
                        _ => started(second.into()),
                    }),
                    Request::Actions { .. } => {
                        let listed = match answers.next() {
                            Some(0) => unlisted(),
                            Some(1) => page(&[run(1, i64::from(second / 2), "we"), run(2, i64::from(second / 2), "we")]),
                            Some(2) => page(&[run(u64::MAX - u64::from(second), 1, "we")]),
                            _ => page(&[]),
                        };
                        world.answer_list(listed);
                    }
                    Request::JobRecord(..) => unreachable!("the world answers it at once"),
                    Request::Action(_, _, id) => {
                        let id = *id;
                        world.answer_follow_up(ended(id, true));
                    }
                    Request::Look { job, .. } => {
                        let job = job.as_ref().map(ToString::to_string);
                        let looked = match looks.next() {
                            Some(0) => Looked::Unanswered { error: "connection refused".into() },
                            Some(1) => Looked::Seen(Some(Obstacle::Deploying)),
                            Some(2) => Looked::Seen(Some(Obstacle::PausedRemotely)),
                            _ => Looked::Seen(None),
                        };
                        world.answer_look(job.as_deref(), looked);
                    }
                }
            }
            if second > 200 && world.dispatch.occurrences.has_nothing() {
                break;
            }
        }
        let told = world.told();
        let ends = told.iter().filter(|line| {
            ["action.started", "occurrence.rejected", "occurrence.unknown", "occurrence.missed", "occurrence.skipped"]
                .iter()
                .any(|end| line.starts_with(end))
        });
        prop_assert_eq!(ends.count(), planned.len() + fired, "each ends once: {:?}", told);
        prop_assert!(world.dispatch.occurrences.has_nothing(), "nothing is left over");
    }
}
