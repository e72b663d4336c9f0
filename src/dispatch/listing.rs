//! Reading a stack's actions page by page, as far back as is needed, whatever their order.
//!
//! The API does not say in which order it lists them, and a stack may have thousands. What was read
//! tells: where every page goes down in time, the rest is older still; where it goes up, the newest
//! are on the last page. Otherwise all pages are read.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Mono, Now};
use crate::cloud66::{Action, ActionsPage};

/// More pages are not read: twenty of thirty actions are a job that runs every minute, for ten
/// hours.
const MOST_PAGES: u32 = 20;

/// A list that is being read.
#[derive(Debug)]
pub(super) struct ListReading {
    /// By how much the API's clock was ahead of ours when the first page came, where the page told.
    ahead: Option<(Ahead, Now)>,
    pages: BTreeMap<u32, PageSeen>,
    way: ReadDirection,
    pub(super) actions: Vec<Action>,
}

/// The time that the API's clock is ahead of ours: the API wrote its answer between the question
/// and the answer's arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ahead {
    pub(super) least: SignedDuration,
    pub(super) most: SignedDuration,
}

impl Ahead {
    /// Both clocks agree.
    pub(super) const NONE: Ahead = Ahead { least: SignedDuration::ZERO, most: SignedDuration::ZERO };
}

/// The next step of reading a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListingStep {
    /// This page.
    Page(u32),
    /// Everything that is needed was read.
    Complete,
    /// There is more than is read.
    TooLong,
}

/// In which direction the pages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadDirection {
    /// From the first page on.
    On,
    /// From the last page back, which was reached.
    Back,
}

/// The order of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PageSeen {
    order: PageOrder,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    oldest: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageOrder {
    Down,
    Up,
    /// All actions began in one second.
    Level,
    /// Neither, or it cannot be told.
    None,
}

impl ListReading {
    /// Begins with the first page.
    pub(super) fn new() -> ListReading {
        ListReading { ahead: None, pages: BTreeMap::new(), way: ReadDirection::On, actions: Vec::new() }
    }

    /// Reads the API's clock off the first page, which was asked for at `asked`.
    pub(super) fn read_clock(&mut self, page: &ActionsPage, asked: Mono, now: Now) {
        if self.pages.is_empty() {
            let under_way = SignedDuration::try_from(now.mono.saturating_sub(asked)).unwrap_or_default();
            self.ahead = page.date.map(|date| {
                let least = date.duration_since(now.wall);
                (Ahead { least, most: least.saturating_add(under_way) }, now)
            });
        }
    }

    /// Takes in a page. Actions that are older than `back_to`, by the API's clock, are not needed.
    pub(super) fn take(&mut self, number: u32, page: ActionsPage, back_to: Timestamp) -> ListingStep {
        let seen = PageSeen::of(&page.actions);
        self.actions.extend(page.actions);
        self.pages.insert(number, seen);
        let old = seen.oldest.is_some_and(|oldest| oldest < back_to);
        let all = |order| self.goes(order);
        match (self.way, page.next) {
            (ReadDirection::On, None)
                if all(PageOrder::Up) && number > 1 && !self.pages.contains_key(&(number - 1)) =>
            {
                self.way = ReadDirection::Back;
                if old { ListingStep::Complete } else { ListingStep::Page(number - 1) }
            }
            (ReadDirection::On, None) => self.whole(),
            (ReadDirection::On, Some(_)) if old && all(PageOrder::Down) => ListingStep::Complete,
            (ReadDirection::On, Some(next)) => match page.pages {
                Some(last) if number == 1 && last > next && seen.order == PageOrder::Up => {
                    ListingStep::Page(last)
                }
                _ => self.go_on(next),
            },
            (ReadDirection::Back, _) if !all(PageOrder::Up) => ListingStep::TooLong,
            (ReadDirection::Back, _) if old || self.pages.contains_key(&(number - 1)) => {
                ListingStep::Complete
            }
            (ReadDirection::Back, _) => self.go_on(number - 1),
        }
    }

    /// Returns how far the API's clock is ahead of ours, where it told. Somebody may have set ours
    /// since.
    pub(super) fn ahead(&self, now: Now) -> Option<Ahead> {
        let (Ahead { least, most }, seen) = self.ahead?;
        let set = now.set_since(seen);
        Some(Ahead { least: least.saturating_sub(set), most: most.saturating_sub(set) })
    }

    /// Returns true when the pages that were read go this way, each by itself and from one to the
    /// next. A page whose actions all began in one second goes either way.
    fn goes(&self, order: PageOrder) -> bool {
        let fits = |earlier: Timestamp, later: Timestamp| match order {
            PageOrder::Down => earlier >= later,
            PageOrder::Up => earlier <= later,
            PageOrder::Level | PageOrder::None => false,
        };
        let mut before: Option<&PageSeen> = None;
        let mut is_level = true;
        for page in self.pages.values() {
            let (Some(first), true) = (page.first, page.order == order || page.order == PageOrder::Level)
            else {
                return false;
            };
            if let Some(last) = before.and_then(|before| before.last) {
                if !fits(last, first) {
                    return false;
                }
                is_level &= last == first;
            }
            is_level &= page.order == PageOrder::Level;
            before = Some(page);
        }
        !is_level
    }

    fn go_on(&self, next: u32) -> ListingStep {
        let read = u32::try_from(self.pages.len()).unwrap_or(u32::MAX);
        // A server whose pages lead back has no end.
        if read >= MOST_PAGES || self.pages.contains_key(&next) {
            ListingStep::TooLong
        } else {
            ListingStep::Page(next)
        }
    }

    /// The last page is read: were all before?
    fn whole(&self) -> ListingStep {
        let expected = 1..=u32::try_from(self.pages.len()).unwrap_or(u32::MAX);
        if self.pages.keys().copied().eq(expected) { ListingStep::Complete } else { ListingStep::TooLong }
    }
}

/// Returns true when actions are listed with the oldest first.
pub(super) fn goes_up(actions: &[Action]) -> bool {
    PageSeen::of(actions).order == PageOrder::Up
}

impl PageSeen {
    fn of(actions: &[Action]) -> PageSeen {
        let times: Option<Vec<Timestamp>> = actions.iter().map(Action::started).collect();
        let Some(times) = times else {
            return PageSeen { order: PageOrder::None, first: None, last: None, oldest: None };
        };
        let order = match (times.first(), times.last()) {
            (Some(first), Some(last)) if first > last && times.is_sorted_by(|a, b| a >= b) => PageOrder::Down,
            (Some(first), Some(last)) if first < last && times.is_sorted() => PageOrder::Up,
            (Some(first), Some(_)) if times.iter().all(|at| at == first) => PageOrder::Level,
            _ => PageOrder::None,
        };
        PageSeen {
            order,
            first: times.first().copied(),
            last: times.last().copied(),
            oldest: times.into_iter().min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PER_PAGE: usize = 30;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a timestamp")
    }

    /// Reads a list of actions, each started in the second that is its id. Returns how it ended,
    /// the pages that were read, and the ids.
    fn read(seconds: &[i64], back_to: i64) -> (ListingStep, usize, Vec<u64>) {
        let pages: Vec<&[i64]> =
            if seconds.is_empty() { vec![&[]] } else { seconds.chunks(PER_PAGE).collect() };
        let mut reading = ListReading::new();
        let mut number = 1;
        for read in 1.. {
            let index = usize::try_from(number).expect("a page") - 1;
            let action = |&second: &i64| Action {
                id: Some(second.unsigned_abs()),
                started_at: Some(at(second).to_string()),
                ..Action::default()
            };
            let page = ActionsPage {
                actions: pages[index].iter().map(action).collect(),
                next: (index + 1 < pages.len()).then_some(number + 1),
                pages: u32::try_from(pages.len()).ok(),
                date: None,
            };
            match reading.take(number, page, at(back_to)) {
                ListingStep::Page(next) => number = next,
                end => return (end, read, reading.actions.iter().filter_map(|a| a.id).collect()),
            }
        }
        unreachable!("every reading ends")
    }

    #[test]
    fn the_api_s_time_is_known_as_well_as_its_answer_was_quick() {
        let now = |second, mono| Now { wall: at(second), mono: Mono::from_secs(mono) };
        let page = ActionsPage { date: Some(at(1000)), ..ActionsPage::default() };
        let mut reading = ListReading::new();
        // Asked for at 1,020 by our clock, and 20 seconds under way.
        reading.read_clock(&page, Mono::from_secs(100), now(1040, 120));
        let span = |ahead: Ahead| (ahead.least.as_secs(), ahead.most.as_secs());
        assert_eq!(reading.ahead(now(1040, 120)).map(span), Some((-40, -20)));
        assert_eq!(reading.ahead(now(1140, 120)).map(span), Some((-140, -120)), "ours was set since");
        assert_eq!(reading.ahead(now(1050, 130)).map(span), Some((-40, -20)), "time passed");
    }

    #[test]
    fn of_a_long_list_only_what_is_new_enough_is_read() {
        let up: Vec<i64> = (1..=30_000).collect();
        let down: Vec<i64> = up.iter().rev().copied().collect();
        let (end, pages, _) = read(&down, 29_950);
        assert_eq!((end, pages), (ListingStep::Complete, 2), "newest first");
        let (end, pages, _) = read(&up, 29_950);
        assert_eq!((end, pages), (ListingStep::Complete, 3), "oldest first: one page to see that it is");
    }

    #[test]
    fn forty_actions_a_second_are_more_than_a_page_and_still_in_order() {
        let up: Vec<i64> = (0..4000).map(|n| n / 40).collect();
        let down: Vec<i64> = up.iter().rev().copied().collect();
        let (end, pages, _) = read(&down, 95);
        assert_eq!((end, pages), (ListingStep::Complete, 7), "newest first");
        let one_second = vec![5; 100];
        assert_eq!(read(&one_second, 5).0, ListingStep::Complete, "to the end, since it can be either way");
    }

    #[test]
    fn a_long_list_without_order_is_not_read_to_its_end() {
        let mixed: Vec<i64> = (1..=30_000).map(|n| n * 7919 % 30_011).collect();
        assert_eq!(read(&mixed, 29_950).0, ListingStep::TooLong);
    }

    proptest! {
        /// Whatever the order, a list that was read completely lacks nothing that is new enough.
        #[test]
        fn nothing_new_is_left_out(count in 0..400i64, back in 0..400i64, order in 0..3u8, swaps in proptest::collection::vec((0..400usize, 0..400usize), 0..4)) {
            let mut seconds: Vec<i64> = (1..=count).collect();
            match order {
                0 => {}
                1 => seconds.reverse(),
                _ => for (a, b) in swaps {
                    if a < seconds.len() && b < seconds.len() { seconds.swap(a, b); }
                },
            }
            // Where single actions are out of order on a page that was not read, nothing tells: the
            // order is taken from what was read. Only lists that are ordered, or are seen not to
            // be, are held to it.
            let (end, _, ids) = read(&seconds, back);
            let ordered = seconds.is_sorted() || seconds.is_sorted_by(|a, b| a >= b);
            if end == ListingStep::Complete && ordered {
                for second in back.max(1)..=count {
                    prop_assert!(ids.contains(&second.unsigned_abs()), "{second} of {count}, back to {back}");
                }
            }
        }
    }
}
